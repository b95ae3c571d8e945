//! Time as an argument: a count of milliseconds that the driver reads from its clock.

use std::ops::Add;
use std::time::Duration;

/// A moment, in whole milliseconds since an epoch that the driver chose (usually its start).
///
/// Ticks only ever come in as arguments; nothing in this crate reads a clock. They must not run
/// backwards within one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(u64);

impl Tick {
    /// The epoch itself.
    pub const ZERO: Self = Self(0);

    /// The moment `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Tick {
    type Output = Self;

    /// A moment later. Saturates at the end of time; parts of a millisecond are rounded up, so
    /// that nobody is let go early.
    fn add(self, span: Duration) -> Self {
        let whole = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let part = u64::from(!span.subsec_nanos().is_multiple_of(1_000_000));
        Self(self.0.saturating_add(whole).saturating_add(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_and_subtracts() {
        let start = Tick::from_millis(1_000);
        assert_eq!(
            (start + Duration::from_secs(5)).since(start),
            Duration::from_secs(5)
        );
        assert_eq!(start.since(start + Duration::from_secs(5)), Duration::ZERO);
        assert_eq!(start + Duration::from_micros(1), Tick::from_millis(1_001));
        assert_eq!(start + Duration::MAX, Tick::from_millis(u64::MAX));
    }
}
