//! Values as octets, for what leaves the process: frozen sessions, what a driver keeps beside them,
//! snapshots of the ledger.
//!
//! Numbers are written in groups of seven bits, the low ones first, so that small ones take one
//! octet; texts and lists have their length before them. What is read was written by another
//! process, perhaps one of another version, perhaps none of ours: [`Reader`] never looks beyond
//! the end, makes no room for more than it was given, and says of each fault what it is and where.
//!
//! Rejected: a serialization library. It writes names or tags beside each value, where a million
//! sessions want none, and its errors don't know which field they are in.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use crate::{Prefixes, Source, Tick};

/// A number has 64 bits, seven in each octet.
const NUMBER_OCTETS_MAX: u32 = 10;

/// Writes a number.
pub fn put_number(into: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            into.push(low);
            return;
        }
        into.push(low | 0x80);
    }
}

/// Writes octets with their count before them.
pub fn put_octets(into: &mut Vec<u8>, octets: &[u8]) {
    put_count(into, octets.len());
    into.extend_from_slice(octets);
}

/// Writes the length of a list.
pub fn put_count(into: &mut Vec<u8>, count: usize) {
    put_number(into, u64::try_from(count).unwrap_or(u64::MAX));
}

/// Writes a span: in whole milliseconds, which most are; others in nanoseconds, in twice as many
/// octets. What has too many nanoseconds for that (292 years) is cut to milliseconds.
pub fn put_span(into: &mut Vec<u8>, span: Duration) {
    const MAX: u64 = u64::MAX >> 1;
    let is_whole = span.subsec_nanos().is_multiple_of(1_000_000);
    match u64::try_from(span.as_nanos()) {
        Ok(nanos) if !is_whole && nanos <= MAX => put_number(into, nanos << 1 | 1),
        _ => {
            let millis = u64::try_from(span.as_millis()).unwrap_or(MAX).min(MAX);
            put_number(into, millis << 1);
        }
    }
}

/// Writes a moment as its distance from one that the reader knows: most are near.
pub fn put_moment(into: &mut Vec<u8>, base: Tick, moment: Tick) {
    let distance = moment.as_millis().wrapping_sub(base.as_millis());
    // The sign goes into the lowest bit.
    let sign = if distance >> 63 == 0 { 0 } else { u64::MAX };
    put_number(into, distance.wrapping_shl(1) ^ sign);
}

/// Writes a source: the number of its bits, then its network.
pub fn put_source(into: &mut Vec<u8>, source: Source) {
    match source {
        Source::V4(network, bits) => {
            into.push(bits);
            into.extend_from_slice(&network.to_be_bytes());
        }
        Source::V6(network, bits) => {
            into.push(bits.saturating_add(SIX));
            let octets = network.to_be_bytes();
            let used = usize::from(bits).div_ceil(8);
            into.extend_from_slice(octets.get(..used).unwrap_or(&octets));
        }
    }
}

/// What the number of bits of an IPv6 network begins at; those of IPv4 end with 32.
const SIX: u8 = 33;

