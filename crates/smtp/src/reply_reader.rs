//! Reads the replies of an upstream (RFC 5321 §4.2.1) from its bytes, in any chunking.
//!
//! An upstream is ours, so line ends are read liberally: LF ends a line, CRs are dropped. Everything else is strict,
//! since a reply that is misread would tell a client something that isn't so. After an error the two sides no longer
//! agree on where a reply starts: the connection must be closed.

use crate::escape::escape;
use crate::limits::{AUTH_LINE_MAX, REPLY_LINE_ACCEPTED_MAX, REPLY_LINES_MAX, REPLY_MAX};
use crate::reply::{Reply, ReplyCode, clean_octet};
use memchr::memchr;
use std::fmt;

/// Incremental reader of an upstream's replies. Between replies it holds no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyReader {
    /// The line that hasn't ended yet, as it came.
    line: Vec<u8>,
    /// The lines before it, clean, without codes, joined by LF.
    text: Vec<u8>,
    /// The code of the first line.
    code: Option<ReplyCode>,
    lines: usize,
}

/// What [`ReplyReader::read`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyStep {
    /// A whole reply.
    Done {
        /// The reply.
        reply: Reply,
        /// Octets of the buffer that are used up.
        consumed: usize,
    },
    /// The buffer is used up, and the reply isn't over.
    Partial {
        /// The length of the buffer.
        consumed: usize,
    },
}

/// Why what an upstream sent is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A line doesn't start with a code from 200 to 599 and a space, a hyphen or the line's end.
    NotAReply {
        /// The start of the line, escaped.
        found: Box<str>,
    },
    /// A later line has another code than the first (RFC 5321 §4.2.1).
    CodeChanged {
        /// The code of the first line.
        first: ReplyCode,
        /// The other one.
        then: ReplyCode,
    },
    /// Larger than we accept.
    TooLong(ReplyBound),
}

/// Which bound a reply exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplyBound {
    /// A line has more than 1000 octets, or a challenge of AUTH more than 12,288.
    Line,
    /// More than 100 lines.
    Lines,
    /// More than 16 KiB in all.
    Total,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAReply { found } => {
                write!(
                    f,
                    "not a reply: found \"{found}\", a line must start with a code from 200 to 599"
                )
            }
            Self::CodeChanged { first, then } => {
                write!(
                    f,
                    "the lines of a reply must have one code: found {then} after {first}"
                )
            }
            Self::TooLong(ReplyBound::Line) => {
                write!(
                    f,
                    "a reply has a line of more than {REPLY_LINE_ACCEPTED_MAX} octets"
                )
            }
            Self::TooLong(ReplyBound::Lines) => {
                write!(f, "a reply has more than {REPLY_LINES_MAX} lines")
            }
            Self::TooLong(ReplyBound::Total) => {
                write!(f, "a reply has more than {REPLY_MAX} octets")
            }
        }
    }
}

impl std::error::Error for ReplyError {}

impl ReplyReader {
    /// A reader at the start of a reply.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a reply has begun and isn't over.
    #[must_use]
    pub fn in_reply(&self) -> bool {
        self.lines > 0 || !self.line.is_empty()
    }

    /// Reads on; `buf` starts where the last call's `consumed` ended.
    ///
    /// # Errors
    /// What is wrong with the reply; the connection must be closed then.
    pub fn read(&mut self, buf: &[u8]) -> Result<ReplyStep, ReplyError> {
        let result = self.read_on(buf);
        if result.is_err() {
            *self = Self::new();
        }
        result
    }

    fn read_on(&mut self, buf: &[u8]) -> Result<ReplyStep, ReplyError> {
        let mut rest = buf;
        while let Some((part, after)) = split_lf(rest) {
            rest = after;
            if let Some(reply) = self.at_once(part) {
                return Ok(ReplyStep::Done {
                    reply,
                    consumed: buf.len().saturating_sub(rest.len()),
                });
            }
            self.push(part)?;
            if let Some(reply) = self.end_line()? {
                return Ok(ReplyStep::Done {
                    reply,
                    consumed: buf.len().saturating_sub(rest.len()),
                });
            }
        }
        self.push(rest)?;
        Ok(ReplyStep::Partial {
            consumed: buf.len(),
        })
    }

    /// A reply that is one line and came in one piece, as nearly all do: read where it stands. `None` for any
    /// other, mistakes included, which takes the way through `line`.
    fn at_once(&self, part: &[u8]) -> Option<Reply> {
        let line = part.strip_suffix(b"\r").unwrap_or(part);
        if self.in_reply() || part.len() > REPLY_LINE_ACCEPTED_MAX || line.contains(&b'\r') {
            return None;
        }
        let (code, last, text) = split_line(line)?;
        let clean = || text.iter().copied().map(clean_octet).collect();
        last.then(|| Reply::from_clean(code, clean()))
    }

    /// Adds a part of a line. CRs count, so that a stream of them has an end.
    fn push(&mut self, part: &[u8]) -> Result<(), ReplyError> {
        let len = self.line.len().saturating_add(part.len());
        if len > REPLY_LINE_ACCEPTED_MAX && (len > AUTH_LINE_MAX || !self.is_challenge(part)) {
            return Err(ReplyError::TooLong(ReplyBound::Line));
        }
        self.line.extend_from_slice(part);
        Ok(())
    }

    /// Whether the line is a challenge of AUTH, which may be longer than other replies (RFC 4954 §4).
    fn is_challenge(&self, part: &[u8]) -> bool {
        let start = self.line.iter().chain(part).take(4);
        start.eq(b"334 ")
    }

    /// Judges a whole line. The bounds on the whole reply are checked here only: a line is bounded by itself, and so the
    /// chunking can't decide which bound is exceeded first.
    fn end_line(&mut self) -> Result<Option<Reply>, ReplyError> {
        let mut line = std::mem::take(&mut self.line);
        line.retain(|&octet| octet != b'\r');
        self.lines = self.lines.saturating_add(1);
        if self.lines > REPLY_LINES_MAX {
            return Err(ReplyError::TooLong(ReplyBound::Lines));
        }
        let (code, last, text) = split_line(&line).ok_or_else(|| not_a_reply(&line))?;
        let first = *self.code.get_or_insert(code);
        if first != code {
            return Err(ReplyError::CodeChanged { first, then: code });
        }
        if self.lines > 1 {
            self.text.push(b'\n');
        }
        self.text.extend(text.iter().copied().map(clean_octet));
        if self.text.len() > REPLY_MAX {
            return Err(ReplyError::TooLong(ReplyBound::Total));
        }
        if !last {
            line.clear();
            self.line = line;
            return Ok(None);
        }
        Ok(Some(Reply::from_clean(code, std::mem::take(self).text)))
    }
}

fn split_lf(buf: &[u8]) -> Option<(&[u8], &[u8])> {
    let (line, rest) = buf.split_at_checked(memchr(b'\n', buf)?)?;
    Some((line, rest.strip_prefix(b"\n")?))
}

/// RFC 5321 §4.2.1: code, whether the line is the last, text. A code alone is a whole line (§4.2: some servers omit the
/// space).
fn split_line(line: &[u8]) -> Option<(ReplyCode, bool, &[u8])> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = ReplyCode::new(std::str::from_utf8(digits).ok()?.parse().ok()?)?;
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

fn not_a_reply(line: &[u8]) -> ReplyError {
    // Enough to recognise another protocol by.
    let start = line.get(..40).unwrap_or(line);
    ReplyError::NotAReply {
        found: escape(start).to_string().into(),
    }
}
