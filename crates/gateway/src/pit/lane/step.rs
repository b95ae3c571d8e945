//! One step of one session: its record is thawed, the machine gets its input, and what is left is
//! frozen again.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tarpit_core::{Input, Then, Tick};

use super::{Lane, READ_MAX};
use crate::conn::Conn;
use crate::drive::First;
use crate::drive::machine::{self, Scene};
use crate::pit::parcel::{Parcel, Waits, seconds};
use crate::pit::slab::Key;
use crate::shared::{Shared, Stop};

/// Commands of one session that are looked at in one step. Who sends more ahead than this without
/// an error in it comes round again; meanwhile others have their turn.
const COMMANDS: u16 = 32;

/// The same for reads that end no command: a line without end is thrown away as it comes.
const READS: u32 = 8;

/// More commands in a row than this that need nobody but us, and no client has a use for them. From
/// then on each [`COMMANDS`] are followed by [`PAUSE`], as in the mail lane.
const EMPTY_MAX: u16 = 1024;

/// Leaves such a client 320 commands a second.
const PAUSE: Duration = Duration::from_millis(100);

/// How a step ends.
enum Rest {
    /// It waits until then, and is not heard meanwhile.
    Held(Tick),
    /// It has said so much that it is not heard for a moment.
    Paused,
    /// It may speak.
    Idle {
        /// A whole command was answered: the next one has its own time.
        answered: bool,
        /// There is more of it than one step looks at.
        more: bool,
    },
    /// Its session goes on in the mail lane.
    Leaves(Then),
    /// It is over.
    Over,
}

/// What a step works with.
pub(super) struct Step<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) key: Key,
    pub(super) conn: Conn<()>,
    pub(super) scene: Scene,
    /// The client may have sent what was not read.
    more: bool,
    /// No event tells whether it did: TLS has it, or the last one was told already.
    untold: bool,
    /// Commands that were answered, and reads, in this step.
    commands: u16,
    reads: u32,
    /// See [`Waits::row`].
    row: u16,
}

impl Lane {
    /// Gives the machine an input; without one, what the client says.
    pub(super) fn step(&mut self, shared: &Arc<Shared>, key: Key, first: Option<First>) {
        self.guard(shared, Some(key), |lane| lane.take_step(shared, key, first));
    }

    fn take_step(&mut self, shared: &Arc<Shared>, key: Key, first: Option<First>) {
        let Some(parcel) = self.holder.get(key) else {
            return;
        };
        let state = parcel.state;
        if parcel.is_over() {
            if !matches!(first, None | Some(Input::Resume)) {
                self.holder.close(key);
            }
            return;
        }
        if first.is_none() && !state.listens {
            // It was to be heard, and is held since.
            return;
        }
        let untold = state.half_closed || state.closed || parcel.veil.is_some();
        // Of one that is not watched no event tells either.
        let more = untold || parcel.unread_pages > 0 || first.is_none() || !state.watched;
        let mut conn = match Conn::thaw(&parcel.record, shared) {
            Ok(conn) => conn,
            Err(error) => return self.unreadable(shared, key, &error),
        };
        conn.session.note_said(parcel.said);
        if state.half_closed {
            conn.half_closed = true;
            conn.session.note_half_closed();
        }
        if state.for_room {
            // Before the ledger is asked: a wake that comes meanwhile must find it.
            shared.pit.register(conn.session.ticket(), self.number, key);
        }
        let scene = Scene::of(&conn);
        let mut step = Step {
            shared,
            key,
            conn,
            scene,
            more,
            untold,
            commands: 0,
            reads: 0,
            row: state.row,
        };
        self.out.bytes.clear();
        let then = match first {
            Some(first @ Input::Gone) => self.tell(&mut step, first),
            _ if step.conn.is_orphan => self.show_out(&mut step),
            Some(first) => self.tell(&mut step, first),
            None => Then::Read,
        };
        let rest = self.advance(&mut step, then);
        self.settle(step, rest, state);
    }

