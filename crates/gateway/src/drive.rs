//! The loop: input in, outputs out, no decisions.
//!
//! An activity of a connection *returns* when it must wait ([`Next::Hold`]); it does not sleep. So
//! none of its buffers can outlive it, and the connection that waits is a value.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::time::Duration;

use tarpit_core::record::SessionEnd;
use tarpit_core::{Answer, Ask, DataEnd, Env, Input, Outbox, Then, Tick, Trouble};
use tarpit_smtp::Capabilities;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::buffers::For;
use crate::conn::{Conn, Left, left};
use crate::log;
use crate::pit::{self, Registration, Woken, reached};
use crate::relay::relay;
use crate::shared::{Shared, Stop};
use crate::upstream::{Claim, ClientIdentity};

/// A client that does not take a few kilobytes in this time never reads.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Replies are gathered while pipelined commands are at hand; more than this is sent before the
/// next command is looked at, so that a client that only sends can't make us keep its replies.
const GATHER_MAX: usize = 16 * 1024;

/// Time for one line of an AUTH exchange. It holds an upstream connection that can't be let go of,
/// on behalf of somebody who has shown nothing yet; programs answer at once, and people who type
/// base64 do not use AUTH.
const AUTH_LINE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a session that we ended stays for its client to read why.
const LINGER: Duration = Duration::from_secs(1);

/// And how many reads of 4 KiB it is given.
const LINGER_READS: usize = 16;

/// Replies that are due are flushed before a wait begins. An upstream on the same machine answers
/// before this, and then the flush is saved.
const FLUSH_AFTER: Duration = Duration::from_millis(10);

/// What follows an activity.
pub(crate) enum Next {
    /// Wait until then, or until there is room.
    Hold(Box<Conn>, Tick),
    /// The session is over.
    Done(Box<Conn>),
}

/// What the machine is told first in an activity.
pub(crate) type First = Input<'static>;

/// One session from its greeting to its end.
pub(crate) async fn serve(shared: &Shared, conn: Box<Conn>, first: First) -> Box<Conn> {
    let mut next = Box::pin(drive(shared, conn, first)).await;
    let mut room: Option<Registration> = None;
    loop {
        let (mut conn, until) = match next {
            Next::Done(conn) => return conn,
            Next::Hold(conn, until) => (conn, until),
        };
        let input = if conn.session.waits_for_room() && room.is_none() {
            // A wake that came before this went nowhere, so the ledger is asked once more.
            room = Some(shared.pit.register(conn.session.ticket()));
            Input::Resume
        } else {
            match pit::hold(shared, &mut conn, room.as_ref(), until).await {
                Woken::Resume => Input::Resume,
                Woken::Gone => Input::Gone,
                Woken::Stopped => Input::Drain,
            }
        };
        next = Box::pin(drive(shared, conn, input)).await;
        if !matches!(&next, Next::Hold(conn, _) if conn.session.waits_for_room()) {
            room = None;
        }
    }
}

/// One activity: from an input to the next wait.
async fn drive(shared: &Shared, conn: Box<Conn>, first: First) -> Next {
    let capabilities = conn.live.mail.capabilities().unwrap_or_default();
    let mut activity = Activity {
        shared,
        conn,
        out: Outbox::default(),
        capabilities: &capabilities,
    };
    match activity.run(first).await {
        Some(until) => Next::Hold(activity.conn, until),
        None => Next::Done(activity.conn),
    }
}

struct Activity<'a> {
    shared: &'a Shared,
    conn: Box<Conn>,
    out: Outbox,
    capabilities: &'a Capabilities,
}

