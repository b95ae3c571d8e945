//! Two thousand clients with a seed, for minutes of virtual time: harvesters that stay, that leave
//! and that shut half of their connection, guessers of passwords, idlers, and senders of wanted mail
//! beside them. Meanwhile the pit gets too full and sheds, two other processes take over, one after
//! the other, and the last one drains.
//!
//! What must come of it: each session ends, no hold is lost, all counters add up, nobody learns more
//! names than the price allows, and wanted mail does not wait.

mod client;
mod pit;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::{Account, LedgerConfig, Ticket};
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::record::{HoldEnd, SessionEnd};
use tarpit_core::{Admission, Answer, DataEnd, Door, Source, Tick};
use tarpit_smtp::{Capabilities, Reply, ReplyCode, ReplyReader, ReplyStep};
use tarpit_testkit::{Rest, Rules, World};

use client::{Client, Kind, Random};
use pit::Pit;

const CLIENTS: u64 = 2_000;

/// One step; what happens within is not told apart.
const STEP: Duration = Duration::from_millis(50);

const STEPS: u32 = 2_400;

/// Steps at which another process takes over.
const TAKEN_OVER: [u32; 2] = [900, 1_500];

/// The step at which the last one drains, and that at which its time for it is over.
const DRAINED: [u32; 2] = [2_100, 2_300];

/// Steps in which the pit is strained.
const STRAINED: Range<u32> = 700..1_000;

/// Held sessions above which holds are let go then.
const HIGH: usize = 600;

const PRICE: Duration = Duration::from_secs(5);
const HOLD_MAX: Duration = Duration::from_secs(25);

fn rules(way: Way) -> Rules {
    let ehlo = "upstream\nPIPELINING\nSIZE 1000000\n8BITMIME\nAUTH PLAIN LOGIN";
    Rules {
        hostname: "mx.example.org".to_owned(),
        policy: Policy {
            mode: Mode::Enforce,
            scope: Scope::Source,
            delay: PRICE,
            hold_max: HOLD_MAX,
            way,
            pace: way.pace(),
            ..client::policy()
        },
        capabilities: Capabilities::from_ehlo(&reply(250, ehlo)),
        filter: Filter::new(vec!["example.org".into()], None, false),
        door: Door {
            auth_plain: true,
            ..Door::default()
        },
        implicit_tls: false,
        command_timeout: Duration::from_secs(30),
        session_timeout: Duration::from_secs(100),
        held_unread_max: 4096,
        grace: Duration::from_secs(5),
        ledger: LedgerConfig {
            sources_max: 10_000,
            known_max: 10_000,
            known_for: Duration::from_secs(30 * 86_400),
        },
    }
}

fn reply(code: u16, text: &str) -> Reply {
    Reply::new(ReplyCode::new(code).unwrap(), text)
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    sessions: usize,
    /// Messages that the upstream took, and those whose clients heard of it.
    taken: u32,
    heard: u32,
    holds: u32,
    shed: u32,
    /// 5yz replies to guesses that were heard, by source.
    learnt: BTreeMap<Source, u32>,
    ends: BTreeMap<&'static str, u32>,
    hold_ends: BTreeMap<&'static str, u32>,
    /// Replies that had begun when their hold was looked at.
    half_said: u32,
}

struct Simulation {
    world: World,
    pit: Pit,
    random: Random,
    clients: Vec<Client>,
    /// Sessions that are not over.
    live: Vec<usize>,
    /// Of each session: whose it is.
    owners: Vec<usize>,
    /// Sessions that were seen in a hold, and those of which a record of one came.
    seen_held: BTreeSet<usize>,
    recorded: BTreeSet<usize>,
    held: BTreeMap<usize, Duration>,
    /// What each client has read, if a reply is not whole.
    reading: BTreeMap<usize, ReplyReader>,
    outcome: Outcome,
}

impl Simulation {
    fn new(seed: u64, way: Way) -> Self {
        let world = World::new(rules(way));
        Self {
            pit: Pit::new(world.now()),
            world,
            random: Random(seed),
            clients: (0..CLIENTS).map(Client::new).collect(),
            live: Vec::new(),
            owners: Vec::new(),
            seen_held: BTreeSet::new(),
            recorded: BTreeSet::new(),
            held: BTreeMap::new(),
            reading: BTreeMap::new(),
            outcome: Outcome::default(),
        }
    }

