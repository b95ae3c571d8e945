//! The driver's ear: the next command of the client, within the times for it.

use std::time::Duration;

use tarpit_core::{Input, Then};
use tokio::time::Instant;

use super::{Activity, First};
use crate::buffers::For;
use crate::conn::Conn;
use crate::front::looks_like_header;
use crate::pit::reached;
use crate::shared::Stop;

/// Time for one line of an AUTH exchange. It holds an upstream connection that can't be let go of,
/// on behalf of somebody who has shown nothing yet; programs answer at once, and people who type
/// base64 do not use AUTH.
const AUTH_LINE_TIMEOUT: Duration = Duration::from_secs(30);

/// Replies are gathered while pipelined commands are at hand; more than this is sent before the
/// next command is looked at, so that a client that only sends can't make us keep its replies.
const GATHER_MAX: usize = 16 * 1024;

/// Commands that a session says in one go before others on the same worker have their turn: a
/// fraction of a millisecond.
const TURN: u32 = 32;

/// More commands in a row than this that we answer by ourselves, and no client has a use for them:
/// more than the recipients of a transaction. From then on each [`TURN`] is followed by [`PAUSE`]:
/// who sends EHLO without end, and need not even read what we say, would keep a worker busy for as
/// long as it likes.
const EMPTY_MAX: u32 = 1024;

/// Leaves such a client 320 commands a second.
const PAUSE: Duration = Duration::from_millis(100);

/// What a session has said in a row that needed nobody but us.
#[derive(Default)]
struct Row(u32);

impl Row {
    /// One more command was answered.
    async fn count(&mut self) {
        self.0 = self.0.saturating_add(1);
        if !self.0.is_multiple_of(TURN) {
            return;
        }
        if self.0 > EMPTY_MAX {
            tokio::time::sleep(PAUSE).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

impl Activity<'_> {
    /// Commands that are at hand, or the next bytes of the client.
    pub(super) async fn read(&mut self) -> Then {
        self.drop_message();
        let mut deadline = self.deadline();
        let mut row = Row::default();
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
                self.drop_message();
                if self.out.bytes.len() > replies {
                    // A whole command was answered: the next one has its own time.
                    deadline = self.deadline();
                } else {
                    break;
                }
                row.count().await;
                if self.out.bytes.len() > GATHER_MAX
                    && let Err(why) = self.flush().await
                {
                    return self.unsaid(why);
                }
            }
            if let Err(why) = self.flush().await {
                return self.unsaid(why);
            }
            if let Some(input) = self.more(deadline).await {
                return self.handle(input);
            }
            if self.is_false_proxy() {
                return self.handle(Input::Gone);
            }
        }
    }

    /// The client gave up a message of which the upstream has got a part (RSET between two chunks):
    /// the upstream hears it by the end of the connection.
    fn drop_message(&mut self) {
        if self.conn.inflow.is_some() && !self.conn.session.is_in_message() {
            self.conn.inflow = None;
            self.conn.link.abort_message();
        }
    }

    /// The client begins with a PROXY header, and nobody trusts it to: either its network is missing
    /// in the configuration, or it wants to be taken for somebody else. Its words would be answered
    /// with a row of 500s, and then it would be served as what it is; better that it is noticed.
    fn is_false_proxy(&mut self) -> bool {
        if std::mem::replace(&mut self.conn.spoke, true) || !looks_like_header(&self.conn.unread) {
            return false;
        }
        self.shared.metrics.proxy_headers_refused.add(1);
        tracing::warn!(
            target: "tarpit::listen",
            listener = %self.conn.live.config.listeners[self.conn.listener].name,
            client = %self.conn.peer,
            "refused a PROXY header from a network that is not in proxy_protocol of the listener"
        );
        true
    }

    /// The time for one whole command: a client that drips bytes gains nothing. And the session
    /// has its own limit.
    fn deadline(&self) -> Deadline {
        let limits = &self.conn.live.config.limits;
        let command = if self.conn.session.is_in_auth() {
            limits.command_timeout.min(AUTH_LINE_TIMEOUT)
        } else if self.conn.inflow.is_some() {
            // Between two chunks the upstream waits as it does within DATA.
            limits.command_timeout.min(limits.data_block_timeout)
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
