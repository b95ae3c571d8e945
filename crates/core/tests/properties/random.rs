//! Random sequences of everything that can happen, on several sessions of several sources.

use std::time::Duration;

use proptest::prelude::*;
use tarpit_core::ledger::{Account, Grant, Terms, Ticket};
use tarpit_core::policy::{HOLD_TOTAL_MAX, Mode, Policy, REPLY_MAX};
use tarpit_core::record::SessionEnd;
use tarpit_core::{Admission, Answer, DataEnd, Prefixes, Source, Trouble};
use tarpit_testkit::{Peer, Rest, World};

use crate::scene::{self, Octets, reply};

const SOURCES: u8 = 3;

#[derive(Clone, Debug)]
enum Op {
    Open {
        source: u8,
        exempt: bool,
    },
    /// Lines of the client, each in a packet of its own.
    Lines(prop::sample::Index, Vec<Octets>),
    /// A whole message as far as its dot, if the session is where one can begin: by chance hardly any
    /// would come so far.
    Message(prop::sample::Index),
    /// An answer to whatever is asked.
    Answer(prop::sample::Index, prop::sample::Index),
    Wait(u64),
    HangUp(prop::sample::Index),
    HalfClose(prop::sample::Index),
    Handshake(prop::sample::Index, bool),
    DataFails(prop::sample::Index),
    /// There is not enough room for it.
    Shed(prop::sample::Index),
    /// Another process takes over.
    HandOver,
    Drain,
    DrainOver,
}

fn op() -> impl Strategy<Value = Op> {
    let session = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..SOURCES, prop::bool::weighted(0.1)).prop_map(|(source, exempt)| Op::Open { source, exempt }),
        60 => (session(), scene::lines()).prop_map(|(session, lines)| Op::Lines(session, lines)),
        6 => session().prop_map(Op::Message),
        30 => (session(), any::<prop::sample::Index>()).prop_map(|(session, answer)| Op::Answer(session, answer)),
        12 => prop_oneof![0_u64..300, 4_000_u64..6_000, 20_000_u64..60_000].prop_map(Op::Wait),
        2 => session().prop_map(Op::HangUp),
        1 => session().prop_map(Op::HalfClose),
        1 => session().prop_map(Op::DataFails),
        6 => (session(), prop::bool::weighted(0.9)).prop_map(|(session, succeeds)| Op::Handshake(session, succeeds)),
        1 => session().prop_map(Op::Shed),
        1 => Just(Op::HandOver),
        // Rare, since little happens after it.
        1 => prop::bool::weighted(0.2).prop_map(|drains| if drains { Op::Drain } else { Op::Wait(1) }),
        1 => prop::bool::weighted(0.1).prop_map(|over| if over { Op::DrainOver } else { Op::Wait(1) }),
    ]
}

/// A world under test, and what is known of it from outside.
struct Trial {
    world: World,
    policy: Policy,
    /// Of each session: lines that must be answered, with the greeting.
    owed: Vec<u32>,
    /// Of each session: replies.
    got: Vec<u32>,
    /// The driver drained, so that a session may hear a 421 that it did not ask for.
    draining: bool,
    /// What was said and when, what was held, and at the end what was recorded.
    seen: Vec<String>,
}

impl Trial {
    /// `freezes`: every session is frozen and thawed whenever it rests.
    fn new(policy: Policy, listed: bool, freezes: bool) -> Self {
        let mut world = World::new(scene::rules(policy.clone(), listed));
        if freezes {
            world.freeze_at_rest();
        }
        Self {
            world,
            policy,
            owed: Vec::new(),
            got: Vec::new(),
            draining: false,
            seen: Vec::new(),
        }
    }