    fn run(mut self) -> Outcome {
        for step in 0..STEPS {
            if TAKEN_OVER.contains(&step) {
                self.hand_over();
            }
            if step == DRAINED[0] {
                self.world.drain();
            }
            if step == DRAINED[1] {
                self.world.drain_over();
            }
            let later = self.world.now() + STEP;
            self.world.advance(later);
            self.who_was_due_went_on(later);
            for number in self.live.clone() {
                self.upstream(number);
            }
            for client in 0..self.clients.len() {
                self.act(client);
            }
            self.shed(STRAINED.contains(&step).then_some(HIGH));
            self.look();
        }
        self.end()
    }

    /// Nobody's debt is forgotten, and nobody's hold ends earlier or later.
    fn hand_over(&mut self) {
        let owed = |world: &World| -> Vec<Duration> {
            let sources = self.clients.iter().map(|client| client.source);
            sources
                .flat_map(|source| {
                    [Account::Rcpt, Account::Auth]
                        .map(|account| world.ledger().owed(world.now(), source, account))
                })
                .collect()
        };
        let held = |world: &World| -> Vec<(usize, Tick)> {
            let holds = |number: &usize| match world.peer(*number).rest {
                Rest::Hold { until } if !world.peer(*number).session.waits_for_room() => {
                    Some((*number, until))
                }
                _ => None,
            };
            self.live.iter().filter_map(holds).collect()
        };
        let before = (owed(&self.world), held(&self.world));
        self.world.hand_over();
        let after = (owed(&self.world), held(&self.world));
        // Not printed whole: these are thousands.
        assert!(after.0 == before.0, "what sources owe has changed");
        assert!(after.1 == before.1, "who is held until when has changed");
        assert!(before.1.len() > 50, "{} held", before.1.len());
    }

    /// The upstream takes up to a second or so for each answer.
    fn upstream(&mut self, number: usize) {
        let Some(question) = self.world.peer(number).question() else {
            return;
        };
        if !self.random.one_in(6) {
            return;
        }
        let answer = match question.split(' ').next().unwrap_or_default() {
            "." => {
                let taken = !self.random.one_in(10);
                self.outcome.taken += u32::from(taken);
                let reply = if taken {
                    reply(250, "2.0.0 Ok: queued")
                } else {
                    reply(451, "4.3.0 Not now")
                };
                return self.world.end_data(number, DataEnd::Reply(reply));
            }
            "RCPT" if question.contains("good") => reply(250, "2.1.5 Ok"),
            "RCPT" => reply(550, "5.1.1 No such user"),
            "DATA" => reply(354, "Go on"),
            _ => reply(535, "5.7.8 No"),
        };
        self.world.answer(number, Answer::Reply(answer));
    }

    fn act(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let Some(number) = client.session else {
            if self.random.one_in(client.pause()) {
                let number = self.world.open(client.source, false, Admission::Open);
                client.session = Some(number);
                self.owners.push(index);
                self.live.push(number);
                self.world.send(number, b"EHLO client.example\r\n");
            }
            return;
        };
        if matches!(self.world.peer(number).rest, Rest::Closed) {
            *client = Client {
                session: None,
                guesses: 0,
                ..*client
            };
            return;
        }
        client.act(number, &mut self.random, &mut self.world);
    }

    /// By the wheel; the world has looked at all.
    fn who_was_due_went_on(&mut self, now: Tick) {
        for number in self.pit.turn(now) {
            if let Rest::Hold { until } = self.world.peer(number).rest {
                assert!(until > now, "{number} is held although it is due");
            }
        }
    }

    /// The longest held first.
    fn shed(&mut self, most: Option<usize>) {
        let mut held: Vec<usize> = self.live.clone();
        held.retain(|number| matches!(self.world.peer(*number).rest, Rest::Hold { .. }));
        self.seen_held.extend(&held);
        let excess = self.pit.excess(held.len(), most);
        if excess == 0 {
            return;
        }
        held.sort_by_key(|number| (self.world.peer(*number).taken, *number));
        for number in held.iter().take(excess) {
            let (before, peer) = (self.outcome.shed, self.world.peer(*number));
            // Somebody else's end may have let it go meanwhile.
            if !matches!(peer.rest, Rest::Hold { .. }) {
                continue;
            }
            self.world.shed(*number);
            assert!(matches!(self.world.peer(*number).rest, Rest::Closed));
            self.outcome.shed = before + 1;
        }
    }

