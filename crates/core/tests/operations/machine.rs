//! Octets as a sequence of operations on sessions: shared by the fuzz target `session` and the
//! replay of its seeds.
//!
//! Each operation is one octet, some with octets of their own behind it (see [`Trial::run`]). After
//! each one everything is checked that must hold at every moment.

use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::LedgerConfig;
use tarpit_core::policy::{HOLD_TOTAL_MAX, Mode, Policy, Scope, Way};
use tarpit_core::{Admission, Answer, DataEnd, Door, Kind, Prefixes, Session, Source, Trouble};
use tarpit_smtp::{Capabilities, Reply, ReplyCode};
use tarpit_testkit::{Peer, Rest, Rules, World};

/// What clients say, without line ends.
const LINES: &[&[u8]] = &[
    b"EHLO c",
    b"HELO c",
    b"MAIL FROM:<a@b.example>",
    b"MAIL FROM:<a@b.example> BODY=BINARYMIME SIZE=10 AUTH=x",
    b"MAIL FROM:<\xc3\xa4@b.example> SMTPUTF8 RET=HDRS ENVID=x",
    b"RCPT TO:<good@example.org>",
    b"RCPT TO:<bad@example.org> NOTIFY=NEVER",
    b"RCPT TO:<postmaster>",
    b"DATA",
    b"text",
    b".",
    b"RSET",
    b"NOOP",
    b"AUTH PLAIN AGE=",
    b"AUTH LOGIN",
    b"YWxpY2U=",
    b"*",
    b"STARTTLS",
    b"XCLIENT ADDR=192.0.2.7 NAME=c.example",
    b"XCLIENT LOGIN=x",
    b"BDAT 0",
    b"BDAT 3",
    b"BDAT 4 LAST",
    b"BDAT 0 LAST",
    b"BDAT 18446744073709551615",
    b"BDAT x",
    b"QUIT",
    b"BOO",
    b"",
];

/// Plays `input`, and once more with every session frozen and thawed whenever it rests.
///
/// # Panics
/// If something does not hold.
pub(crate) fn check(input: &[u8]) {
    let Some((&first, rest)) = input.split_first() else {
        return;
    };
    play(World::new(rules(first)), rest);
    let mut world = World::new(rules(first));
    world.freeze_at_rest();
    play(world, rest);
}

fn play(world: World, input: &[u8]) {
    let mut trial = Trial {
        world,
        input,
        accepted: Vec::new(),
        number: 0,
    };
    trial.open();
    while let Some(octet) = trial.next() {
        trial.run(octet);
        trial.look();
    }
    trial.end();
}

/// Each bit of the first octet is a setting.
fn rules(bits: u8) -> Rules {
    let is = |bit: u8| bits & (1 << bit) != 0;
    let ehlo = if is(0) {
        "u\nPIPELINING\nSIZE 12\n8BITMIME\nSMTPUTF8\nDSN\nCHUNKING\nBINARYMIME\nAUTH PLAIN LOGIN"
    } else {
        "u\nAUTH PLAIN LOGIN\nLIMITS MAILMAX=3 RCPTMAX=2"
    };
    let scope = if is(1) { Scope::Source } else { Scope::Session };
    let kind = if is(2) { Kind::Submission } else { Kind::Mx };
    Rules {
        hostname: "mx.example.org".to_owned(),
        policy: Policy {
            mode: if is(3) { Mode::Observe } else { Mode::Enforce },
            scope,
            delay: Duration::from_secs(5),
            hold_max: Duration::from_secs(7),
            recipients_max: 100,
            errors_max: 20,
            way: Way::Silent,
            pace: Duration::ZERO,
        },
        capabilities: Capabilities::from_ehlo(&reply(250, ehlo)),
        filter: Filter::new(vec!["example.org".into()], None, false),
        door: Door {
            kind,
            starttls: is(4),
            auth_plain: is(5),
            xclient: is(6),
            upstream_secure: true,
            size_max: 100,
        },
        implicit_tls: is(7),
        command_timeout: Duration::from_secs(300),
        session_timeout: Duration::from_secs(3600),
        held_unread_max: 4096,
        grace: Duration::from_secs(5),
        ledger: LedgerConfig {
            sources_max: 10,
            known_max: 10,
            known_for: Duration::from_secs(3600),
        },
    }
}

fn reply(code: u16, text: &str) -> Reply {
    Reply::new(ReplyCode::new(code).unwrap(), text)
}

struct Trial<'a> {
    world: World,
    input: &'a [u8],
    /// Of each session: messages for which the upstream said 2yz.
    accepted: Vec<u32>,
    /// The present session.
    number: usize,
}

