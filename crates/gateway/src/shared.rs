//! What all sessions share: one of each for the process.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use tarpit_core::SessionId;
use tarpit_core::ledger::Ledger;
use tarpit_core::policy::{Mode, Policy};
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Listener;
use crate::dialogue::Dialogues;
use crate::front::Crowd;
use crate::harm::Harm;
use crate::history::History;
use crate::live::Live;
use crate::metrics::{Metrics, Reloads};
use crate::pit::Pit;
use crate::places::Places;
use crate::pulse::Pulse;
use crate::tls::Handshakes;

/// How far the gateway is in stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    /// It runs.
    No,
    /// A successor accepts new sessions; the old ones go on as they are, for a while.
    Leaving,
    /// No new sessions; running transactions finish.
    Draining,
    /// The time for that is over.
    Now,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) ledger: Ledger,
    pub(crate) pit: Arc<Pit>,
    pub(crate) places: Arc<Places>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) crowd: Crowd,
    pub(crate) handshakes: Handshakes,
    pub(crate) metrics: Metrics,
    pub(crate) reloads: Reloads,
    /// Lines lost on their way to the record file, which the front door keeps.
    pub(crate) records_dropped: OnceLock<Arc<AtomicU64>>,
    /// Whether a trial of `enforce` runs; for the figures.
    pub(crate) trial: AtomicBool,
    pub(crate) harm: Harm,
    pub(crate) history: History,
    pub(crate) dialogues: Dialogues,
    pub(crate) live: ArcSwap<Live>,
    /// The generation of the configuration before: held sessions of a listener that it no longer
    /// has go on under it.
    pub(crate) live_before: ArcSwapOption<Live>,
    pub(crate) stop: watch::Sender<Stop>,
    /// Changes when a mode is left in which sessions are held.
    pub(crate) eased: watch::Sender<u64>,
    next_id: AtomicU64,
}

impl Shared {
    pub(crate) fn new(live: Live) -> Arc<Self> {
        let config = live.config.limits.ledger();
        // Any number will do: yesterday's ids should not come back soon.
        let first_id = RandomState::new().build_hasher().finish();
        Arc::new(Self {
            clock: Clock::start(),
            ledger: Ledger::new(config, RandomState::new()),
            pit: Arc::new(Pit::default()),
            places: Arc::new(Places::default()),
            pulse: Arc::new(Pulse::default()),
            crowd: Crowd::default(),
            handshakes: Handshakes::default(),
            metrics: Metrics::default(),
            reloads: Reloads::start(),
            records_dropped: OnceLock::new(),
            trial: AtomicBool::new(false),
            harm: Harm::default(),
            history: History::default(),
            dialogues: Dialogues::default(),
            live: ArcSwap::from_pointee(live),
            live_before: ArcSwapOption::empty(),
            stop: watch::Sender::new(Stop::No),
            eased: watch::Sender::new(0),
            next_id: AtomicU64::new(first_id),
        })
    }

    /// The configuration in force for the clients of a listener, and its place there; `None` if the
    /// listener is gone for longer than one reload.
    pub(crate) fn live_of(&self, listener: &str) -> Option<(Arc<Live>, usize)> {
        let place = |live: &Live| {
            let mut listeners = live.config.listeners.iter();
            listeners.position(|one| *one.name == *listener)
        };
        let live = self.live.load_full();
        if let Some(place) = place(&live) {
            return Some((live, place));
        }
        if let Some(before) = self.live_before.load_full()
            && let Some(place) = place(&before)
        {
            return Some((before, place));
        }
        None
    }

    /// The policy of a client of this generation of the configuration now. Who came under a stricter
    /// mode than the one in force is let go at once; who came under a laxer one keeps it to the end.
    pub(crate) fn policy<'l>(&self, own: &'l Arc<Live>, listener: usize) -> Cow<'l, Policy> {
        let named = &own.config.listeners[listener];
        let live = self.live.load();
        if Arc::ptr_eq(&live, own) {
            return Cow::Borrowed(&named.policy);
        }
        let mode = |listener: &Listener| {
            if listener.policy.counts() {
                listener.policy.mode
            } else {
                Mode::Off
            }
        };
        let mut listeners = live.config.listeners.iter();
        let mode = match listeners.find(|one| one.name == named.name) {
            Some(now) => mode(now),
            // A reload took it away: its clients go on, but under no stricter mode than all others.
            None => {
                let modes = live.config.listeners.iter().map(mode);
                modes.max().unwrap_or(Mode::Off)
            }
        };
        if mode >= named.policy.mode {
            return Cow::Borrowed(&named.policy);
        }
        Cow::Owned(Policy {
            mode,
            ..named.policy.clone()
        })
    }

    /// Whether anybody may be held at all: some listener is in `enforce`.
    pub(crate) fn holds_anybody(&self) -> bool {
        let live = self.live.load();
        live.config
            .listeners
            .iter()
            .any(|one| one.policy.enforces())
    }

    /// Whoever is held under a policy that no longer holds anybody hears its true reply now. To be
    /// called when the new configuration is in force.
    pub(crate) fn ease(&self) {
        self.eased.send_modify(|count| *count += 1);
        self.pit.ease();
    }

    /// What is owed and who is known, for a successor.
    pub(crate) fn ledger_snapshot(&self) -> Vec<u8> {
        let mut snapshot = Vec::new();
        self.ledger.snapshot(self.clock.now(), &mut snapshot);
        snapshot
    }

    /// Takes over what is owed and who is known. What can't be read is told: mail flows without.
    pub(crate) fn restore_ledger(&self, snapshot: &[u8]) {
        match self.ledger.restore(self.clock.now(), snapshot) {
            Ok(entries) => {
                tracing::info!(target: "tarpit::upgrade", entries, "took over the ledger");
            }
            Err(error) => {
                tracing::error!(target: "tarpit::upgrade", %error, "the predecessor's ledger can't be read: its debts are forgotten");
            }
        }
    }

    pub(crate) fn next_id(&self) -> SessionId {
        SessionId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }
}
