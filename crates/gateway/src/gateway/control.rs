//! What an administrator may ask a running gateway, and change in it without a new configuration.
//!
//! Plain values: who shows them brings them into a form. Nothing here is on the way of mail.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tarpit_core::ledger::Standing;
use tarpit_core::policy::{Mode, Policy};
use tarpit_core::{Quote, SessionId, Source};

use super::Handle;
use crate::clock::unix_now;
use crate::config::Exemption;
use crate::dialogue::Dialogue;
use crate::front;
use crate::harm::HarmFigures;
use crate::history::RecentSession;
use crate::live::Live;
use crate::pit::Survey;

/// Sessions of a source that are shown.
const SESSIONS_SHOWN: usize = 10;

/// What is put over the configuration in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjustment {
    /// The mode of each listener, by its name; those that are not named keep theirs.
    pub modes: Vec<(Box<str>, Mode)>,
    /// The exemptions, all of them.
    pub exempt: Vec<Exemption>,
}

/// What is known of a source.
#[derive(Clone, Debug)]
pub struct SourceView {
    /// The source.
    pub source: Source,
    /// What it owes, and since when it is a known sender.
    pub standing: Standing,
    /// Sessions that it has now.
    pub sessions: u32,
    /// The exemption that covers the address now, if one does.
    pub exemption: Option<Exemption>,
    /// What its next guess would cost, by listener.
    pub quotes: Vec<(Box<str>, Policy, Quote)>,
    /// Its newest sessions, newest first.
    pub recent: Vec<RecentSession>,
}

impl Handle {
    /// Puts other modes and exemptions in force; all else stays as it is. Where a listener no longer
    /// holds anybody, all who are held hear their true reply at once. Exemptions count for sessions
    /// that come after.
    pub async fn adjust(&self, adjustment: Adjustment) {
        let _changing = self.inner.changing.lock().await;
        let shared = &self.inner.shared;
        let before = shared.live.load_full();
        let mut config = before.config.clone();
        for (name, mode) in &adjustment.modes {
            let mut listeners = config.listeners.iter_mut();
            if let Some(listener) = listeners.find(|listener| listener.name == *name) {
                listener.policy.mode = *mode;
            }
        }
        config.exempt = adjustment.exempt;
        self.put_in_force(&before, Arc::new(before.adjusted(config)));
    }

    /// A trial of `enforce` began or ended; for the figures.
    pub fn note_trial(&self, runs: bool) {
        self.inner.shared.trial.store(runs, Ordering::Relaxed);
    }

    /// Puts a generation in force, and lets those go that it does not hold any more.
    pub(super) fn put_in_force(&self, before: &Arc<Live>, live: Arc<Live>) {
        let shared = &self.inner.shared;
        let is_eased = before.config.listeners.iter().any(|old| {
            let mut listeners = live.config.listeners.iter();
            let new = listeners.find(|new| new.name == old.name);
            // Where its listener is gone, another one's mode may be the strictest now.
            old.policy.enforces() && new.is_none_or(|new| !new.policy.enforces())
        });
        shared.live.store(live);
        if is_eased {
            shared.ease();
        }
    }

    /// Networks that are exempt now, whether they still are or not.
    #[must_use]
    pub fn exemptions(&self) -> Vec<Exemption> {
        self.inner.shared.live.load().config.exempt.clone()
    }

    /// The policy of each listener in force.
    #[must_use]
    pub fn policies(&self) -> Vec<(Box<str>, Policy)> {
        let live = self.inner.shared.live.load();
        let listeners = live.config.listeners.iter();
        listeners
            .map(|listener| (listener.name.clone(), listener.policy.clone()))
            .collect()
    }

    /// The source that an address belongs to.
    #[must_use]
    pub fn source_of(&self, address: IpAddr) -> Source {
        Source::of(address, self.inner.shared.live.load().config.prefixes)
    }

    /// The sources that owe most, most owing first. Walks over the whole ledger: not on a thread that
    /// serves mail.
    #[must_use]
    pub fn owing_most(&self, count: usize) -> Vec<(Source, Standing)> {
        let shared = &self.inner.shared;
        shared.ledger.owing_most(shared.clock.now(), count)
    }

    /// What is known of the source of an address.
    #[must_use]
    pub fn explain(&self, address: IpAddr) -> SourceView {
        let shared = &self.inner.shared;
        let live = shared.live.load();
        let source = Source::of(address, live.config.prefixes);
        let standing = shared.ledger.standing(shared.clock.now(), source);
        let exemption = front::exemption(&live, address);
        let exemption = exemption.and_then(|at| live.config.exempt.get(at)).cloned();
        let listeners = live.config.listeners.iter();
        let quotes = listeners
            .map(|listener| {
                let quote = Quote::of(&listener.policy, &standing, exemption.is_some());
                (listener.name.clone(), listener.policy.clone(), quote)
            })
            .collect();
        SourceView {
            source,
            standing,
            sessions: shared.places.of_source(source),
            exemption,
            quotes,
            recent: shared.history.of_source(source, SESSIONS_SHOWN),
        }
    }

    /// A session that ended not long ago, or was held; by the name that replies and records show.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<RecentSession> {
        self.inner.shared.history.session(id)
    }

    /// The newest sessions, newest first, `count` at most.
    #[must_use]
    pub fn newest_sessions(&self, count: usize) -> Vec<RecentSession> {
        self.inner.shared.history.newest(count, |_| true)
    }

    /// Forgets what the source of an address owes; sessions of it that wait for room have it now.
    /// Returns the source, and what it owed. A hold that has begun goes on to its end, which is never
    /// later than `hold_max`.
    pub fn forgive(&self, address: IpAddr) -> (Source, Duration) {
        let shared = &self.inner.shared;
        let source = self.source_of(address);
        let owed = shared.ledger.forgive(shared.clock.now(), source);
        shared.pit.wake_woken(&shared.ledger);
        (source, owed)
    }

    /// Time that was taken from those whose mail is accepted.
    #[must_use]
    pub fn harm(&self) -> HarmFigures {
        self.inner.shared.harm.figures(&self.inner.shared.metrics)
    }

    /// Somebody looks: for some seconds, what is said in a sample of the sessions that begin is kept.
    pub fn want_dialogues(&self) {
        let shared = &self.inner.shared;
        shared.dialogues.want(shared.clock.now());
    }

    /// What was said in a session, if it is in the sample.
    #[must_use]
    pub fn dialogue(&self, id: SessionId) -> Option<Dialogue> {
        self.inner.shared.dialogues.of(id)
    }

    /// Who is held in this process, by what for and for how long. Waits for the pit for a moment: not
    /// on a thread that serves mail.
    #[must_use]
    pub fn survey(&self) -> Survey {
        self.inner.shared.pit.survey()
    }

    /// Seconds since 1970 now, by the gateway's clock.
    #[must_use]
    pub fn unix_now(&self) -> u64 {
        unix_now()
    }
}
