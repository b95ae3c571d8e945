//! Finds the end of message data, and lets nothing through that two servers could read in two ways.
//!
//! Only CRLF . CRLF ends the data (RFC 5321 §4.1.1.4). A CR without LF, or an LF without CR, is in no message
//! (§2.3.8); servers that take one of them for a line end see an end, and then commands, where others see text:
//! this is SMTP smuggling. So CR, and a dot at the start of a line, are withheld until what follows has judged them;
//! at the first bare one passing stops for good, while the end is still looked for, by the same rule.
//!
//! Promises, in any chunking: what is passed on is the input up to the first bare CR or LF; if there is none, what is
//! passed on and [`END_OF_DATA`] are together the input, octet for octet. One pass, two octets of state, no buffer.
//! NUL and octets above 127 are passed on: the next server says what it takes.
//!
//! Repairing line ends (as `smtpd_forbid_bare_newline = normalize` does) was rejected: signatures would break, and a
//! gateway that changes bytes can't promise to keep them.

use memchr::memchr2;

/// What the caller sends itself when the data is over: the body already ends with the CRLF of its last line, or is
/// empty (RFC 5321 §4.1.1.4).
pub const END_OF_DATA: &[u8] = b".\r\n";

/// Finds the end of message data; starts as if CRLF had just come, so that `.` CRLF at once is an empty message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataScanner {
    place: Place,
    bare: Option<BareKind>,
}

// A session in the middle of its data keeps one of these.
const _: () = assert!(size_of::<DataScanner>() == 2);

/// Where the scanner stands, and so what it withholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Behind CRLF, or at the start.
    #[default]
    LineStart,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
    /// Within a line.
    Text,
    /// Behind a CR within a line.
    Cr,
}

impl Place {
    /// The octets that wait for judgement here.
    const fn withheld(self) -> &'static [u8] {
        match self {
            Self::LineStart | Self::Text => b"",
            Self::Dot => b".",
            Self::DotCr => b".\r",
            Self::Cr => b"\r",
        }
    }
}

/// What one chunk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// Octets of earlier chunks that are now judged fine: to be passed on before `body`.
    pub withheld: &'static [u8],
    /// Octets of this chunk that may be passed on as they are, still dot-stuffed.
    pub body: &'a [u8],
    /// Octets of the chunk that are used up, what is withheld included. All of them while there is more to come; at
    /// the end, through the final LF; at a bare CR or LF, through this. It may be 0 at a bare CR that ended an
    /// earlier chunk: the next call goes on all the same.
    pub consumed: usize,
    /// How it stands.
    pub state: ScanState,
}

/// How it stands after a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanState {
    /// The chunk is used up; the data goes on.
    More,
    /// The data is over; the octets after `consumed` are commands. The scanner is as new.
    End,
    /// A bare CR or LF: nothing is passed on from here. Reported once; the caller goes on scanning, to the end.
    Bare(BareKind),
}

/// Which octet stood alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BareKind {
    /// CR without LF.
    Cr,
    /// LF without CR.
    Lf,
}

impl DataScanner {
    /// A scanner at the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first bare CR or LF of this message, if one has been found.
    #[must_use]
    pub fn bare(&self) -> Option<BareKind> {
        self.bare
    }

    /// Scans the next octets of the message: the chunk must start where the last call's `consumed` ended.
    pub fn scan<'a>(&mut self, chunk: &'a [u8]) -> Scan<'a> {
        let before = self.place.withheld();
        let passing = self.bare.is_none();
        let (state, unused, kept) = self.advance(chunk);
        let consumed = chunk.len().saturating_sub(unused);
        let (withheld, body) = if passing {
            judged(before, chunk, consumed, kept)
        } else {
            (&b""[..], &b""[..])
        };
        Scan {
            withheld,
            body,
            consumed,
            state,
        }
    }

    /// Goes through `chunk`; gives the number of octets that are left, and how many of those before them aren't to
    /// be passed on.
    fn advance(&mut self, chunk: &[u8]) -> (ScanState, usize, usize) {
        let mut rest = chunk;
        loop {
            if self.place == Place::Text {
                let Some(found) = memchr2(b'\r', b'\n', rest).and_then(|at| rest.get(at..)) else {
                    return (ScanState::More, 0, 0);
                };
                rest = found;
            }
            let Some((&octet, after)) = rest.split_first() else {
                return (ScanState::More, 0, self.place.withheld().len());
            };
            match (self.place, octet) {
                (Place::DotCr, b'\n') => {
                    *self = Self::new();
                    return (ScanState::End, after.len(), END_OF_DATA.len());
                }
                (Place::Cr, b'\n') => (self.place, rest) = (Place::LineStart, after),
                // The CR before this octet is bare; the octet itself is looked at as text.
                (Place::Cr | Place::DotCr, _) => {
                    self.place = Place::Text;
                    if self.note(BareKind::Cr) {
                        return (ScanState::Bare(BareKind::Cr), rest.len(), 1);
                    }
                }
                (Place::LineStart, b'.') => (self.place, rest) = (Place::Dot, after),
                (Place::Dot, b'\r') => (self.place, rest) = (Place::DotCr, after),
                (Place::LineStart | Place::Text, b'\r') => (self.place, rest) = (Place::Cr, after),
                (Place::LineStart | Place::Dot | Place::Text, b'\n') => {
                    (self.place, rest) = (Place::Text, after);
                    if self.note(BareKind::Lf) {
                        return (ScanState::Bare(BareKind::Lf), rest.len(), 1);
                    }
                }
                (Place::LineStart | Place::Dot | Place::Text, _) => self.place = Place::Text,
            }
        }
    }

    /// Remembers a bare octet; true if it's the first.
    fn note(&mut self, kind: BareKind) -> bool {
        let first = self.bare.is_none();
        self.bare.get_or_insert(kind);
        first
    }
}