    /// Writes down what was said and held.
    fn look(&mut self) {
        for number in std::mem::take(&mut self.live) {
            self.hear(number);
            self.owes_what_it_is_held_for(number);
            let until = match self.world.peer(number).rest {
                Rest::Hold { until } => Some(until),
                _ => None,
            };
            self.pit.note(number, until);
            if !matches!(self.world.peer(number).rest, Rest::Closed) {
                self.live.push(number);
            }
        }
    }

    /// Whichever process keeps it, and whichever has charged it.
    fn owes_what_it_is_held_for(&self, number: usize) {
        let peer = self.world.peer(number);
        let Rest::Hold { until } = peer.rest else {
            return;
        };
        if peer.session.waits_for_room() {
            return;
        }
        let (now, source) = (self.world.now(), peer.session.source());
        let owed = [Account::Rcpt, Account::Auth]
            .map(|account| self.world.ledger().owed(now, source, account));
        assert!(
            owed.into_iter().any(|owed| now + owed >= until),
            "held until {until:?}, owes {owed:?}"
        );
    }

    fn hear(&mut self, number: usize) {
        let source = self.clients[self.owners[number]].source;
        let said = std::mem::take(&mut self.world.peer_mut(number).said);
        for reply in self.read(number, &said) {
            let text = reply.to_log();
            if text.starts_with("550 ") && text.ends_with("5.1.1 No such user") {
                *self.outcome.learnt.entry(source).or_default() += 1;
            }
            self.outcome.heard += u32::from(text.contains("queued"));
        }
        let peer = self.world.peer_mut(number);
        while let Some(hold) = peer.holds.pop_front() {
            self.outcome.holds += 1;
            *self.outcome.hold_ends.entry(hold.end.as_str()).or_default() += 1;
            *self.held.entry(number).or_default() += hold.held;
            self.recorded.insert(number);
            assert!(hold.held <= HOLD_MAX + HOLD_MAX, "{hold:?}");
        }
    }

    /// Whatever is said in whatever pieces, a client reads whole replies; that to a held command is
    /// not whole while the hold lasts, and is whole when the session ends, whatever ended it.
    fn read(&mut self, number: usize, said: &[u8]) -> Vec<Reply> {
        let reader = self.reading.entry(number).or_default();
        let (mut replies, mut rest) = (Vec::new(), said);
        while let ReplyStep::Done { reply, consumed } = reader.read(rest).unwrap() {
            replies.push(reply);
            rest = &rest[consumed..];
        }
        let in_reply = reader.in_reply();
        let peer = self.world.peer(number);
        match peer.rest {
            Rest::Hold { .. } => {
                assert_eq!(peer.session.said() > 0, in_reply, "{}", number);
                self.outcome.half_said += u32::from(in_reply);
            }
            Rest::Closed if !peer.is_reset() => assert!(!in_reply, "half a reply was said"),
            _ => {}
        }
        replies
    }

    /// Everybody who is still there is gone after the drain; the books are closed.
    fn end(mut self) -> Outcome {
        for number in self.live.clone() {
            if self.world.peer(number).question().as_deref() == Some(".") {
                self.outcome.taken += 1;
                let reply = reply(250, "2.0.0 Ok: queued");
                self.world.end_data(number, DataEnd::Reply(reply));
            }
        }
        self.look();
        assert_eq!(self.live, [0; 0], "sessions that never end");
        let [began, ended] = self.pit.strains;
        assert!(
            began == ended && began > 0,
            "strained {began}, ended {ended}"
        );
        assert!(self.pit.due > 1_000, "{} were due", self.pit.due);
        self.outcome.sessions = self.world.peers().len();
        self.add_up();
        self.no_more_names_than_paid_for();
        self.nothing_is_left();
        self.outcome
    }

