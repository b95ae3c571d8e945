//! The loop: input in, outputs out, no decisions.
//!
//! An activity of a connection *returns* when it must wait ([`Next::Hold`]); it does not sleep. So
//! none of its buffers can outlive it, and the connection that waits is a value.

pub(crate) mod machine;
mod read;
mod secure;
mod speak;

pub(crate) use secure::secure;

use std::sync::Arc;
use std::time::Duration;

use tarpit_core::{Answer, Ask, Chunk, DataEnd, Input, Outbox, Session, Then, Tick, Trouble};
use tokio::time::Instant;

use crate::buffers::For;
use crate::conn::Conn;
use crate::front;
use crate::metrics::{Stage, State};
use crate::pit::{self, Registration, Woken};
use crate::relay::{relay, relay_chunk};
use crate::shared::Shared;
use crate::upstream::Claim;
use machine::Scene;
use speak::{Asked, Watch};

/// How long a session that we ended stays for its client to read why.
pub(crate) const LINGER: Duration = Duration::from_secs(1);

/// And how many reads of 4 KiB it is given.
const LINGER_READS: usize = 16;

/// What follows an activity.
pub(crate) enum Next {
    /// Wait until then, or until there is room.
    Hold(Box<Conn>, Tick),
    /// The session is over.
    Done(Box<Conn>),
}

/// What the machine is told first in an activity.
pub(crate) type First = Input<'static>;

/// How an activity begins.
#[derive(Debug)]
pub(crate) enum Start {
    /// With an input.
    Input(First),
    /// With what the machine wants done, and replies that have not been sent: the session comes out
    /// of the pit.
    Then(Then, Vec<u8>),
}

/// One session from its greeting, or from when it left the pit. `None`: it is in the pit now, and
/// goes on there.
pub(crate) async fn serve(
    shared: &Arc<Shared>,
    conn: Box<Conn>,
    start: Start,
) -> Option<Box<Conn>> {
    let mut next = Box::pin(drive(shared, conn, start)).await;
    let mut room: Option<Registration> = None;
    loop {
        let (conn, until) = match next {
            Next::Done(conn) => return Some(conn),
            Next::Hold(conn, until) => (conn, until),
        };
        // The mode may have been left meanwhile: its client was slow to take what came before.
        if !shared.policy(&conn.live, conn.listener).enforces() {
            next = Box::pin(drive(shared, conn, Start::Input(Input::Resume))).await;
            continue;
        }
        let mut conn = match shared.pit.cross(shared, conn, until) {
            Ok(()) => return None,
            Err(conn) => conn,
        };
        let input = if conn.session.waits_for_room() && room.is_none() {
            // A wake that came before this went nowhere, so the ledger is asked once more.
            room = Some(Registration::of(&shared.pit, conn.session.ticket()));
            Input::Resume
        } else {
            match pit::hold(shared, &mut conn, room.as_ref(), until).await {
                Woken::Resume => Input::Resume,
                Woken::Gone => Input::Gone,
                Woken::Stopped => Input::Drain,
                Woken::Free => {
                    next = Next::Hold(conn, until);
                    continue;
                }
            }
        };
        next = Box::pin(drive(shared, conn, Start::Input(input))).await;
        if !matches!(&next, Next::Hold(conn, _) if conn.session.waits_for_room()) {
            room = None;
        }
    }
}

/// One activity: from an input to the next wait.
async fn drive(shared: &Shared, conn: Box<Conn>, start: Start) -> Next {
    let scene = Scene::of(&conn);
    let mut activity = Activity {
        shared,
        conn,
        out: Outbox::default(),
        scene,
        is_deaf: false,
    };
    match activity.run(start).await {
        Some(until) => Next::Hold(activity.conn, until),
        None => Next::Done(activity.conn),
    }
}

