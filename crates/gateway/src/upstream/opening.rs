//! How a connection is opened: PROXY header, greeting, EHLO, TLS, XCLIENT, and EHLO again after each
//! of the last two.
//!
//! The capabilities that count are those of the last EHLO: a server offers different things to
//! different clients, and more to those who speak TLS.
//!
//! What it promises: where TLS is required, nothing but EHLO and STARTTLS is ever said without it;
//! where it is not, a server with which it fails is spoken to without it, on a new connection. What
//! came in plain before the handshake counts for nothing after it (RFC 3207 §4.2).

use std::sync::Arc;
use std::time::Duration;

use tarpit_core::{Tick, Trouble};
use tarpit_smtp::{Capabilities, Reply, Verb, write_ehlo, write_verb};

use super::connection::{Auth, Connection, Failure, Standing};
use super::dial::{OwnAddresses, dial};
use super::identity::{Told, proxy_header, xclient};
use super::leg::Leg;
use super::server::Server;
use super::wire::{REPLY_LIMIT, Wire};
use crate::clock::Clock;
use crate::tls::{Peer, TlsFailure};

/// A handshake takes milliseconds; a server that takes longer is as good as away.
const TLS_LIMIT: Duration = Duration::from_secs(30);

/// What was seen while a connection was opened, for `tarpit check`.
#[derive(Debug)]
pub(super) struct Opening {
    clock: Clock,
    began: Tick,
    pub(super) greeting: Option<Reply>,
    /// The last reply to EHLO.
    pub(super) announced: Option<Reply>,
    /// What was offered before TLS, if it was spoken.
    pub(super) before_tls: Option<Capabilities>,
    pub(super) xclient: Option<Reply>,
    /// Who the server is, if TLS is spoken.
    pub(super) peer: Option<Peer>,
    /// Why there is no connection, or none that will do, in words.
    pub(super) detail: Option<String>,
    /// It speaks another protocol that looks like SMTP.
    pub(super) is_lmtp: bool,
    /// The server heard of the client: what it says from then on may be about that one.
    pub(super) is_told: bool,
    /// Milliseconds since the start at which each step had ended.
    pub(super) steps: Vec<(&'static str, Duration)>,
}

impl Opening {
    pub(super) fn start() -> Self {
        let clock = Clock::start();
        Self {
            clock,
            began: clock.now(),
            greeting: None,
            announced: None,
            before_tls: None,
            xclient: None,
            peer: None,
            detail: None,
            is_lmtp: false,
            is_told: false,
            steps: Vec::new(),
        }
    }

    fn ended(&mut self, step: &'static str) {
        let after = self.clock.now().since(self.began);
        self.steps.push((step, after));
    }
}

/// To which server, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) server: &'a Server,
    /// For the log.
    pub(super) upstream: &'a str,
    /// Limit on the TCP connect.
    pub(super) connect_limit: Duration,
    /// Our own name.
    pub(super) hostname: &'a str,
    pub(super) leg: &'a Leg,
    pub(super) own: &'a Arc<OwnAddresses>,
}

/// Whether STARTTLS is said where it may be left out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Try {
    Tls,
    Plain,
}

impl Connection {
    /// Connects, speaks TLS, tells the identity, and learns the capabilities.
    pub(super) async fn open(
        route: Route<'_>,
        told: Told,
        opening: &mut Opening,
    ) -> Result<Self, Failure> {
        let attempt = if route.leg.is_required() || route.leg.may_try(route.server) {
            Try::Tls
        } else {
            Try::Plain
        };
        let opened = Self::attempt(route, told.clone(), attempt, opening).await;
        match opened {
            Err(Failure::Broken(Trouble::Tls)) if !route.leg.is_required() => {
                let why = opening.detail.take().unwrap_or_default();
                route.leg.note_failure(route.server, route.upstream, &why);
                *opening = Opening::start();
                Self::attempt(route, told, Try::Plain, opening).await
            }
            other => other,
        }
    }

    /// The same, but what becomes of TLS is the answer: nothing is tried instead.
    pub(super) async fn open_once(
        route: Route<'_>,
        told: Told,
        opening: &mut Opening,
    ) -> Result<Self, Failure> {
        Self::attempt(route, told, Try::Tls, opening).await
    }

