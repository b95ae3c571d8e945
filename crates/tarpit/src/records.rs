//! Records on disk: what `tarpit report`, `replay` and `advise` read.
//!
//! The records of the log (one for each session and hold) and those of acts, one JSON object a
//! line, in a file that is bounded in size and age (`records/file.rs`). What each line holds stands in
//! `docs/records.md`.
//!
//! What it promises: nobody waits for it. A worker appends a line to a buffer under a lock that is
//! held for a copy; a thread of its own writes. Where the disk is slower than the records are,
//! full, or gone, lines are dropped, counted (`tarpit_records_dropped_total`) and told once in the
//! log, and mail flows. Nothing is synced: a crash of the machine may cost the last seconds, which
//! decide nothing.
//!
//! Rejected: the log itself as the only place. It goes where the administrator's tools want it, in
//! a format for people, for a time that others decide; and who evaluates a pit should not have to
//! set up a log first.

mod file;
pub(crate) mod line;
mod queue;
pub(crate) mod read;
pub(crate) mod sessions;

use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

pub(crate) use queue::Queue;

/// Where records are kept, and how many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The file that is written.
    pub(crate) file: PathBuf,
    /// Whether the configuration names it; else it is the service's own place.
    pub(crate) is_said: bool,
    /// Octets of one file.
    pub(crate) max_size: u64,
    /// Files beside the one that is written.
    pub(crate) keep: usize,
    /// How old a line gets at most.
    pub(crate) max_age: Duration,
}

/// A record file that is open. What is queued is written when this is dropped, if the disk takes it.
#[derive(Debug)]
pub(crate) struct Records {
    queue: Arc<Queue>,
    /// Closed when the writer has ended.
    writer: Receiver<Infallible>,
}

impl Records {
    /// Opens the file and starts the thread that writes it.
    ///
    /// # Errors
    ///
    /// The file can't be written, or there is no thread.
    pub(crate) fn open(settings: Settings) -> io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let file = file::Rotating::open(settings)?;
        let lines = Arc::clone(&queue);
        let (ended, writer) = channel();
        std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || {
                write(&lines, file);
                drop(ended);
            })?;
        Ok(Self { queue, writer })
    }

    /// Where lines go.
    pub(crate) fn queue(&self) -> Arc<Queue> {
        Arc::clone(&self.queue)
    }

    /// Lines that were lost so far.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        self.queue.dropped()
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        self.queue.close();
        // A panic in it was a bug of ours; the records are lost, and nothing else.
        if let Err(RecvTimeoutError::Timeout) = self.writer.recv_timeout(END_MAX) {
            tracing::error!(target: "tarpit::records", "the last records are lost: the disk does not take them");
        }
    }
}

/// How often the age of what is kept is looked at while nothing is written.
const TEND_EVERY: Duration = Duration::from_secs(60);

/// How long the end of the process waits for a disk that stands still: mail is over by then, and the
/// service manager has less patience with us than records are worth.
const END_MAX: Duration = Duration::from_secs(10);

/// Writes what is queued until there is no more. Says once that lines are lost, and once that they
/// are no longer.
fn write(queue: &Queue, mut file: file::Rotating) {
    let mut batch = Vec::new();
    let mut told = false;
    let mut lost_before = 0;
    let mut tended = true;
    while queue.take(&mut batch, TEND_EVERY) {
        if batch.is_empty() {
            // What is old goes, though nothing new comes.
            let outcome = file.tend();
            if let (Err(error), true) = (&outcome, tended) {
                tracing::warn!(target: "tarpit::records", file = %file.path().display(), %error, "old records can't be put away");
            }
            tended = outcome.is_ok();
            continue;
        }
        let written = file.append(&batch);
        if let Err(error) = &written {
            queue.drop_lines(&batch);
            if !told {
                tracing::error!(target: "tarpit::records", file = %file.path().display(), %error, "records are lost: the file can't be written");
            }
        }
        let lost = queue.lost();
        if written.is_ok() && lost > lost_before && !told {
            let lost = lost - lost_before;
            tracing::warn!(target: "tarpit::records", lost, "records are lost: they come faster than they can be written");
        }
        if written.is_ok() && lost == lost_before && told {
            tracing::info!(target: "tarpit::records", lost, "records are written again");
        }
        told = written.is_err() || lost > lost_before;
        lost_before = lost;
        batch.clear();
    }
}

#[cfg(test)]
mod tests;
