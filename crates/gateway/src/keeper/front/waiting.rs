//! Who waits at the keepers for room in the ledger: at which keeper, and from which source.
//!
//! A keeper that is killed can't say whose sessions waited there. Their places in the ledger's queues
//! would be kept until nobody can have a use for them, and whoever waits behind them would get no
//! answer meanwhile.

use std::collections::HashMap;

use tarpit_core::Source;
use tarpit_core::ledger::Ticket;

use super::line::halves;
use crate::slack::Slack as _;

/// The table: no more than keepers hold sessions.
#[derive(Debug, Default)]
pub(super) struct Waiting(HashMap<u64, Place>);

/// A [`Source`] takes 32 octets as it is.
#[derive(Clone, Copy, Debug)]
struct Place {
    line: u32,
    is_v6: bool,
    bits: u8,
    network: (u64, u64),
}

/// A million may wait.
const _: () = assert!(size_of::<Place>() <= 24);

impl Waiting {
    pub(super) fn add(&mut self, ticket: u64, line: u32, source: Source) {
        let (is_v6, network, bits) = match source {
            Source::V4(network, bits) => (false, u128::from(network), bits),
            Source::V6(network, bits) => (true, network, bits),
        };
        let place = Place {
            line,
            is_v6,
            bits,
            network: halves(network),
        };
        self.0.insert(ticket, place);
    }

    /// The keeper at which it waits.
    pub(super) fn line_of(&self, ticket: u64) -> Option<u32> {
        self.0.get(&ticket).map(|place| place.line)
    }

    /// It waits there no more.
    pub(super) fn remove(&mut self, ticket: u64) {
        self.0.remove(&ticket);
        self.0.slacken();
    }

    /// A keeper is gone: who waited there.
    pub(super) fn lose(&mut self, line: u32) -> Vec<(Ticket, Source)> {
        let lost = self.0.extract_if(|_, place| place.line == line);
        lost.map(|(ticket, place)| (Ticket(ticket), place.source()))
            .collect()
    }
}

impl Place {
    fn source(self) -> Source {
        let (high, low) = self.network;
        let network = u128::from(high) << 64 | u128::from(low);
        match u32::try_from(network) {
            Ok(network) if !self.is_v6 => Source::V4(network, self.bits),
            _ => Source::V6(network, self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_who_waited_at_a_keeper_that_is_gone() {
        let sources = [
            Source::V4(u32::MAX, 32),
            Source::V6(1 << 64, 64),
            Source::V6(7, 128),
        ];
        let mut waiting = Waiting::default();
        for (ticket, source) in (0..).zip(sources) {
            waiting.add(ticket, 1, source);
        }
        waiting.add(8, 2, sources[0]);
        waiting.remove(1);
        let mut lost = waiting.lose(1);
        lost.sort_by_key(|(Ticket(ticket), _)| *ticket);
        assert_eq!(lost, [(Ticket(0), sources[0]), (Ticket(2), sources[2])]);
        assert_eq!((waiting.line_of(0), waiting.line_of(8)), (None, Some(2)));
    }
}
