//! What the page shows, as it happens: one [`Snapshot`] a second, computed once for all who look, and
//! only while somebody does.
//!
//! What it promises: [`SUBSCRIBERS_MAX`] look at once, whoever comes over that is told so; all share
//! one text, and a slow one gets the newest next, so it keeps some kilobytes at most; who does not read
//! for [`STALL`] is dropped.

mod events;
mod snapshot;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tarpit_gateway::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

pub(crate) use events::{Events, Taken};
use snapshot::{Slow, Snapshot};

/// Who looks at once: some administrators, each with a page on a wall and one on a telephone.
pub(crate) const SUBSCRIBERS_MAX: usize = 16;

/// Between two snapshots.
const EVERY: Duration = Duration::from_secs(1);

/// What takes a walk over a whole table is looked at in each so many snapshots only.
const SLOW_EVERY: u64 = 5;

/// Who has taken nothing for so long is dropped: a page that is hidden in a browser reads all the same.
pub(crate) const STALL: Duration = Duration::from_secs(15);

/// What those who look get next.
#[derive(Clone, Debug, Default)]
struct Frame {
    /// Whoever came under another one is to ask anew.
    era: u64,
    /// One snapshot, ready for the wire; empty if there is none yet.
    text: Bytes,
}

/// Makes snapshots for whoever subscribes.
#[derive(Debug)]
pub(crate) struct Feed {
    handle: Handle,
    newest: watch::Sender<Frame>,
    places: Arc<Semaphore>,
    is_running: Mutex<bool>,
    began: Instant,
}

impl Feed {
    pub(crate) fn new(handle: Handle) -> Arc<Self> {
        Arc::new(Self {
            handle,
            newest: watch::Sender::default(),
            places: Arc::new(Semaphore::new(SUBSCRIBERS_MAX)),
            is_running: Mutex::new(false),
            began: Instant::now(),
        })
    }

    /// A place among those who look; `None` if there is none.
    pub(crate) fn subscribe(self: &Arc<Self>) -> Option<Events> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut is_running = self.running();
        let newest = self.newest.subscribe();
        if !*is_running {
            *is_running = true;
            tokio::spawn(Arc::clone(self).run());
        }
        Some(Events::new(newest, place))
    }

    /// Until nobody looks any more.
    async fn run(self: Arc<Self>) {
        let mut tick = interval(EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut slow = Arc::new(Slow::default());
        for number in 0_u64.. {
            tick.tick().await;
            if self.is_over() {
                return;
            }
            let feed = Arc::clone(&self);
            let last = Arc::clone(&slow);
            // Locks are taken, and files read: threads that serve mail don't do that for a look.
            let made = tokio::task::spawn_blocking(move || feed.look(number, last));
            match made.await {
                Ok((text, looked)) => {
                    slow = looked;
                    self.newest.send_modify(|frame| frame.text = text);
                }
                Err(error) => {
                    tracing::error!(target: "tarpit::admin", %error, "the page's figures could not be read");
                }
            }
        }
    }

    fn look(&self, number: u64, last: Arc<Slow>) -> (Bytes, Arc<Slow>) {
        self.handle.want_dialogues();
        let slow = if number.is_multiple_of(SLOW_EVERY) {
            Arc::new(Slow::of(&self.handle))
        } else {
            last
        };
        let snapshot = Snapshot::of(&self.handle, &slow, self.began.elapsed(), self.watchers());
        let text = serde_json::to_string(&snapshot).unwrap_or_default();
        (Bytes::from(format!("data: {text}\n\n")), slow)
    }

    /// Whoever looks now is to ask anew.
    pub(crate) fn end(&self) {
        self.newest.send_modify(|frame| frame.era += 1);
    }

    /// Under the lock under which others come: nobody is left without snapshots.
    fn is_over(&self) -> bool {
        let mut is_running = self.running();
        *is_running = self.newest.receiver_count() > 0;
        if !*is_running {
            // Whoever comes next is not shown what was long ago.
            self.newest.send_modify(|frame| frame.text.clear());
        }
        !*is_running
    }

    fn watchers(&self) -> usize {
        SUBSCRIBERS_MAX - self.places.available_permits()
    }

    /// Whoever panicked with it left it whole.
    fn running(&self) -> MutexGuard<'_, bool> {
        self.is_running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place among those who look.
type Seat = OwnedSemaphorePermit;