    async fn attempt(
        route: Route<'_>,
        told: Told,
        attempt: Try,
        opening: &mut Opening,
    ) -> Result<Self, Failure> {
        let mut wire = connect(route, &told, opening).await?;
        // XCLIENT has the name; before it the server talks to us.
        let name = match &told {
            Told::Xclient(_) => None,
            told => told.name(),
        };
        let name = name.unwrap_or(route.hostname);
        let is_proxied = matches!(told, Told::Proxy(..));
        let mut capabilities = match greet(&mut wire, name, is_proxied, opening).await {
            // A server that expects no PROXY header takes it for a line of rubbish: it complains
            // in place of its answer to EHLO.
            Err(Failure::Broken(Trouble::Garbage)) if is_proxied && !opening.is_lmtp => {
                return Err(Trouble::Identity.into());
            }
            other => other?,
        };
        let mut is_secure = false;
        if attempt == Try::Tls && secure(&mut wire, route.leg, &capabilities, opening).await? {
            is_secure = true;
            opening.before_tls = Some(capabilities);
            capabilities = ehlo(&mut wire, name, opening).await?;
        }
        if let Told::Xclient(who) = &told {
            let line = xclient(capabilities.xclient, who).ok_or(Trouble::Identity)?;
            opening.is_told = true;
            tell(&mut wire, &line, opening).await?;
            // A server takes the name of this EHLO for the client's, whatever XCLIENT said
            // (Postfix, `ehlo_cmd`): ours would be held against the client's address.
            let name = who.helo.as_deref().unwrap_or(route.hostname);
            capabilities = ehlo(&mut wire, name, opening).await?;
        }
        // RFC 8689 §4.2.1: only over TLS with a server that was verified. What is not offered here
        // is not asked for.
        capabilities.require_tls &= is_secure && route.leg.is_required();
        Ok(Self {
            wire,
            offers: capabilities.offers(),
            capabilities,
            told,
            standing: Standing::Nothing,
            chunks: None,
            data_ahead: false,
            auth: Auth::None,
            refusals: 0,
            mails: 0,
            messages: 0,
            permit: None,
        })
    }
}

/// The TCP connection, and what is said on it before the greeting.
async fn connect(route: Route<'_>, told: &Told, opening: &mut Opening) -> Result<Wire, Failure> {
    let source = told.source();
    let dialled = dial(route.server.address, source, route.connect_limit, route.own).await;
    let (stream, near_end) = dialled.map_err(|failed| {
        let is_refused = failed
            .error
            .as_ref()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        // A way back that is missing may be missing for this client alone.
        opening.is_told = source.is_some() && !is_refused;
        opening.detail = failed.error.map(|error| {
            if source.is_some() && error.kind() == std::io::ErrorKind::PermissionDenied {
                format!("this process may not connect from a client's address, which takes CAP_NET_ADMIN ({error})")
            } else {
                error.to_string()
            }
        });
        failed.trouble
    })?;
    opening.ended("connect");
    opening.is_told = source.is_some();
    let mut wire = Wire::new(stream, near_end);
    if let Told::Proxy(version, who) = told {
        wire.send(&proxy_header(*version, who), 0).await?;
        opening.is_told = true;
    }
    Ok(wire)
}

/// The greeting and our EHLO.
async fn greet(
    wire: &mut Wire,
    name: &str,
    proxied: bool,
    opening: &mut Opening,
) -> Result<Capabilities, Failure> {
    let greeting = wire.reply(REPLY_LIMIT).await?;
    opening.ended("greeting");
    opening.greeting = Some(greeting.clone());
    if proxied && is_out_of_step(&greeting) {
        return Err(Trouble::Identity.into());
    }
    let greeting = accepted(greeting, 220)?;
    if says_lmtp(&greeting) {
        return Err(refuse_lmtp(opening));
    }
    match ehlo(wire, name, opening).await {
        Err(Failure::Service(reply)) if matches!(reply.code().get(), 500 | 502) => {
            if proxied {
                // The header was a command to it, and an unknown one. Another 5yz is about the
                // client. Its replies are out of step now, so no more can be asked.
                Err(Trouble::Identity.into())
            } else if takes_lhlo(wire, name).await {
                Err(refuse_lmtp(opening))
            } else {
                Err(Failure::Service(reply))
            }
        }
        other => other,
    }
}

/// Exim says this to a header that it does not expect: whoever talks before the greeting breaks
/// the rules, and here that was the gateway, not the client.
fn is_out_of_step(greeting: &Reply) -> bool {
    let says = |line: &[u8]| {
        let line = line.to_ascii_lowercase();
        line.windows(8).any(|word| word == b"synchron")
    };
    greeting.code().is_permanent() && greeting.lines().any(says)
}

/// LMTP has a reply for each recipient to end-of-data (RFC 2033 §4.2), which can't be told to a
/// client of SMTP: it has one message and one reply.
fn refuse_lmtp(opening: &mut Opening) -> Failure {
    opening.is_lmtp = true;
    opening.detail = Some(
        "it speaks LMTP, which has no single reply to end-of-data; name a server that speaks SMTP"
            .to_owned(),
    );
    Trouble::Garbage.into()
}

