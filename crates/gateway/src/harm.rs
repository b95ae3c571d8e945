//! The harm: time that a pit took from those whose mail the upstream accepts.
//!
//! It is counted here and nowhere else; the metrics, the trial and whoever shows it read it from
//! here. A hold of a known sender counts when it ends. A source that waits before anything of it was
//! accepted is remembered, and counts once its first message is.
//!
//! What it promises: two short locks for a hold, one for a message that was accepted; no more than
//! [`WAITED_MAX`] sources are remembered, of whom the oldest are forgotten first. Under a flood from
//! more sources than that, those who waited and are accepted only much later are missed: the harm is
//! a lower bound then.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tarpit_core::record::{HoldEnd, HoldReason, HoldRecord};
use tarpit_core::{SessionId, Source};

use crate::clock::unix_now;
use crate::metrics::Metrics;

/// Sources that waited and of whom nothing was accepted yet: more than most servers get new
/// correspondents in a day, in 3 MiB.
const WAITED_MAX: usize = 32_768;

/// Events that are remembered for whoever asks what the harm was.
const EVENTS_MAX: usize = 64;

/// A source whose mail was accepted has waited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HarmEvent {
    /// Seconds since 1970.
    pub at: u64,
    /// Who.
    pub source: Source,
    /// The session in which it waited last.
    pub session: SessionId,
    /// What for.
    pub reason: HoldReason,
    /// How long.
    pub waited: Duration,
    /// It hung up in a hold.
    pub hung_up: bool,
}

/// The harm since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HarmFigures {
    /// How long sources waited whose mail was accepted.
    pub waited: Duration,
    /// How long they would have waited (mode `observe`).
    pub observed: Duration,
    /// Holds in which one of them hung up.
    pub hang_ups: u64,
    /// The last of what `waited` and `hang_ups` count, oldest first.
    pub events: Vec<HarmEvent>,
}

/// Who waited, and what of it was harm.
#[derive(Debug, Default)]
pub(crate) struct Harm(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    waited: HashMap<Source, Waited>,
    /// The same sources, oldest first; some may be gone from the table.
    order: VecDeque<Source>,
    events: VecDeque<HarmEvent>,
}

/// What a source waited before anything of it was accepted.
#[derive(Debug)]
struct Waited {
    session: SessionId,
    reason: HoldReason,
    real: Duration,
    observed: Duration,
    hang_ups: u32,
}

impl Harm {
    /// A hold ended, or would have been. `is_known` is asked under the lock: mail that is accepted
    /// meanwhile either is seen by it, or finds what was waited here.
    pub(crate) fn hold(
        &self,
        hold: &HoldRecord,
        is_known: impl FnOnce() -> bool,
        metrics: &Metrics,
    ) {
        let mut inner = self.lock();
        let waited = inner.waited_of(hold);
        match hold.end {
            HoldEnd::Observed => waited.observed += hold.held,
            end => {
                waited.real += hold.held;
                waited.hang_ups += u32::from(end == HoldEnd::HangUp);
            }
        }
        if is_known() {
            inner.count(hold.source, metrics);
        }
    }

    /// The upstream accepted mail of this source: what it waited before was harm.
    pub(crate) fn accepted(&self, source: Source, metrics: &Metrics) {
        self.lock().count(source, metrics);
    }

    /// What came of it so far.
    pub(crate) fn figures(&self, metrics: &Metrics) -> HarmFigures {
        HarmFigures {
            waited: Duration::from_millis(metrics.harm_millis.get()),
            observed: Duration::from_millis(metrics.harm_observed_millis.get()),
            hang_ups: metrics.harm_hang_ups.get(),
            events: self.lock().events.iter().cloned().collect(),
        }
    }

