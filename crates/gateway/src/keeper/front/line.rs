//! One keeper, as the front sees it.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::Child;

use tarpit_core::budget::Load;
use tarpit_core::{Source, Tick};

use super::super::link::{Link, LinkError, Sent};
use super::super::message::{Freight, Message, TICKETS_MAX, Why, fitting};
use super::Cargo;
use super::veils::{Numbers, Veils};
use crate::slack::Slack as _;

/// A keeper and the line to it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) process: u32,
    pub(super) link: Link,
    /// Of one that we did not start, nothing is known.
    pub(super) child: Option<Child>,
    pub(super) queue: VecDeque<Cargo>,
    pub(super) recalls: Vec<u64>,
    pub(super) sources: Sources,
    pub(super) veils: Veils,
    is_parting: bool,
    /// What its sessions take.
    pub(super) load: Load,
    /// How often it was asked to shed some, and how often of these what became of it is in the load.
    pub(super) sheds_asked: u64,
    pub(super) sheds_told: u64,
    /// What came back and was not let go on yet.
    pub(super) arrived: Vec<(Why, Freight, Option<OwnedFd>)>,
    orders: VecDeque<Message>,
    /// The keeper has said something, or may have.
    pub(super) stirs: bool,
    /// Since when it holds nobody.
    idle_since: Option<Tick>,
}

/// Whose sessions a keeper has: 12 octets for each IPv4 source.
#[derive(Debug, Default)]
pub(super) struct Sources {
    v4: HashMap<(u32, u8), u32>,
    v6: HashMap<(u64, u64, u8), u32>,
    pub(super) all: usize,
}

impl Line {
    pub(super) fn new(
        number: u32,
        process: u32,
        socket: OwnedFd,
        child: Option<Child>,
        farewell: Box<[u8]>,
    ) -> Self {
        Self {
            number,
            process,
            link: Link::new(socket),
            child,
            queue: VecDeque::new(),
            recalls: Vec::new(),
            sources: Sources::default(),
            veils: Veils::default(),
            is_parting: false,
            load: Load::default(),
            sheds_asked: 0,
            sheds_told: 0,
            arrived: Vec::new(),
            orders: VecDeque::from([Message::Hello { farewell }]),
            stirs: true,
            idle_since: None,
        }
    }

    /// Sessions that it has and is to keep, as it told last: not those on their way back.
    pub(super) fn staying(&self) -> u64 {
        self.load.sessions.min(self.sources.all as u64)
    }

    /// Something to be said once.
    pub(super) fn order(&mut self, message: Message) {
        self.orders.push_back(message);
    }

    /// To be sent when there is credit.
    pub(super) fn queue(&mut self, mut cargo: Cargo, numbers: &mut Numbers) {
        cargo.freight.veil = cargo.veil.is_some().then(|| numbers.next());
        self.queue.push_back(cargo);
    }

