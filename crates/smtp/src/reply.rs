//! A server's reply (RFC 5321 §4.2): code, enhanced status code (RFC 2034, RFC 3463), lines of text.
//!
//! A [`Reply`] is clean by construction: whatever an upstream sent, it holds no control character but the tab, so
//! it can be printed to a client and can't end its line early. Octets above 127 are kept: they break nothing, and the
//! text may be the only explanation that a sender gets.

use crate::escape::escape;
use crate::limits::{AUTH_LINE_MAX, REPLY_LINE_MAX, REPLY_LINES_MAX, REPLY_MAX};
use std::fmt::{self, Write as _};

/// A reply code, 200 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// 250: the requested action was taken.
    pub const OK: Self = Self(250);
    /// 354: the data may come.
    pub const START_DATA: Self = Self(354);
    /// 421: the service is not available, and the connection ends (RFC 5321 §3.8).
    pub const CLOSING: Self = Self(421);
    /// 451: an error in processing; try again.
    pub const LOCAL_ERROR: Self = Self(451);

    /// None outside 200..=599: 1yz is never sent in SMTP (RFC 5321 §4.2.1).
    #[must_use]
    pub const fn new(code: u16) -> Option<Self> {
        match code {
            200..=599 => Some(Self(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number as it goes over the wire.
    #[must_use]
    pub fn digits(self) -> [u8; 3] {
        [self.0 / 100, self.0 / 10 % 10, self.0 % 10].map(|digit| {
            // A digit is one octet.
            b'0'.saturating_add(u8::try_from(digit).unwrap_or(0))
        })
    }

    /// 2yz: done.
    #[must_use]
    pub const fn is_positive(self) -> bool {
        matches!(self.0, 200..=299)
    }

    /// 3yz: go on.
    #[must_use]
    pub const fn is_intermediate(self) -> bool {
        matches!(self.0, 300..=399)
    }

    /// 4yz: not now.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self.0, 400..=499)
    }

    /// 5yz: never.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        matches!(self.0, 500..=599)
    }
}

impl fmt::Display for ReplyCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An enhanced status code (RFC 3463 §2): class.subject.detail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedCode {
    /// 2, 4 or 5.
    pub class: u8,
    /// 0 to 999; what it is about: 1 addresses, 2 mailboxes, 3 systems, 4 network, 5 protocol, 6 content, 7 policy.
    pub subject: u16,
    /// 0 to 999.
    pub detail: u16,
}

impl EnhancedCode {
    /// The code at the start of a reply's text, if there is one (RFC 2034 §4): white space or the end must follow it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        Self::split(text).map(|(code, _)| code)
    }

    /// The code, and what follows it.
    fn split(text: &[u8]) -> Option<(Self, &[u8])> {
        let (&class, rest) = text.split_first()?;
        let class = match class {
            b'2' => 2,
            b'4' => 4,
            b'5' => 5,
            _ => return None,
        };
        let (subject, rest) = number(rest.strip_prefix(b".")?)?;
        let (detail, rest) = number(rest.strip_prefix(b".")?)?;
        matches!(rest.first(), None | Some(b' ' | b'\t')).then_some((
            Self {
                class,
                subject,
                detail,
            },
            rest,
        ))
    }
}

/// RFC 3463 §2: `1*3digit`.
fn number(text: &[u8]) -> Option<(u16, &[u8])> {
    let digits = text
        .iter()
        .take(4)
        .take_while(|octet| octet.is_ascii_digit())
        .count();
    let (number, rest) = text
        .split_at_checked(digits)
        .filter(|_| (1..=3).contains(&digits))?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

impl fmt::Display for EnhancedCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// Room for the codes and line ends of a reply of some lines.
const LINES_ROOM: usize = 64;

/// A whole reply: bounded, and free of control characters other than the tab.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    code: ReplyCode,
    /// The lines without their codes, joined by LF.
    text: Box<[u8]>,
}

impl Reply {
    /// A reply with `text` as its lines, separated by `\n`.
    ///
    /// Control characters other than the tab become `?`. What exceeds 100 lines or 16 KiB is cut off.
    #[must_use]
    pub fn new(code: ReplyCode, text: &str) -> Self {
        Self::from_text(code, text.as_bytes())
    }

