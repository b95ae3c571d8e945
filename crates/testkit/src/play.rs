//! Plays a dialogue against the machine, in virtual time.
//!
//! Everything must be claimed: before time passes, before the client says more, and at the end,
//! no reply may be left that the dialogue did not mention, and no question to the upstream may be
//! open that it does not know of.

mod check;

use std::fmt;
use std::time::Duration;

use tarpit_core::{Answer, DataEnd};
use tarpit_smtp::escape;

use crate::dialog::{DataFate, Dialog, Outcome, Placed, Step};
use crate::world::{Rest, World};

/// Where a dialogue and the machine disagree.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which dialogue.
    pub name: String,
    /// The line of the step; 0 for the end of the file.
    pub line: usize,
    /// What was expected and what was found.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.dialog:{}: {}", self.name, self.line, self.what)
    }
}

impl std::error::Error for Failure {}

/// Plays `dialog`.
///
/// # Errors
/// The first step that doesn't hold.
pub fn play(dialog: &Dialog) -> Result<(), Failure> {
    play_in(dialog, World::new(dialog.settings.rules()))
}

/// Plays `dialog` with every session frozen and thawed whenever it rests.
///
/// # Errors
/// The first step that doesn't hold then.
pub fn play_frozen(dialog: &Dialog) -> Result<(), Failure> {
    let mut world = World::new(dialog.settings.rules());
    world.freeze_at_rest();
    play_in(dialog, world)
}

fn play_in(dialog: &Dialog, world: World) -> Result<(), Failure> {
    let mut player = Player {
        dialog,
        world,
        current: 0,
        known: Vec::new(),
        claimed_holds: false,
    };
    let failure = |line, what| Failure {
        name: dialog.name.clone(),
        line,
        what,
    };
    for Placed { line, step } in &dialog.steps {
        player.step(step).map_err(|what| failure(*line, what))?;
    }
    player.finish().map_err(|what| failure(0, what))
}

struct Player<'a> {
    dialog: &'a Dialog,
    world: World,
    current: usize,
    /// Sessions whose open question the dialogue has named.
    known: Vec<usize>,
    /// The dialogue looks at records of holds: then it has to look at all of them.
    claimed_holds: bool,
}

type Checked = Result<(), String>;

