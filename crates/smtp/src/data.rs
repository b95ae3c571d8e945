//! Finds the end of message data, and lets nothing through that two servers could read in two ways.
//!
//! Only CRLF . CRLF ends the data (RFC 5321 §4.1.1.4). A CR without LF, or an LF without CR, is in no message
//! (§2.3.8); servers that take one of them for a line end see an end, and then commands, where others see text:
//! this is SMTP smuggling. So CR, and a dot at the start of a line, are withheld until what follows has judged them;
//! at the first bare one passing stops for good, while the end is still looked for, by the same rule.
//!
//! Promises, in any chunking: what is passed on is the input up to the first bare CR or LF; if there is none, what is
//! passed on and [`END_OF_DATA`] are together the input, octet for octet. One pass, three octets of state, no buffer.
//! NUL and octets above 127 are passed on: the next server says what it takes.
//!
//! [`BareNewline::Normalize`] is the one exception, for senders that know no better (printers, scripts): a bare LF is
//! passed on as CRLF. It never ends the data: a line with nothing but a dot that isn't between two CRLFs is passed on
//! as `..`, which is the text `.` for every reader. A bare CR is refused all the same: what it was meant to be, nobody
//! can know. Repairing line ends for everybody (as `smtpd_forbid_bare_newline = normalize` does) was rejected:
//! signatures would break, and a gateway that changes bytes can't promise to keep them.

use crate::pieces::Run;
pub use crate::pieces::{PIECES_MAX, Pieces};
use memchr::memchr2;

/// What the caller sends itself when the data is over: the body already ends with the CRLF of its last line, or is
/// empty (RFC 5321 §4.1.1.4).
pub const END_OF_DATA: &[u8] = b".\r\n";

/// What becomes of an LF without CR in message data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BareNewline {
    /// The message is refused.
    #[default]
    Reject,
    /// It is passed on as CRLF; never does it end the data.
    Normalize,
}

/// Finds the end of message data; starts as if CRLF had just come, so that `.` CRLF at once is an empty message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataScanner {
    rule: BareNewline,
    place: Place,
    bare: Option<BareKind>,
}

// A session in the middle of its data keeps one of these.
const _: () = assert!(size_of::<DataScanner>() == 3);

/// Where the scanner stands, and so what it withholds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Behind CRLF, or at the start.
    #[default]
    LineStart,
    /// Behind a bare LF that was passed on as CRLF.
    LfStart,
    /// Behind a dot at the start of a line.
    Dot,
    /// Behind such a dot and a CR.
    DotCr,
    /// Behind a dot after a bare LF.
    LfDot,
    /// Behind such a dot and a CR.
    LfDotCr,
    /// Within a line.
    Text,
    /// Behind a CR within a line.
    Cr,
}

impl Place {
    /// The octets that wait for judgement here.
    const fn withheld(self) -> &'static [u8] {
        match self {
            Self::LineStart | Self::LfStart | Self::Text => b"",
            Self::Dot | Self::LfDot => b".",
            Self::DotCr | Self::LfDotCr => b".\r",
            Self::Cr => b"\r",
        }
    }
}