/// Why octets are not what they are taken for: the field that was read, the place, and the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// What was being read.
    pub field: &'static str,
    /// Octets before the fault.
    pub at: usize,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They end too early.
    Short,
    /// A number is larger than it may be.
    TooLarge {
        /// The number; the largest there is if it has more than 64 bits.
        found: u64,
        /// What is allowed.
        max: u64,
    },
    /// A number that stands for nothing.
    Unknown {
        /// The number.
        found: u64,
    },
    /// They were written in a form that is not known here.
    Version {
        /// The form they say they have.
        found: u8,
        /// The form that is known.
        known: u8,
    },
    /// A text is no UTF-8, holds a control character, or is not what may stand there.
    Text,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, at, fault } = self;
        write!(f, "{field}, after {at} octets: ")?;
        match fault {
            Fault::Short => f.write_str("the octets end too early"),
            Fault::TooLarge { found, max } => write!(f, "found {found}, at most {max} is allowed"),
            Fault::Unknown { found } => write!(f, "{found} stands for nothing"),
            Fault::Version { found, known } => {
                write!(f, "written in form {found}, only form {known} is known")
            }
            Fault::Text => f.write_str("the text is not one that may stand there"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Reads what the functions beside it write.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    /// From the first of `octets` on.
    #[must_use]
    pub const fn new(octets: &'a [u8]) -> Self {
        Self {
            rest: octets,
            whole: octets.len(),
        }
    }

    /// What was not read yet.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An error at this place.
    #[must_use]
    pub const fn fault(&self, field: &'static str, fault: Fault) -> Unreadable {
        Unreadable {
            field,
            at: self.whole.saturating_sub(self.rest.len()),
            fault,
        }
    }

    /// Takes as many octets.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn take(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.fault(field, Fault::Short))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes an array of octets.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Unreadable> {
        let (taken, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.fault(field, Fault::Short))?;
        self.rest = rest;
        Ok(*taken)
    }

    /// Takes one octet.
    ///
    /// # Errors
    /// If there is none.
    pub fn octet(&mut self, field: &'static str) -> Result<u8, Unreadable> {
        self.array(field).map(|[octet]| octet)
    }

    /// Takes the octet that says in which form the rest is.
    ///
    /// # Errors
    /// If it is another than `known`.
    pub fn version(&mut self, known: u8, field: &'static str) -> Result<(), Unreadable> {
        match self.rest.first() {
            Some(&found) if found != known => {
                Err(self.fault(field, Fault::Version { found, known }))
            }
            _ => self.octet(field).map(drop),
        }
    }

    /// Takes a number.
    ///
    /// # Errors
    /// If its octets end too early or hold more than 64 bits.
    pub fn number(&mut self, field: &'static str) -> Result<u64, Unreadable> {
        let start = *self;
        let mut number = 0_u64;
        for group in 0..NUMBER_OCTETS_MAX {
            let octet = self.octet(field)?;
            let (bits, shift) = (u64::from(octet & 0x7f), group.saturating_mul(7));
            let placed = bits.wrapping_shl(shift);
            if placed.wrapping_shr(shift) != bits {
                break;
            }
            number |= placed;
            if octet & 0x80 == 0 {
                return Ok(number);
            }
        }
        let fault = Fault::TooLarge {
            found: u64::MAX,
            max: u64::MAX,
        };
        Err(start.fault(field, fault))
    }

    /// Takes a number of a type that holds less than 64 bits.
    ///
    /// # Errors
    /// As [`Reader::number`], and if it is above `max`.
    pub fn at_most(&mut self, max: u64, field: &'static str) -> Result<u64, Unreadable> {
        let start = *self;
        match self.number(field)? {
            found if found > max => Err(start.fault(field, Fault::TooLarge { found, max })),
            number => Ok(number),
        }
    }

    /// Takes a number of 32 bits.
    ///
    /// # Errors
    /// As [`Reader::at_most`].
    pub fn short(&mut self, field: &'static str) -> Result<u32, Unreadable> {
        let number = self.at_most(u32::MAX.into(), field)?;
        Ok(u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Takes the length of a list whose members have one octet at least.
    ///
    /// # Errors
    /// If it is above `max`, or there are fewer octets left.
    pub fn count(&mut self, max: usize, field: &'static str) -> Result<usize, Unreadable> {
        let start = *self;
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        let count = usize::try_from(self.at_most(max, field)?).unwrap_or(usize::MAX);
        if count > self.rest.len() {
            return Err(start.fault(field, Fault::Short));
        }
        Ok(count)
    }

    /// Takes octets that have their count before them.
    ///
    /// # Errors
    /// If there are more than `max`, or fewer than they say.
    pub fn octets(&mut self, max: usize, field: &'static str) -> Result<&'a [u8], Unreadable> {
        let count = self.count(max, field)?;
        self.take(count, field)
    }

    /// Takes a text.
    ///
    /// # Errors
    /// As [`Reader::octets`], and if it is no UTF-8 or holds a control character: what is said to a
    /// server holds none.
    pub fn text(&mut self, max: usize, field: &'static str) -> Result<&'a str, Unreadable> {
        let start = *self;
        let octets = self.octets(max, field)?;
        std::str::from_utf8(octets)
            .ok()
            .filter(|text| !text.bytes().any(|octet| octet.is_ascii_control()))
            .ok_or_else(|| start.fault(field, Fault::Text))
    }

    /// Takes a source.
    ///
    /// # Errors
    /// If it has more bits than an address, or the octets end too early.
    pub fn source(&mut self, field: &'static str) -> Result<Source, Unreadable> {
        let start = *self;
        let found = self.octet(field)?;
        let Some(v6) = found.checked_sub(SIX) else {
            let address = Ipv4Addr::from(self.array::<4>(field)?);
            return Ok(Source::of(address.into(), Prefixes { v4: found, v6: 0 }));
        };
        if v6 > 128 {
            let found = found.into();
            return Err(start.fault(field, Fault::Unknown { found }));
        }
        let mut octets = [0; 16];
        let used = usize::from(v6).div_ceil(8);
        let network = self.take(used, field)?;
        for (octet, given) in octets.iter_mut().zip(network) {
            *octet = *given;
        }
        // Not by way of an address: one that maps IPv4 would become another source.
        let bits = u128::MAX.checked_shl(128_u32.saturating_sub(v6.into()));
        let network = u128::from(Ipv6Addr::from(octets)) & bits.unwrap_or(0);
        Ok(Source::V6(network, v6))
    }

    /// Takes a span of time.
    ///
    /// # Errors
    /// As [`Reader::number`].
    pub fn span(&mut self, field: &'static str) -> Result<Duration, Unreadable> {
        let number = self.number(field)?;
        Ok(if number & 1 == 0 {
            Duration::from_millis(number >> 1)
        } else {
            Duration::from_nanos(number >> 1)
        })
    }

    /// Takes a moment that was written as its distance from `base`.
    ///
    /// # Errors
    /// As [`Reader::number`].
    pub fn moment(&mut self, base: Tick, field: &'static str) -> Result<Tick, Unreadable> {
        let number = self.number(field)?;
        let sign = if number & 1 == 0 { 0 } else { u64::MAX };
        let distance = (number >> 1) ^ sign;
        Ok(Tick::from_millis(base.as_millis().wrapping_add(distance)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T>(
        octets: &[u8],
        read: impl FnOnce(&mut Reader<'_>) -> Result<T, Unreadable>,
    ) -> Result<T, String> {
        let mut reader = Reader::new(octets);
        let value = read(&mut reader).map_err(|error| error.to_string())?;
        assert_eq!(reader.rest(), b"", "all of it");
        Ok(value)
    }

    #[test]
    fn numbers() {
        for number in [0, 1, 127, 128, 300, 1 << 35, u64::MAX >> 1, u64::MAX] {
            let mut octets = Vec::new();
            put_number(&mut octets, number);
            assert_eq!(read(&octets, |from| from.number("n")), Ok(number));
            for end in 0..octets.len() {
                assert!(read(&octets[..end], |from| from.number("n")).is_err());
            }
        }
        assert_eq!(
            read(&[0xff; 12], |from| from.number("n")).unwrap_err(),
            format!(
                "n, after 0 octets: found {0}, at most {0} is allowed",
                u64::MAX
            )
        );
        // 64 bits, and one more.
        assert!(read(&[&[0xff; 9][..], &[2]].concat(), |from| from.number("n")).is_err());
    }

    #[test]
    fn spans_and_moments() {
        for span in [
            Duration::ZERO,
            Duration::from_secs(5),
            Duration::from_nanos(5_000_000_001),
            Duration::from_nanos(u64::MAX >> 1),
            Duration::from_millis(u64::MAX >> 1),
        ] {
            let mut octets = Vec::new();
            put_span(&mut octets, span);
            assert_eq!(read(&octets, |from| from.span("s")), Ok(span));
        }
        let at = Tick::from_millis;
        for (base, moment) in [(0, 0), (7, 3), (3, 7), (0, u64::MAX), (u64::MAX, 0)] {
            let mut octets = Vec::new();
            put_moment(&mut octets, at(base), at(moment));
            assert_eq!(
                read(&octets, |from| from.moment(at(base), "m")),
                Ok(at(moment))
            );
        }
        let long = Duration::from_nanos(u64::MAX) + Duration::from_nanos(1);
        for span in [Duration::MAX, long] {
            let mut octets = Vec::new();
            put_span(&mut octets, span);
            assert!(read(&octets, |from| from.span("s")).unwrap() > Duration::from_secs(1 << 33));
        }
    }

    #[test]
    fn sources() {
        for (address, v4, v6) in [
            ("192.0.2.77", 32, 64),
            ("192.0.2.77", 1, 64),
            ("2001:db8::1", 32, 64),
            ("2001:db8:0:ff::1", 32, 61),
            ("2001:db8::1", 32, 128),
            ("ffff::1", 32, 1),
        ] {
            let source = Source::of(address.parse().unwrap(), Prefixes { v4, v6 });
            let mut octets = Vec::new();
            put_source(&mut octets, source);
            assert_eq!(read(&octets, |from| from.source("who")), Ok(source));
        }
        // Host bits are no part of it, and no address has so many bits.
        let host = read(&[24, 192, 0, 2, 9], |from| from.source("who")).unwrap();
        assert_eq!(host.to_string(), "192.0.2.0/24");
        let host = read(&[33 + 4, 0xff], |from| from.source("who")).unwrap();
        assert_eq!(host.to_string(), "f000::/4");
        assert_eq!(
            read(&[255; 40], |from| from.source("who")).unwrap_err(),
            "who, after 0 octets: 255 stands for nothing"
        );
    }

    #[test]
    fn what_is_said_is_not_believed() {
        let huge = [0xff, 0xff, 0xff, 0x7f];
        assert_eq!(
            read(&huge, |from| from.octets(usize::MAX, "name").map(drop)).unwrap_err(),
            "name, after 0 octets: the octets end too early"
        );
        assert_eq!(
            read(&[3, b'a', b'b', b'c'], |from| from
                .text(2, "name")
                .map(drop))
            .unwrap_err(),
            "name, after 0 octets: found 3, at most 2 is allowed"
        );
        for bad in [&[2, b'a', b'\r'][..], &[1, 0xff]] {
            assert_eq!(
                read(bad, |from| from.text(2, "name").map(drop)).unwrap_err(),
                "name, after 0 octets: the text is not one that may stand there"
            );
        }
        assert_eq!(
            read(&[9], |from| from.version(1, "form")).unwrap_err(),
            "form, after 0 octets: written in form 9, only form 1 is known"
        );
        assert_eq!(read(&[1], |from| from.version(1, "form")), Ok(()));
        assert!(read(&[], |from| from.version(1, "form")).is_err());
    }
}
