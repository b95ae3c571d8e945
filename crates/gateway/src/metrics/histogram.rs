//! How long something took, by fixed bounds: a few additions to count, no lock, no memory.
//!
//! Summaries with quantiles were rejected: they need a lock or a sketch for each thread, and can't
//! be added up over gateways.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Closed, Read, Stage};

/// Upper bounds in seconds, as they are printed, and in nanoseconds. From half a millisecond (a
/// look-up at a server on the same machine) to ten minutes (the wait for the reply to end of data,
/// RFC 5321 §4.5.3.2.6), about two a decade where people look.
pub const BOUNDS: &[(&str, u64)] = &[
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("10", 10_000_000_000),
    ("30", 30_000_000_000),
    ("60", 60_000_000_000),
    ("300", 300_000_000_000),
    ("600", 600_000_000_000),
];

/// One more for what took longer.
const BUCKETS: usize = BOUNDS.len() + 1;

/// Durations, counted by [`BOUNDS`].
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanos: AtomicU64,
}

/// What a [`Histogram`] has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistogramValues {
    buckets: [u64; BUCKETS],
    nanos: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            nanos: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one that took so long. A bound is part of the bucket below it, as Prometheus has it.
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|(_, bound)| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Read for Histogram {
    type Values = HistogramValues;

    fn read(&self) -> HistogramValues {
        HistogramValues {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            nanos: self.nanos.load(Ordering::Relaxed),
        }
    }

    #[cfg(test)]
    fn fill(&self, next: &mut dyn FnMut() -> u64) {
        self.observe(Duration::from_nanos(next()));
    }
}

impl HistogramValues {
    /// Each bound with how many took as long at most; the last, `+Inf`, is all of them.
    pub fn cumulative(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let bounds = BOUNDS.iter().map(|(text, _)| *text).chain(["+Inf"]);
        let mut sum = 0_u64;
        bounds.zip(self.buckets).map(move |(bound, count)| {
            sum += count;
            (bound, sum)
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }
}

/// A histogram for each [`Stage`].
#[derive(Debug, Default)]
pub struct Stages([Histogram; Stage::ALL.len()]);

/// What [`Stages`] have counted, in the order of [`Stage`].
pub type StagesValues = [HistogramValues; Stage::ALL.len()];

impl Stages {
    /// Counts one that took so long.
    pub fn observe(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = stage.place().and_then(|place| self.0.get(place)) {
            histogram.observe(took);
        }
    }
}

impl Read for Stages {
    type Values = StagesValues;

    fn read(&self) -> StagesValues {
        std::array::from_fn(|at| self.0[at].read())
    }

    #[cfg(test)]
    fn fill(&self, next: &mut dyn FnMut() -> u64) {
        self.0.iter().for_each(|histogram| histogram.fill(next));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The printed bound and the one that is compared with are the same number.
    #[test]
    fn bounds_mean_what_they_say() {
        for (text, nanos) in BOUNDS {
            let seconds: f64 = text.parse().unwrap();
            assert_eq!(
                Duration::from_secs_f64(seconds),
                Duration::from_nanos(*nanos)
            );
        }
        assert!(BOUNDS.windows(2).all(|two| two[0].1 < two[1].1));
    }

    #[test]
    fn counts_by_the_bound_above() {
        let histogram = Histogram::default();
        for nanos in [0, 500_000, 500_001, 1_000_000_000, 600_000_000_001] {
            histogram.observe(Duration::from_nanos(nanos));
        }
        let values = histogram.read();
        let at = |bound: &str| {
            let found = values.cumulative().find(|(text, _)| *text == bound);
            found.unwrap().1
        };
        assert_eq!(at("0.0005"), 2);
        assert_eq!(at("0.001"), 3);
        assert_eq!(at("0.5"), 3);
        assert_eq!(at("1"), 4);
        assert_eq!(at("600"), 4);
        assert_eq!(at("+Inf"), 5);
        assert_eq!(values.count(), 5);
        assert_eq!(values.sum(), Duration::from_nanos(601_001_000_002));
    }
}
