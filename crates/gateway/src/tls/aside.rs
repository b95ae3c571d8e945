//! Threads beside the runtime, of lower priority, for what costs a stranger nothing to ask for and
//! us a millisecond to answer: a recorded first flight of TLS makes us exchange keys and sign.
//!
//! On the runtime's workers a flood of these would come between every two steps of wanted mail. Here
//! the system itself lets mail go first, and what is left of the processor is the flood's. Known
//! senders do not come here: behind a flood they would wait.
//!
//! The runtime's own threads for what blocks were rejected: they are hundreds, and files are read
//! there that mail waits for.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Well below mail, as the pit's threads: at 10 a busy core gives a tenth of itself.
const NICE: i32 = 10;

/// The threads.
#[derive(Debug)]
pub(crate) struct Aside {
    queue: Arc<Queue>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    more: Condvar,
}

type Job = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl Aside {
    /// Starts them: one for each two cores, so that half of the machine is never theirs.
    pub(crate) fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let queue = Arc::new(Queue::default());
        for _ in 0..(cores / 2).max(1) {
            let queue = Arc::clone(&queue);
            let thread = std::thread::Builder::new().name("aside".to_owned());
            if let Err(error) = thread.spawn(move || queue.work()) {
                tracing::error!(target: "tarpit::tls", %error, "no thread for handshakes");
            }
        }
        Self { queue }
    }

    /// What `job` gives, in its turn. Who waits is bounded by whoever calls this.
    ///
    /// # Errors
    /// A bug ended the job.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (done, result) = oneshot::channel();
        self.queue.lock().waiting.push_back(Box::new(move || {
            // Nobody waits any more: its time was over.
            if !done.is_closed() {
                let _ = done.send(job());
            }
        }));
        self.queue.more.notify_one();
        result
            .await
            .map_err(|_| io::Error::other("a bug ended a handshake"))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.more.notify_all();
    }
}

impl Queue {
    fn work(&self) {
        // If it is refused, they compete with mail as equals, and there are few of them.
        let _ = rustix::process::nice(NICE);
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                drop(jobs);
                // Whoever waits for it sees its end.
                let _ = catch_unwind(AssertUnwindSafe(job));
                jobs = self.lock();
            } else if jobs.closed {
                return;
            } else {
                let waited = self.more.wait(jobs);
                jobs = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.lock().waiting.len();
        f.debug_struct("Queue")
            .field("waiting", &waiting)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_bug_ends_its_job_and_no_other() {
        let aside = Aside::start();
        let failed = aside
            .run(|| std::panic::resume_unwind(Box::new("bug")))
            .await;
        let failed: io::Result<()> = failed;
        assert!(failed.is_err());
        assert_eq!(aside.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn nobody_works_for_who_has_left() {
        let aside = Aside::start();
        let (first, rest) = std::sync::mpsc::channel::<()>();
        // All threads are busy until `first` is dropped.
        let rest = Arc::new(Mutex::new(rest));
        let busy: Vec<_> = (0..64)
            .map(|_| {
                let rest = Arc::clone(&rest);
                Box::pin(aside.run(move || rest.lock().unwrap().recv().is_err()))
            })
            .collect();
        let mut all = Box::pin(async move {
            for one in busy {
                one.await.unwrap();
            }
        });
        let mut left = Box::pin(aside.run(|| unreachable!("nobody waits for it")));
        for _ in 0..2 {
            tokio::select! {
                biased;
                () = &mut all => unreachable!("they wait"),
                _ = &mut left => unreachable!("it waits behind them"),
                () = tokio::task::yield_now() => {}
            }
        }
        drop(left);
        drop(first);
        all.await;
        assert_eq!(aside.run(|| 7).await.unwrap(), 7);
    }
}
