//! What the upstream is, asked as an outside client would: is it there, what does it offer, does it
//! take the client's identity, does it relay for whoever comes through us (DESIGN promise 7).
//!
//! Each server is asked on its own. A probe takes no place among the upstream's connections: a full
//! house must not look like a dead one. It is one connection more, at most one at a time.
//!
//! Where the near end of the connection is the client's identity, the outside client's address is
//! tried first: it works where the way back leads through this machine for every address, as it
//! must for clients. Where it does not (networks drop test addresses), the probe comes from our own
//! address, which no client ever has there; it says so.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tarpit_core::Trouble;
use tarpit_smtp::{Capabilities, Reply, escape, write_mail, write_rcpt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{Connection, Failure, Standing};
use super::identity::{ClientIdentity, Told};
use super::leave::quit;
use super::opening::{Opening, Route};
use super::wire::REPLY_LIMIT;
use super::{Health, Upstream};
use crate::clock::Clock;
use crate::config::Identity;
use crate::tls::Peer;

/// The whole of a probe. Servers that make strangers wait (a greeting delay, a pit of their own,
/// DNS that does not answer) take up to half a minute.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// An outside client: no network has this address (TEST-NET-1, RFC 5737), so no server trusts it.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Where it seems to have connected to.
const OUTSIDE_LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// An outside client of IPv6 (RFC 3849), for a server that is asked from the client's address.
const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// How long a connection from the outside address may take, before our own is tried: the server is
/// near, so it comes soon or not at all.
pub(super) const OUTSIDE_LIMIT: Duration = Duration::from_secs(3);

/// A port as clients have it.
const OUTSIDE_PORT: u16 = 49152;

/// A recipient that is nobody's business but the owner's of example.com (RFC 2606).
const FOREIGN: &str = "postmaster@example.com";

/// What a probe saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeReport {
    /// The greeting, in one line.
    pub greeting: Option<String>,
    /// The lines of the last reply to EHLO, without codes, the server's name first.
    pub announced: Vec<String>,
    /// What was learnt from them.
    pub capabilities: Option<Capabilities>,
    /// Who it is, where TLS is spoken with it.
    pub tls: Option<Peer>,
    /// What it offered before TLS.
    pub before_tls: Option<Capabilities>,
    /// Whether the client's identity was told: `None` if it is not to be told, else why not.
    pub identity: Option<Result<(), String>>,
    /// The identity is the near end of the connection, and the probe had to come from our own
    /// address: how the server treats clients is not known.
    pub from_own_address: bool,
    /// The reply to a recipient of a foreign domain, or to MAIL if it got no further, and the time
    /// it took.
    pub relay: Option<(Reply, Duration)>,
    /// Whether the upstream takes mail for foreign domains from us.
    pub relays: bool,
    /// Each step and the time it took.
    pub steps: Vec<(&'static str, Duration)>,
    /// Why the probe failed; a refusal of the upstream in one line.
    pub failure: Option<(Trouble, Option<String>)>,
}

/// The address of an outside client of this server.
pub(super) const fn outside_address(server: SocketAddr) -> IpAddr {
    match server.ip().to_canonical() {
        IpAddr::V4(_) => IpAddr::V4(OUTSIDE),
        IpAddr::V6(_) => IpAddr::V6(OUTSIDE_V6),
    }
}

/// An outside client.
pub(super) fn outside(hostname: &str) -> ClientIdentity {
    ClientIdentity {
        address: SocketAddr::from((OUTSIDE, OUTSIDE_PORT)),
        local: SocketAddr::from((OUTSIDE_LOCAL, 25)),
        helo: Some(hostname.into()),
        esmtp: true,
        secured: false,
        name: None,
    }
}

/// The reply to a recipient, and how long it took.
type Treatment = (Reply, Duration);

impl Upstream {
    /// Asks all servers at once what they are, as an outside client would, and sets capabilities
    /// and health. One report for each, in their order. Takes a minute at most.
    pub async fn probe_all(self: &Arc<Self>) -> Vec<ProbeReport> {
        let mut probes = JoinSet::new();
        for at in 0..self.servers.len() {
            let upstream = Arc::clone(self);
            probes.spawn(async move { (at, upstream.probe(at).await) });
        }
        let mut reports = probes.join_all().await;
        reports.sort_by_key(|(at, _)| *at);
        reports.into_iter().map(|(_, report)| report).collect()
    }

    /// The same for the server at this place of the list.
    ///
    /// # Panics
    /// If there is none.
    pub async fn probe(&self, server: usize) -> ProbeReport {
        let _one = self.servers[server].probing.lock().await;
        self.leg.refresh();
        self.servers[server].known().is_without_tls = false;
        let mut report = ProbeReport::default();
        let mut opening = Opening::start();
        let result = timeout(PROBE_LIMIT, self.examine(server, &mut report, &mut opening))
            .await
            .unwrap_or(Err(Failure::Broken(Trouble::TimedOut)));
        report.write_opening(&opening, self.config.identity);
        if let Err(failure) = result {
            report.fail(failure, &opening);
        }
        self.conclude(server, &report);
        report
    }

    /// How the server at this place of the list treats `forward_path` (without brackets) from an
    /// outside client: its reply and the time it took. The reply to MAIL, if that was refused.
    ///
    /// # Errors
    /// There was no reply within a minute.
    ///
    /// # Panics
    /// If there is no such server.
    pub async fn try_name(
        &self,
        server: usize,
        forward_path: &str,
    ) -> Result<(Reply, Duration), Trouble> {
        let clock = Clock::start();
        let began = clock.now();
        let treatment = timeout(PROBE_LIMIT, async {
            let mut report = ProbeReport::default();
            let opening = &mut Opening::start();
            let mut connection = self.open_outside(server, &mut report, opening).await?;
            let treatment = self.ask_for(&mut connection, forward_path).await?;
            part(connection).await;
            Ok(treatment)
        });
        match treatment.await {
            Ok(Ok(treatment)) => Ok(treatment),
            Ok(Err(Failure::Sender(reply) | Failure::Service(reply))) => {
                Ok((reply, clock.now().since(began)))
            }
            Ok(Err(Failure::Broken(trouble) | Failure::Unfit(trouble))) => Err(trouble),
            Err(_) => Err(Trouble::TimedOut),
        }
    }

    async fn examine(
        &self,
        server: usize,
        report: &mut ProbeReport,
        opening: &mut Opening,
    ) -> Result<(), Failure> {
        let mut connection = self.open_outside(server, report, opening).await?;
        report.capabilities = Some(connection.capabilities.clone());
        let treatment = self.ask_for(&mut connection, FOREIGN).await?;
        report.relays = treatment.0.code().is_positive();
        report.relay = Some(treatment);
        part(connection).await;
        Ok(())
    }

    async fn open_outside(
        &self,
        server: usize,
        report: &mut ProbeReport,
        opening: &mut Opening,
    ) -> Result<Connection, Failure> {
        let route = self.route(server);
        let identity = self.config.identity;
        let who = outside(&self.hostname);
        if identity != Identity::Transparent {
            return Connection::open(route, Told::of(identity, &who), opening).await;
        }
        let told = Told::Address {
            address: outside_address(route.server.address),
            helo: who.helo,
        };
        let limit = route.connect_limit.min(OUTSIDE_LIMIT);
        let near = Route {
            connect_limit: limit,
            ..route
        };
        match Connection::open(near, told, opening).await {
            Err(Failure::Broken(Trouble::Unreachable)) => {
                report.from_own_address = true;
                *opening = Opening::start();
                Connection::open(route, Told::Nothing, opening).await
            }
            other => other,
        }
    }

    /// MAIL and RCPT. A server that refuses the null reverse-path is asked with another one, so
    /// that it can't hide that it relays.
    async fn ask_for(&self, connection: &mut Connection, path: &str) -> Result<Treatment, Failure> {
        let own = format!("postmaster@{}", self.hostname);
        let mut refused = None;
        for sender in ["", own.as_str()] {
            let mut line = Vec::new();
            write_mail(&mut line, sender, "");
            let mail = timed(connection, &line).await?;
            if mail.0.code().is_positive() {
                line.clear();
                write_rcpt(&mut line, path, "");
                return timed(connection, &line).await;
            }
            refused = refused.or(Some(mail));
        }
        refused.ok_or_else(|| Trouble::Garbage.into())
    }

    /// What the probe says about health and capabilities. A failed one leaves the capabilities.
    fn conclude(&self, server: usize, report: &ProbeReport) {
        if report.tls.is_some() {
            self.servers[server].known().is_tls_noted = false;
        }
        if let Some((why, detail)) = &report.failure {
            return self.set_health(server, Health::Down { why: *why }, detail.as_deref());
        }
        if let Some(capabilities) = &report.capabilities {
            self.set_capabilities(server, capabilities.clone());
        }
        match &report.relay {
            Some((reply, _)) if is_undecided(reply) => return self.stay_undecided(server, reply),
            _ => self.servers[server].known().undecided = 0,
        }
        match &report.relay {
            Some((reply, _)) if report.relays && !self.config.relays => {
                self.set_health(
                    server,
                    Health::Relays {
                        reply: reply.to_log(),
                    },
                    None,
                );
            }
            Some((reply, _)) if report.relays => {
                let detail = format!(
                    "it relays for this gateway, as configured: {}",
                    reply.to_log()
                );
                self.set_health(server, Health::Up, Some(&detail));
            }
            _ => self.set_health(server, Health::Up, None),
        }
    }
}

/// Probes that may stay undecided before clients are served all the same: a server that can't look
/// up a domain, or asks every stranger to come back, would never be served otherwise.
const UNDECIDED_MAX: u32 = 5;

/// A 4yz says nothing about relaying, unless it is a refusal to relay that is set to be temporary
/// (Postfix's `relay_domains_reject_code`, its default 454 4.7.1 for `defer_unauth_destination`).
fn is_undecided(reply: &Reply) -> bool {
    let about_policy = reply.enhanced().is_some_and(|code| code.subject == 7);
    reply.code().is_transient() && !about_policy && reply.code().get() != 454
}

impl Upstream {
    /// Health stays what it was, and the next probe comes soon; an upstream that was found to relay
    /// is never let off by this.
    fn stay_undecided(&self, server: usize, reply: &Reply) {
        let (times, health) = {
            let mut known = self.servers[server].known();
            known.undecided = known.undecided.saturating_add(1);
            (known.undecided, known.health.clone())
        };
        let is_waiting = matches!(health, Health::Unknown | Health::Down { .. });
        if times > UNDECIDED_MAX && is_waiting {
            let detail = format!(
                "whether it relays for this gateway could not be found out: {}",
                reply.to_log()
            );
            self.set_health(server, Health::Up, Some(&detail));
        } else {
            self.set_health(server, health, None);
        }
    }
}

impl ProbeReport {
    fn write_opening(&mut self, opening: &Opening, identity: Identity) {
        self.tls.clone_from(&opening.peer);
        self.before_tls.clone_from(&opening.before_tls);
        self.greeting = opening.greeting.as_ref().map(Reply::to_log);
        if let Some(reply) = &opening.announced {
            self.announced = reply.lines().map(|line| escape(line).to_string()).collect();
        }
        let mut before = Duration::ZERO;
        for (step, ended) in &opening.steps {
            self.steps.push((step, ended.saturating_sub(before)));
            before = *ended;
        }
        let is_told = !matches!(identity, Identity::None | Identity::Trace);
        if is_told && !self.from_own_address && self.capabilities.is_some() {
            self.identity = Some(Ok(()));
        }
    }

    fn fail(&mut self, failure: Failure, opening: &Opening) {
        self.failure = match failure {
            Failure::Broken(Trouble::Identity) | Failure::Unfit(Trouble::Identity) => {
                let why = match (&opening.detail, &opening.xclient) {
                    (Some(detail), _) => detail.clone(),
                    (None, Some(reply)) => format!("XCLIENT was refused: {}", reply.to_log()),
                    (None, None) if opening.announced.is_some() => {
                        "it offers no XCLIENT with ADDR".to_owned()
                    }
                    (None, None) => "it takes no PROXY header".to_owned(),
                };
                self.identity = Some(Err(why.clone()));
                Some((Trouble::Identity, Some(why)))
            }
            Failure::Broken(trouble) | Failure::Unfit(trouble) => {
                Some((trouble, opening.detail.clone()))
            }
            // It took the identity and will have nothing to do with that client: a server that
            // refuses strangers without a name is up, and relays for none. What it told us before
            // is the best there is.
            Failure::Service(reply) if opening.xclient.is_some() => {
                self.identity = Some(Ok(()));
                self.capabilities = opening.announced.as_ref().map(Capabilities::from_ehlo);
                self.relay = Some((reply, Duration::ZERO));
                None
            }
            Failure::Service(reply) | Failure::Sender(reply) => {
                Some((Trouble::Closed, Some(reply.to_log())))
            }
        };
    }
}

/// One command, its reply and the time it took.
async fn timed(connection: &mut Connection, line: &[u8]) -> Result<Treatment, Failure> {
    let clock = Clock::start();
    let began = clock.now();
    let reply = connection.wire.command(line, REPLY_LIMIT).await?;
    Ok((reply, clock.now().since(began)))
}

/// RSET, QUIT. Whether they are answered changes nothing.
pub(super) async fn part(mut connection: Connection) {
    connection.standing = Standing::Stale;
    quit(Box::new(connection)).await;
}
