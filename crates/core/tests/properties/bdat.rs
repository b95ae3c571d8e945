//! Messages in chunks against a model of RFC 3030 §2.
//!
//! The octets of all chunks look like commands: if one were ever read as such, the upstream would be
//! asked for a recipient that nobody named.

use std::time::Duration;

use proptest::prelude::*;
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{Admission, Answer, DataEnd, Prefixes, Source, Trouble};
use tarpit_testkit::{Rest, World};

use crate::scene::{self, reply};

/// Octets that do harm if they are read as commands.
const EVIL: &[u8] = b"\r\nRSET\r\nMAIL FROM:<>\r\nRCPT TO:<evil@example.org>\r\nDATA\r\n";

#[derive(Clone, Debug)]
enum Op {
    Ehlo,
    Helo,
    Mail,
    /// Whether the upstream takes it.
    Rcpt(bool),
    Rset,
    Data,
    Noop,
    Bdat {
        /// Of [`EVIL`], over and over.
        size: usize,
        last: bool,
        /// Which of the answers of the upstream.
        answer: prop::sample::Index,
        /// The octets come apart from the command, in pieces of this size.
        piece: usize,
    },
    /// A chunk that is larger than a message may be; its octets come all the same.
    TooLarge {
        last: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let bdat = (
        prop_oneof![Just(0), 1_usize..200],
        any::<bool>(),
        any::<prop::sample::Index>(),
        1_usize..100,
    )
        .prop_map(|(size, last, answer, piece)| Op::Bdat {
            size,
            last,
            answer,
            piece,
        });
    prop_oneof![
        2 => Just(Op::Ehlo),
        1 => Just(Op::Helo),
        8 => Just(Op::Mail),
        8 => prop::bool::weighted(0.8).prop_map(Op::Rcpt),
        3 => Just(Op::Rset),
        1 => Just(Op::Data),
        1 => Just(Op::Noop),
        16 => bdat,
        1 => any::<bool>().prop_map(|last| Op::TooLarge { last }),
    ]
}

/// What a server of RFC 3030 remembers.
#[derive(Debug, Default)]
struct Model {
    announced: bool,
    transaction: bool,
    accepted: bool,
    tried: bool,
    begun: bool,
    failed: bool,
}

impl Model {
    fn reset(&mut self) {
        *self = Self {
            announced: self.announced,
            ..Self::default()
        };
    }

    /// Whether the next chunk goes to the upstream.
    const fn passes(&self) -> bool {
        self.announced && self.transaction && self.accepted && !self.failed
    }
}

struct Trial {
    world: World,
    model: Model,
    /// What the upstream got of this message.
    got: Vec<u8>,
    sent: Vec<u8>,
}

/// A few chunks long, so that the sum of their sizes counts.
const SIZE_MAX: usize = 300;

impl Trial {
    fn new() -> Self {
        let policy = Policy {
            mode: Mode::Off,
            scope: Scope::Session,
            delay: Duration::ZERO,
            hold_max: Duration::from_secs(25),
            recipients_max: 100,
            errors_max: 1000,
            way: Way::Silent,
            pace: Duration::ZERO,
        };
        let mut rules = scene::rules(policy, false);
        rules.door.size_max = SIZE_MAX as u64;
        let mut world = World::new(rules);
        let source = Source::of([192, 0, 2, 1].into(), Prefixes::default());
        world.open(source, false, Admission::Open);
        world.peer_mut(0).said.clear();
        Self {
            world,
            model: Model::default(),
            got: Vec::new(),
            sent: Vec::new(),
        }
    }

    /// Exactly one reply, at once; its code.
    fn reply(&mut self) -> u16 {
        let mut code = 0;
        let mut finals = 0;
        while let Some(line) = self.world.peer_mut(0).take_line() {
            code = String::from_utf8_lossy(&line[..3]).parse().unwrap();
            finals += u32::from(line[3] == b' ');
        }
        assert_eq!(finals, 1, "replies to one command");
        assert!(matches!(self.world.peer(0).rest, Rest::Read), "it rests");
        code
    }

    fn say(&mut self, line: &str) -> u16 {
        self.world.send(0, format!("{line}\r\n").as_bytes());
        match self.world.peer(0).question() {
            Some(question) if question.starts_with("RCPT") => {
                assert!(!question.contains("evil"), "{question}");
                let answer = if question.contains("good") {
                    reply(250, "2.1.5 Ok")
                } else {
                    reply(550, "5.1.1 No")
                };
                self.world.answer(0, Answer::Reply(answer));
            }
            // Refused here, so that no state follows from it.
            Some(question) if question == "DATA" => {
                self.world.answer(0, Answer::Reply(reply(451, "4.3.0 No")));
            }
            Some(question) => panic!("{question}"),
            None => {}
        }
        self.reply()
    }

