//! Cuts what a client sends into command lines.
//!
//! Promises: only CRLF ends a good line (RFC 5321 §2.3.8); each bad line is reported once, and its octets are
//! used up; the result doesn't depend on how the bytes were cut. The reader owns no buffer: it's asked again
//! with the same bytes and more, so a waiting session keeps one flag. A reader with a buffer of its own was
//! rejected, since it would live as long as each connection.

use memchr::{memchr, memchr2};

/// Splits client octets into command lines.
///
/// Keeps one thing only: whether it's throwing away the rest of an overlong line.
#[derive(Default, Debug, Clone, PartialEq, Eq)]
pub struct LineReader {
    discarding: bool,
}

// A held session keeps one of these.
const _: () = assert!(size_of::<LineReader>() == 1);

/// What [`LineReader::next`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineStep<'a> {
    /// A whole line.
    Line {
        /// The line without its CRLF; it has no CR, LF or NUL.
        text: &'a [u8],
        /// Octets of the buffer that are used up, with the CRLF.
        consumed: usize,
    },
    /// A line that can't be accepted.
    Bad {
        /// What is wrong with it; of several faults the one that is first in [`LineError`].
        error: LineError,
        /// Octets of the buffer that are used up, through the LF that ended it.
        consumed: usize,
    },
    /// No whole line yet.
    Partial {
        /// More than 0 only while an overlong line is thrown away; it's the whole buffer then.
        consumed: usize,
    },
}

/// Why a line can't be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LineError {
    /// Longer than the limit. RFC 5321 §4.5.3.1.4.
    TooLong,
    /// A CR that no LF follows. RFC 5321 §2.3.8.
    BareCr,
    /// The line ends with LF alone. RFC 5321 §2.3.8.
    BareLf,
    /// A NUL. RFC 5321 §2.4 and RFC 5234 leave it out of every command; C programs behind us would end the line there.
    Nul,
}

impl std::fmt::Display for LineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLong => "the line is longer than allowed",
            Self::BareCr => "the line has a CR without LF; only CRLF ends a line",
            Self::BareLf => "the line ends with LF alone; only CRLF ends a line",
            Self::Nul => "the line has a NUL",
        })
    }
}

impl std::error::Error for LineError {}

impl LineReader {
    /// A reader at the start of a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A reader that is throwing away the rest of an overlong line, as [`Self::is_discarding`] tells: for one that was
    /// kept elsewhere meanwhile.
    #[must_use]
    pub fn in_overlong_line() -> Self {
        Self { discarding: true }
    }

    /// Looks for the next line in `buf`, which starts where the last call's `consumed` ended.
    ///
    /// `limit` is the longest line accepted, in octets with the CRLF. A buffer that holds `limit` octets never
    /// stays full: if they hold no line end, they are used up.
    ///
    /// A line that ends with LF alone is found at once: a client that sends nothing else must get its 500 now.
    pub fn next<'a>(&mut self, buf: &'a [u8], limit: usize) -> LineStep<'a> {
        let Some((line, consumed)) = split_lf(buf) else {
            // Its end makes it longer than the limit, wherever it comes.
            self.discarding |= buf.len() >= limit;
            return LineStep::Partial {
                consumed: if self.discarding { buf.len() } else { 0 },
            };
        };
        let error = if std::mem::take(&mut self.discarding) || consumed > limit {
            LineError::TooLong
        } else {
            match judge(line) {
                Ok(text) => return LineStep::Line { text, consumed },
                Err(error) => error,
            }
        };
        LineStep::Bad { error, consumed }
    }

    /// True while the rest of an overlong line is being thrown away.
    #[must_use]
    pub fn is_discarding(&self) -> bool {
        self.discarding
    }
}

/// What stands before the first LF, and how many octets that is with the LF.
fn split_lf(buf: &[u8]) -> Option<(&[u8], usize)> {
    let at = memchr(b'\n', buf)?;
    Some((buf.get(..at)?, at.checked_add(1)?))
}

/// `line` has no LF; a good one has one CR, at its end.
fn judge(line: &[u8]) -> Result<&[u8], LineError> {
    let (text, ended) = match line.split_last() {
        Some((b'\r', text)) => (text, true),
        _ => (line, false),
    };
    match memchr2(b'\r', 0, text).and_then(|at| text.get(at..)) {
        Some(rest) if memchr(b'\r', rest).is_some() => Err(LineError::BareCr),
        _ if !ended => Err(LineError::BareLf),
        Some(_) => Err(LineError::Nul),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8], consumed: usize) -> LineStep<'_> {
        LineStep::Line { text, consumed }
    }
    fn bad<'a>(error: LineError, consumed: usize) -> LineStep<'a> {
        LineStep::Bad { error, consumed }
    }
    fn partial<'a>(consumed: usize) -> LineStep<'a> {
        LineStep::Partial { consumed }
    }

    #[test]
    fn one_call() {
        use LineError::{BareCr, BareLf, Nul, TooLong};
        for (buf, expected) in [
            (&b""[..], partial(0)),
            (b"NOOP", partial(0)),
            (b"NOOP\r", partial(0)),
            (b"NOOP\r\n", line(b"NOOP", 6)),
            (b"NOOP\r\nQUIT\r\n", line(b"NOOP", 6)),
            (b"\r\n", line(b"", 2)),
            (b"NOOP\nQ", bad(BareLf, 5)),
            (b"\n", bad(BareLf, 1)),
            (b"NO\rOP\r\nQ", bad(BareCr, 7)),
            (b"NO\rOP\nQ", bad(BareCr, 6)),
            (b"NO\rOP", partial(0)),
            (b"NOOP\r\r\n", bad(BareCr, 7)),
            (b"\r\r\n", bad(BareCr, 3)),
            (b"N\0\r\n", bad(Nul, 4)),
            (b"N\0\rx\r\n", bad(BareCr, 6)),
            (b"N\0\n", bad(BareLf, 3)),
            (b"12345678\r\n", line(b"12345678", 10)),
            (b"123456789\r", partial(10)),
            (b"123456789\r\n", bad(TooLong, 11)),
            (b"1234567890\n", bad(TooLong, 11)),
        ] {
            let found = LineReader::new().next(buf, 10);
            assert_eq!(found, expected, "{}", crate::escape(buf));
        }
    }

    #[test]
    fn an_overlong_line_is_used_up_and_reported_once() {
        let mut reader = LineReader::new();
        assert_eq!(reader.next(b"1234567890", 10), partial(10));
        assert_eq!(reader.next(b"12345\r", 10), partial(6));
        assert!(reader.is_discarding());
        assert_eq!(reader.next(b"\nNOOP\r\n", 10), bad(LineError::TooLong, 1));
        assert_eq!(reader.next(b"NOOP\r\n", 10), line(b"NOOP", 6));
    }
}