    /// A reply that was taken apart by [`Reply::code`] and [`Reply::text`], perhaps by another process: octets above
    /// 127 are kept, what else must not be there is treated as in [`Reply::new`].
    #[must_use]
    pub fn from_text(code: ReplyCode, text: &[u8]) -> Self {
        let mut clean = Vec::with_capacity(text.len().min(REPLY_MAX));
        for (at, line) in text
            .split(|&octet| octet == b'\n')
            .take(REPLY_LINES_MAX)
            .enumerate()
        {
            if at > 0 {
                clean.push(b'\n');
            }
            clean.extend(line.iter().copied().map(clean_octet));
        }
        clean.truncate(REPLY_MAX);
        Self::from_clean(code, clean)
    }

    /// `text` is clean, its lines joined by LF.
    pub(crate) fn from_clean(code: ReplyCode, text: Vec<u8>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// The reply code.
    #[must_use]
    pub fn code(&self) -> ReplyCode {
        self.code
    }

    /// The enhanced status code of the first line.
    #[must_use]
    pub fn enhanced(&self) -> Option<EnhancedCode> {
        EnhancedCode::parse(&self.text)
    }

    /// The lines without codes, joined by LF.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The lines without codes and line ends; at least one, which may be empty.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.text.split(|&octet| octet == b'\n')
    }

    /// The same text under another code.
    ///
    /// In each line that has an enhanced status code it's replaced by `enhanced`, or taken out if there is none, since
    /// its class must agree with the code (RFC 2034 §4).
    #[must_use]
    pub fn with_code(self, code: ReplyCode, enhanced: Option<EnhancedCode>) -> Self {
        let mut text = Vec::with_capacity(self.text.len());
        for (at, line) in self.lines().enumerate() {
            if at > 0 {
                text.push(b'\n');
            }
            match (EnhancedCode::split(line), enhanced) {
                (None, _) => text.extend_from_slice(line),
                (Some((_, rest)), None) => text.extend_from_slice(rest.trim_ascii_start()),
                (Some((_, rest)), Some(enhanced)) => {
                    text.extend_from_slice(enhanced.to_string().as_bytes());
                    text.extend_from_slice(rest);
                }
            }
        }
        Self::from_clean(code, text)
    }

    /// Adds the reply to `out` as it goes over the wire: `550-...` CRLF `550 ...` CRLF, each line cut to 512 octets with
    /// its CRLF (RFC 5321 §4.5.3.1.5); a challenge of AUTH (334) may have 12,288, and cut it would be another one
    /// (RFC 4954 §4).
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let max = if self.code.get() == 334 {
            AUTH_LINE_MAX
        } else {
            REPLY_LINE_MAX
        };
        let code = self.code.digits();
        // Enough for all but the longest, so that `out` grows once.
        out.reserve(self.text.len().saturating_add(LINES_ROOM));
        let mut lines = self.lines().peekable();
        while let Some(line) = lines.next() {
            out.extend_from_slice(&code);
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            out.extend_from_slice(cut(line, max.saturating_sub("550 \r\n".len())));
            out.extend_from_slice(b"\r\n");
        }
    }

    /// The reply in one line of printable ASCII, for logs: `550 5.1.1 No such user`, lines joined by ` / `.
    #[must_use]
    pub fn to_log(&self) -> String {
        let mut text = String::with_capacity(self.text.len().saturating_add(4));
        // Writing to a String can't fail.
        let _ok = write!(text, "{}", self.code);
        for (at, line) in self.lines().enumerate() {
            let _ok = write!(
                text,
                "{}{}",
                if at == 0 { " " } else { " / " },
                escape(line)
            );
        }
        text.truncate(text.trim_end().len());
        text
    }
}

/// The first `max` octets of `line`, fewer if a character of UTF-8 would be torn.
fn cut(line: &[u8], max: usize) -> &[u8] {
    let Some((head, [next, ..])) = line.split_at_checked(max) else {
        return line;
    };
    let continues = |octet: &u8| octet & 0xC0 == 0x80;
    if !continues(next) {
        return head;
    }
    // A character has four octets at most; without a start among the last three it is no UTF-8, and it's cut as it is.
    let tail = head
        .iter()
        .rev()
        .take(3)
        .position(|octet| !continues(octet));
    let torn = tail.map_or(0, |continuations| continuations.saturating_add(1));
    head.get(..head.len().saturating_sub(torn)).unwrap_or(head)
}

/// Controls other than the tab become `?`.
pub(crate) fn clean_octet(octet: u8) -> u8 {
    if octet.is_ascii_control() && octet != b'\t' {
        b'?'
    } else {
        octet
    }
}