    /// Lets the keeper go, when all that is over TLS is here. What is so in the queue is returned.
    pub(super) fn part(&mut self, is_first: bool) -> VecDeque<Cargo> {
        if is_first && !self.veils.is_empty() {
            self.order(Message::Unveil);
        }
        if !self.is_parting && self.veils.is_empty() {
            self.is_parting = true;
            self.order(Message::Release);
        }
        let (veiled, others): (VecDeque<_>, _) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|cargo| cargo.veil.is_some());
        self.queue = others;
        veiled
    }

    /// It is asked to part, and takes nobody any more.
    pub(super) const fn is_parting(&self) -> bool {
        self.is_parting
    }

    /// Looks whether it holds somebody, or will.
    pub(super) fn note_idle(&mut self, now: Tick) {
        let is_idle = self.sources.all == 0 && self.queue.is_empty() && self.arrived.is_empty();
        self.idle_since = is_idle.then(|| self.idle_since.unwrap_or(now));
    }

    /// Since when it holds nobody.
    pub(super) const fn idle_since(&self) -> Option<Tick> {
        self.idle_since
    }

    /// Credit that is not spoken for.
    pub(super) fn free(&self) -> usize {
        self.link.credit().saturating_sub(self.queue.len())
    }

    /// Whether there is something to say that [`Line::send`] would say now. Anything else waits for
    /// the keeper: to be woken for it, because the line has room, would be to be woken for ever.
    pub(super) fn has_to_send(&self, flight: usize) -> bool {
        let waits = if self.queue.is_empty() {
            !self.recalls.is_empty()
        } else {
            self.sendable(flight) > 0
        };
        waits || !self.orders.is_empty() || self.link.has_untold()
    }

    /// Sockets that may be sent now, if `flight` at most may be under way at once.
    fn sendable(&self, flight: usize) -> usize {
        let left = flight.saturating_sub(self.link.in_flight());
        left.min(self.link.credit())
    }

    /// Says what is to be said, as far as the line takes it; `flight` sockets at most may be under
    /// way at once.
    pub(super) fn send(&mut self, flight: usize) -> Result<Sent, LinkError> {
        while let Some(message) = self.orders.front() {
            match self.link.send(message, &[])? {
                Sent::Yes => self.orders.pop_front(),
                sent => return Ok(sent),
            };
        }
        match self.link.tell_credit()? {
            Sent::Yes => {}
            sent => return Ok(sent),
        }
        while !self.queue.is_empty() {
            let freights = self.queue.iter().map(|cargo| &cargo.freight);
            let count = fitting(freights, self.sendable(flight));
            if count == 0 {
                break;
            }
            match self.send_some(count)? {
                Sent::Yes => {}
                sent => return Ok(sent),
            }
        }
        // Behind the parcels: the keeper must know whom they mean.
        while !self.recalls.is_empty() && self.queue.is_empty() {
            let count = self.recalls.len().min(TICKETS_MAX);
            let tickets = self.recalls[..count].to_vec();
            match self.link.send(&Message::Recall(tickets), &[])? {
                Sent::Yes => self.recalls.drain(..count),
                sent => return Ok(sent),
            };
        }
        self.queue.slacken();
        self.recalls.slacken();
        Ok(Sent::Yes)
    }

    fn send_some(&mut self, count: usize) -> Result<Sent, LinkError> {
        let some = || self.queue.iter().take(count);
        let message = Message::Park(some().map(|cargo| cargo.freight.clone()).collect());
        let sockets: Vec<BorrowedFd<'_>> = some().map(|cargo| cargo.socket.as_fd()).collect();
        let sent = self.link.send(&message, &sockets)?;
        if sent == Sent::Yes {
            for cargo in self.queue.drain(..count) {
                self.sources.add(cargo.freight.source);
                if let (Some(number), Some(veil)) = (cargo.freight.veil, cargo.veil) {
                    self.veils.add(number, veil);
                }
            }
        }
        Ok(sent)
    }
}

impl Sources {
    pub(super) fn add(&mut self, source: Source) {
        self.all += 1;
        match source {
            Source::V4(network, bits) => *self.v4.entry((network, bits)).or_default() += 1,
            Source::V6(network, bits) => {
                let (high, low) = halves(network);
                *self.v6.entry((high, low, bits)).or_default() += 1;
            }
        }
    }

    pub(super) fn remove(&mut self, source: Source) {
        let is_there = match source {
            Source::V4(network, bits) => uncount(&mut self.v4, (network, bits)),
            Source::V6(network, bits) => {
                let (high, low) = halves(network);
                uncount(&mut self.v6, (high, low, bits))
            }
        };
        self.all = self.all.saturating_sub(usize::from(is_there));
        self.v4.slacken();
        self.v6.slacken();
    }

    /// Each source, as often as it has sessions.
    pub(super) fn each(&self) -> impl Iterator<Item = Source> {
        let v4 = self
            .v4
            .iter()
            .map(|((network, bits), count)| (Source::V4(*network, *bits), *count));
        let v6 = self.v6.iter().map(|((high, low, bits), count)| {
            let network = u128::from(*high) << 64 | u128::from(*low);
            (Source::V6(network, *bits), *count)
        });
        v4.chain(v6)
            .flat_map(|(source, count)| std::iter::repeat_n(source, count as usize))
    }
}

/// In two, since a whole one is aligned to 16 octets.
pub(super) fn halves(network: u128) -> (u64, u64) {
    let half = |part: u128| u64::try_from(part & u128::from(u64::MAX)).unwrap_or(0);
    (half(network >> 64), half(network))
}