    fn run(&mut self, op: &Op) {
        let count = self.world.peers().len();
        let pick = |index: &prop::sample::Index| index.index(count);
        match op {
            Op::Open { source, exempt } => {
                self.world
                    .open(source_of(*source), *exempt, Admission::Open);
                self.owed.push(1);
                self.got.push(0);
            }
            _ if count == 0 => {}
            Op::Lines(session, lines) => {
                let number = self.from(pick(session), |peer| !peer.is_gone());
                lines.iter().for_each(|line| self.line(number, &line.0));
            }
            Op::Message(session) => {
                self.message(self.from(pick(session), |peer| matches!(peer.rest, Rest::Read)));
            }
            Op::Answer(session, answer) => {
                let number = self.from(pick(session), |peer| peer.question().is_some());
                self.answer(number, answer);
            }
            Op::Wait(millis) => self.wait(Duration::from_millis(*millis)),
            Op::HangUp(session) => self.world.hang_up(pick(session)),
            Op::HalfClose(session) => self.world.half_close(pick(session)),
            Op::Handshake(session, succeeds) => {
                let number = self.from(pick(session), |peer| matches!(peer.rest, Rest::Handshake));
                if matches!(self.world.peer(number).rest, Rest::Handshake) {
                    self.world.handshake(number, *succeeds);
                }
            }
            Op::DataFails(session) => {
                let number = pick(session);
                if matches!(&self.world.peer(number).rest, Rest::Relay(relay) if !relay.at_end && !relay.client_gone)
                {
                    self.world.fail_data(
                        number,
                        DataEnd::Lost {
                            trouble: Trouble::Closed,
                            after_dot: false,
                        },
                    );
                }
            }
            Op::Shed(session) => self.world.shed(pick(session)),
            Op::HandOver => self.world.hand_over(),
            Op::Drain => {
                self.draining = true;
                self.world.drain();
            }
            Op::DrainOver if self.draining => self.world.drain_over(),
            Op::DrainOver => {}
        }
        self.look();
    }

    /// The next session of which `wanted` is true, from `number` on; `number` if there is none.
    fn from(&self, number: usize, wanted: impl Fn(&Peer) -> bool) -> usize {
        let peers = self.world.peers();
        let rounds = (0..peers.len()).map(|step| (number + step) % peers.len());
        rounds
            .into_iter()
            .find(|number| wanted(&peers[*number]))
            .unwrap_or(number)
    }

    fn message(&mut self, number: usize) {
        for line in [
            "RSET",
            "MAIL FROM:<a@b.example>",
            "RCPT TO:<good@example.org>",
            "DATA",
            "text",
            ".",
        ] {
            self.line(number, format!("{line}\r\n").as_bytes());
            let code = match self.world.peer(number).question().as_deref() {
                Some("DATA") => 354,
                Some(".") | None => continue,
                Some(question) if question.starts_with("BDAT") => continue,
                Some(_) => 250,
            };
            self.world
                .answer(number, Answer::Reply(reply(code, "2.0.0 Ok")));
        }
    }

    /// A line is one command, unless it is message data; then only the dot is answered. Whether it
    /// will be data is known while nothing is in between.
    fn line(&mut self, number: usize, line: &[u8]) {
        let peer = self.world.peer(number);
        let expected = match &peer.rest {
            _ if peer.is_gone() => return,
            // What is sent now is not heard; and what is sent ahead of it may not be.
            Rest::Handshake => return,
            _ if holds_starttls(peer.unread()) => return,
            // Its octets would be part of a message or of the line after it.
            Rest::Relay(_) if is_chunk(line) => return,
            Rest::Relay(relay) if relay.at_end => return,
            Rest::Relay(_) => u32::from(line == b".\r\n"),
            // Behind a DATA that may or may not be answered with 354.
            Rest::Ask(_) if peer.question().as_deref() == Some("DATA") => return,
            Rest::Hold { .. } | Rest::Ask(_) | Rest::Take(_)
                if line == b"DATA\r\n" || peer.unread().len() > 200 =>
            {
                return;
            }
            Rest::Read | Rest::Hold { .. } | Rest::Ask(_) | Rest::Take(_) => 1,
            Rest::Closed => return,
        };
        let is_next = matches!(peer.rest, Rest::Read) && peer.unread().is_empty();
        let before = peer.said.len();
        self.owed[number] += expected;
        self.world.send(number, line);
        let peer = self.world.peer(number);
        if is_next && is_chunk(line) && peer.said.len() > before {
            // Nobody has asked the upstream yet.
            let said = &peer.said[before..];
            assert!(!said.starts_with(b"2"), "a chunk was taken unasked");
        }
    }