    /// Whoever panicked with it left it whole.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn waited_of(&mut self, hold: &HoldRecord) -> &mut Waited {
        if !self.waited.contains_key(&hold.source) {
            self.order.push_back(hold.source);
            // Those that were counted meanwhile are in the queue still.
            while self.order.len() > WAITED_MAX {
                if let Some(oldest) = self.order.pop_front() {
                    self.waited.remove(&oldest);
                }
            }
        }
        let waited = self.waited.entry(hold.source).or_insert(Waited {
            session: hold.session,
            reason: hold.reason,
            real: Duration::ZERO,
            observed: Duration::ZERO,
            hang_ups: 0,
        });
        waited.session = hold.session;
        waited.reason = hold.reason;
        waited
    }

    fn count(&mut self, source: Source, metrics: &Metrics) {
        let Some(waited) = self.waited.remove(&source) else {
            return;
        };
        if self.order.back() == Some(&source) {
            self.order.pop_back();
        }
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        metrics.harm_millis.add(millis(waited.real));
        metrics.harm_observed_millis.add(millis(waited.observed));
        metrics.harm_hang_ups.add(waited.hang_ups.into());
        if waited.real.is_zero() && waited.hang_ups == 0 {
            return;
        }
        if self.events.len() >= EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back(HarmEvent {
            at: unix_now(),
            source,
            session: waited.session,
            reason: waited.reason,
            waited: waited.real,
            hung_up: waited.hang_ups > 0,
        });
    }
}

#[cfg(test)]
mod tests {
    use tarpit_core::policy::{Mode, Offence, Way};

    use super::*;

    fn hold(number: u32, seconds: u64, end: HoldEnd) -> HoldRecord {
        HoldRecord {
            session: SessionId(number.into()),
            source: Source::V4(number, 32),
            reason: HoldReason::Offence(Offence::UnknownRecipient),
            mode: Mode::Enforce,
            code: None,
            owed: Duration::ZERO,
            way: Way::Silent,
            held: Duration::from_secs(seconds),
            end,
        }
    }

    fn seconds(figures: &HarmFigures) -> (u64, u64, u64) {
        let of = |span: Duration| span.as_secs();
        (of(figures.waited), of(figures.observed), figures.hang_ups)
    }

    #[test]
    fn what_a_harvester_waits_is_no_harm() {
        let (harm, metrics) = (Harm::default(), Metrics::default());
        harm.hold(&hold(1, 5, HoldEnd::Paid), || false, &metrics);
        harm.hold(&hold(1, 2, HoldEnd::HangUp), || false, &metrics);
        assert_eq!(harm.figures(&metrics), HarmFigures::default());
    }

    #[test]
    fn it_counts_once_mail_is_accepted_and_only_once() {
        let (harm, metrics) = (Harm::default(), Metrics::default());
        harm.hold(&hold(1, 5, HoldEnd::Paid), || false, &metrics);
        harm.hold(&hold(1, 2, HoldEnd::HangUp), || false, &metrics);
        harm.hold(&hold(1, 7, HoldEnd::Observed), || false, &metrics);
        harm.hold(&hold(2, 9, HoldEnd::Paid), || false, &metrics);
        for _ in 0..2 {
            harm.accepted(Source::V4(1, 32), &metrics);
            let figures = harm.figures(&metrics);
            assert_eq!(seconds(&figures), (7, 7, 1));
            assert_eq!(figures.events.len(), 1);
            assert!(figures.events[0].hung_up);
        }
        harm.hold(&hold(1, 3, HoldEnd::Paid), || true, &metrics);
        assert_eq!(seconds(&harm.figures(&metrics)), (10, 7, 1));
    }

    #[test]
    fn a_flood_leaves_no_memory_behind() {
        let (harm, metrics) = (Harm::default(), Metrics::default());
        for number in 0..100_000 {
            harm.hold(&hold(number, 1, HoldEnd::Paid), || false, &metrics);
            harm.hold(&hold(200_000, 1, HoldEnd::Paid), || true, &metrics);
        }
        let inner = harm.lock();
        assert!(inner.order.len() <= WAITED_MAX && inner.waited.len() <= WAITED_MAX);
        assert_eq!(inner.events.len(), EVENTS_MAX);
        drop(inner);
        assert_eq!(seconds(&harm.figures(&metrics)).0, 100_000);
        // The newest are still there.
        harm.accepted(Source::V4(99_999, 32), &metrics);
        assert_eq!(seconds(&harm.figures(&metrics)).0, 100_001);
    }
}
