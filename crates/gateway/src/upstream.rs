//! The mail server behind us: how it is asked, watched, and never overrun.
//!
//! What it promises (DESIGN §2, §4):
//! - It is connected late, and only for sessions that policy lets through; a session that is held
//!   or idle lets go of its connection.
//! - Its connections are capped in all and by source, with a reserve for known senders.
//! - Commands are printed anew; a client's raw line never gets here.
//! - Where the client's identity is to be told and can't be, nothing is relayed.
//! - It must not become an open relay behind us: that is asked before anyone is served.
//!
//! ```text
//! UpstreamLink   one session's line: late, let go, replayed      link.rs
//!   Stock        caps, reserve, queue, idle connections          stock.rs
//!   Connection   greeting, identity, EHLO                        connection.rs, identity.rs
//!                MAIL, RCPT, DATA; AUTH; RSET, QUIT              transaction.rs, auth.rs, leave.rs
//!     Wire       commands out, replies in                        wire.rs
//! Upstream       what is known about it                          probe.rs, health.rs
//! ```
//!
//! A pool in which connections wait ready was rejected: an idle connection is a process of the
//! upstream, and it would have been told of the wrong client.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use arc_swap::ArcSwapOption;
use tarpit_smtp::Capabilities;
use tokio::sync::{Mutex, Notify, watch};

use crate::config;

mod auth;
mod chunks;
mod connection;
mod health;
mod identity;
mod leave;
mod link;
mod probe;
mod raw;
mod stock;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

pub use health::{Health, relay_warning};
pub use identity::ClientIdentity;
pub use link::{Stopped, UpstreamLink};
pub use probe::ProbeReport;
pub use stock::Claim;
pub use wire::Lost;

/// One mail server behind us: its capabilities, health, connection budget and idle connections.
#[derive(Debug)]
pub struct Upstream {
    config: config::Upstream,
    hostname: Box<str>,
    capabilities: ArcSwapOption<Capabilities>,
    health: watch::Sender<Health>,
    /// Probes in a row that did not find out whether it relays for us.
    undecided: AtomicU32,
    stock: Arc<stock::Stock>,
    /// Traffic had trouble: probe now.
    trouble: Notify,
    /// One probe at a time.
    probing: Mutex<()>,
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
            config,
            hostname,
            capabilities: ArcSwapOption::empty(),
            health: watch::Sender::new(Health::Unknown),
            undecided: AtomicU32::new(0),
            trouble: Notify::new(),
            probing: Mutex::new(()),
        })
    }

    /// What the upstream offers its clients, as last learnt by a probe. `None` before the first
    /// success. What of it is offered to ours is for [`Capabilities::to_ehlo`] to say.
    #[must_use]
    pub fn capabilities(&self) -> Option<Arc<Capabilities>> {
        self.capabilities.load_full()
    }

    fn set_capabilities(&self, capabilities: Capabilities) {
        if self.capabilities.load().as_deref() != Some(&capabilities) {
            let upstream = &*self.config.name;
            tracing::info!(target: "tarpit::upstream", upstream, ?capabilities, "learnt what the upstream offers");
            self.capabilities.store(Some(Arc::new(capabilities)));
        }
    }

    /// What the last probe found.
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
}