    fn answer(&mut self, number: usize, pick: &prop::sample::Index) {
        let Some(question) = self.world.peer(number).question() else {
            return;
        };
        let is_chunk = question.starts_with("BDAT");
        if question != "." && !is_chunk {
            let answers = scene::answer(&question);
            self.world
                .answer(number, answers[pick.index(answers.len())].clone());
            return;
        }
        let ends = [
            DataEnd::Reply(reply(250, "2.0.0 Ok")),
            DataEnd::Reply(reply(250, "2.0.0 Ok")),
            DataEnd::Reply(reply(550, "5.7.1 No")),
            DataEnd::Reply(reply(451, "4.3.0 No")),
            DataEnd::Lost {
                trouble: Trouble::Closed,
                after_dot: !is_chunk || question.ends_with("LAST"),
            },
            DataEnd::TooSlow,
            DataEnd::TooLarge,
            DataEnd::Looped,
        ];
        let hears = !self.world.peer(number).is_gone();
        let end = ends[pick.index(ends.len())].clone();
        let code = match &end {
            DataEnd::Reply(reply) => Some(reply.code().to_string()),
            _ => None,
        };
        let before = self.world.peer(number).said.len();
        self.world.end_data(number, end);
        if !hears {
            return;
        }
        // Never held (DESIGN §3): it is said in the same moment, and it is what the upstream said.
        let said = &self.world.peer(number).said[before..];
        assert!(!said.is_empty(), "the reply to end-of-data was held");
        if let Some(code) = code {
            assert!(
                said.starts_with(code.as_bytes()),
                "{code} became {}",
                String::from_utf8_lossy(said)
            );
        }
    }

    /// Time passes; the driver gives the upstream as much of it as the session allows, then says
    /// that it did not answer.
    fn wait(&mut self, span: Duration) {
        let end = self.world.now() + span;
        loop {
            let now = self.world.now();
            let limits = self
                .world
                .peers()
                .iter()
                .enumerate()
                .filter(|(_, peer)| matches!(peer.rest, Rest::Ask(_)));
            let next = limits
                .map(|(number, peer)| (peer.asked + peer.time_to_answer, number))
                .min();
            match next {
                Some((due, number)) if due <= end => {
                    self.world.advance(due.max(now));
                    self.look();
                    if matches!(self.world.peer(number).rest, Rest::Ask(_)) {
                        self.world
                            .answer(number, Answer::Trouble(Trouble::TimedOut));
                    }
                }
                _ => break,
            }
        }
        self.world.advance(end);
    }

    /// What must hold at every moment.
    fn look(&mut self) {
        for number in 0..self.world.peers().len() {
            self.count_replies(number);
            let peer = self.world.peer(number);
            if let Rest::Hold { until } = peer.rest {
                assert_eq!(
                    self.policy.mode,
                    Mode::Enforce,
                    "held in {:?}",
                    self.policy.mode
                );
                assert!(
                    until <= peer.taken + REPLY_MAX,
                    "held until {until:?}, the command came at {:?}",
                    peer.taken
                );
                let record = peer.session.record();
                assert!(
                    !record.authenticated && !record.exempt,
                    "held although exempt"
                );
            }
            assert!(
                peer.session.record().held <= HOLD_TOTAL_MAX,
                "held for {:?} in all",
                peer.session.record().held
            );
        }
        for source in (0..SOURCES).map(source_of) {
            for account in [Account::Rcpt, Account::Auth] {
                let owed = self.world.ledger().owed(self.world.now(), source, account);
                assert!(owed <= self.policy.hold_max, "{source} owes {owed:?}");
            }
        }
    }

    fn count_replies(&mut self, number: usize) {
        let now = self.world.now().as_millis();
        let peer = self.world.peer_mut(number);
        while let Some(line) = peer.take_line() {
            self.got[number] += u32::from(line.get(3) == Some(&b' '));
            let line = String::from_utf8_lossy(&line);
            self.seen.push(format!("{now} {number} {line}"));
        }
        while let Some(hold) = peer.holds.pop_front() {
            self.seen.push(format!("{now} {number} {hold:?}"));
        }
        let peer = self.world.peer(number);
        let (owed, got) = (self.owed[number], self.got[number]);
        match peer.rest {
            _ if peer.is_gone() && !matches!(peer.rest, Rest::Closed) => {}
            Rest::Read if peer.unread().is_empty() => {
                assert_eq!(got, owed, "replies to session {}", number + 1);
            }
            Rest::Closed => {
                // A 421 that nobody asked for may be the last word.
                let unasked = matches!(
                    peer.session.record().end,
                    SessionEnd::TimedOut | SessionEnd::Drained | SessionEnd::Shed
                );
                assert!(
                    got <= owed + u32::from(unasked),
                    "{got} replies to {owed} commands in session {}",
                    number + 1
                );
            }
            _ => assert!(
                got <= owed,
                "{got} replies to {owed} commands in session {}",
                number + 1
            ),
        }
    }

