//! One step of one session: its record is thawed, the machine gets its input, and what is left is
//! frozen again.

use std::io::ErrorKind;
use std::sync::Arc;

use tarpit_core::octets::Unreadable;
use tarpit_core::{Input, Then, Tick};

use super::{Lane, READ_MAX};
use crate::conn::Conn;
use crate::drive::machine::{self, Scene};
use crate::drive::{First, Start};
use crate::front;
use crate::pit::parcel::{Veil, Waits, seconds};
use crate::pit::slab::Key;
use crate::shared::{Shared, Stop};

/// Commands of one session that are looked at in one step. Who sends more ahead than this without
/// an error in it comes round again; meanwhile others have their turn.
const COMMANDS: u32 = 32;

/// How a step ends.
enum Rest {
    /// It waits until then, and is not heard meanwhile.
    Held(Tick),
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
struct Step<'a> {
    shared: &'a Arc<Shared>,
    key: Key,
    conn: Conn<()>,
    scene: Scene,
    /// The client may have sent what was not read.
    more: bool,
}

impl Lane {
    /// Gives the machine an input; without one, what the client says.
    pub(super) fn step(&mut self, shared: &Arc<Shared>, key: Key, first: Option<First>) {
        let Some(parcel) = self.holder.get(key) else {
            return;
        };
        let state = parcel.state;
        let mut conn = match Conn::thaw(&parcel.record, shared) {
            Ok(conn) => conn,
            Err(error) => return self.unreadable(shared, key, &error),
        };
        conn.session.note_said(parcel.said);
        if state.half_closed {
            conn.half_closed = true;
            conn.session.note_half_closed();
        }
        // After a FIN there is no other event, nor for what TLS has taken in already.
        let more = parcel.unread_pages > 0
            || state.half_closed
            || parcel.veil.is_some()
            || first.is_none();
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
        };
        self.out.bytes.clear();
        let then = match first {
            Some(first) => self.tell(&mut step, first),
            None => Then::Read,
        };
        let rest = self.advance(&mut step, then);
        let waits = matches!(rest, Rest::Held(_)) && step.conn.session.waits_for_room();
        if state.for_room && !waits {
            shared.pit.deregister(step.conn.session.ticket());
        }
        match rest {
            Rest::Held(until) => {
                self.keep(step, until, false);
                if self.stage != Stop::No {
                    self.again.push((key, Some(Input::Drain)));
                } else if waits && !state.for_room {
                    // It is registered there, and the ledger asked once more.
                    self.again.push((key, Some(Input::Resume)));
                }
            }
            Rest::Idle { answered, more } => {
                let until = self.deadline(&step, answered && !state.listens || answered);
                self.keep(step, until, true);
                if more {
                    self.again.push((key, None));
                }
            }
            Rest::Leaves(then) => self.leave(step, then),
            Rest::Over => self.end(step),
        }
    }

    fn tell(&mut self, step: &mut Step<'_>, input: Input<'_>) -> Then {
        machine::handle(
            step.shared,
            &mut step.conn,
            &step.scene,
            &mut self.out,
            input,
        )
    }

    /// Goes on as long as nothing has to be waited for.
    fn advance(&mut self, step: &mut Step<'_>, mut then: Then) -> Rest {
        let mut commands = 0;
        loop {
            then = match then {
                Then::Read => match self.hear(step, &mut commands) {
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
    fn hear(&mut self, step: &mut Step<'_>, commands: &mut u32) -> Result<Then, Rest> {
        let answered_before = *commands > 0;
        if !step.conn.unread.is_empty() {
            let unread = std::mem::take(&mut step.conn.unread);
            let replies = self.out.bytes.len();
            let then = self.tell(step, Input::Bytes(&unread));
            let consumed = self.out.consumed.min(unread.len());
            step.conn.unread = unread;
            step.conn.unread.drain(..consumed);
            if self.out.bytes.len() > replies {
                *commands += 1;
                if *commands >= COMMANDS && matches!(then, Then::Read) {
                    self.flush_or_leave(step)?;
                    return Err(Rest::Idle {
                        answered: true,
                        more: true,
                    });
                }
                return Ok(then);
            }
            if !matches!(then, Then::Read) {
                return Ok(then);
            }
        }
        self.flush_or_leave(step)?;
        if !step.more {
            return Err(Rest::Idle {
                answered: answered_before,
                more: false,
            });
        }
        let most = step.conn.live.config.limits.held_unread_max as usize;
        let most = most.min(READ_MAX);
        match self.read(step.key, most) {
            Ok(0) => Ok(self.tell(step, Input::Gone)),
            Ok(count) => {
                step.more = count == most
                    || self
                        .holder
                        .get(step.key)
                        .is_some_and(|parcel| parcel.veil.is_some());
                step.conn.unread.extend_from_slice(&self.buffer[..count]);
                Ok(Then::Read)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(Rest::Idle {
                answered: answered_before,
                more: false,
            }),
            Err(_) => Ok(self.tell(step, Input::Gone)),
        }
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
        match self.holder.parcel_mut(key) {
            Some(parcel) => parcel.read(buffer),
            None => Ok(0),
        }
    }

    fn flush(&mut self, key: Key) -> Flushed {
        let Some(parcel) = self.holder.parcel_mut(key) else {
            return Flushed::Gone;
        };
        while !self.out.bytes.is_empty() {
            match parcel.write(&self.out.bytes) {
                Ok(count) => {
                    self.out.bytes.drain(..count);
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
                ..parcel.state
            };
        });
        // While it may speak, everything is read.
        if listens || step.more {
            self.holder.note_unread(step.key, !listens);
        }
        if let Err(error) = self.holder.watch(step.key) {
            tracing::warn!(target: "tarpit::pit", %error, "a held session can't be watched, and ends");
            self.again.push((step.key, Some(Input::Gone)));
        }
        // Its count stays.
        step.conn.place.into_held();
    }

    /// Out of the pit, to the mail lane.
    fn leave(&mut self, step: Step<'_>, then: Then) {
        let Step {
            shared,
            key,
            mut conn,
            ..
        } = step;
        let Some(parcel) = self.holder.take(key) else {
            return;
        };
        conn.place.leave_pit();
        let unsent = std::mem::take(&mut self.out.bytes);
        let _inside = self.runtime.enter();
        match parcel.into_stream() {
            Ok((stream, info)) => {
                conn.tls = info;
                let (conn, ()) = conn.with_stream(stream);
                let shared = Arc::clone(shared);
                let start = Start::Then(then, unsent);
                self.runtime.spawn(async move {
                    front::go_on(&shared, Box::new(conn), start).await;
                });
            }
            Err(error) => {
                tracing::warn!(target: "tarpit::pit", %error, "a session can't leave the pit, and ends");
                machine::handle(shared, &mut conn, &step.scene, &mut self.out, Input::Gone);
                front::finish(shared, &mut conn);
            }
        }
    }

    /// The session is over: its last words, its record.
    fn end(&mut self, step: Step<'_>) {
        let Step {
            shared,
            key,
            mut conn,
            ..
        } = step;
        conn.link.close();
        let flushed = self.flush(key);
        let lingers = matches!(flushed, Flushed::All | Flushed::Part)
            && conn.is_ended_by_us()
            && self.stage == Stop::No;
        if lingers {
            // Closing a socket with unread input resets it, and the reset may overtake the last
            // reply; what is left of the session is no concern of the pit.
            let unsent = std::mem::take(&mut self.out.bytes);
            let Some(parcel) = self.holder.take(key) else {
                return;
            };
            let _inside = self.runtime.enter();
            if let Ok((stream, info)) = parcel.into_stream() {
                conn.tls = info;
                conn.place.leave_pit();
                let (conn, ()) = conn.with_stream(stream);
                let shared = Arc::clone(shared);
                self.runtime.spawn(async move {
                    front::go_on(&shared, Box::new(conn), Start::Then(Then::Close, unsent)).await;
                });
            }
            return;
        }
        let Some(mut parcel) = self.holder.close(key) else {
            return;
        };
        if let Some(Veil { secure, info }) = parcel.veil.take().map(|veil| *veil) {
            let mut secure = secure;
            secure.close_notify_now(&parcel.socket);
            conn.tls = Some(info);
        }
        front::finish(shared, &mut conn);
    }

    /// Its time has come: a piece of its reply, the end of its hold, or of our patience.
    pub(super) fn due(&mut self, shared: &Arc<Shared>, key: Key, now: Tick) {
        let Some(parcel) = self.holder.parcel_mut(key) else {
            return;
        };
        if parcel.until > now {
            let is_well = parcel.say_piece(now);
            if is_well {
                self.holder.change(key, |_| ());
            } else {
                self.step(shared, key, Some(Input::Gone));
            }
            return;
        }
        let first = if !parcel.state.listens {
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

    /// A record of another version, or a listener that is gone: 421, counted.
    fn unreadable(&mut self, shared: &Arc<Shared>, key: Key, error: &Unreadable) {
        // Records that another process wrote are read when they come; so this is a bug of ours.
        tracing::error!(target: "tarpit::pit", %error, "a held session can't be read, and ends");
        shared.metrics.panics.add(1);
        self.holder.close(key);
    }
}

/// What became of the replies that were due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flushed {
    All,
    /// The client does not take them now.
    Part,
    Gone,
}
