//! The only reader of time: nothing else in the product asks what time it is.
//!
//! A [`Tick`] counts milliseconds of the machine's monotonic clock, so that it means the same in
//! every process of this machine: in a keeper, and in a successor that takes sessions over.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};
use tarpit_core::Tick;

/// Monotone time for the machine, and the date for what needs one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// The machine's clock, CLOCK_MONOTONIC.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        let since = clock_gettime(ClockId::Monotonic);
        let since = Duration::new(
            u64::try_from(since.tv_sec).unwrap_or(0),
            u32::try_from(since.tv_nsec).unwrap_or(0),
        );
        // `Instant` is the same clock, but does not say so.
        let epoch = now.checked_sub(since).unwrap_or(now);
        Self { epoch }
    }

    /// Now, for the machine.
    #[must_use]
    pub fn now(&self) -> Tick {
        let millis = self.epoch.elapsed().as_millis();
        Tick::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
    }

    /// The runtime's moment for `tick`. Rounded up by at most a millisecond, so that nobody is let
    /// go early.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> tokio::time::Instant {
        let since = Duration::from_millis(tick.as_millis());
        tokio::time::Instant::from_std(self.epoch + since)
    }
}

/// Seconds since 1970, for exemptions that end at a date.
#[must_use]
pub fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