impl Activity<'_> {
    /// `Some(until)` to hold, `None` when the session is over.
    async fn run(&mut self, first: First) -> Option<Tick> {
        let mut then = self.handle(first);
        loop {
            then = match then {
                Then::Read => self.read().await,
                Then::Ask(ask) => self.ask(&ask).await,
                Then::Relay => self.relay().await,
                Then::Hold { .. } if self.is_overrun() => self.handle(Input::Overrun),
                Then::Hold { until } => {
                    if self.flush().await {
                        return Some(until);
                    }
                    self.handle(Input::Gone)
                }
                Then::Close => {
                    self.conn.link.close();
                    if self.flush().await && self.is_ended_by_us() {
                        self.linger().await;
                    }
                    return None;
                }
            };
        }
    }

    /// A held session keeps no more than this; the rest stays in the kernel. Only what came behind
    /// message data can be more: it was read with it.
    fn is_overrun(&self) -> bool {
        self.conn.unread.len() > self.conn.live.config.limits.held_unread_max as usize
    }

    /// The client may have sent more, and not read yet why it is shown out.
    fn is_ended_by_us(&self) -> bool {
        let end = self.conn.session.record().end;
        let is_usual = matches!(end, SessionEnd::Quit | SessionEnd::Refused);
        !is_usual || !self.conn.unread.is_empty()
    }

    /// Closing a socket with unread input resets it, and the reset may overtake the last reply: so
    /// a little more is read, for a little while.
    async fn linger(&mut self) {
        // The client may be gone already; there is nobody to tell.
        let _ = self.conn.stream.shutdown().await;
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
        let now = self.shared.clock.now();
        let Conn {
            session,
            live,
            listener,
            ..
        } = &mut *self.conn;
        let filter = live.filter.load();
        let policy = &live.config.listeners[*listener].policy;
        let env = Env {
            hostname: &live.config.hostname,
            policy,
            ledger: &self.shared.ledger,
            capabilities: self.capabilities,
            filter: &filter,
        };
        let said = self.out.bytes.len();
        let out = &mut self.out;
        // A bug in the deciding code ends this session, and no other.
        let decided = catch_unwind(AssertUnwindSafe(|| session.handle(now, input, &env, out)));
        let then = decided.unwrap_or_else(|_| {
            self.shared.metrics.panics.add(1);
            out.bytes.truncate(said);
            session.break_off(now, &env, out)
        });
        for hold in self.out.holds.drain(..) {
            log::hold(&hold, &self.shared.metrics);
        }
        let mut woken = Vec::new();
        self.shared.ledger.take_woken(&mut woken);
        if !woken.is_empty() {
            self.shared.pit.wake(&woken);
        }
        then
    }

    /// Commands that are at hand, or the next bytes of the client.
    async fn read(&mut self) -> Then {
        let mut deadline = self.deadline();
        loop {
            while !self.conn.unread.is_empty() {
                let unread = std::mem::take(&mut self.conn.unread);
                let replies = self.out.bytes.len();
                let then = self.handle(Input::Bytes(&unread));
                let consumed = self.out.consumed;
                self.conn.unread = unread;
                self.conn
                    .unread
                    .drain(..consumed.min(self.conn.unread.len()));
                if !matches!(then, Then::Read) {
                    return then;
                }
                if self.out.bytes.len() > replies {
                    // A whole command was answered: the next one has its own time.
                    deadline = self.deadline();
                } else {
                    break;
                }
                if self.out.bytes.len() > GATHER_MAX && !self.flush().await {
                    return self.handle(Input::Gone);
                }
            }
            if !self.flush().await {
                return self.handle(Input::Gone);
            }
            if let Some(input) = self.more(deadline).await {
                return self.handle(input);
            }
        }
    }

    /// The time for one whole command: a client that drips bytes gains nothing. And the session
    /// has its own limit.
    fn deadline(&self) -> Deadline {
        let limits = &self.conn.live.config.limits;
        let command = if self.conn.session.is_in_auth() {
            limits.command_timeout.min(AUTH_LINE_TIMEOUT)
        } else {
            limits.command_timeout
        };
        let command = Instant::now() + command;
        let session = self
            .shared
            .clock
            .instant(self.conn.opened + limits.session_timeout);
        if session < command {
            Deadline {
                at: session,
                whole: true,
            }
        } else {
            Deadline {
                at: command,
                whole: false,
            }
        }
    }

    /// Reads more bytes; `Some` if something else happened. An idle session lets go of its upstream
    /// connection after the grace time.
    async fn more(&mut self, deadline: Deadline) -> Option<First> {
        let grace = self.conn.grace_end();
        let mut stop = self.shared.stop.subscribe();
        let mut stage = Stop::Draining;
        if self.conn.unread.is_empty() {
            // An idle session keeps no buffer, not even an empty one with room in it.
            self.conn.unread = Vec::new();
        }
        loop {
            let lettable = self.conn.link.is_lettable();
            let until = if lettable {
                grace.min(deadline.at)
            } else {
                deadline.at
            };
            // Before each read: a client that never stops to send must not evade these.
            if Instant::now() >= deadline.at {
                return Some(deadline.input());
            }
            tokio::select! {
                biased;
                () = reached(&mut stop, stage) => {
                    if stage == Stop::Now {
                        return Some(Input::Expired);
                    }
                    stage = Stop::Now;
                    if !self.conn.session.is_draining() {
                        return Some(Input::Drain);
                    }
                }
                read = tokio::time::timeout_at(until, read_commands(&mut self.conn)) => match read {
                    Ok(true) => return None,
                    Ok(false) => return Some(Input::Gone),
                    Err(_) if until < deadline.at => self.conn.link.let_go(),
                    Err(_) => return Some(deadline.input()),
                },
            }
        }
    }

    /// A question to the upstream. The client hears what is due already if the answer takes time.
    async fn ask(&mut self, ask: &Ask) -> Then {
        if self.is_relayed() {
            return self.handle(Input::Answer(Answer::Trouble(Trouble::Relays)));
        }
        let now = self.shared.clock.now();
        let conn = &mut *self.conn;
        let (helo, esmtp) = conn.session.helo();
        let who = ClientIdentity {
            address: conn.peer,
            local: conn.local,
            helo: helo.map(Into::into),
            esmtp,
        };
        let source = conn.session.source();
        let claim = Claim {
            source,
            known: self.shared.ledger.is_known(now, source),
        };
        let limit = conn
            .session
            .time_to_ask(now, &conn.live.config.listeners[conn.listener].policy);
        let asked = {
            let question = conn
                .link
                .ask(ask, &who, claim, conn.session.envelope(), limit);
            tokio::pin!(question);
            match tokio::time::timeout(FLUSH_AFTER, &mut question).await {
                Ok(answer) => Asked::Answer(answer),
                Err(_) => {
                    // If the client is gone, the watch will say so.
                    let _ = send(&mut conn.stream, &mut self.out.bytes).await;
                    let watch = Watch {
                        stop: self.shared.stop.subscribe(),
                        grace: conn.live.grace(),
                    };
                    conn.watched = true;
                    watch
                        .ask(question, &conn.stream, &mut conn.half_closed)
                        .await
                }
            }
        };
        self.conn.answered = Instant::now();
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

    /// The upstream was found to relay for us after this session was let in.
    fn is_relayed(&self) -> bool {
        let listener = &self.conn.live.config.listeners[self.conn.listener];
        self.conn.live.mail.relays() && !listener.is_loopback()
    }

    async fn relay(&mut self) -> Then {
        if !self.flush().await {
            self.conn.link.abort();
            return self.handle(Input::DataEnd(DataEnd::ClientGone { reply: None }));
        }
        let end = Box::pin(relay(self.shared, &mut self.conn)).await;
        self.handle(Input::DataEnd(end))
    }

    /// Sends what is due. `false` if the client is gone or does not read.
    async fn flush(&mut self) -> bool {
        send(&mut self.conn.stream, &mut self.out.bytes).await
    }
}

