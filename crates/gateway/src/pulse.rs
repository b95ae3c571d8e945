//! A beat for waits whose end need not be exact and which hardly ever come to it.
//!
//! A timer of the runtime for each of them was rejected: one that is due before all others wakes the
//! worker that sleeps until the earliest, and here that would be with every message, for a wait that
//! is over after a fraction of a millisecond.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// From one beat to the next.
const BEAT: Duration = Duration::from_millis(10);

/// Beats as long as somebody waits for it, by a task that is there only then.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    beats: Notify,
    /// Somebody began to wait since the last beat.
    is_asked: AtomicBool,
    /// There is a task.
    is_beating: AtomicBool,
}

impl Pulse {
    /// Resolves after one to two beats: 10 to 20 ms.
    pub(crate) async fn passed(self: &Arc<Self>) {
        // The first may be on its way already.
        for _ in 0..2 {
            let beat = self.beats.notified();
            self.is_asked.store(true, Ordering::SeqCst);
            self.start();
            beat.await;
        }
    }

    fn start(self: &Arc<Self>) {
        if !self.is_beating.load(Ordering::SeqCst) && !self.is_beating.swap(true, Ordering::SeqCst)
        {
            tokio::spawn(Arc::clone(self).beat());
        }
    }

    async fn beat(self: Arc<Self>) {
        loop {
            tokio::time::sleep(BEAT).await;
            let is_asked = self.is_asked.swap(false, Ordering::SeqCst);
            self.beats.notify_waiters();
            if !is_asked {
                self.is_beating.store(false, Ordering::SeqCst);
                // Who asked in between saw a task that was about to end.
                if !self.is_asked.load(Ordering::SeqCst)
                    || self.is_beating.swap(true, Ordering::SeqCst)
                {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_not_forgotten() {
        let pulse = Arc::new(Pulse::default());
        for pause in [0, 1, 9, 10, 11, 25, 1000] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let began = Instant::now();
            tokio::join!(pulse.passed(), pulse.passed());
            let took = began.elapsed();
            assert!(
                (BEAT..=BEAT * 2).contains(&took),
                "{took:?} after {pause} ms"
            );
        }
        // Nobody waits: the task ends.
        tokio::time::sleep(BEAT * 3).await;
        assert_eq!(Arc::strong_count(&pulse), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_no_longer_waits_keeps_nothing_beating() {
        let pulse = Arc::new(Pulse::default());
        for _ in 0..3 {
            let passed = tokio::time::timeout(Duration::from_millis(1), pulse.passed()).await;
            assert!(passed.is_err());
        }
        tokio::time::sleep(BEAT * 3).await;
        assert_eq!(Arc::strong_count(&pulse), 1);
    }
}