fn uncount<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, u32>, key: K) -> bool {
    let Some(count) = counts.get_mut(&key) else {
        return false;
    };
    *count -= 1;
    if *count == 0 {
        counts.remove(&key);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::super::link;
    use super::super::super::message::tests::small;
    use super::super::veils::tests::veil;
    use super::*;

    /// A keeper that never reads.
    fn line() -> (Line, OwnedFd) {
        let (ours, theirs) = link::pair().unwrap();
        (Line::new(1, 1, ours, None, Box::default()), theirs)
    }

    fn cargo(is_veiled: bool) -> Cargo {
        Cargo {
            freight: small(),
            socket: link::pair().unwrap().0,
            veil: is_veiled.then(veil),
        }
    }

    #[test]
    fn a_keeper_is_let_go_when_all_over_tls_is_back() {
        let (mut line, _keeper) = line();
        let mut numbers = Numbers::new();
        for is_veiled in [true, false, true] {
            line.queue(cargo(is_veiled), &mut numbers);
        }
        let sent = numbers.next();
        line.veils.add(sent, veil());
        line.orders.clear();

        let back = line.part(true);
        assert!(back.iter().all(|cargo| !cargo.is_mute()));
        assert_eq!((back.len(), line.queue.len()), (2, 1));
        assert_eq!(line.orders, [Message::Unveil]);
        assert!(line.part(false).is_empty());
        assert_eq!(line.orders.len(), 1);
        // What a lane had left at the desk before.
        line.queue(cargo(true), &mut numbers);
        assert_eq!(line.part(false).len(), 1);
        line.veils.take(sent).unwrap();
        for _ in 0..2 {
            line.part(false);
            assert_eq!(line.orders, [Message::Unveil, Message::Release]);
        }
    }

    #[test]
    fn a_line_that_can_say_nothing_now_has_nothing_to_say() {
        let (mut line, theirs) = line();
        let mut keeper = Link::new(theirs);
        keeper.grant(10);
        keeper.tell_credit().unwrap();
        assert!(line.link.receive().unwrap().is_some());
        let mut numbers = Numbers::new();
        for _ in 0..3 {
            line.queue(cargo(false), &mut numbers);
        }
        line.recalls.push(7);
        assert!(line.has_to_send(2));
        assert_eq!(line.send(2).unwrap(), Sent::Yes);
        // Two are under way; there is credit for the third, and the recall comes behind it.
        assert_eq!((line.queue.len(), line.link.credit()), (1, 8));
        assert!(!line.has_to_send(2));
        while keeper.receive().unwrap().is_some() {}
        keeper.tell_credit().unwrap();
        assert!(line.link.receive().unwrap().is_some());
        assert!(line.has_to_send(2));
        assert_eq!(line.send(2).unwrap(), Sent::Yes);
        assert!(line.queue.is_empty() && line.recalls.is_empty());
        assert!(!line.has_to_send(2));
    }

    #[test]
    fn only_who_is_over_tls_has_a_number_and_each_its_own() {
        let (mut line, _keeper) = line();
        let mut numbers = Numbers::new();
        for is_veiled in [true, false, true] {
            line.queue(cargo(is_veiled), &mut numbers);
        }
        let given: Vec<_> = line.queue.iter().map(|cargo| cargo.freight.veil).collect();
        assert!(given[0].is_some() && given[1].is_none() && given[2].is_some());
        assert_ne!(given[0], given[2]);
        // It comes back under one that is not known.
        let mute = Cargo {
            freight: line.queue[0].freight.clone(),
            ..cargo(false)
        };
        assert!(mute.is_mute());
    }

    #[test]
    fn counts_each_source() {
        let mut sources = Sources::default();
        let (one, other) = (Source::V4(1, 32), Source::V6(u128::MAX << 64, 64));
        for source in [one, other, one] {
            sources.add(source);
        }
        let mut each: Vec<_> = sources.each().collect();
        each.sort();
        assert_eq!(each, [one, one, other]);
        sources.remove(one);
        sources.remove(Source::V4(2, 32));
        sources.remove(other);
        assert_eq!((sources.each().collect(), sources.all), (vec![one], 1));
        assert!(sources.v6.is_empty());
    }
}
