//! The lines that wait to be written.
//!
//! One buffer of octets rather than a channel of lines: a line costs a copy of some hundred octets
//! and no memory of its own, and the writer is woken once for all that comes while it writes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Octets that may wait. A second of the busiest gateway that was measured makes less, and a disk
/// that stands still for longer costs records, not memory.
pub(super) const WAITING_MAX: usize = 8 << 20;

/// How long the writer lets lines gather: long enough to write many at once, short enough for
/// somebody who follows the file.
const GATHER: Duration = Duration::from_millis(200);

/// Lines on their way to the file.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Vec<u8>>,
    came: Condvar,
    closed: AtomicBool,
    dropped: Arc<AtomicU64>,
}

impl Queue {
    /// Adds a line, which ends with its newline. Where there is no room it is dropped and counted.
    pub(crate) fn push(&self, line: &[u8]) {
        let mut waiting = lock(&self.waiting);
        if waiting.len().saturating_add(line.len()) > WAITING_MAX {
            drop(waiting);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let is_first = waiting.is_empty();
        waiting.extend_from_slice(line);
        drop(waiting);
        if is_first {
            self.came.notify_one();
        }
    }

    /// Waits for lines, but no longer than `patience`, and swaps them into `batch`, which is empty.
    /// `false` once it is closed and all were taken.
    pub(super) fn take(&self, batch: &mut Vec<u8>, patience: Duration) -> bool {
        let is_idle = |waiting: &mut Vec<u8>| waiting.is_empty() && !self.is_closed();
        let waiting = lock(&self.waiting);
        let waiting = self.came.wait_timeout_while(waiting, patience, is_idle);
        let (waiting, waited) = waiting.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return true;
        }
        let is_open = |_: &mut Vec<u8>| !self.is_closed();
        let gathered = self.came.wait_timeout_while(waiting, GATHER, is_open);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, batch);
        !batch.is_empty()
    }

    /// No more lines come.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        // Under the lock: the writer is either before its look at it, or waits already.
        drop(lock(&self.waiting));
        self.came.notify_all();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Counts lines that could not be written.
    pub(super) fn drop_lines(&self, batch: &[u8]) {
        let lines = batch.iter().filter(|octet| **octet == b'\n').count();
        self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
    }

    /// How many lines were lost so far.
    pub(super) fn lost(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.dropped)
    }
}

fn lock(mutex: &Mutex<Vec<u8>>) -> MutexGuard<'_, Vec<u8>> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
