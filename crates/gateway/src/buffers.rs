//! Buffers belong to workers, not to sessions: they are borrowed for one activity and go back
//! before the session waits.

use std::cell::RefCell;

/// Room for one read of message data. Larger reads gained nothing in the benchmark; smaller ones
/// cost system calls.
pub(crate) const DATA_LEN: usize = 64 * 1024;

/// Buffers kept by one worker. More than one is in use when activities of several sessions rest at
/// an await on the same worker.
const KEPT_MAX: usize = 32;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A borrowed buffer of [`DATA_LEN`] octets; it goes back when dropped.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn borrow() -> Self {
        let kept = FREE.with_borrow_mut(Vec::pop);
        Self(kept.unwrap_or_else(|| vec![0; DATA_LEN]))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        FREE.with_borrow_mut(|free| {
            if free.len() < KEPT_MAX {
                free.push(buffer);
            }
        });
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
