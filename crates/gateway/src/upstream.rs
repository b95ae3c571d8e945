//! The mail server behind us, or several that take the same mail: how they are asked, watched, and
//! never overrun.
//!
//! What it promises (DESIGN §2, §4):
//! - It is connected late, and only for sessions that policy lets through; a session that is held
//!   or idle lets go of its connection.
//! - Its connections are capped in all and by source, with a reserve for known senders.
//! - Commands are printed anew; a client's raw line never gets here.
//! - Where the client's identity is to be told and can't be, nothing is relayed.
//! - It must not become an open relay behind us: that is asked before anyone is served.
//! - Of several servers, one that is away costs a client nothing: the next is asked at once. A
//!   transaction stands on one of them alone; said again, all of it is said to one.
//!
//! ```text
//! UpstreamLink   one session's line: late, let go, replayed      link.rs
//!                where its connection comes from                 link/find.rs
//!   Stock        which server; caps, reserve, queue, idle ones   stock.rs, stock/choice.rs
//!   Connection   greeting, TLS, identity, EHLO                   opening.rs, leg.rs, identity.rs
//!                MAIL, RCPT, DATA; AUTH; RSET, QUIT              transaction.rs, auth.rs, leave.rs
//!     Wire       commands out, replies in                        wire.rs
//! Upstream       what is known about it                          probe.rs, health.rs
//!   Server       and about each of its servers                   server.rs
//! ```
//!
//! A pool in which connections wait ready was rejected: an idle connection is a process of the
//! upstream, and it would have been told of the wrong client.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use tarpit_smtp::Capabilities;
use tokio::sync::watch;

use crate::config;

mod auth;
mod chunks;
mod connection;
mod dial;
mod health;
mod identity;
mod leave;
mod leg;
mod link;
mod opening;
mod probe;
mod raw;
mod server;
mod stock;
mod survey;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

pub use dial::may_be_transparent;
pub use health::{Health, relay_warning};
pub use identity::ClientIdentity;
pub use link::{Placed, Stopped, UpstreamLink};
pub use probe::ProbeReport;
pub use server::SERVERS_MAX;
pub use stock::Claim;
pub use survey::Survey;
pub use wire::Lost;

/// The mail servers behind us that take the same mail: their capabilities, health, connection
/// budget and idle connections.
#[derive(Debug)]
pub struct Upstream {
    config: config::Upstream,
    hostname: Box<str>,
    servers: Box<[server::Server]>,
    capabilities: ArcSwapOption<Capabilities>,
    health: watch::Sender<Health>,
    stock: Arc<stock::Stock>,
    leg: leg::Leg,
    own: Arc<dial::OwnAddresses>,
}

/// How many connections there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpstreamStats {
    /// All of them; the probe's is not counted.
    pub open: u32,
    /// Those that wait for their next use.
    pub idle: u32,
    /// Those that a session holds, or is leaving.
    pub in_use: u32,
}

impl Upstream {
    /// An upstream about which nothing is known yet. `hostname` is our own name.
    #[must_use]
    pub fn new(config: config::Upstream, hostname: Box<str>) -> Arc<Self> {
        Arc::new(Self {
            stock: stock::Stock::new(&config),
            servers: config
                .addresses
                .iter()
                .take(SERVERS_MAX)
                .map(|address| server::Server::new(*address))
                .collect(),
            leg: leg::Leg::new(config.tls.clone()),
            config,
            hostname,
            capabilities: ArcSwapOption::empty(),
            health: watch::Sender::new(Health::Unknown),
            own: Arc::default(),
        })
    }

    /// The way to one of the servers.
    fn route(&self, server: usize) -> opening::Route<'_> {
        opening::Route {
            server: &self.servers[server],
            upstream: &self.config.name,
            leg: &self.leg,
            connect_limit: self.config.connect_timeout,
            hostname: &self.hostname,
            own: &self.own,
        }
    }

    /// What the upstream offers its clients: what all servers that are well have, as last learnt by
    /// their probes. `None` before the first success. What of it is offered to ours is for
    /// [`Capabilities::to_ehlo`] to say.
    #[must_use]
    pub fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.capabilities.load_full()
    }

    /// Whether `peer` is the near end of one of our own connections to the upstream: then we are
    /// talking to ourselves.
    #[must_use]
    pub fn is_ours(&self, peer: SocketAddr) -> bool {
        self.own.contains(peer)
    }

    /// Whether every connection to it is TLS with a server that was verified.
    #[must_use]
    pub const fn is_secure(&self) -> bool {
        self.leg.is_required()
    }

    /// What the last probes found: up if one server is.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.borrow().clone()
    }

    /// Tells of each change of health.
    #[must_use]
    pub fn health_changes(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// How many connections there are.
    #[must_use]
    pub fn stats(&self) -> UpstreamStats {
        let (open, idle) = self.stock.counts();
        UpstreamStats {
            open,
            idle,
            in_use: open.saturating_sub(idle),
        }
    }

    /// Its name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Sessions that wait for a connection to become free.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.stock.waiting()
    }

    /// What is known about each of its servers.
    #[must_use]
    pub fn servers(&self) -> Vec<ServerStatus> {
        let status = |(at, server): (usize, &server::Server)| {
            let (open, idle) = self.stock.counts_of(at);
            let known = server.known();
            ServerStatus {
                address: server.address,
                health: known.health.clone(),
                is_passed_over: known.marked,
                open,
                idle,
            }
        };
        self.servers.iter().enumerate().map(status).collect()
    }
}

/// What is known about one of the servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    /// Where it listens.
    pub address: SocketAddr,
    /// What its last probe found.
    pub health: Health,
    /// Traffic found it dead since: others are asked until its next probe.
    pub is_passed_over: bool,
    /// Connections, idle ones included.
    pub open: u32,
    /// Those that wait for their next use.
    pub idle: u32,
}