/// What one chunk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan<'a> {
    /// What is to be passed on, in this order, still (or now) dot-stuffed: parts of the chunk, and octets that were
    /// withheld from earlier chunks or stand for others.
    pub pieces: Pieces<'a>,
    /// Dots in `pieces` that the next server takes out again, one at the start of a line (RFC 5321 §4.5.2): RFC 1870 §5
    /// doesn't count them in the size of the message.
    pub dots: usize,
    /// Octets of the chunk that are used up, what is withheld included. All of them with [`ScanState::More`]; at
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
    /// There are as many pieces as one scan gives: go on with the octets after `consumed`, of which there may be none.
    /// Never with [`BareNewline::Reject`].
    Full,
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
    pub fn new(rule: BareNewline) -> Self {
        Self {
            rule,
            ..Self::default()
        }
    }

    /// The first CR or LF of this message for which it is refused, if one has been found.
    #[must_use]
    pub fn bare(&self) -> Option<BareKind> {
        self.bare
    }

    /// Scans the next octets of the message: the chunk must start where the last call's `consumed` ended.
    pub fn scan<'a>(&mut self, chunk: &'a [u8]) -> Scan<'a> {
        let mut run = Run::new(self.place.withheld(), chunk);
        let passing = self.bare.is_none();
        let state = self.advance(&mut run);
        let (consumed, dots) = (run.consumed(), run.dots());
        let (pieces, dots) = if passing {
            (run.into_pieces(), dots)
        } else {
            (Pieces::default(), 0)
        };
        Scan {
            pieces,
            dots,
            consumed,
            state,
        }
    }

    /// Goes through the chunk, and passes what is judged fine.
    fn advance(&mut self, run: &mut Run<'_>) -> ScanState {
        loop {
            if self.place == Place::Text && !run.skip_to(|rest| memchr2(b'\r', b'\n', rest)) {
                run.pass(0);
                return ScanState::More;
            }
            let Some(octet) = run.peek() else {
                run.pass(self.place.withheld().len());
                return ScanState::More;
            };
            match (self.place, octet) {
                (Place::DotCr, b'\n') => {
                    run.take();
                    run.pass(END_OF_DATA.len());
                    *self = Self::new(self.rule);
                    return ScanState::End;
                }
                (Place::Cr, b'\n') => self.go(run, Place::LineStart),
                (Place::LfDotCr, b'\n') => {
                    run.take();
                    run.replace(b".\r\n".len(), b"..\r\n");
                    run.count_dot();
                    self.place = Place::LineStart;
                    if run.is_full() {
                        return ScanState::Full;
                    }
                }
                // The CR before this octet is bare; the octet itself is looked at as text.
                (Place::Cr | Place::DotCr | Place::LfDotCr, _) => {
                    self.place = Place::Text;
                    if self.note(BareKind::Cr) {
                        run.pass(1);
                        return ScanState::Bare(BareKind::Cr);
                    }
                }
                (_, b'\n') => {
                    if let Some(state) = self.bare_lf(run) {
                        return state;
                    }
                }
                (Place::LineStart, b'.') => self.go(run, Place::Dot),
                (Place::LfStart, b'.') => self.go(run, Place::LfDot),
                (Place::Dot, b'\r') => self.go(run, Place::DotCr),
                (Place::LfDot, b'\r') => self.go(run, Place::LfDotCr),
                (_, b'\r') => self.go(run, Place::Cr),
                (Place::Dot | Place::LfDot, _) => {
                    run.count_dot();
                    self.place = Place::Text;
                }
                _ => self.place = Place::Text,
            }
        }
    }

    fn go(&mut self, run: &mut Run<'_>, place: Place) {
        run.take();
        self.place = place;
    }

    /// An LF without CR comes next.
    fn bare_lf(&mut self, run: &mut Run<'_>) -> Option<ScanState> {
        run.take();
        if self.rule == BareNewline::Reject {
            self.place = Place::Text;
            return self.note(BareKind::Lf).then(|| {
                run.pass(1);
                ScanState::Bare(BareKind::Lf)
            });
        }
        match self.place {
            // A dot alone: text for whom only CRLF ends a line, and now for everybody.
            Place::Dot | Place::LfDot => {
                run.replace(b".\n".len(), b"..\r\n");
                run.count_dot();
            }
            _ => run.replace(b"\n".len(), b"\r\n"),
        }
        self.place = Place::LfStart;
        run.is_full().then_some(ScanState::Full)
    }

    /// Remembers a bare octet; true if it's the first.
    fn note(&mut self, kind: BareKind) -> bool {
        let first = self.bare.is_none();
        self.bare.get_or_insert(kind);
        first
    }
}
