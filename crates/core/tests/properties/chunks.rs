//! Any chunking of a client's bytes gives the same replies at the same times.

use std::time::Duration;

use proptest::prelude::*;
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{Admission, Answer, DataEnd, Prefixes, Source, Tick};
use tarpit_smtp::escape;
use tarpit_testkit::{Rest, World};

use crate::scene::{self, BROKEN, LINES, Octets, reply};

/// What was said, asked and held, each with its moment.
type Transcript = Vec<(Tick, String)>;

/// An upstream whose answer depends on the question alone: names with `bad` don't exist.
fn oracle(question: &str) -> (Duration, Answer) {
    let slow = Duration::from_millis(if question.contains('2') { 200 } else { 0 });
    let answer = match question.split(' ').next().unwrap_or_default() {
        "RCPT" if question.contains("bad") => reply(550, "5.1.1 No such user"),
        "RCPT" => reply(250, "2.1.5 Ok"),
        "DATA" => reply(354, "Go"),
        "AUTH" if question.contains("LOGIN") => reply(334, "eA=="),
        "AUTH" => reply(535, "5.7.8 No"),
        _ if question.contains('*') => reply(501, "Cancelled"),
        _ => reply(535, "5.7.8 No"),
    };
    (slow, Answer::Reply(answer))
}

struct Play {
    world: World,
    number: usize,
    asked: Option<(Tick, Answer)>,
    seen: Transcript,
    /// Apart, since where a record stands among replies of the same moment says nothing.
    holds: Transcript,
}

impl Play {
    fn new(policy: Policy) -> Self {
        let mut world = World::new(scene::rules(policy, false));
        let source = Source::of([192, 0, 2, 1].into(), Prefixes::default());
        let number = world.open(source, false, Admission::Open);
        Self {
            world,
            number,
            asked: None,
            seen: Vec::new(),
            holds: Vec::new(),
        }
    }

    /// Writes down what is new, and answers what is due now.
    fn look(&mut self) {
        loop {
            let now = self.world.now();
            let peer = self.world.peer_mut(self.number);
            while let Some(line) = peer.take_line() {
                self.seen
                    .push((now, format!("S {}", String::from_utf8_lossy(&line))));
            }
            while let Some(hold) = peer.holds.pop_front() {
                self.holds.push((now, format!("{hold:?}")));
            }
            if let Rest::Relay(relay) = &peer.rest
                && relay.at_end
            {
                self.seen.push((
                    now,
                    format!("body {:?}", String::from_utf8_lossy(&relay.body)),
                ));
                let refused = relay.body.windows(4).any(|octets| octets == b"NOOP");
                let end = if refused {
                    reply(550, "5.7.1 No")
                } else {
                    reply(250, "2.0.0 Ok")
                };
                self.world.end_data(self.number, DataEnd::Reply(end));
                continue;
            }
            if matches!(peer.rest, Rest::Handshake) {
                // What was read ahead is thrown away, and how much that is depends on how it came:
                // here nothing comes any more.
                self.seen.push((now, "handshake".to_owned()));
                self.world.hang_up(self.number);
                return;
            }
            if let Rest::Take(take) = &peer.rest
                && take.is_asked()
            {
                self.seen.push((
                    now,
                    format!(
                        "chunk {:?} {:?}",
                        take.chunk,
                        escape(&take.body).to_string()
                    ),
                ));
                let end = if take.body.starts_with(b"bad") {
                    reply(550, "5.7.1 No")
                } else {
                    reply(250, "2.0.0 Ok")
                };
                self.world.end_data(self.number, DataEnd::Reply(end));
                continue;
            }
            let Some(question) = peer.question() else {
                return;
            };
            if self.asked.is_none() {
                let (slow, answer) = oracle(&question);
                self.seen.push((now, format!("U {question}")));
                self.asked = Some((now + slow, answer));
            }
            match self.asked.take() {
                Some((due, answer)) if due <= now => self.world.answer(self.number, answer),
                later => {
                    self.asked = later;
                    return;
                }
            }
        }
    }

