//! One line of a record file, or of the gateway's JSON log: both name things alike.
//!
//! What is in a file is not trusted: a line that can't be read is counted and passed over.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;
use tarpit_core::{Prefixes, Source};

/// The fields of records that reports and replays look at. Those that a kind of line lacks have
/// their zero.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Line<'a> {
    /// The version of the record format; the log has none.
    pub(crate) v: Option<u32>,
    /// RFC 3339.
    pub(crate) timestamp: &'a str,
    /// Which kind of line it is.
    pub(crate) target: &'a str,
    pub(crate) session: &'a str,
    pub(crate) source: &'a str,
    pub(crate) client: &'a str,
    pub(crate) listener: &'a str,
    pub(crate) mode: &'a str,
    pub(crate) end: &'a str,
    // Of acts.
    pub(crate) deed: &'a str,
    pub(crate) judged: &'a str,
    pub(crate) offence: Option<&'a str>,
    pub(crate) took_seconds: f64,
    pub(crate) price_seconds: f64,
    pub(crate) transaction: u32,
    pub(crate) role: bool,
    // Of holds.
    pub(crate) reason: &'a str,
    pub(crate) known: bool,
    // Of holds and sessions.
    pub(crate) held_seconds: f64,
    // Of sessions.
    pub(crate) authenticated: bool,
    pub(crate) exempt: bool,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    pub(crate) deferred: u64,
    pub(crate) unseen: u64,
    pub(crate) auth_failed: u64,
    pub(crate) messages_accepted: u64,
    pub(crate) seconds: f64,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    Act,
    Hold,
    Session,
}

/// The newest format that is read.
const VERSION: u32 = 1;

impl<'a> Line<'a> {
    /// Reads it; `Ok(None)` for lines of the log that are no records.
    ///
    /// # Errors
    ///
    /// It is no JSON object, or lacks what a record has.
    pub(crate) fn read(text: &'a [u8]) -> Result<Option<(About, Self)>, Unreadable> {
        let line: Self = serde_json::from_slice(text).map_err(|_| Unreadable)?;
        if line.v.is_some_and(|version| version > VERSION) {
            return Err(Unreadable);
        }
        let about = match line.target {
            "tarpit::act" => About::Act,
            "tarpit::hold" if !line.end.is_empty() => About::Hold,
            // A proxy's own check has no source.
            "tarpit::session" if !line.source.is_empty() => About::Session,
            _ => return Ok(None),
        };
        Ok(Some((about, line)))
    }

    /// Milliseconds since 1970.
    pub(crate) fn at(&self) -> Option<i64> {
        millis(self.timestamp)
    }

    /// Who is charged.
    pub(crate) fn source(&self) -> Option<Source> {
        let (address, bits) = match self.source.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().ok()?)),
            None => (self.source, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits.is_some_and(|bits| bits > most) {
            return None;
        }
        let prefixes = match address {
            IpAddr::V4(_) => Prefixes {
                v4: bits.unwrap_or(32),
                v6: 128,
            },
            IpAddr::V6(_) => Prefixes {
                v4: 32,
                v6: bits.unwrap_or(128),
            },
        };
        Some(Source::of(address, prefixes))
    }

    pub(crate) fn held(&self) -> Duration {
        span(self.held_seconds)
    }

    /// Whether nothing was really held.
    pub(crate) fn is_observed(&self) -> bool {
        self.end == "observed"
    }
}

/// A line that is no record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unreadable;

/// Whole milliseconds; what is no time is none.
pub(crate) fn span(seconds: f64) -> Duration {
    let span = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::ZERO);
    // A file may say anything, and sums must not overflow.
    let span = span.min(Duration::from_secs(1 << 32));
    Duration::from_millis(u64::try_from(span.as_micros().saturating_add(500) / 1000).unwrap_or(0))
}