impl Player<'_> {
    fn step(&mut self, step: &Step) -> Checked {
        let number = self.current;
        if !matches!(step, Step::Open { .. }) && self.world.peers().is_empty() {
            return Err("the first step has to be: open".to_owned());
        }
        match step {
            Step::Open { from, admission } => {
                let (source, exempt) = self.dialog.settings.source(*from);
                self.current = self.world.open(source, exempt, *admission);
            }
            Step::Session(number) => {
                self.current = number
                    .checked_sub(1)
                    .filter(|number| *number < self.world.peers().len())
                    .ok_or("there is no such session")?;
            }
            Step::Send(bytes) => {
                self.nothing_unclaimed(number)?;
                if self.world.peer(number).is_gone() {
                    return Err("the session is over, the client can't send".to_owned());
                }
                self.world.send(number, bytes);
            }
            Step::Say(line) => return self.say(line),
            Step::SayPart(octets) => return self.say_part(octets),
            Step::Ask { question, outcome } => return self.ask(question, outcome.as_ref()),
            Step::Answer(outcome) => return self.answer(outcome),
            Step::Mail(line) => return self.mail(line),
            Step::Data(fate) => return self.data(fate),
            Step::Nothing => return self.nothing(),
            Step::Wait(span) => return self.wait(*span),
            Step::Hold(line) => return self.hold(line),
            Step::Record(fields) => return self.record(fields),
            Step::Message(line) => return self.message(line),
            Step::Closed(end) => return self.closed(end),
            Step::HangUp => self.world.hang_up(number),
            Step::HalfClose => self.world.half_close(number),
            Step::Tls(succeeded) => return self.tls(*succeeded),
            Step::Drain => self.world.drain(),
            Step::Shed => self.world.shed(number),
            Step::DrainOver => self.world.drain_over(),
        }
        Ok(())
    }

    fn tls(&mut self, succeeded: bool) -> Checked {
        self.nothing_unclaimed(self.current)?;
        let rest = &self.world.peer(self.current).rest;
        if !matches!(rest, Rest::Handshake) {
            return Err(format!(
                "no handshake is awaited; the session rests in {rest:?}"
            ));
        }
        self.world.handshake(self.current, succeeded);
        Ok(())
    }

    fn say(&mut self, line: &[u8]) -> Checked {
        let rest = self.world.peer(self.current).question();
        match self.world.peer_mut(self.current).take_line() {
            Some(said) if said == line => Ok(()),
            Some(said) => Err(format!(
                "expected {:?}, the gateway said {:?}",
                shown(line),
                shown(&said)
            )),
            None => Err(match rest {
                Some(question) => format!(
                    "expected {:?}, the gateway said nothing; it asks the upstream {question:?}",
                    shown(line)
                ),
                None => format!(
                    "expected {:?}, the gateway said nothing; it rests in {:?}",
                    shown(line),
                    self.world.peer(self.current).rest
                ),
            }),
        }
    }

    /// A part of a line, which is all that was said.
    fn say_part(&mut self, octets: &[u8]) -> Checked {
        let said = std::mem::take(&mut self.world.peer_mut(self.current).said);
        if said == octets {
            return Ok(());
        }
        Err(format!(
            "expected {:?} and nothing more, the gateway said {:?}",
            shown(octets),
            shown(&said)
        ))
    }

    fn ask(&mut self, question: &str, outcome: Option<&Outcome>) -> Checked {
        match self.world.peer(self.current).question() {
            Some(asked) if asked == question && !self.known.contains(&self.current) => {}
            Some(asked) => {
                return Err(format!(
                    "expected the question {question:?}, the machine asks {asked:?}"
                ));
            }
            None => {
                return Err(format!(
                    "expected the question {question:?}, the machine asks nothing; it rests in {:?}",
                    self.world.peer(self.current).rest
                ));
            }
        }
        self.known.push(self.current);
        outcome.map_or(Ok(()), |outcome| self.answer(outcome))
    }

    fn answer(&mut self, outcome: &Outcome) -> Checked {
        let number = self.current;
        if !self.known.contains(&number) {
            return Err("nothing was asked that could be answered".to_owned());
        }
        self.known.retain(|known| *known != number);
        let after_dot = match &self.world.peer(number).rest {
            Rest::Relay(_) => Some(true),
            Rest::Take(take) => Some(take.chunk.last),
            _ => None,
        };
        if let Some(after_dot) = after_dot {
            let end = match outcome.clone() {
                Outcome::Reply(reply) => DataEnd::Reply(reply),
                Outcome::Trouble(trouble) => DataEnd::Lost { trouble, after_dot },
                _ => {
                    return Err(
                        "allowed as the answer to message data: a reply or a trouble".to_owned(),
                    );
                }
            };
            self.world.end_data(number, end);
            return Ok(());
        }
        let answer = match outcome.clone() {
            Outcome::Reply(reply) => Answer::Reply(reply),
            Outcome::SenderRefused(reply) => Answer::SenderRefused(reply),
            Outcome::ServiceRefused(reply) => Answer::ServiceRefused(reply),
            Outcome::Trouble(trouble) => Answer::Trouble(trouble),
        };
        self.world.answer(number, answer);
        Ok(())
    }

    fn data(&mut self, fate: &DataFate) -> Checked {
        match &self.world.peer(self.current).rest {
            Rest::Relay(relay) if !relay.at_end => {}
            Rest::Take(take) if !take.is_asked() => {}
            Rest::Relay(_) | Rest::Take(_) => {
                return Err("the client has sent its end of data already".to_owned());
            }
            _ => return Err("no message is in progress".to_owned()),
        }
        match fate.clone() {
            DataFate::Refused(reply) => self.world.fail_data(self.current, DataEnd::Reply(reply)),
            DataFate::Lost(trouble) => self.world.fail_data(
                self.current,
                DataEnd::Lost {
                    trouble,
                    after_dot: false,
                },
            ),
            DataFate::TooSlow => self.world.end_data(self.current, DataEnd::TooSlow),
        }
        Ok(())
    }

    fn nothing(&self) -> Checked {
        (0..self.world.peers().len()).try_for_each(|number| self.nothing_unclaimed(number))
    }

    fn nothing_unclaimed(&self, number: usize) -> Checked {
        let peer = self.world.peer(number);
        if !peer.said.is_empty() {
            return Err(format!(
                "session {} said {:?}, which the dialogue does not claim",
                number + 1,
                shown(&peer.said)
            ));
        }
        match peer.question() {
            Some(question) if !self.known.contains(&number) => Err(format!(
                "session {} asks the upstream {question:?}, which the dialogue does not know of",
                number + 1
            )),
            _ => Ok(()),
        }
    }

    /// Goes from event to event, so that nothing is said before the end of the wait.
    fn wait(&mut self, span: Duration) -> Checked {
        let end = self.world.now() + span;
        let start = self.world.now();
        self.nothing()?;
        while let Some(next) = self.world.next_event().filter(|next| *next < end) {
            self.world.advance(next);
            self.nothing()
                .map_err(|what| format!("after {:?}: {what}", self.world.now().since(start)))?;
        }
        self.world.advance(end);
        Ok(())
    }

    fn finish(&self) -> Checked {
        self.nothing()?;
        self.all_holds_claimed()
    }
}

fn shown(bytes: &[u8]) -> String {
    escape(bytes).to_string()
}
