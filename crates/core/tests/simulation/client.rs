//! What clients do.

use std::time::Duration;

use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{Prefixes, Source};
use tarpit_testkit::{Rest, World};

/// SplitMix64 (Steele, Lea, Flood 2014): a seed gives the same numbers everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// True once in `many` times.
    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.next().is_multiple_of(many)
    }
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Sends mail that the upstream takes.
    Wanted,
    /// Guesses as long as it may, three names at once.
    Stays,
    /// Guesses once, and leaves while it waits for the answer.
    Leaves,
    /// Guesses once, and shuts down its sending side.
    HalfCloses,
    /// Guesses passwords.
    Password,
    /// Says nothing more.
    Idles,
}

const KINDS: [Kind; 10] = [
    Kind::Wanted,
    Kind::Wanted,
    Kind::Stays,
    Kind::Leaves,
    Kind::Stays,
    Kind::Leaves,
    Kind::HalfCloses,
    Kind::Password,
    Kind::Stays,
    Kind::Idles,
];

/// Clients of one source.
const SHARED_BY: u64 = 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) kind: Kind,
    pub(crate) source: Source,
    pub(crate) session: Option<usize>,
    /// What it has said in this session.
    pub(crate) guesses: u32,
}

impl Client {
    /// Whoever shares a source is of one kind.
    pub(crate) fn new(number: u64) -> Self {
        let group = number / SHARED_BY;
        let kind = KINDS[usize::try_from(group).unwrap() % KINDS.len()];
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(group).unwrap());
        Self {
            kind,
            source: Source::of(address.into(), Prefixes::default()),
            session: None,
            guesses: 0,
        }
    }

    /// Steps until it comes again, on average.
    pub(crate) const fn pause(&self) -> u64 {
        match self.kind {
            Kind::Wanted => 400,
            Kind::Stays | Kind::Leaves => 150,
            Kind::HalfCloses | Kind::Password | Kind::Idles => 200,
        }
    }

    /// One step of its session.
    pub(crate) fn act(&mut self, number: usize, random: &mut Random, world: &mut World) {
        let peer = world.peer(number);
        let rests = matches!(peer.rest, Rest::Read) && peer.unread().is_empty();
        if peer.is_gone() || !random.one_in(10) {
            return;
        }
        match self.kind {
            Kind::Wanted => self.mail(number, random, world),
            Kind::Stays if rests => {
                self.guesses += 3;
                let lines = (0..3).map(|guess| format!("RCPT TO:<bad{guess}@example.org>\r\n"));
                let lines: String = lines.collect();
                let start = "RSET\r\nMAIL FROM:<a@b.example>\r\n";
                world.send(number, format!("{start}{lines}").as_bytes());
            }
            Kind::Leaves if self.guesses > 0 && random.one_in(5) => world.hang_up(number),
            Kind::HalfCloses if self.guesses > 0 => world.half_close(number),
            Kind::Leaves | Kind::HalfCloses if rests => {
                self.guesses += 1;
                world.send(
                    number,
                    b"MAIL FROM:<a@b.example>\r\nRCPT TO:<bad@example.org>\r\n",
                );
            }
            Kind::Password if rests => world.send(number, b"AUTH PLAIN AGE=\r\n"),
            Kind::Stays | Kind::Leaves | Kind::HalfCloses | Kind::Password | Kind::Idles => {}
        }
    }

    /// A message, perhaps another one, then QUIT. Now and then it leaves in the middle.
    fn mail(&mut self, number: usize, random: &mut Random, world: &mut World) {
        let peer = world.peer(number);
        let half_way = matches!(&peer.rest, Rest::Relay(relay) if !relay.at_end);
        if random.one_in(50) {
            return world.hang_up(number);
        }
        if half_way {
            return world.send(number, b"text\r\n.\r\n");
        }
        if !matches!(peer.rest, Rest::Read) {
            return;
        }
        if self.guesses > 0 && random.one_in(2) {
            return world.send(number, b"QUIT\r\n");
        }
        self.guesses += 1;
        world.send(
            number,
            b"RSET\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<good@example.org>\r\nDATA\r\n",
        );
    }
}

/// Bounds that don't matter here.
pub(crate) const fn policy() -> Policy {
    Policy {
        mode: Mode::Enforce,
        scope: Scope::Source,
        delay: Duration::ZERO,
        hold_max: Duration::ZERO,
        recipients_max: 100,
        errors_max: 20,
        way: Way::Silent,
        pace: Duration::ZERO,
    }
}