/// What may be passed on of `before` and `chunk[..consumed]`, without the last `kept` octets of both together.
fn judged<'a>(
    before: &'static [u8],
    chunk: &'a [u8],
    consumed: usize,
    kept: usize,
) -> (&'static [u8], &'a [u8]) {
    match consumed.checked_sub(kept) {
        Some(end) => (before, chunk.get(..end).unwrap_or_default()),
        None => {
            let end = before.len().saturating_add(consumed).saturating_sub(kept);
            (before.get(..end).unwrap_or_default(), b"")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything passed on, whether the end was found, the first bare octet, and what wasn't consumed.
    fn run(input: &[u8], size: usize) -> (Vec<u8>, bool, Option<BareKind>, usize) {
        let (mut scanner, mut passed, mut bare, mut used) =
            (DataScanner::new(), Vec::new(), None, 0);
        for chunk in input.chunks(size) {
            let mut rest = chunk;
            loop {
                let scan = scanner.scan(rest);
                passed.extend_from_slice(scan.withheld);
                passed.extend_from_slice(scan.body);
                used += scan.consumed;
                rest = &rest[scan.consumed..];
                match scan.state {
                    ScanState::More => break,
                    ScanState::End => return (passed, true, bare, input.len() - used),
                    ScanState::Bare(kind) => assert_eq!(bare.replace(kind), None, "reported twice"),
                }
            }
            assert!(rest.is_empty());
        }
        (passed, false, bare, input.len() - used)
    }

    /// Input, what is passed on, whether the end is in it, the bare octet, octets after the end.
    type Case = (&'static [u8], &'static [u8], bool, Option<BareKind>, usize);

    #[test]
    fn smuggling_matrix() {
        use BareKind::{Cr, Lf};
        let table: &[Case] = &[
            (b".\r\n", b"", true, None, 0),
            (b".\r\nQUIT\r\n", b"", true, None, 6),
            (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", true, None, 6),
            (b"\r\n.\r\n", b"\r\n", true, None, 0),
            (b"a\r\n..\r\n.\r\n", b"a\r\n..\r\n", true, None, 0),
            (b"a\r\n.b\r\n", b"a\r\n.b\r\n", false, None, 0),
            (b"a\r\n.", b"a\r\n", false, None, 0),
            (b"a\r\n.\r", b"a\r\n", false, None, 0),
            (b"a\r", b"a", false, None, 0),
            (b"a.\r\n.\r\n", b"a.\r\n", true, None, 0),
            (b"a\n.\nx\r\n.\r\n", b"a", true, Some(Lf), 0),
            (b"a\n.\r\nx\r\n.\r\n", b"a", true, Some(Lf), 0),
            (b"a\r.\rx\r\n.\r\n", b"a", true, Some(Cr), 0),
            (b"a\r\n.\rx\r\n.\r\n", b"a\r\n.", true, Some(Cr), 0),
            (b"a\r\n.\nx\r\n.\r\n", b"a\r\n.", true, Some(Lf), 0),
            (b"a\r.\r\nx\r\n.\r\n", b"a", true, Some(Cr), 0),
            (b"a\r\r\n.\r\n", b"a", true, Some(Cr), 0),
            (b"a\r\n.\r\r\n.\r\n", b"a\r\n.", true, Some(Cr), 0),
            (
                b"a\r\n\0.\r\nx\r\n.\r\n",
                b"a\r\n\0.\r\nx\r\n",
                true,
                None,
                0,
            ),
            (
                b"a\r\n.\0\r\nx\r\n.\r\n",
                b"a\r\n.\0\r\nx\r\n",
                true,
                None,
                0,
            ),
            (b"a\r\0\n.\r\n", b"a", false, Some(Cr), 0),
            (b"\n.\r\n", b"", false, Some(Lf), 0),
            (b".\n", b".", false, Some(Lf), 0),
            (b".\r.\r\n", b".", false, Some(Cr), 0),
            (b"\r.\r\n\r\n.\r\nX", b"", true, Some(Cr), 1),
        ];
        for &(input, passed, end, bare, after) in table {
            for size in 1..=input.len() {
                let found = run(input, size);
                assert_eq!(
                    found,
                    (passed.to_vec(), end, bare, after),
                    "{} by {size}",
                    crate::escape(input)
                );
            }
        }
    }

    #[test]
    fn the_scanner_is_as_new_after_the_end() {
        let mut scanner = DataScanner::new();
        scanner.scan(b"a\nb\r\n.");
        assert_eq!(scanner.bare(), Some(BareKind::Lf));
        scanner.scan(b"b\r\n.\r\n");
        assert_eq!(scanner, DataScanner::new());
    }
}
