//! Whether the upstream can be served: only a probe says so. Traffic that has trouble does not
//! judge, it asks for the next probe at once; so one lost connection turns nobody away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tarpit_core::Trouble;
use tokio::time::{sleep, timeout};

use super::Upstream;

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
    /// Keeps health and capabilities up to date, for ever: probes at start (if nobody did yet),
    /// every minute, every second while the upstream is away, and at once when traffic has trouble.
    pub async fn watch(self: Arc<Self>) {
        if self.health() == Health::Unknown {
            self.probe().await;
        }
        loop {
            let is_undecided = self.undecided.load(Ordering::Relaxed) > 0;
            let pause = match self.health() {
                Health::Up if is_undecided => RELAYS_RETRY,
                Health::Up => REFRESH,
                Health::Relays { .. } => RELAYS_RETRY,
                Health::Unknown | Health::Down { .. } => RETRY,
            };
            // However much trouble there is: one probe a second is enough.
            sleep(RETRY).await;
            // Either the time is over, or there is trouble: both ask for a probe.
            drop(timeout(pause.saturating_sub(RETRY), self.trouble.notified()).await);
            self.probe().await;
        }
    }

    /// Traffic had trouble with the upstream.
    pub(super) fn note(&self, trouble: Trouble) {
        match trouble {
            Trouble::Unreachable
            | Trouble::TimedOut
            | Trouble::Closed
            | Trouble::Garbage
            | Trouble::Identity
            | Trouble::Lacks => self.trouble.notify_one(),
            Trouble::Capacity | Trouble::Changed | Trouble::Relays | Trouble::AuthLost => {}
        }
    }

    /// A client was refused at the greeting. If everybody is, the probe will find it out.
    pub(super) fn note_refused(&self) {
        self.trouble.notify_one();
    }

    pub(super) fn set_health(&self, health: Health, detail: Option<&str>) {
        let changed = self.health.send_if_modified(|now| {
            let changed = *now != health;
            now.clone_from(&health);
            changed
        });
        if !changed {
            return;
        }
        let (upstream, address) = (&*self.config.name, self.config.address());
        let detail = detail.unwrap_or_default();
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
                let reason = relay_warning(&reply);
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
         outside loopback is served. Take the gateway's address out of what the server trusts (Postfix: mynetworks, \
         for example mynetworks = [::1]/128 and a listener of its own for the gateway with -o mynetworks=; Exim: \
         relay_from_hosts; Exchange: the receive connector's anonymous relay permission), or tell the server who \
         the client is with identity = \"xclient\" or \"proxy-v2\". If relaying is meant, set upstream_relays = true"
    )
}