/// `220 name LMTP ready`, but not `220 lmtp.example.org ESMTP`.
fn says_lmtp(greeting: &Reply) -> bool {
    let says = |wanted: &[u8]| {
        greeting.lines().take(1).any(|line| {
            line.split(|octet| !octet.is_ascii_alphanumeric() && !b"-.".contains(octet))
                .skip(1)
                .any(|word| word == wanted)
        })
    };
    says(b"LMTP") && !says(b"ESMTP") && !says(b"SMTP")
}

/// Whether a server that knows no EHLO knows LHLO (RFC 2033 §4.1: it must refuse the former).
async fn takes_lhlo(wire: &mut Wire, name: &str) -> bool {
    let mut line = Vec::new();
    write_ehlo(&mut line, name);
    let Some(rest) = line.get(4..).map(<[u8]>::to_vec) else {
        return false;
    };
    let reply = wire.command(&[b"LHLO", &*rest].concat(), REPLY_LIMIT).await;
    reply.is_ok_and(|reply| reply.code().get() == 250)
}

async fn ehlo(wire: &mut Wire, name: &str, opening: &mut Opening) -> Result<Capabilities, Failure> {
    let mut line = Vec::new();
    write_ehlo(&mut line, name);
    let reply = wire.command(&line, REPLY_LIMIT).await?;
    opening.ended("ehlo");
    let reply = accepted(reply, 250)?;
    let capabilities = Capabilities::from_ehlo(&reply);
    opening.announced = Some(reply);
    Ok(capabilities)
}

/// STARTTLS and the handshake, if the server has it. Whether TLS is spoken now.
async fn secure(
    wire: &mut Wire,
    leg: &Leg,
    offered: &Capabilities,
    opening: &mut Opening,
) -> Result<bool, Failure> {
    let tls = match leg.tls() {
        Ok(None) => return Ok(false),
        Ok(Some(tls)) => tls,
        Err(error) => {
            opening.detail = Some(error);
            return Err(Trouble::Tls.into());
        }
    };
    if !offered.starttls {
        return without_tls(leg, opening, || "it offers no STARTTLS".to_owned());
    }
    let mut line = Vec::new();
    write_verb(&mut line, Verb::StartTls);
    let reply = wire.command(&line, REPLY_LIMIT).await;
    let reply = reply.map_err(|trouble| match trouble {
        Trouble::Closed => {
            opening.detail = Some("it closed the connection at STARTTLS".to_owned());
            Trouble::Tls
        }
        other => other,
    })?;
    match accepted(reply, 220) {
        Ok(_) => {}
        // RFC 3207 §4: it stays as it was, and the client may go on.
        Err(Failure::Service(reply)) => {
            let why = || format!("STARTTLS was refused: {}", reply.to_log());
            return without_tls(leg, opening, why);
        }
        Err(other) => return Err(other),
    }
    match wire.start_tls(&tls, TLS_LIMIT).await {
        Ok(peer) => {
            opening.ended("tls");
            opening.peer = Some(peer);
            Ok(true)
        }
        // Somebody wants to be believed later: not a server to talk to, with TLS or without.
        Err(failure @ TlsFailure::Injected) => {
            opening.detail = Some(failure.to_string());
            Err(Trouble::Garbage.into())
        }
        Err(failure) => {
            opening.detail = Some(format!("the handshake failed: {failure}"));
            Err(Trouble::Tls.into())
        }
    }
}

fn without_tls(
    leg: &Leg,
    opening: &mut Opening,
    why: impl FnOnce() -> String,
) -> Result<bool, Failure> {
    if leg.is_required() {
        opening.detail = Some(why());
        return Err(Trouble::Tls.into());
    }
    Ok(false)
}

/// XCLIENT. After it the session stands at the greeting again, which may refuse the client.
async fn tell(wire: &mut Wire, line: &[u8], opening: &mut Opening) -> Result<(), Failure> {
    let reply = wire.command(line, REPLY_LIMIT).await?;
    opening.ended("xclient");
    opening.xclient = Some(reply.clone());
    match reply.code().get() {
        // XCLIENT_README: 501 bad syntax, 503 transaction in progress, 550 insufficient
        // authorization; "other: connection rejected". 500, 502 and 504: not known at all.
        500..=504 | 550 => Err(Trouble::Identity.into()),
        _ => accepted(reply, 220).map(drop),
    }
}

/// The reply with the code that RFC 5321 §4.3.2 gives here, or why not. Another 2yz is none: 221,
/// to a header that was taken for QUIT, is no EHLO.
fn accepted(reply: Reply, expected: u16) -> Result<Reply, Failure> {
    let code = reply.code();
    if code.get() == expected {
        Ok(reply)
    } else if code.is_positive() || code.is_intermediate() {
        Err(Trouble::Garbage.into())
    } else {
        Err(Failure::Service(reply))
    }
}
