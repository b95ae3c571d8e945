//! Message content as it came in chunks (BDAT, RFC 3030 §2), made fit for DATA.
//!
//! Promises, in any chunking: what comes out is what [`crate::DataScanner`] lets through and [`crate::Unstuffer`] turns
//! back into the content; at most a CRLF is added, at the end of content without one. A bare CR or LF, which BDAT may
//! carry and DATA may not (RFC 5321 §2.3.8), is no piece, nor is anything after it: such content can't be sent this way.
//! Nothing is copied.

use crate::data::{BareKind, Scan, ScanState};
use crate::pieces::{Pieces, Run};
use memchr::memchr2;

/// Puts the dots in (RFC 5321 §4.5.2) that DATA needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stuffer {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Behind CRLF, or at the start.
    #[default]
    LineStart,
    Text,
    /// Behind a CR, which is withheld.
    Cr,
    /// Behind a bare CR or LF.
    Bare(BareKind),
}

impl Stuffer {
    /// At the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The pieces of the next octets of the content, which start where the last call's `consumed` ended. The state is
    /// `More`, `Full` (call again with the rest) or `Bare`, never `End`; after `Bare` nothing is passed any more.
    pub fn stuff<'a>(&mut self, chunk: &'a [u8]) -> Scan<'a> {
        let before: &[u8] = if self.at == At::Cr { b"\r" } else { b"" };
        let mut run = Run::new(before, chunk);
        let state = self.advance(&mut run);
        match self.at {
            At::Bare(_) if state == ScanState::More => Scan {
                pieces: Pieces::default(),
                dots: 0,
                consumed: chunk.len(),
                state,
            },
            _ => Scan {
                consumed: run.consumed(),
                dots: run.dots(),
                pieces: run.into_pieces(),
                state,
            },
        }
    }

    fn advance(&mut self, run: &mut Run<'_>) -> ScanState {
        loop {
            match (self.at, run.peek()) {
                (At::Bare(_), _) => return ScanState::More,
                (at, None) => {
                    run.pass(usize::from(at == At::Cr));
                    return ScanState::More;
                }
                (At::Cr, Some(b'\n')) => {
                    run.take();
                    self.at = At::LineStart;
                }
                (At::Cr, Some(_)) => return self.bare(run, BareKind::Cr),
                (_, Some(b'\n')) => {
                    run.take();
                    return self.bare(run, BareKind::Lf);
                }
                (_, Some(b'\r')) => {
                    run.take();
                    self.at = At::Cr;
                }
                (At::LineStart, Some(b'.')) => {
                    run.take();
                    run.replace(b".".len(), b"..");
                    run.count_dot();
                    self.at = At::Text;
                    if run.is_full() {
                        return ScanState::Full;
                    }
                }
                (At::LineStart | At::Text, Some(_)) => {
                    self.at = At::Text;
                    run.skip_to(|rest| memchr2(b'\r', b'\n', rest));
                }
            }
        }
    }

    /// The last octet that was looked at stood alone.
    fn bare(&mut self, run: &mut Run<'_>, kind: BareKind) -> ScanState {
        run.pass(1);
        self.at = At::Bare(kind);
        ScanState::Bare(kind)
    }

    /// What is to be sent at the end of the content, before [`crate::END_OF_DATA`]: nothing, or the CRLF that its last
    /// line lacks.
    ///
    /// # Errors
    /// The content has a bare CR (its last octet may be one) or LF.
    pub fn finish(self) -> Result<&'static [u8], BareKind> {
        match self.at {
            At::LineStart => Ok(b""),
            At::Text => Ok(b"\r\n"),
            At::Cr => Err(BareKind::Cr),
            At::Bare(kind) => Err(kind),
        }
    }
}
