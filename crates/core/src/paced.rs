//! How a reply is said while it is held.
//!
//! A [`Paced`] is a text with its timetable: pure arithmetic on a moment and on what was said so
//! far, so that a keeper, which knows no SMTP, can say it as well as the session itself. It promises:
//!
//! - The text as a whole is one reply as RFC 5321 §4.2 has it, whatever the pieces are.
//! - It is complete at `until` and not earlier: the last line ends there.
//! - Whoever is late says everything that is due at once; nothing is said twice.
//!
//! Three ways ([`Way`]): silent; byte by byte (stutter), which keeps clients that wait for any octet
//! for long; continuation lines (`550-5.1.1 ...`), which keep those that wait for any line. Rejected: to
//! begin with another code, and to change one's mind later: the lines of a reply have one code (RFC
//! 5321 §4.2.1). So the first octets tell that the answer is no, as silence does that lasts.

use std::time::Duration;

use tarpit_smtp::Reply;

use crate::Tick;
use crate::answer;
use crate::octets::{Fault, Reader, Unreadable, put_number, put_octets};
use crate::policy::Way;

/// Continuation lines before a reply: together less than 1 KiB. In long holds they come more slowly.
const LINES_MAX: u64 = 20;

/// No continuation lines before a reply of more octets or lines than this. Some clients keep a whole
/// reply in 4 KiB (Exim), and none needs to read more than 100 lines (we don't either).
const LONG: (usize, usize) = (3 * 1024, 80);

/// Records of TLS for one reply. Each costs its client 22 octets or more, and us an encryption, a
/// system call and the keys at hand.
const RECORDS_MAX: u64 = 8;

/// The longest text: 100 lines of at most 512 octets, as replies are cut, and the continuation lines
/// before it.
const TEXT_MAX: usize = 64 * 1024;

/// The first octet of a record.
const VERSION: u8 = 1;

/// In which pieces a text is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// All of it, at the end.
    Whole,
    /// So many octets at a time; at least one.
    Octets(u16),
    /// A line at a time.
    Line,
}

/// A reply and its timetable. See the head of the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paced {
    since: Tick,
    until: Tick,
    text: Box<[u8]>,
    /// Milliseconds between two pieces; not zero but for [`Unit::Whole`].
    every: u32,
    unit: Unit,
}

/// A parcel of the pit may hold one.
const _: () = assert!(size_of::<Paced>() <= 40);

impl Paced {
    /// `text`, whole at `until`.
    #[must_use]
    pub const fn whole(since: Tick, until: Tick, text: Box<[u8]>) -> Self {
        Self {
            since,
            until,
            text,
            every: 0,
            unit: Unit::Whole,
        }
    }

    /// `reply`, held from `since` to `until`, with at least `pace` milliseconds between two pieces.
    /// `secured`: over TLS.
    #[must_use]
    pub(crate) fn of(
        (way, pace): (Way, u32),
        (since, until): (Tick, Tick),
        secured: bool,
        reply: &Reply,
    ) -> Self {
        let hold = u64::try_from(until.since(since).as_millis()).unwrap_or(u64::MAX);
        let pace = u64::from(pace).max(1);
        let mut text = Vec::new();
        let (unit, every) = match way {
            Way::Silent => {
                reply.write_to(&mut text);
                (Unit::Whole, 0)
            }
            Way::Stutter => {
                reply.write_to(&mut text);
                let octets = text.len() as u64;
                let pieces = if secured { RECORDS_MAX } else { octets };
                let each = octets.div_ceil(pieces.max(1)).max(1);
                let unit = Unit::Octets(u16::try_from(each).unwrap_or(u16::MAX));
                (unit, hold.div_ceil(pieces.max(1)).max(pace))
            }
            Way::Continuation => {
                let mut own = Vec::new();
                reply.write_to(&mut own);
                let most = match secured {
                    _ if own.len() > LONG.0 || reply.lines().count() > LONG.1 => 0,
                    true => RECORDS_MAX - 1,
                    false => LINES_MAX,
                };
                let every = hold.div_ceil(most + 1).max(pace);
                let filler = answer::please_wait(reply);
                for _ in 0..hold.saturating_sub(1) / every {
                    text.extend_from_slice(&filler);
                }
                text.append(&mut own);
                (Unit::Line, every)
            }
        };
        Self {
            since,
            until,
            text: text.into(),
            every: u32::try_from(every).unwrap_or(u32::MAX),
            unit,
        }
    }

    /// The whole text.
    #[must_use]
    pub const fn text(&self) -> &[u8] {
        &self.text
    }

