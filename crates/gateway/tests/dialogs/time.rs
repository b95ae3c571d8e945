//! The time of a dialogue on a real clock.
//!
//! A dialogue is played like music to a metronome: the moment of each step is fixed when the first
//! one is, and whoever is late hurries. Every event of the gateway then comes at its moment or
//! later, and what is due because of it too; so "not before its moment" can be checked exactly.

use std::time::{Duration, Instant};

/// A second of the dialogue in real milliseconds: long against what a busy machine adds, short
/// against patience.
const SECOND: u32 = 100;

/// Whole milliseconds of the gateway's clock, and a little for those of the timers.
const EARLY: Duration = Duration::from_millis(4);

/// What is later than this will not come.
pub(crate) const LATE: Duration = Duration::from_secs(10);

/// How far a recorded time may be off from above. A busy machine adds to it; a hold of twice the
/// time would not pass for those of 5 s.
pub(crate) const OFF: Duration = Duration::from_millis(400);

/// Scales a time of the dialogue.
pub(crate) fn scaled(span: Duration) -> Duration {
    span * SECOND / 1000
}

/// The moment of the present step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metronome {
    moment: Instant,
}

impl Metronome {
    /// The first step is now.
    pub(crate) fn start() -> Self {
        Self {
            moment: Instant::now(),
        }
    }

    /// The next step is `span` later.
    pub(crate) async fn wait(&mut self, span: Duration) {
        self.moment += scaled(span);
        tokio::time::sleep_until(self.moment.into()).await;
    }

    /// Whether something that came at `at` came before its moment.
    pub(crate) fn is_early(&self, at: Instant) -> bool {
        at + EARLY < self.moment
    }

    /// For messages: how far `at` is from the moment.
    pub(crate) fn lead(&self, at: Instant) -> Duration {
        self.moment.saturating_duration_since(at)
    }
}
