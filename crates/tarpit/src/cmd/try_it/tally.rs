//! What one phase of the race has come to, counted by those who run it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A reply that takes longer than this was held up; the whole wait counts as stolen. Without a
/// pit, replies take milliseconds.
const HELD_UP: Duration = Duration::from_millis(500);

/// Counts of one phase. All may be read while they grow.
#[derive(Debug)]
pub(super) struct Tally {
    start: Instant,
    answered: AtomicU64,
    learnt: AtomicU64,
    stolen_millis: AtomicU64,
    /// For each connection of the harvester: since when it waits, in milliseconds after `start`,
    /// plus one; 0 if it doesn't.
    waiting: Vec<AtomicU64>,
    failed: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
}

/// What there is to show of a phase.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures {
    /// How long it has run.
    pub(super) span: Duration,
    /// Guesses that were answered with yes or no.
    pub(super) answered: u64,
    /// Names found to exist.
    pub(super) learnt: u64,
    /// Time that the harvester's connections spent in waits.
    pub(super) stolen: Duration,
    /// Wanted messages that were accepted.
    pub(super) delivered: u64,
    /// Wanted messages that were not.
    pub(super) failed: u64,
    /// From connect to 250, the median.
    pub(super) latency: Option<Duration>,
}

impl Tally {
    /// Starts now. `connections`: how many the harvester has.
    pub(super) fn start(connections: usize) -> Self {
        Self {
            start: Instant::now(),
            answered: AtomicU64::new(0),
            learnt: AtomicU64::new(0),
            stolen_millis: AtomicU64::new(0),
            waiting: (0..connections).map(|_| AtomicU64::new(0)).collect(),
            failed: AtomicU64::new(0),
            latencies: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        millis(self.start.elapsed())
    }

    /// A connection of the harvester begins to wait for an answer.
    pub(super) fn begin_wait(&self, connection: usize) {
        self.waiting[connection].store(self.now() + 1, Ordering::Relaxed);
    }

    /// It waits no longer.
    pub(super) fn end_wait(&self, connection: usize) {
        let since = self.waiting[connection].swap(0, Ordering::Relaxed);
        self.stolen_millis
            .fetch_add(stolen(since, self.now()), Ordering::Relaxed);
    }

    /// A guess was answered with yes or no.
    pub(super) fn answer(&self, exists: bool) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.learnt.fetch_add(exists.into(), Ordering::Relaxed);
    }

    /// A wanted message was accepted after this time, or wasn't.
    pub(super) fn message(&self, latency: Option<Duration>) {
        match latency {
            Some(latency) => self
                .latencies
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(latency),
            None => drop(self.failed.fetch_add(1, Ordering::Relaxed)),
        }
    }

    /// Now; waits that are not over count as far as they have come.
    pub(super) fn figures(&self) -> Figures {
        let now = self.now();
        let open = self
            .waiting
            .iter()
            .map(|since| stolen(since.load(Ordering::Relaxed), now))
            .sum::<u64>();
        let mut latencies = self
            .latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        latencies.sort_unstable();
        Figures {
            span: Duration::from_millis(now),
            answered: self.answered.load(Ordering::Relaxed),
            learnt: self.learnt.load(Ordering::Relaxed),
            stolen: Duration::from_millis(self.stolen_millis.load(Ordering::Relaxed) + open),
            delivered: u64::try_from(latencies.len()).unwrap_or(u64::MAX),
            failed: self.failed.load(Ordering::Relaxed),
            latency: latencies.get(latencies.len() / 2).copied(),
        }
    }
}

/// Milliseconds stolen by a wait. `since` is 0 for none, else one more than when it began.
fn stolen(since: u64, now: u64) -> u64 {
    let Some(since) = since.checked_sub(1) else {
        return 0;
    };
    let wait = now.saturating_sub(since);
    if wait > millis(HELD_UP) { wait } else { 0 }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