/// What became of a question.
enum Asked {
    Answer(Answer),
    /// The client reset the connection, and no answer came within the grace time.
    Gone,
    /// The time to drain is over.
    Stopped,
}

/// What else may happen while an answer is awaited.
struct Watch {
    stop: watch::Receiver<Stop>,
    grace: Duration,
}

impl Watch {
    async fn ask(
        mut self,
        mut question: Pin<&mut impl Future<Output = Answer>>,
        stream: &TcpStream,
        half_closed: &mut bool,
    ) -> Asked {
        loop {
            tokio::select! {
                biased;
                answer = &mut question => return Asked::Answer(answer),
                () = reached(&mut self.stop, Stop::Now) => return Asked::Stopped,
                left = left(stream), if !*half_closed => match left {
                    Left::Fin => *half_closed = true,
                    Left::Reset => break,
                },
            }
        }
        // What was asked is still charged, if the answer comes soon; but nobody holds an upstream
        // connection without being there.
        match tokio::time::timeout(self.grace, question).await {
            Ok(answer) => Asked::Answer(answer),
            Err(_) => Asked::Gone,
        }
    }
}

#[derive(Clone, Copy)]
struct Deadline {
    at: Instant,
    /// It is the session's, not the command's.
    whole: bool,
}

impl Deadline {
    /// What the machine is told when it has passed.
    const fn input(self) -> First {
        if self.whole {
            Input::Expired
        } else {
            Input::TimedOut
        }
    }
}

/// Reads at most as much as a held session may keep unread. `false` if the client is gone.
async fn read_commands(conn: &mut Conn) -> bool {
    let most = conn.live.config.limits.held_unread_max as usize;
    match conn.read(For::Commands, most).await {
        Ok((_, 0)) | Err(_) => false,
        Ok((buffer, count)) => {
            conn.unread.extend_from_slice(&buffer[..count]);
            true
        }
    }
}

async fn send(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> bool {
    if bytes.is_empty() {
        return true;
    }
    let sent = tokio::time::timeout(WRITE_TIMEOUT, stream.write_all(bytes)).await;
    bytes.clear();
    matches!(sent, Ok(Ok(())))
}