impl Trial<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.input.split_first()?;
        self.input = rest;
        Some(first)
    }

    fn run(&mut self, octet: u8) {
        let number = self.number;
        match octet {
            0..=0x7f => {
                let line = LINES[usize::from(octet) % LINES.len()];
                self.world.send(number, &[line, b"\r\n"].concat());
            }
            // Octets as they are, up to 15.
            0x80..=0x8f => {
                let count = usize::from(octet & 0x0f).min(self.input.len());
                let (octets, rest) = self.input.split_at(count);
                self.input = rest;
                self.world.send(number, octets);
            }
            0x90..=0xbf => self.answer(octet),
            0xc0..=0xc7 => {
                let seconds = [0, 1, 4, 5, 7, 60, 299, 301][usize::from(octet & 7)];
                let later = self.world.now() + Duration::from_secs(seconds);
                self.world.advance(later);
            }
            0xc8..=0xcf => {
                if matches!(self.peer().rest, Rest::Handshake) {
                    self.world.handshake(number, octet != 0xcf);
                }
            }
            0xd0 => self.world.hang_up(number),
            0xd1 => self.world.half_close(number),
            0xd2 => self.world.drain(),
            0xd3 => self.world.drain_over(),
            0xdc => self.world.shed(number),
            0xdd => self.world.hand_over(),
            0xd4..=0xd7 if self.accepted.len() < 4 => self.open(),
            0xd8..=0xdb => self.number = usize::from(octet) % self.accepted.len(),
            _ => {}
        }
    }

    fn peer(&self) -> &Peer {
        self.world.peer(self.number)
    }

    fn open(&mut self) {
        let address = [192, 0, 2, u8::try_from(self.accepted.len() % 2).unwrap()];
        let source = Source::of(address.into(), Prefixes::default());
        self.number = self.world.open(source, false, Admission::Open);
        self.accepted.push(0);
    }

    fn answer(&mut self, octet: u8) {
        let number = self.number;
        let codes = [250, 354, 334, 235, 550, 451, 535, 503];
        let code = codes[usize::from(octet & 7)];
        let reply = reply(code, "what it says");
        let Some(question) = self.peer().question() else {
            return self.fail(octet);
        };
        if question == "." || question.starts_with("BDAT") {
            let is_last = question == "." || question.ends_with("LAST");
            let end = match octet {
                0x90..=0x9f if code != 354 && code != 334 => DataEnd::Reply(reply),
                0xa0..=0xa3 => DataEnd::Lost {
                    trouble: Trouble::Closed,
                    after_dot: is_last,
                },
                0xa4..=0xa7 => DataEnd::TooLarge,
                0xa8..=0xab => DataEnd::BareNewline,
                0xac..=0xaf => DataEnd::Looped,
                _ => DataEnd::TooSlow,
            };
            let is_taken = matches!(&end, DataEnd::Reply(reply) if reply.code().is_positive());
            self.accepted[number] += u32::from(is_taken && is_last);
            return self.world.end_data(number, end);
        }
        let answer = match octet {
            0x90..=0x9f => Answer::Reply(reply),
            0xa0..=0xa3 => Answer::SenderRefused(reply_of_refusal(octet)),
            0xa4..=0xa7 => Answer::ServiceRefused(reply_of_refusal(octet)),
            0xa8..=0xaf => Answer::Trouble(Trouble::Capacity),
            0xb0..=0xb7 => Answer::Trouble(Trouble::AuthLost),
            _ => Answer::Trouble(Trouble::Lacks),
        };
        self.world.answer(number, answer);
    }

    /// The upstream refuses or is lost in the middle of message data.
    fn fail(&mut self, octet: u8) {
        let in_data = match &self.peer().rest {
            Rest::Relay(relay) => !relay.at_end && !relay.client_gone,
            Rest::Take(take) => take.chunk.pass && !take.client_gone,
            _ => false,
        };
        if !in_data {
            return;
        }
        let end = if octet & 1 == 0 {
            DataEnd::Reply(reply_of_refusal(octet))
        } else {
            DataEnd::Lost {
                trouble: Trouble::Closed,
                after_dot: false,
            }
        };
        self.world.fail_data(self.number, end);
    }

    /// What must hold at every moment.
    fn look(&mut self) {
        for number in 0..self.accepted.len() {
            let accepted = self.accepted[number];
            let peer = self.world.peer_mut(number);
            while let Some(line) = peer.take_line() {
                assert!(is_reply(&line), "{:?}", String::from_utf8_lossy(&line));
            }
            assert!(peer.said.is_empty(), "half a reply");
            let session = &peer.session;
            let record = session.record();
            assert_eq!(
                record.messages_accepted, accepted,
                "acknowledged by us alone"
            );
            assert!(record.held <= HOLD_TOTAL_MAX, "held for {:?}", record.held);
            look_at_message(session, &peer.rest);
        }
    }

    /// Everybody leaves; nothing stays.
    fn end(mut self) {
        for number in 0..self.accepted.len() {
            self.world.hang_up(number);
            let asked = self.world.peer(number).question();
            if asked.is_some_and(|asked| asked == "." || asked.starts_with("BDAT")) {
                self.world
                    .end_data(number, DataEnd::Reply(reply(451, "No")));
            }
        }
        let later = self.world.now() + self.world.rules().grace + Duration::from_secs(60);
        self.world.advance(later);
        self.look();
        for peer in self.world.peers() {
            assert!(matches!(peer.rest, Rest::Closed), "{:?}", peer.rest);
        }
    }
}

/// Half a message has recipients, and never waits in the pit.
fn look_at_message(session: &Session, rest: &Rest) {
    if !session.is_in_message() {
        return;
    }
    let envelope = session.envelope().expect("chunks belong to a transaction");
    assert!(!envelope.accepted.is_empty(), "chunks for nobody");
    assert!(
        matches!(rest, Rest::Read | Rest::Take(_)),
        "half a message is at the upstream, and the session rests in {rest:?}"
    );
}

fn reply_of_refusal(octet: u8) -> Reply {
    reply(if octet & 2 == 0 { 550 } else { 451 }, "what it says")
}

fn is_reply(line: &[u8]) -> bool {
    matches!(
        line,
        [b'2'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ' | b'-', ..]
    )
}