struct Activity<'a> {
    shared: &'a Shared,
    conn: Box<Conn>,
    out: Outbox,
    scene: Scene,
    /// Nothing more can be said to the client: it is gone, or does not read.
    is_deaf: bool,
}

impl Activity<'_> {
    /// `Some(until)` to hold, `None` when the session is over.
    async fn run(&mut self, start: Start) -> Option<Tick> {
        let mut then = match start {
            Start::Input(first) => self.handle(first),
            Start::Then(then, unsent) => {
                self.out.bytes = unsent;
                then
            }
        };
        loop {
            then = match then {
                Then::Read => self.read().await,
                Then::Ask(ask) => self.ask(&ask).await,
                Then::Relay => self.relay().await,
                Then::StartTls => self.start_tls().await,
                Then::Identify(who) => {
                    let input = front::introduce(self.shared, &mut self.conn, &who);
                    self.handle(input)
                }
                Then::Chunk(chunk) => self.chunk(chunk).await,
                Then::Hold { .. } if self.conn.is_overrun() => self.handle(Input::Overrun),
                Then::Hold { until } => match self.flush().await {
                    Ok(()) => return Some(until),
                    Err(why) => self.unsaid(why),
                },
                Then::Close => {
                    self.conn.link.close();
                    if self.flush().await.is_ok() && self.conn.is_ended_by_us() {
                        self.linger().await;
                    }
                    self.conn.stream.close_notify();
                    return None;
                }
            };
        }
    }

    /// Closing a socket with unread input resets it, and the reset may overtake the last reply: so
    /// a little more is read, for a little while.
    async fn linger(&mut self) {
        self.conn.stream.shut_down();
        let until = Instant::now() + LINGER;
        for _ in 0..LINGER_READS {
            let read = self.conn.read(For::Commands, usize::MAX);
            match tokio::time::timeout_at(until, read).await {
                Ok(Ok((_, count))) if count > 0 => {}
                _ => return,
            }
        }
    }

    /// One input; then what came of it is carried out: records, and the sessions that have room now.
    fn handle(&mut self, input: Input<'_>) -> Then {
        machine::handle(
            self.shared,
            &mut self.conn,
            &self.scene,
            &mut self.out,
            input,
        )
    }

    /// A question to the upstream. The client hears what is due already if the answer takes time.
    async fn ask(&mut self, ask: &Ask) -> Then {
        if self.conn.is_relayed() {
            return self.handle(Input::Answer(Answer::Trouble(Trouble::Relays)));
        }
        let now = self.shared.clock.now();
        let began = Instant::now();
        let waiting = self.shared.metrics.states.enter(State::Upstream);
        let conn = &mut *self.conn;
        if matches!(ask, Ask::Rcpt(_)) && !has_recipients(&conn.session) {
            conn.begun = Some(began);
        }
        let who = conn.who();
        let claim = claim(self.shared, conn, now);
        if claim.known && matches!(ask, Ask::Rcpt(_)) && is_data(&conn.unread) {
            conn.link.expect_data();
        }
        let limit = conn
            .session
            .time_to_ask(now, &conn.live.config.listeners[conn.listener].policy);
        let asked = {
            let question = conn
                .link
                .ask(ask, &who, claim, conn.session.envelope(), limit);
            tokio::pin!(question);
            // Replies that are due are flushed before a wait begins. An upstream on the same machine
            // answers before a beat, and then the flush is saved.
            let answer = tokio::select! {
                biased;
                answer = &mut question => Some(answer),
                () = self.shared.pulse.passed() => None,
            };
            match answer {
                Some(answer) => Asked::Answer(answer),
                None => {
                    let watch = Watch {
                        stop: self.shared.stop.subscribe(),
                        grace: conn.live.grace(conn.listener),
                        stream: &mut conn.stream,
                        unsent: &mut self.out.bytes,
                        half_closed: &mut conn.half_closed,
                        is_deaf: &mut self.is_deaf,
                    };
                    watch.ask(question).await
                }
            }
        };
        drop(waiting);
        self.conn.answered = Instant::now();
        if let (Asked::Answer(_), Some(stage)) = (&asked, stage(ask)) {
            let took = self.conn.answered - began;
            self.shared.metrics.latency.observe(stage, took);
        }
        if self.conn.half_closed {
            self.conn.session.note_half_closed();
        }
        let wait = self.shared.clock.now().since(now);
        self.conn.session.note_upstream_wait(wait);
        match asked {
            Asked::Answer(answer) => self.handle(Input::Answer(answer)),
            Asked::Gone => self.handle(Input::Gone),
            Asked::Stopped => self.handle(Input::Drain),
        }
    }

    async fn chunk(&mut self, chunk: Chunk) -> Then {
        if self.flush().await.is_err() {
            self.conn.link.abort_message();
            return self.handle(Input::DataEnd(DataEnd::ClientGone { reply: None }));
        }
        let now = self.shared.clock.now();
        let conn = &mut *self.conn;
        let claim = claim(self.shared, conn, now);
        let policy = &conn.live.config.listeners[conn.listener].policy;
        let limit = conn.session.time_to_ask(now, policy);
        let relaying = self.shared.metrics.states.enter(State::Message);
        let end = Box::pin(relay_chunk(self.shared, conn, chunk, claim, limit)).await;
        drop(relaying);
        self.conn.answered = Instant::now();
        if chunk.last {
            self.note_message(&end);
        }
        self.handle(Input::DataEnd(end))
    }

    async fn relay(&mut self) -> Then {
        if self.flush().await.is_err() {
            self.conn.link.abort();
            return self.handle(Input::DataEnd(DataEnd::ClientGone { reply: None }));
        }
        let relaying = self.shared.metrics.states.enter(State::Message);
        let end = Box::pin(relay(self.shared, &mut self.conn)).await;
        drop(relaying);
        self.note_message(&end);
        self.handle(Input::DataEnd(end))
    }

    /// A message has ended. How long it took counts if the upstream had the last word.
    fn note_message(&mut self, end: &DataEnd) {
        let begun = self.conn.begun.take();
        if let (DataEnd::Reply(_), Some(begun)) = (end, begun) {
            let metrics = &self.shared.metrics;
            metrics.latency.observe(Stage::Message, begun.elapsed());
        }
    }
}