    /// A step has ended. `state`: what it waited for before.
    fn settle(&mut self, mut step: Step<'_>, rest: Rest, state: Waits) {
        let (shared, key) = (step.shared, step.key);
        let waits = matches!(rest, Rest::Held(_)) && step.conn.session.waits_for_room();
        if state.for_room && !waits {
            shared.pit.deregister(step.conn.session.ticket());
        }
        match rest {
            Rest::Held(until) => {
                step.row = 0;
                let farewell = state.closed && !step.conn.half_closed;
                self.keep(step, until, false);
                if farewell {
                    self.note_half_closed(shared, key);
                }
                if self.stage != Stop::No {
                    self.again.push((key, Some(Input::Drain)));
                } else if waits && !state.for_room {
                    // It is registered there, and the ledger asked once more.
                    self.again.push((key, Some(Input::Resume)));
                }
            }
            Rest::Paused => {
                let until = shared.clock.now() + PAUSE;
                self.keep(step, until, false);
            }
            Rest::Idle { answered, more } => {
                let until = self.deadline(&step, answered);
                self.keep(step, until, true);
                if more {
                    self.again.push((key, None));
                }
            }
            Rest::Leaves(then) => self.leave(step, then),
            Rest::Over => self.end(step),
        }
    }

    pub(super) fn tell(&mut self, step: &mut Step<'_>, input: Input<'_>) -> Then {
        machine::handle(
            step.shared,
            &mut step.conn,
            &step.scene,
            &mut self.out,
            input,
        )
    }

    /// Its listener is gone, and with it what it may do: it could be more on another one.
    fn show_out(&mut self, step: &mut Step<'_>) -> Then {
        match self.tell(step, Input::Drain) {
            Then::Read => self.tell(step, Input::Expired),
            then => then,
        }
    }

    /// Goes on as long as nothing has to be waited for.
    fn advance(&mut self, step: &mut Step<'_>, mut then: Then) -> Rest {
        loop {
            then = match then {
                Then::Read => match self.hear(step) {
                    Ok(then) => then,
                    Err(rest) => return rest,
                },
                Then::Hold { .. } if step.conn.is_overrun() => self.tell(step, Input::Overrun),
                Then::Hold { until } => match self.flush(step.key) {
                    Flushed::All => return Rest::Held(until),
                    Flushed::Part => return Rest::Leaves(Then::Hold { until }),
                    Flushed::Gone => self.tell(step, Input::Gone),
                },
                Then::Close => return Rest::Over,
                other => return Rest::Leaves(other),
            };
        }
    }