/// `2026-11-30T20:01:05.123456Z`: the one form that the gateway writes. A general reader takes ten
/// times as long, and a million of them are half of a replay.
fn millis(text: &str) -> Option<i64> {
    let text = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        text.get(from..to)?.iter().try_fold(0, |sum, octet| {
            octet
                .is_ascii_digit()
                .then(|| sum * 10 + i64::from(octet - b'0'))
        })
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    let is_form = marks.iter().all(|(at, mark)| text.get(*at) == Some(mark));
    if !is_form || text.last() != Some(&b'Z') {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let fraction = match text.get(19) {
        Some(b'.') => number(20, 23).or_else(|| number(20, 21).map(|tenths| tenths * 100))?,
        _ => 0,
    };
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    Some((((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + fraction)
}

/// Days from 1970-01-01 to the first of a month of the Gregorian calendar. A year that begins in
/// March has its leap day at its end.
fn days_before(year: i64, month: i64) -> i64 {
    let (year, month) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (153 * month + 2) / 5 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_a_general_reader() {
        let mut second = 0_i64;
        while second < 4_000_000_000 {
            let time = jiff::Timestamp::from_second(second).unwrap();
            assert_eq!(millis(&time.to_string()), Some(second * 1000), "{time}");
            // About a day and a half, never the same time of day.
            second += 131_071;
        }
        assert_eq!(millis("1970-01-01T00:00:01.5Z"), Some(1500));
        assert_eq!(millis("1970-01-01T00:00:01.012345Z"), Some(1012));
        for bad in [
            "",
            "1970-01-01",
            "1970-01-01T00:00:01",
            "1970-13-01T00:00:01Z",
            "1970-01-01T00:00:0xZ",
        ] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }

    #[test]
    fn lines_of_both_files_are_read() {
        let log = br#"{"timestamp":"2026-11-30T20:01:05.123456Z","level":"INFO","message":"hold","session":"tp-00000001","source":"2001:db8::/64","reason":"debt","code":null,"held_seconds":1.0004,"end":"observed","mode":"observe","target":"tarpit::hold"}"#;
        let (about, line) = Line::read(log).unwrap().unwrap();
        assert_eq!(about, About::Hold);
        assert_eq!(line.source().unwrap().to_string(), "2001:db8::/64");
        assert_eq!(line.held(), Duration::from_millis(1000));
        assert!(line.is_observed());
        let act = br#"{"v":1,"timestamp":"2026-11-30T20:01:05Z","session":"tp-00000001","source":"192.0.2.1","deed":"rcpt","judged":"refused","offence":"unknown_recipient","took_seconds":0.25,"target":"tarpit::act"}"#;
        let (about, line) = Line::read(act).unwrap().unwrap();
        assert_eq!(
            (about, line.offence),
            (About::Act, Some("unknown_recipient"))
        );
    }

    #[test]
    fn sources_are_addresses_and_networks() {
        let source = |text| {
            let line = Line {
                source: text,
                ..Line::default()
            };
            line.source().map(|source| source.to_string())
        };
        for good in ["192.0.2.1", "192.0.2.0/24", "2001:db8::/64"] {
            assert_eq!(source(good).as_deref(), Some(good));
        }
        for bad in ["", "x", "192.0.2.1/33", "2001:db8::/129", "192.0.2.1/x"] {
            assert_eq!(source(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_no_record_is_passed_over() {
        assert!(
            Line::read(br#"{"timestamp":"x","message":"listening","target":"tarpit::listen"}"#)
                .unwrap()
                .is_none()
        );
        // Something about a hold that is not over.
        let note = br#"{"session":"tp-00000001","source":"192.0.2.1","target":"tarpit::hold"}"#;
        assert!(Line::read(note).unwrap().is_none());
        for bad in [
            "",
            "{",
            "7",
            "null",
            "{\"v\":2,\"target\":\"tarpit::act\"}",
            "{\"session\":7}",
        ] {
            assert!(Line::read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