    /// Everybody leaves, at whatever they were doing. Nothing may stay reserved, and nobody may
    /// wait in a queue.
    fn end(mut self) -> Vec<String> {
        for number in 0..self.world.peers().len() {
            self.world.hang_up(number);
        }
        for number in 0..self.world.peers().len() {
            // The driver reads the answer for a client that is gone, if it comes soon.
            match self.world.peer(number).question() {
                Some(question) if question == "." || question.starts_with("BDAT") => self
                    .world
                    .end_data(number, DataEnd::Reply(reply(250, "Ok"))),
                Some(_) if number % 2 == 0 => {
                    self.world.answer(number, Answer::Trouble(Trouble::Closed));
                }
                _ => {}
            }
        }
        let grace = self.world.rules().grace;
        self.world.advance(self.world.now() + grace);
        for (number, peer) in self.world.peers().iter().enumerate() {
            let (rest, number) = (&peer.rest, number + 1);
            assert!(
                matches!(rest, Rest::Closed),
                "session {number} is still there: {rest:?}"
            );
        }
        self.look();
        for source in (0..SOURCES).map(source_of) {
            for account in [Account::Rcpt, Account::Auth] {
                self.assert_whole_room(source, account);
            }
        }
        // Entries that owe nothing any more go when they are looked at.
        self.world.advance(self.world.now() + self.policy.hold_max);
        for source in (0..SOURCES).map(source_of) {
            for account in [Account::Rcpt, Account::Auth] {
                self.assert_whole_room(source, account);
            }
        }
        // In those of processes that are no more nobody has looked since.
        for ledger in self.world.ledgers() {
            for source in (0..SOURCES).map(source_of) {
                for account in [Account::Rcpt, Account::Auth] {
                    ledger.cancel(self.world.now(), Ticket(u64::MAX), source, account);
                }
            }
            assert!(
                ledger.is_empty(),
                "a ledger still has {} sources",
                ledger.len()
            );
        }
        for peer in self.world.peers() {
            self.seen.push(format!("{:?}", peer.session.record()));
        }
        self.seen
    }

    /// The source gets as many look-ups at once as its debt alone leaves room for: nothing is
    /// reserved, and nobody is before it in the queue.
    fn assert_whole_room(&self, source: Source, account: Account) {
        let (ledger, now) = (self.world.ledger(), self.world.now());
        let owed = ledger.owed(now, source, account);
        let terms = Terms {
            price: Duration::from_secs(1),
            allowance: Duration::ZERO,
            hold_max: self.policy.hold_max,
        };
        let mut granted = Vec::new();
        while let Grant::Granted(reservation) =
            ledger.try_request(now, Ticket(u64::MAX), source, account, &terms)
        {
            granted.push(reservation);
        }
        let expected = self.policy.hold_max.saturating_sub(owed).as_secs();
        assert_eq!(
            granted.len() as u64,
            expected,
            "{source} {account:?} owes {owed:?} and has something reserved, or somebody in its queue"
        );
        granted
            .into_iter()
            .for_each(|reservation| ledger.release(now, reservation));
    }
}

fn is_chunk(line: &[u8]) -> bool {
    line.starts_with(b"BDAT ")
}

fn holds_starttls(unread: &[u8]) -> bool {
    unread.windows(8).any(|octets| octets == b"STARTTLS")
}

fn source_of(number: u8) -> Source {
    Source::of([192, 0, 2, number].into(), Prefixes::default())
}

fn played(policy: Policy, listed: bool, freezes: bool, ops: &[Op]) -> Vec<String> {
    let mut trial = Trial::new(policy, listed, freezes);
    trial.run(&Op::Open {
        source: 0,
        exempt: false,
    });
    ops.iter().for_each(|op| trial.run(op));
    trial.end()
}

proptest! {
    #![proptest_config(scene::config(1000))]

    #[test]
    fn whatever_happens(policy in scene::policy(), listed: bool, ops in prop::collection::vec(op(), 1..120)) {
        played(policy, listed, false, &ops);
    }

    #[test]
    fn frozen_at_each_rest_it_is_the_same(policy in scene::policy(), listed: bool, ops in prop::collection::vec(op(), 1..120)) {
        let kept = played(policy.clone(), listed, false, &ops);
        prop_assert_eq!(kept, played(policy, listed, true, &ops));
    }
}