    /// Commands that are at hand, or what the client has sent.
    fn hear(&mut self, step: &mut Step<'_>) -> Result<Then, Rest> {
        if !step.conn.unread.is_empty() {
            let unread = std::mem::take(&mut step.conn.unread);
            let replies = self.out.bytes.len();
            let then = self.tell(step, Input::Bytes(&unread));
            let consumed = self.out.consumed.min(unread.len());
            step.conn.unread = unread;
            step.conn.unread.drain(..consumed);
            if !matches!(then, Then::Read) {
                return Ok(then);
            }
            if self.out.bytes.len() > replies {
                return self.count(step);
            }
        }
        self.flush_or_leave(step)?;
        let answered = step.commands > 0;
        if !step.more || step.reads == READS {
            let more = step.more;
            return Err(Rest::Idle { answered, more });
        }
        step.reads += 1;
        let most = step.conn.live.config.limits.held_unread_max as usize;
        let most = most.min(READ_MAX);
        match self.read(step.key, most) {
            Ok(0) => Ok(self.tell(step, Input::Gone)),
            Ok(count) => {
                step.more = count == most || step.untold;
                step.conn.unread.extend_from_slice(&self.buffer[..count]);
                Ok(Then::Read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Rest::Idle {
                answered,
                more: false,
            }),
            Err(_) => Ok(self.tell(step, Input::Gone)),
        }
    }

    /// One more command was answered, and the next one may be at hand; but others have their turn.
    fn count(&mut self, step: &mut Step<'_>) -> Result<Then, Rest> {
        step.commands += 1;
        step.row += 1;
        let is_endless = step.row >= EMPTY_MAX + COMMANDS;
        if step.commands < COMMANDS && !is_endless {
            return Ok(Then::Read);
        }
        self.flush_or_leave(step)?;
        if is_endless {
            step.row = EMPTY_MAX;
            return Err(Rest::Paused);
        }
        Err(Rest::Idle {
            answered: true,
            more: true,
        })
    }

    /// Sends what is due, or lets the mail lane wait for a client that does not read.
    fn flush_or_leave(&mut self, step: &mut Step<'_>) -> Result<(), Rest> {
        match self.flush(step.key) {
            Flushed::All => Ok(()),
            Flushed::Part => Err(Rest::Leaves(Then::Read)),
            Flushed::Gone => {
                self.tell(step, Input::Gone);
                Err(Rest::Over)
            }
        }
    }

    fn read(&mut self, key: Key, most: usize) -> std::io::Result<usize> {
        let buffer = &mut self.buffer[..most];
        let read = self.holder.work(key, |parcel| parcel.read(buffer));
        read.unwrap_or(Ok(0))
    }

    pub(super) fn flush(&mut self, key: Key) -> Flushed {
        let unsent = &mut self.out.bytes;
        let flushed = self.holder.work(key, |parcel| send(parcel, unsent));
        flushed.unwrap_or(Flushed::Gone)
    }

    /// The time for the next whole command: a client that drips octets gains nothing. And the session
    /// has its own limit.
    fn deadline(&self, step: &Step<'_>, is_fresh: bool) -> Tick {
        let limits = &step.conn.live.config.limits;
        let session = step.conn.opened + limits.session_timeout;
        let command = match self.holder.get(step.key) {
            Some(parcel) if parcel.state.listens && !is_fresh => parcel.until,
            _ => step.shared.clock.now() + limits.command_timeout,
        };
        command.min(session)
    }

    /// Freezes a session where it is.
    fn keep(&mut self, mut step: Step<'_>, until: Tick, listens: bool) {
        self.frozen.clear();
        if step.conn.freeze(&mut self.frozen).is_err() {
            debug_assert!(false, "a session that is not at rest rests");
            return self.leave(step, Then::Read);
        }
        let for_room = step.conn.session.waits_for_room();
        let paced = if listens { None } else { step.conn.paced() };
        let now = seconds(step.shared.clock.now());
        let record = self.frozen.as_slice().into();
        let said = step.conn.session.said();
        let row = step.row;
        self.holder.change(step.key, |parcel| {
            if parcel.state.listens || !for_room {
                parcel.since = now;
            }
            parcel.until = until;
            parcel.paced = paced;
            parcel.said = said;
            parcel.record = record;
            parcel.state = Waits {
                listens,
                for_room,
                half_closed: step.conn.half_closed,
                row,
                ..parcel.state
            };
            if let Some(veil) = &mut parcel.veil {
                veil.secure.rest();
            }
        });
        // While it may speak, everything is read. Else what it sent ahead may be read by now too.
        self.holder.note_unread(step.key, step.more && !listens);
        self.watch_or_leave(step.key, step.shared.clock.now());
        // Its count stays.
        step.conn.place.into_held();
    }

    /// Its time has come: a piece of its reply, the end of its hold, or of our patience.
    pub(super) fn due(&mut self, shared: &Arc<Shared>, key: Key, now: Tick) {
        let Some(parcel) = self.holder.get(key) else {
            return;
        };
        if parcel.is_over() {
            self.holder.close(key);
            return;
        }
        if parcel.until > now {
            let said = self.holder.work(key, |parcel| parcel.say_piece(now));
            if said == Some(true) {
                self.holder.change(key, |_| ());
            } else {
                self.step(shared, key, Some(Input::Gone));
            }
            return;
        }
        let first = if !parcel.state.listens {
            // Or the end of a pause, to which the machine says what it waits for.
            Input::Resume
        } else if self.is_session_over(shared, key, now) {
            Input::Expired
        } else {
            Input::TimedOut
        };
        self.step(shared, key, Some(first));
    }

    fn is_session_over(&self, shared: &Arc<Shared>, key: Key, now: Tick) -> bool {
        let Some(Ok(conn)) = self
            .holder
            .get(key)
            .map(|parcel| Conn::thaw(&parcel.record, shared))
        else {
            return false;
        };
        conn.place.into_held();
        now >= conn.opened + conn.live.config.limits.session_timeout
    }

    /// FIN alone: its due reply is still tried.
    pub(super) fn note_half_closed(&mut self, shared: &Arc<Shared>, key: Key) {
        self.holder
            .change(key, |parcel| parcel.state.half_closed = true);
        let Some(Ok(conn)) = self
            .holder
            .get(key)
            .map(|parcel| Conn::thaw(&parcel.record, shared))
        else {
            return;
        };
        crate::pit::log_half_closed(&conn);
        conn.place.into_held();
    }
}

fn send(parcel: &mut Parcel, unsent: &mut Vec<u8>) -> Flushed {
    while !unsent.is_empty() {
        match parcel.write(unsent) {
            Ok(count) => {
                unsent.drain(..count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Flushed::Part,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Flushed::Gone,
        }
    }
    match parcel.flush() {
        Ok(()) => Flushed::All,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Flushed::Part,
        Err(_) => Flushed::Gone,
    }
}

/// What became of the replies that were due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushed {
    All,
    /// The client does not take them now.
    Part,
    Gone,
}