    /// Goes on until only the client's silence is left.
    fn finish(mut self) -> Transcript {
        self.look();
        loop {
            let next = match (&self.asked, &self.world.peer(self.number).rest) {
                (Some((due, _)), _) => *due,
                (None, Rest::Hold { until }) => *until,
                _ => break,
            };
            self.world.advance(next);
            self.look();
        }
        let peer = self.world.peer(self.number);
        // What comes after the end is nobody's business.
        let unread = if matches!(peer.rest, Rest::Closed) {
            Vec::new()
        } else {
            peer.unread().to_vec()
        };
        self.seen
            .push((self.world.now(), format!("rest {unread:?}")));
        self.seen.push((
            self.world.now(),
            format!("{:?}", self.world.peer(self.number).session.record()),
        ));
        self.seen.append(&mut self.holds);
        self.seen
    }
}

fn played(policy: &Policy, stream: &[u8], cuts: &[usize]) -> Transcript {
    let mut play = Play::new(policy.clone());
    play.look();
    let mut from = 0;
    for &cut in cuts.iter().chain([&stream.len()]) {
        play.world.send(play.number, &stream[from..cut]);
        from = cut;
        // An odd cut gives the upstream time to answer at once, an even one doesn't.
        if cut % 2 == 1 {
            play.look();
        }
    }
    play.finish()
}

/// Lines, broken lines, and some of any length up to more than is allowed.
fn stream() -> impl Strategy<Value = Octets> {
    let long = (0_usize..2500, any::<bool>()).prop_map(|(length, auth)| {
        let mut line = if auth {
            b"AUTH PLAIN ".to_vec()
        } else {
            b"NOOP ".to_vec()
        };
        line.extend(std::iter::repeat_n(b'A', length * if auth { 7 } else { 1 }));
        line.extend_from_slice(b"\r\n");
        line
    });
    let piece = prop_oneof![
        12 => prop::sample::select(LINES).prop_map(<[u8]>::to_vec),
        4 => (0_usize..90, any::<bool>(), any::<bool>()).prop_map(|(size, last, bad)| {
            let last = if last { " LAST" } else { "" };
            let octets: &[u8] = if bad { b"bad\r\n" } else { b".\r\nRCPT TO:<good@example.org>\r\n" };
            let mut line = format!("BDAT {size}{last}\r\n").into_bytes();
            line.extend(octets.iter().copied().cycle().take(size));
            line
        }),
        1 => prop::sample::select(BROKEN).prop_map(<[u8]>::to_vec),
        1 => long,
        1 => prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), any::<u8>()], 0..6),
    ];
    // Most streams begin as honest ones do, so that they get somewhere.
    let start = prop_oneof![
        Just(&b""[..]),
        Just(&b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<good@example.org>\r\n"[..]),
        Just(&b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<good2@example.org>\r\nDATA\r\n"[..]),
        Just(
            &b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<good@example.org>\r\nBDAT 4\r\ntext"[..]
        ),
        Just(&b"EHLO c\r\nAUTH LOGIN\r\n"[..]),
    ];
    (start, prop::collection::vec(piece, 0..12))
        .prop_map(|(start, pieces)| Octets([start, &pieces.concat()].concat()))
}

fn cut_stream() -> impl Strategy<Value = (Octets, Vec<usize>)> {
    stream().prop_flat_map(|stream| {
        let length = stream.0.len();
        let cuts = prop::collection::btree_set(0..=length, 0..40)
            .prop_map(|cuts| cuts.into_iter().collect());
        (Just(stream), cuts)
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let scope = prop_oneof![Just(Scope::Session), Just(Scope::Source)];
    let mode = prop_oneof![1 => Just(Mode::Observe), 3 => Just(Mode::Enforce)];
    (scope, mode).prop_map(|(scope, mode)| Policy {
        mode,
        scope,
        delay: Duration::from_secs(5),
        hold_max: Duration::from_secs(7),
        recipients_max: 100,
        errors_max: 6,
        way: Way::Silent,
        pace: Duration::ZERO,
    })
}

proptest! {
    #![proptest_config(scene::config(1000))]

    #[test]
    fn chunking_changes_nothing((stream, cuts) in cut_stream(), policy in policy()) {
        let whole = played(&policy, &stream.0, &[]);
        prop_assert!(whole.len() > 2, "a world in which nothing happens proves nothing");
        prop_assert_eq!(&whole, &played(&policy, &stream.0, &cuts));
    }

    #[test]
    fn octet_by_octet_changes_nothing(stream in stream(), policy in policy()) {
        let cuts: Vec<usize> = (0..stream.0.len()).collect();
        prop_assert_eq!(played(&policy, &stream.0, &[]), played(&policy, &stream.0, &cuts));
    }
}
