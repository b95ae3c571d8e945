//! The only reader of time: nothing else in the product asks what time it is.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tarpit_core::Tick;

/// Monotone time for the machine, and the date for what needs one.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// A clock whose epoch is now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
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
        let since = std::time::Duration::from_millis(tick.as_millis());
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
