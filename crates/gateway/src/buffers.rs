//! Buffers belong to workers, not to sessions: they are borrowed for one activity and go back
//! before the session waits.

use std::cell::RefCell;

/// Room for one read of message data. Larger reads gained nothing in the benchmark; smaller ones
/// cost system calls.
const DATA_LEN: usize = 64 * 1024;

/// Room for one read of commands: a few dozen pipelined ones.
const COMMAND_LEN: usize = 4 * 1024;

/// Buffers of one kind kept by one worker. More than one is in use when activities of several
/// sessions rest at an await on the same worker.
const KEPT_MAX: usize = 32;

thread_local! {
    static DATA: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static COMMANDS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What a buffer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Message data: 64 KiB.
    Data,
    /// Commands: 4 KiB.
    Commands,
}

/// A borrowed buffer; it goes back when dropped.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    what: For,
}

impl Buffer {
    pub(crate) fn borrow(what: For) -> Self {
        let (kept, len) = match what {
            For::Data => (DATA.with_borrow_mut(Vec::pop), DATA_LEN),
            For::Commands => (COMMANDS.with_borrow_mut(Vec::pop), COMMAND_LEN),
        };
        let bytes = kept.unwrap_or_else(|| vec![0; len]);
        Self { bytes, what }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let keep = |free: &mut Vec<Vec<u8>>| {
            if free.len() < KEPT_MAX {
                free.push(bytes);
            }
        };
        match self.what {
            For::Data => DATA.with_borrow_mut(keep),
            For::Commands => COMMANDS.with_borrow_mut(keep),
        }
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}