    /// When it is complete.
    #[must_use]
    pub const fn until(&self) -> Tick {
        self.until
    }

    /// Whether something of it is due before its end.
    #[must_use]
    pub fn is_in_pieces(&self) -> bool {
        self.next_at(0) < self.until
    }

    /// How many octets of the text should have been said by `now`: all of them from the end of the
    /// hold on, and never the end of the last line before.
    #[must_use]
    pub fn due(&self, now: Tick) -> usize {
        if now >= self.until {
            return self.text.len();
        }
        let pieces = self.pieces(now);
        match self.unit {
            Unit::Whole => 0,
            Unit::Octets(each) => {
                let octets = pieces.saturating_mul(usize::from(each));
                octets.min(self.text.len().saturating_sub(b"\r\n".len()))
            }
            Unit::Line => self.lines().take(pieces).last().unwrap_or(0),
        }
    }

    /// What is to be said now, if `said` octets were said.
    #[must_use]
    pub fn piece(&self, now: Tick, said: usize) -> &[u8] {
        self.text.get(said..self.due(now)).unwrap_or_default()
    }

    /// When more than `said` octets are due: the next piece, at the latest the end of the hold.
    #[must_use]
    pub fn next_at(&self, said: usize) -> Tick {
        let pieces = match self.unit {
            Unit::Whole => return self.until,
            Unit::Octets(each) => {
                let most = self.text.len().saturating_sub(b"\r\n".len());
                if said >= most {
                    return self.until;
                }
                said / usize::from(each.max(1))
            }
            Unit::Line => {
                let over = self.lines().filter(|end| *end <= said).count();
                if over >= self.lines().count() {
                    return self.until;
                }
                over
            }
        };
        let next = u64::from(self.every).saturating_mul(pieces as u64 + 1);
        self.until.min(self.since + Duration::from_millis(next))
    }

    /// Pieces whose time has come.
    fn pieces(&self, now: Tick) -> usize {
        let millis = now.since(self.since).as_millis();
        let pieces = millis.checked_div(u128::from(self.every)).unwrap_or(0);
        usize::try_from(pieces).unwrap_or(usize::MAX)
    }

    /// The ends of the lines, but for the last line.
    fn lines(&self) -> impl Iterator<Item = usize> {
        let text = self.text.get(..self.text.len().saturating_sub(1));
        text.unwrap_or_default()
            .iter()
            .enumerate()
            .filter(|(_, octet)| **octet == b'\n')
            .map(|(at, _)| at + 1)
    }

    /// Appends it as a record for another process.
    pub fn encode(&self, into: &mut Vec<u8>) {
        into.push(VERSION);
        let (unit, each) = match self.unit {
            Unit::Whole => (0, 0),
            Unit::Line => (1, 0),
            Unit::Octets(each) => (2, each),
        };
        into.push(unit);
        if unit == 2 {
            put_number(into, u64::from(each));
        }
        if unit != 0 {
            put_number(into, u64::from(self.every));
        }
        put_number(into, self.since.as_millis());
        put_number(into, self.until.as_millis());
        put_octets(into, &self.text);
    }

    /// Reads a record, and says what follows it.
    ///
    /// # Errors
    /// The octets are none that [`Paced::encode`] of this version writes.
    pub fn decode(bytes: &[u8]) -> Result<(Self, &[u8]), Unreadable> {
        let mut from = Reader::new(bytes);
        from.version(VERSION, "form of the reply")?;
        let start = from;
        let unknown = |found: u64| start.fault("pace of the reply", Fault::Unknown { found });
        let unit = match from.octet("unit")? {
            0 => Unit::Whole,
            1 => Unit::Line,
            2 => Unit::Octets(small(&mut from, "octets at a time")?),
            found => return Err(unknown(found.into())),
        };
        let every = match unit {
            Unit::Whole => 0,
            Unit::Line | Unit::Octets(_) => from.short("time between two pieces")?,
        };
        if unit == Unit::Octets(0) || (every == 0 && unit != Unit::Whole) {
            return Err(unknown(0));
        }
        let paced = Self {
            since: Tick::from_millis(from.number("start of the hold")?),
            until: Tick::from_millis(from.number("end of the hold")?),
            text: from.octets(TEXT_MAX, "text of the reply")?.into(),
            every,
            unit,
        };
        Ok((paced, from.rest()))
    }
}

fn small(from: &mut Reader<'_>, field: &'static str) -> Result<u16, Unreadable> {
    let found = from.at_most(u16::MAX.into(), field)?;
    Ok(u16::try_from(found).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
