//! Whether the upstream can be served: only a probe says so. Traffic that has trouble does not
//! judge, it asks for the next probe at once; so one lost connection turns nobody away. Where there
//! are several servers, one that traffic found dead is passed over until its next probe.

use std::sync::Arc;
use std::time::Duration;

use tarpit_core::Trouble;
use tarpit_smtp::Capabilities;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Upstream, server};

/// How old what we know may get while all is well.
const REFRESH: Duration = Duration::from_secs(60);

/// Between probes of an upstream that is away: its clients are told to come back later, so its
/// return should be seen at once.
const RETRY: Duration = Duration::from_secs(1);

/// Between probes of an upstream that relays for us: someone is at work on its configuration.
const RELAYS_RETRY: Duration = Duration::from_secs(10);

/// What is known about the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It was not asked yet.
    Unknown,
    /// It can be served.
    Up,
    /// It can't.
    Down {
        /// Why not; [`Trouble::Closed`] if it refuses everybody.
        why: Trouble,
    },
    /// It takes mail for foreign domains from us: through us it would be an open relay.
    Relays {
        /// What it said to such a recipient, in one line.
        reply: String,
    },
}

impl Upstream {
    /// Keeps health and capabilities up to date, for ever: probes each server at start (if nobody
    /// did yet), every minute, every second while it is away, and at once when traffic has trouble.
    pub async fn watch(self: Arc<Self>) {
        let mut watches = JoinSet::new();
        for at in 0..self.servers.len() {
            watches.spawn(Arc::clone(&self).watch_server(at));
        }
        // None of them ends; when this is dropped, so are they.
        while watches.join_next().await.is_some() {}
    }

    async fn watch_server(self: Arc<Self>, at: usize) {
        let server = &self.servers[at];
        if server.health() == Health::Unknown {
            self.probe(at).await;
        }
        loop {
            let pause = {
                let known = server.known();
                match known.health {
                    Health::Up if known.undecided > 0 => RELAYS_RETRY,
                    Health::Up => REFRESH,
                    Health::Relays { .. } => RELAYS_RETRY,
                    Health::Unknown | Health::Down { .. } => RETRY,
                }
            };
            // However much trouble there is: one probe a second is enough.
            sleep(RETRY).await;
            // Either the time is over, or there is trouble: both ask for a probe.
            drop(timeout(pause.saturating_sub(RETRY), server.trouble.notified()).await);
            self.probe(at).await;
        }
    }

    /// Traffic had trouble with one of the servers, or with whichever it would have been.
    pub(super) fn note(&self, server: Option<usize>, trouble: Trouble) {
        match trouble {
            Trouble::Unreachable
            | Trouble::TimedOut
            | Trouble::Closed
            | Trouble::Garbage
            | Trouble::Identity
            | Trouble::Tls
            | Trouble::Lacks => self.want_probe(server),
            Trouble::Capacity | Trouble::Changed | Trouble::Relays | Trouble::AuthLost => {}
        }
    }

    /// A client was refused at the greeting. If everybody is, the probe will find it out.
    pub(super) fn note_refused(&self, server: Option<usize>) {
        self.want_probe(server);
    }

    fn want_probe(&self, server: Option<usize>) {
        match server.and_then(|at| self.servers.get(at)) {
            Some(server) => server.trouble.notify_one(),
            None => {
                for server in &self.servers {
                    server.trouble.notify_one();
                }
            }
        }
    }

    /// Traffic found a server dead: it is passed over until its next probe, which comes at once.
    pub(super) fn mark(&self, at: usize, why: Trouble) {
        let server = &self.servers[at];
        server.trouble.notify_one();
        if self.servers.len() == 1 || std::mem::replace(&mut server.known().marked, true) {
            return;
        }
        self.stock.set_usable(server::usable(&self.servers));
        let (upstream, address, why) = (&*self.config.name, server.address, why.as_str());
        tracing::warn!(target: "tarpit::upstream", upstream, %address, why, "passed over until its next probe");
    }

    /// What a probe says of a server; from it follows what the upstream is as a whole.
    pub(super) fn set_health(&self, at: usize, health: Health, detail: Option<&str>) {
        let server = &self.servers[at];
        let changed = {
            let mut known = server.known();
            let is_back = known.marked && matches!(health, Health::Up);
            known.marked &= !is_back;
            let changed = known.health != health || is_back;
            known.judged |= matches!(health, Health::Up | Health::Relays { .. });
            known.health.clone_from(&health);
            changed
        };
        self.sum_up();
        if changed {
            self.tell(at, &health, detail.unwrap_or_default());
        }
    }

    pub(super) fn set_capabilities(&self, at: usize, capabilities: Capabilities) {
        let server = &self.servers[at];
        let is_new = {
            let mut known = server.known();
            let is_new = known.capabilities.as_deref() != Some(&capabilities);
            if is_new {
                known.capabilities = Some(Arc::new(capabilities.clone()));
            }
            is_new
        };
        if is_new {
            let (upstream, address) = (&*self.config.name, server.address);
            tracing::info!(target: "tarpit::upstream", upstream, %address, ?capabilities, "learnt what the upstream offers");
        }
    }

    /// A failed refresh keeps what was offered last. The order matters: who sees that it is up sees
    /// what it offers, too.
    fn sum_up(&self) {
        self.stock.set_usable(server::usable(&self.servers));
        if let Some(offered) = server::offered(&self.servers)
            && self.capabilities.load().as_deref() != Some(&offered)
        {
            self.capabilities.store(Some(Arc::new(offered)));
        }
        let together = server::together(&self.servers);
        self.health.send_if_modified(|now| {
            let changed = *now != together;
            now.clone_from(&together);
            changed
        });
    }

    fn tell(&self, at: usize, health: &Health, detail: &str) {
        let (upstream, address) = (&*self.config.name, self.servers[at].address);
        match health {
            Health::Unknown => {}
            Health::Up => {
                tracing::info!(target: "tarpit::upstream", upstream, %address, detail, "the upstream is up");
            }
            Health::Down { why } => {
                let why = why.as_str();
                tracing::warn!(target: "tarpit::upstream", upstream, %address, why, detail, "the upstream is down");
            }
            Health::Relays { reply } => {
                let reason = relay_warning(reply);
                tracing::error!(target: "tarpit::upstream", upstream, %address, reason, "the upstream relays for this gateway");
            }
        }
    }
}

/// What to tell an administrator whose server would relay for whoever comes through the gateway:
/// why nothing outside loopback is served, and what to change.
#[must_use]
pub fn relay_warning(reply: &str) -> String {
    format!(
        "your server trusts this gateway's address: asked to relay to postmaster@example.com, it said \"{reply}\". \
         Behind this gateway every client on the Internet has this address, so it would be an open relay. Nothing \
         outside loopback is served, and nothing on it that takes clients from a proxy. Take the gateway's address out of what the server trusts (Postfix: mynetworks, \
         for example mynetworks = [::1]/128 and a listener of its own for the gateway with -o mynetworks=; Exim: \
         relay_from_hosts; Exchange: the receive connector's anonymous relay permission), or tell the server who \
         the client is with identity = \"xclient\" or \"proxy-v2\". If relaying is meant, set upstream_relays = true"
    )
}
