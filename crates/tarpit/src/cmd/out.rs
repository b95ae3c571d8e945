//! Standard output, whose reader may have seen enough (`tarpit report | head`).

use std::fmt::Display;
use std::io::{self, ErrorKind, Write as _};

/// Prints `text`, which has its line ends already. That nobody reads it any more is no error.
///
/// # Errors
///
/// It can't be written: the disk behind is full, say.
pub(super) fn print(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}
