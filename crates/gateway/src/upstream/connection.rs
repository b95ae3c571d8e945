//! One connection to the upstream: how it is opened, and what stands on it.
//!
//! The capabilities that count are those of the EHLO after the identity was told: a server offers
//! different things to different clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tarpit_core::Trouble;
use tarpit_smtp::{Capabilities, Extensions, Reply, write_ehlo};

use super::chunks::Chunks;
use super::dial::{OwnAddresses, dial};
use super::identity::{Told, proxy_header, xclient};
use super::stock::Permit;
use super::wire::{REPLY_LIMIT, Wire};
use crate::clock::Clock;

/// Why a step on a connection has no ordinary reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is lost or can't be trusted any more.
    Broken(Trouble),
    /// The connection is sound, but will not do for this.
    Unfit(Trouble),
    /// MAIL was refused.
    Sender(Reply),
    /// The greeting or EHLO was refused.
    Service(Reply),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Broken(trouble)
    }
}

/// What stands on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No transaction.
    Nothing,
    /// MAIL and this many RCPTs of the envelope with this serial were accepted.
    Transaction { serial: u32, recipients: usize },
    /// Something that only RSET can clear.
    Stale,
    /// Message data flows.
    Data,
}

/// How far AUTH has come on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// There was none.
    None,
    /// An exchange has begun: the next line belongs to it.
    Exchange,
    /// 235: the connection is that client's.
    Done,
    /// There was one, and it failed.
    Failed,
}

/// One connection to the upstream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    /// Announced to the client that the upstream was told of.
    pub(super) capabilities: Capabilities,
    pub(super) told: Told,
    pub(super) standing: Standing,
    /// The message that comes in chunks; it stands as [`Standing::Data`].
    pub(super) chunks: Option<Box<Chunks>>,
    /// DATA went out behind the recipient that was accepted last, and its reply is awaited: until
    /// then the connection is good for nothing but that reply.
    pub(super) data_ahead: bool,
    pub(super) auth: Auth,
    /// 5yz replies so far.
    pub(super) refusals: u32,
    /// Messages that the upstream accepted on it.
    pub(super) messages: u32,
    /// Its place among the upstream's connections; the probe has none.
    pub(super) permit: Option<Permit>,
}

/// What was seen while a connection was opened, for `tarpit check`.
#[derive(Debug)]
pub(super) struct Opening {
    clock: Clock,
    pub(super) greeting: Option<Reply>,
    /// The last reply to EHLO.
    pub(super) announced: Option<Reply>,
    pub(super) xclient: Option<Reply>,
    /// Why there is no connection, or none that will do, in words.
    pub(super) detail: Option<String>,
    /// The server heard of the client: what it says from then on may be about that one.
    pub(super) is_told: bool,
    /// Milliseconds since the start at which each step had ended.
    pub(super) steps: Vec<(&'static str, Duration)>,
}

impl Opening {
    pub(super) fn start() -> Self {
        Self {
            clock: Clock::start(),
            greeting: None,
            announced: None,
            xclient: None,
            detail: None,
            is_told: false,
            steps: Vec::new(),
        }
    }

    fn ended(&mut self, step: &'static str) {
        let now = self.clock.now().since(tarpit_core::Tick::ZERO);
        self.steps.push((step, now));
    }
}

/// To which server, and how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route<'a> {
    pub(super) address: SocketAddr,
    /// Limit on the TCP connect.
    pub(super) connect_limit: Duration,
    /// Our own name.
    pub(super) hostname: &'a str,
    pub(super) own: &'a Arc<OwnAddresses>,
}

impl Connection {
    /// Connects, tells the identity, and learns the capabilities.
    pub(super) async fn open(
        route: Route<'_>,
        told: Told,
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
        let capabilities = match greet(&mut wire, name, is_proxied, opening).await {
            // A server that expects no PROXY header takes it for a line of rubbish: it complains
            // in place of its answer to EHLO.
            Err(Failure::Broken(Trouble::Garbage)) if is_proxied => {
                return Err(Trouble::Identity.into());
            }
            other => other?,
        };
        let capabilities = if let Told::Xclient(who) = &told {
            let line = xclient(capabilities.xclient, who).ok_or(Trouble::Identity)?;
            opening.is_told = true;
            tell(&mut wire, &line, opening).await?;
            // A server takes the name of this EHLO for the client's, whatever XCLIENT said
            // (Postfix, `ehlo_cmd`): ours would be held against the client's address.
            let name = who.helo.as_deref().unwrap_or(route.hostname);
            ehlo(&mut wire, name, opening).await?
        } else {
            capabilities
        };
        Ok(Self {
            wire,
            capabilities,
            told,
            standing: Standing::Nothing,
            chunks: None,
            data_ahead: false,
            auth: Auth::None,
            refusals: 0,
            messages: 0,
            permit: None,
        })
    }

    /// Pinned: the connection is one client's, never pooled, let go of or replayed.
    pub(super) const fn is_pinned(&self) -> bool {
        matches!(self.auth, Auth::Exchange | Auth::Done)
    }

    /// Whether DATA that ran ahead left it where nothing can be said any more.
    pub(super) fn is_lost_ahead(&self) -> bool {
        self.standing == Standing::Data || !(self.data_ahead || self.wire.is_settled())
    }

    /// Whether another session may use it: the upstream took a message on it and refused nothing.
    /// Servers punish a connection, not a client.
    pub(super) fn is_reusable(&self) -> bool {
        self.wire.is_settled()
            && self.standing != Standing::Data
            && self.auth == Auth::None
            && self.refusals == 0
            && self.messages > 0
    }

    /// Counts refusals on the way.
    pub(super) async fn reply(&mut self) -> Result<Reply, Trouble> {
        let reply = self.wire.reply(REPLY_LIMIT).await?;
        self.note(&reply);
        Ok(reply)
    }

    pub(super) fn note(&mut self, reply: &Reply) {
        if reply.code().is_permanent() {
            self.refusals = self.refusals.saturating_add(1);
        }
    }

    /// Whether MAIL or RCPT used an extension that this connection does not offer.
    pub(super) fn lacks(&self, uses: Extensions) -> bool {
        !self.capabilities.offers().contains_all(uses)
    }
}

/// The TCP connection, and what is said on it before the greeting.
async fn connect(route: Route<'_>, told: &Told, opening: &mut Opening) -> Result<Wire, Failure> {
    let source = told.source();
    let dialled = dial(route.address, source, route.connect_limit, route.own).await;
    let (stream, near_end) = dialled.map_err(|failed| {
        let is_refused = failed
            .error
            .as_ref()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
        // A way back that is missing may be missing for this client alone.
        opening.is_told = source.is_some() && !is_refused;
        opening.detail = failed.error.map(|error| error.to_string());
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
    accepted(greeting, 220)?;
    match ehlo(wire, name, opening).await {
        // The header was a command to it, and an unknown one. Another 5yz is about the client.
        Err(Failure::Service(reply)) if proxied && matches!(reply.code().get(), 500 | 502) => {
            Err(Trouble::Identity.into())
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
