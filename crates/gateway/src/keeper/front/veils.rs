//! The keys of sessions over TLS whose sockets a keeper has.
//!
//! A veil is the state of our record layer. It stays here, in the front, under a number that goes
//! with the socket; it has no descriptor. What is here ends with the keeper's line.
//!
//! Rejected: keys that go along. A keeper would answer over TLS by itself, and every process that
//! may be asked for its sessions would have the keys of all of them.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use crate::pit::parcel::Veil;
use crate::slack::Slack as _;

/// The keys for one keeper's sockets: no more than it holds sockets.
#[derive(Debug, Default)]
pub(super) struct Veils {
    table: HashMap<u64, Box<Veil>>,
    /// Octets of the veils themselves.
    octets: usize,
}

impl Veils {
    pub(super) fn add(&mut self, number: u64, veil: Box<Veil>) {
        self.octets += veil.octets();
        if let Some(before) = self.table.insert(number, veil) {
            self.octets -= before.octets();
        }
    }

    /// The one with this number, if it is known here.
    pub(super) fn take(&mut self, number: u64) -> Option<Box<Veil>> {
        let veil = self.table.remove(&number)?;
        self.octets -= veil.octets();
        self.table.slacken();
        Some(veil)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Octets of user memory.
    pub(super) fn octets(&self) -> usize {
        /// A place of the table: its number, its pointer and an octet of the table's own.
        const PLACE: usize = size_of::<(u64, Box<Veil>)>() + 1;
        self.table.capacity() * PLACE + self.octets
    }
}

/// Gives each veil a number. They begin anywhere, so that a number of another front's, should a
/// keeper ever name one, is none of ours.
#[derive(Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    /// Bits of the first number: with these, all fit into seven octets on the line.
    const BITS: u32 = 48;

    pub(super) fn new() -> Self {
        Self(RandomState::new().hash_one(()) >> (u64::BITS - Self::BITS))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::stream::Secure;
    use crate::tls::TlsFailure;

    pub(in super::super) fn veil() -> Box<Veil> {
        Box::new(Veil {
            secure: Box::new(Secure::opening()),
            info: Box::new(Err(TlsFailure::HungUp)),
        })
    }

    #[test]
    fn each_is_taken_once_and_counted_while_it_is_there() {
        let (mut veils, mut numbers) = (Veils::default(), Numbers::new());
        let (one, other) = (numbers.next(), numbers.next());
        for number in [one, other] {
            veils.add(number, veil());
        }
        assert!(veils.octets() >= 2 * veil().octets());
        assert!(veils.take(one).is_some() && veils.take(one).is_none());
        assert!(veils.take(numbers.next()).is_none() && !veils.is_empty());
        // Again under the same number: the one before is gone.
        veils.add(other, veil());
        assert!(veils.take(other).is_some() && veils.is_empty());
        assert_eq!(veils.octets, 0);
    }

    #[test]
    fn two_fronts_share_no_number() {
        let mut fronts = [Numbers::new(), Numbers::new()];
        let [one, other] = fronts.each_mut().map(Numbers::next);
        assert!(one.abs_diff(other) > 1 << 20, "{one} {other}");
    }
}