/// Whether the transaction has an accepted recipient.
fn has_recipients(session: &Session) -> bool {
    let envelope = session.envelope();
    envelope.is_some_and(|envelope| !envelope.accepted.is_empty())
}

/// Which part of the way of mail a question is. DATA is none: it takes no time of its own.
const fn stage(ask: &Ask) -> Option<Stage> {
    match ask {
        Ask::Rcpt(_) => Some(Stage::Lookup),
        Ask::Auth { .. } | Ask::AuthLine(_) => Some(Stage::Auth),
        Ask::Data => None,
    }
}

/// Whether the client's next command is DATA.
fn is_data(unread: &[u8]) -> bool {
    const DATA: &[u8] = b"DATA\r\n";
    unread
        .get(..DATA.len())
        .is_some_and(|line| line.eq_ignore_ascii_case(DATA))
}

/// On whose behalf the upstream is asked.
fn claim(shared: &Shared, conn: &Conn, now: Tick) -> Claim {
    let source = conn.session.source();
    Claim {
        source,
        known: shared.ledger.is_known(now, source),
    }
}

#[cfg(test)]
mod tests {
    use super::is_data;

    #[test]
    fn only_data_is_data() {
        assert!(is_data(b"DATA\r\n") && is_data(b"data\r\nbody"));
        for other in [
            &b""[..],
            b"DATA\r",
            b"DATA\n",
            b"DATA x\r\n",
            b"RCPT TO:<a@b>\r\nDATA\r\n",
        ] {
            assert!(!is_data(other), "{other:?}");
        }
    }
}
