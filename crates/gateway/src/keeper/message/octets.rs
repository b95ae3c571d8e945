//! Numbers, lists and sources as octets, and back.

use std::net::{Ipv4Addr, Ipv6Addr};

use tarpit_core::Source;

use super::Unreadable;

pub(super) fn put_list<T>(list: &[T], out: &mut Vec<u8>, put: impl Fn(&T, &mut Vec<u8>)) {
    put_number(list.len() as u64, out);
    for one in list {
        put(one, out);
    }
}

pub(crate) fn put_number(mut number: u64, out: &mut Vec<u8>) {
    let low = |number: u64| number.to_le_bytes()[0] & 0x7f;
    while number > 0x7f {
        out.push(low(number) | 0x80);
        number >>= 7;
    }
    out.push(low(number));
}

pub(super) fn put_octets(octets: &[u8], out: &mut Vec<u8>) {
    put_number(octets.len() as u64, out);
    out.extend_from_slice(octets);
}

/// 6 octets for an IPv4 address, 10 for an IPv6 /64: the network, cut behind its last octet.
pub(crate) fn put_source(source: Source, out: &mut Vec<u8>) {
    let mut put = |family: u8, octets: &[u8], bits: u8| {
        out.extend_from_slice(&[family, bits]);
        let count = usize::from(bits).div_ceil(8).min(octets.len());
        out.extend_from_slice(&octets[..count]);
    };
    match source {
        Source::V4(network, bits) => put(4, &network.to_be_bytes(), bits),
        Source::V6(network, bits) => put(6, &network.to_be_bytes(), bits),
    }
}

/// Takes apart what the functions above wrote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize, what: &'static str) -> Result<&'a [u8], Unreadable> {
        let split = self.0.split_at_checked(count);
        let (taken, rest) = split.ok_or(Unreadable::Broken(what))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn octet(&mut self, what: &'static str) -> Result<u8, Unreadable> {
        let taken = self.take(1, what)?;
        taken.first().copied().ok_or(Unreadable::Broken(what))
    }

    pub(crate) fn number(&mut self, what: &'static str) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let octet = self.octet(what)?;
            let part = u64::from(octet & 0x7f);
            // The tenth octet has one bit left.
            if part << shift >> shift != part {
                return Err(Unreadable::Broken(what));
            }
            number |= part << shift;
            if octet < 0x80 {
                return Ok(number);
            }
        }
        Err(Unreadable::Broken(what))
    }

    pub(crate) fn small(&mut self, what: &'static str) -> Result<u32, Unreadable> {
        u32::try_from(self.number(what)?).map_err(|_| Unreadable::Broken(what))
    }

    pub(super) fn octets(&mut self, what: &'static str) -> Result<&'a [u8], Unreadable> {
        let count = self.number(what)?;
        self.take(usize::try_from(count).unwrap_or(usize::MAX), what)
    }

    /// Grows with what is really there, whatever number is claimed.
    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        most: usize,
        read: impl Fn(&mut Self) -> Result<T, Unreadable>,
    ) -> Result<Vec<T>, Unreadable> {
        let count = usize::try_from(self.number(what)?).unwrap_or(usize::MAX);
        if count > most {
            return Err(Unreadable::Broken(what));
        }
        let mut list = Vec::new();
        for _ in 0..count {
            list.push(read(self)?);
        }
        Ok(list)
    }

    pub(crate) fn source(&mut self) -> Result<Source, Unreadable> {
        const WHAT: &str = "source";
        let family = self.octet(WHAT)?;
        let bits = self.octet(WHAT)?;
        let octets = self.take(usize::from(bits).div_ceil(8), WHAT)?;
        match family {
            4 => {
                let network = u32::from(Ipv4Addr::from(whole(octets)?));
                Ok(Source::V4(network, bits))
            }
            6 => {
                let network = u128::from(Ipv6Addr::from(whole(octets)?));
                Ok(Source::V6(network, bits))
            }
            _ => Err(Unreadable::Broken(WHAT)),
        }
    }
}

/// The octets, with zeros behind them.
fn whole<const COUNT: usize>(octets: &[u8]) -> Result<[u8; COUNT], Unreadable> {
    let mut whole = [0; COUNT];
    let part = whole.get_mut(..octets.len());
    part.ok_or(Unreadable::Broken("source"))?
        .copy_from_slice(octets);
    Ok(whole)
}