    fn add_up(&mut self) {
        let (mut holds, mut taken) = (0, 0);
        for (number, peer) in self.world.peers().iter().enumerate() {
            let record = peer.session.record();
            assert_eq!(
                record.held,
                self.held.get(&number).copied().unwrap_or_default()
            );
            holds += record.holds;
            taken += record.messages_accepted;
            *self.outcome.ends.entry(record.end.as_str()).or_default() += 1;
            let kind = self.clients[self.owners[number]].kind;
            if kind == Kind::Wanted {
                assert_eq!(record.holds, 0, "wanted mail waited");
            }
            assert_ne!(record.end, SessionEnd::Bug);
        }
        let outcome = &self.outcome;
        assert_eq!(holds, outcome.holds, "holds in records of sessions");
        assert_eq!(taken, outcome.taken, "messages in records of sessions");
        assert!(outcome.heard <= outcome.taken, "acknowledged by us alone");
        assert_eq!(
            self.recorded,
            self.seen_held.union(&self.recorded).copied().collect()
        );
        let shed = |ends: &BTreeMap<&str, u32>, word| ends.get(word).copied().unwrap_or_default();
        assert_eq!(shed(&outcome.ends, SessionEnd::Shed.as_str()), outcome.shed);
        assert_eq!(
            shed(&outcome.hold_ends, HoldEnd::Shed.as_str()),
            outcome.shed
        );
    }

    /// However many connections, however often they come again, and whoever takes over: what one
    /// source may owe at once, and then one name for each price. A process that takes over doesn't
    /// know what was being looked up.
    fn no_more_names_than_paid_for(&self) {
        let at_once = HOLD_MAX.as_secs() / PRICE.as_secs();
        let over_time = (STEP * DRAINED[0]).as_secs() / PRICE.as_secs();
        let most = over_time + at_once * (1 + TAKEN_OVER.len() as u64);
        for (source, learnt) in &self.outcome.learnt {
            assert!(u64::from(*learnt) <= most, "{source} learnt {learnt} names");
        }
    }

    fn nothing_is_left(&mut self) {
        let later = self.world.now() + HOLD_MAX;
        self.world.advance(later);
        let sources: BTreeSet<Source> = self.clients.iter().map(|client| client.source).collect();
        for ledger in self.world.ledgers() {
            for &source in &sources {
                for account in [Account::Rcpt, Account::Auth] {
                    assert_eq!(ledger.claimed(later, source, account), Duration::ZERO);
                    // An entry that owes nothing goes when it is looked at.
                    ledger.cancel(later, Ticket(u64::MAX), source, account);
                }
            }
            assert!(ledger.is_empty(), "{} are still in a queue", ledger.len());
        }
    }
}

#[test]
fn two_thousand_clients() {
    let outcome = run(5, Way::Silent);
    assert_eq!(outcome.half_said, 0);
    // The same seed, the same outcome.
    assert_eq!(run(5, Way::Silent), outcome);
}

#[test]
fn two_thousand_clients_that_hear_octets() {
    assert!(run(6, Way::Stutter).half_said > 10_000);
}

#[test]
fn two_thousand_clients_that_hear_lines() {
    assert!(run(7, Way::Continuation).half_said > 10_000);
}

fn run(seed: u64, way: Way) -> Outcome {
    let outcome = Simulation::new(seed, way).run();
    println!("{outcome:#?}");
    assert!(outcome.learnt.values().sum::<u32>() > 1_000, "{outcome:?}");
    // A world in which nothing happens proves nothing.
    let happened = |ends: &BTreeMap<&str, u32>, words: &[&str]| {
        words
            .iter()
            .all(|word| ends.get(word).is_some_and(|count| *count > 0))
    };
    assert!(outcome.taken > 500 && outcome.heard > 500, "{outcome:?}");
    assert!(happened(
        &outcome.ends,
        &[
            "quit",
            "hang_up",
            "hang_up_held",
            "timed_out",
            "drained",
            "shed"
        ]
    ));
    assert!(happened(
        &outcome.hold_ends,
        &[
            "paid",
            "no_room",
            "hang_up",
            "half_closed",
            "drained",
            "shed"
        ]
    ));
    outcome
}
