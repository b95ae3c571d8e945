//! How many handshakes with clients go on at once, in all and for each source.
//!
//! A handshake takes memory, and processor time that costs who asks for it nothing. What it
//! promises: strangers have a bounded number of them under way, and wait for their turn in order,
//! each source in a queue of its own first; a client that has not said anything has no turn to
//! waste. Known senders and exempt networks wait for nobody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tarpit_core::Source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::aside::Aside;

/// Handshakes of strangers at once: some 20 KiB each, so 40 MiB at most.
const STRANGERS_MAX: usize = 2048;

/// Of one source: a large sender opens its connections side by side, and its next ones wait for a
/// round trip or two.
const SOURCE_MAX: usize = 16;

/// While others wait, a handshake has no more time than this. Three round trips over the slowest
/// line that carries mail take a few seconds.
const CROWDED_TIME: Duration = Duration::from_secs(10);

/// Turns for handshakes, and the threads that do their arithmetic.
#[derive(Debug)]
pub(crate) struct Handshakes {
    strangers: Arc<Semaphore>,
    sources: Arc<Sources>,
    pub(crate) aside: Aside,
}

#[derive(Debug, Default)]
struct Sources(Mutex<HashMap<Source, Turns>>);

/// The turns of one source.
#[derive(Debug)]
struct Turns {
    turns: Arc<Semaphore>,
    /// Who has one or waits for it.
    guests: usize,
}

/// A handshake's turn; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    _all: OwnedSemaphorePermit,
    _of_source: OwnedSemaphorePermit,
    _guest: Guest,
    /// Other handshakes wait.
    is_crowded: bool,
}

/// One of the guests of a source.
#[derive(Debug)]
struct Guest {
    sources: Arc<Sources>,
    source: Source,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self {
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            sources: Arc::default(),
            aside: Aside::start(),
        }
    }
}

impl Handshakes {
    /// Waits for the turn of a stranger.
    pub(crate) async fn turn(&self, source: Source) -> Option<Turn> {
        let (guest, turns) = self.sources.enter(source);
        let of_source = turns.acquire_owned().await.ok()?;
        let all = Arc::clone(&self.strangers).acquire_owned().await.ok()?;
        Some(Turn {
            _all: all,
            _of_source: of_source,
            _guest: guest,
            is_crowded: self.strangers.available_permits() == 0,
        })
    }
}

impl Turn {
    /// How much time of `left` the handshake may take.
    pub(crate) fn time(&self, left: Duration) -> Duration {
        if self.is_crowded {
            left.min(CROWDED_TIME)
        } else {
            left
        }
    }
}

impl Sources {
    fn enter(self: &Arc<Self>, source: Source) -> (Guest, Arc<Semaphore>) {
        let mut sources = self.lock();
        let turns = sources.entry(source).or_insert_with(|| Turns {
            turns: Arc::new(Semaphore::new(SOURCE_MAX)),
            guests: 0,
        });
        turns.guests += 1;
        let guest = Guest {
            sources: Arc::clone(self),
            source,
        };
        (guest, Arc::clone(&turns.turns))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Turns>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let mut sources = self.sources.lock();
        if let Some(turns) = sources.get_mut(&self.source) {
            turns.guests -= 1;
            if turns.guests == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::Poll;

    const ONE: Source = Source::V4(1, 32);

    async fn is_pending(waiting: std::pin::Pin<&mut impl Future>) -> bool {
        let mut waiting = waiting;
        std::future::poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context).is_pending()))
            .await
    }

    #[tokio::test]
    async fn a_source_waits_behind_itself_and_nobody_else_does() {
        let handshakes = Handshakes::default();
        let mut turns = Vec::new();
        for _ in 0..SOURCE_MAX {
            turns.push(handshakes.turn(ONE).await.unwrap());
        }
        let mut next = pin!(handshakes.turn(ONE));
        assert!(is_pending(next.as_mut()).await);
        let other = handshakes.turn(Source::V4(2, 32)).await.unwrap();
        assert!(!other.is_crowded);
        turns.pop();
        next.await.unwrap();
        drop((turns, other));
        assert!(handshakes.sources.lock().is_empty());
    }

    #[tokio::test]
    async fn all_have_a_bound_and_less_time_at_it() {
        let handshakes = Handshakes::default();
        let mut turns = Vec::new();
        for number in 0..STRANGERS_MAX {
            let source = Source::V4(u32::try_from(number).unwrap(), 32);
            turns.push(handshakes.turn(source).await.unwrap());
        }
        let limit = Duration::from_secs(30);
        assert_eq!(turns[0].time(limit), limit);
        assert_eq!(turns[STRANGERS_MAX - 1].time(limit), CROWDED_TIME);
        let mut next = pin!(handshakes.turn(Source::V6(1, 64)));
        assert!(is_pending(next.as_mut()).await);
        turns.pop();
        next.await.unwrap();
    }
}