    fn run(&mut self, op: &Op) {
        let in_chunks = self.model.begun || self.model.failed;
        match op {
            Op::Ehlo | Op::Helo => {
                let ehlo = matches!(op, Op::Ehlo);
                let line = if ehlo { "EHLO c" } else { "HELO c" };
                assert_eq!(self.say(line), 250);
                self.model.reset();
                self.model.announced = ehlo;
            }
            Op::Rset => {
                assert_eq!(self.say("RSET"), 250);
                self.model.reset();
            }
            Op::Noop => assert_eq!(self.say("NOOP"), 250),
            Op::Mail => {
                let expected = if self.model.transaction { 503 } else { 250 };
                assert_eq!(self.say("MAIL FROM:<a@b.example>"), expected);
                self.model.transaction = true;
            }
            Op::Rcpt(good) => {
                let name = if *good { "good" } else { "bad" };
                let expected = match (self.model.transaction, in_chunks, good) {
                    (false, ..) | (_, true, _) => 503,
                    (_, _, true) => 250,
                    (_, _, false) => 550,
                };
                assert_eq!(self.say(&format!("RCPT TO:<{name}@example.org>")), expected);
                if self.model.transaction && !in_chunks {
                    self.model.tried = true;
                    self.model.accepted |= good;
                }
            }
            Op::Data => {
                let code = self.say("DATA");
                if in_chunks {
                    assert_eq!(code, 503);
                }
                assert!(code >= 400);
            }
            Op::Bdat {
                size,
                last,
                answer,
                piece,
            } => self.bdat(*size, *last, answer, *piece),
            Op::TooLarge { last } => {
                let code = self.chunk(SIZE_MAX + 1, *last, 1_000, None);
                assert_eq!(
                    code,
                    if self.model.passes() {
                        552
                    } else {
                        self.refusal()
                    }
                );
                self.failed(*last);
            }
        }
        if !self.model.begun {
            self.got.clear();
            self.sent.clear();
        }
        assert_eq!(self.world.peer(0).session.is_in_message(), self.model.begun);
    }

    fn refusal(&self) -> u16 {
        match &self.model {
            model if !model.announced => 502,
            model if model.failed || !model.transaction || !model.tried => 503,
            _ => 554,
        }
    }

    fn failed(&mut self, last: bool) {
        if !self.model.announced || !self.model.transaction {
            return;
        }
        if last {
            self.model.reset();
        } else {
            self.model.begun = false;
            self.model.failed = true;
        }
    }

    fn bdat(&mut self, size: usize, last: bool, answer: &prop::sample::Index, piece: usize) {
        let passes = self.model.passes();
        if passes && self.sent.len() + size > SIZE_MAX {
            assert_eq!(self.chunk(size, last, piece, None), 552);
            return self.failed(last);
        }
        let ends = ends(last);
        let end = ends[answer.index(ends.len())].clone();
        let code = self.chunk(size, last, piece, Some(&end));
        if !passes {
            assert_eq!(code, self.refusal());
            return self.failed(last);
        }
        match &end {
            DataEnd::Reply(reply) => assert_eq!(code, reply.code().get(), "the upstream's word"),
            DataEnd::Lost { .. } => assert_eq!(code, 451),
            DataEnd::TooLarge => assert_eq!(code, 552),
            DataEnd::Looped => assert_eq!(code, 554),
            _ => assert_eq!(code, 550),
        }
        if code != 250 {
            self.failed(last);
        } else if last {
            self.model.reset();
        } else {
            self.model.begun = true;
        }
    }

    /// Sends a chunk; the upstream answers with `end` if it is asked. The code of the reply.
    fn chunk(&mut self, size: usize, last: bool, piece: usize, end: Option<&DataEnd>) -> u16 {
        let word = if last { " LAST" } else { "" };
        let octets: Vec<u8> = EVIL.iter().copied().cycle().take(size).collect();
        self.world
            .send(0, format!("BDAT {size}{word}\r\n").as_bytes());
        for octets in octets.chunks(piece) {
            assert!(self.world.peer(0).said.is_empty(), "answered too early");
            self.world.send(0, octets);
        }
        if let Some(question) = self.world.peer(0).question() {
            assert_eq!(question, format!("BDAT {size}{word}"));
            let Rest::Take(take) = &self.world.peer(0).rest else {
                panic!("asked for a chunk, but takes none")
            };
            assert_eq!(take.chunk.first, !self.model.begun);
            self.got.extend_from_slice(&take.body);
            self.sent.extend_from_slice(&octets);
            assert_eq!(self.got, self.sent);
            assert!(self.model.passes(), "a chunk out of order was passed on");
            let end = end.expect("a chunk was passed on that should not be");
            self.world.end_data(0, end.clone());
        }
        self.reply()
    }
}

/// What can become of a chunk, half of the time the best.
fn ends(last: bool) -> Vec<DataEnd> {
    let good = DataEnd::Reply(reply(250, "2.0.0 Ok"));
    let mut ends = vec![
        DataEnd::Reply(reply(550, "5.7.1 No")),
        DataEnd::Reply(reply(452, "4.3.1 No")),
        DataEnd::Lost {
            trouble: Trouble::Closed,
            after_dot: last,
        },
        DataEnd::Lost {
            trouble: Trouble::Lacks,
            after_dot: false,
        },
        DataEnd::BareNewline,
        DataEnd::TooLarge,
        DataEnd::Looped,
    ];
    ends.extend(std::iter::repeat_n(good, 7));
    ends
}

proptest! {
    #![proptest_config(scene::config(2000))]

    #[test]
    fn chunks_are_as_the_standard_says(ops in prop::collection::vec(op(), 1..60)) {
        let mut trial = Trial::new();
        assert_eq!(trial.say("EHLO c"), 250);
        trial.model.announced = true;
        for op in &ops {
            trial.run(op);
        }
    }
}
