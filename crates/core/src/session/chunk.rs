//! BDAT (RFC 3030): a message in chunks.
//!
//! Promises: the octets of a chunk are taken whatever the reply is, so that message data is never
//! read as commands; after a chunk that failed nothing of the message can be accepted; and the reply
//! to the last chunk is the upstream's or a refusal, and is never held.
//!
//! The machine counts the sizes that the client states, so a message over the limit is refused
//! before its octets come.

use super::message::Ended;
use super::state::{After, Chunks, Due, State, Taking};
use super::turn::Turn;
use super::{Env, Session};
use crate::answer::Finding;
use crate::event::{Chunk, DataEnd, Then};
use crate::policy::Offence;
use crate::record::{Deed, Judged, SessionEnd};
use tarpit_smtp::Extension;

/// The largest chunk that is passed on, in octets. RFC 3030 states no bound, and servers that keep
/// the size in 32 bits would take the rest of a larger one for commands: two readings, so it is
/// refused as too large a message. No client sends one; what they send is messages.
const CHUNK_MAX: u64 = i32::MAX as u64;

impl Session {
    /// The octets follow at once: whether they are wanted or not, they come first, then the reply.
    pub(super) fn bdat(&mut self, size: u64, last: bool, env: &Env<'_>) -> Then {
        let refusal = self.chunk_refusal(size, env);
        let pass = refusal.is_none();
        let first = pass && self.chunks == Chunks::None;
        if pass {
            self.chunks = Chunks::Begun;
            self.octets = self.octets.saturating_add(size);
        }
        if refusal == Some(Finding::TooLarge) {
            // From here on: the driver gives up what the upstream got of it.
            self.fail_chunks();
        }
        self.state = State::Taking(Taking { last, refusal });
        Then::Chunk(Chunk {
            size,
            last,
            first,
            pass,
        })
    }

    fn chunk_refusal(&self, size: u64, env: &Env<'_>) -> Option<Finding> {
        if self.needs_auth(env) {
            return Some(Finding::NeedAuth);
        }
        if !self.announced.contains(Extension::Chunking) {
            return Some(Finding::NotImplemented);
        }
        if self.chunks == Chunks::Failed {
            return Some(Finding::ChunksFailed);
        }
        if let Some(finding) = self.not_ready() {
            return Some(finding);
        }
        let limit = self.size_limit(env).unwrap_or(u64::MAX);
        let is_over = self.octets.saturating_add(size) > limit || size > CHUNK_MAX;
        is_over.then_some(Finding::TooLarge)
    }

    /// All octets of a chunk were taken.
    pub(super) fn chunk_ended(
        &mut self,
        taking: Taking,
        end: DataEnd,
        turn: &mut Turn<'_>,
    ) -> Then {
        // The client waits from here on, not from the command on.
        self.began = turn.now;
        let end = match (Ended::from(end), taking.refusal) {
            (Ended::Gone(_), Some(_)) => return self.gone(turn),
            (Ended::Own(finding, after @ After::Close(_)), Some(_)) => {
                return self.say(&Due::Own(finding), after, turn.out);
            }
            (_, Some(finding)) => return self.refuse_chunk(finding, taking, turn),
            (Ended::Reply(reply), None) if !taking.last && reply.code().is_positive() => {
                return self.say(&Due::Upstream(reply), After::Next, turn.out);
            }
            (end, None) => end,
        };
        if taking.last {
            self.chunks = Chunks::None;
            self.end_message(end, true, turn)
        } else {
            self.fail_chunks();
            self.end_message(end, false, turn)
        }
    }

    /// A chunk that was thrown away: nothing of the message can be accepted any more.
    fn refuse_chunk(&mut self, finding: Finding, taking: Taking, turn: &mut Turn<'_>) -> Then {
        let in_transaction = self.envelope.is_some();
        if finding == Finding::TooLarge {
            return self.end_message(Ended::Own(finding, After::Next), taking.last, turn);
        }
        if in_transaction && finding != Finding::NotImplemented {
            // A message without this part of it must not be taken. As with DATA, the transaction
            // stays open for RSET, but not behind the last chunk: many are sent ahead.
            if taking.last {
                self.reset();
            } else {
                self.fail_chunks();
            }
        }
        match finding {
            Finding::NoRecipients => self.refuse_again(finding, turn),
            finding => self.refuse(finding, turn),
        }
    }

    /// BDAT that can't be read. How many octets follow nobody knows, and read as commands they would
    /// do what the writer of a message wants: so the session ends.
    pub(super) fn unreadable_chunk(&mut self, turn: &mut Turn<'_>) -> Then {
        let bill = self.bill(turn.env);
        let judged = Judged::Offence(Offence::Protocol);
        self.note(Deed::Chunk, judged, Some(&bill), turn);
        self.count(Offence::Protocol);
        self.book(Offence::Protocol, bill, turn);
        self.say(
            &Due::Own(Finding::ChunkUnreadable),
            After::Close(SessionEnd::OutOfStep),
            turn.out,
        )
    }

    pub(super) const fn fail_chunks(&mut self) {
        self.chunks = Chunks::Failed;
    }

    /// A message in chunks that the client breaks off.
    pub(super) fn drop_chunks(&mut self) {
        if self.chunks == Chunks::Begun {
            self.count_aborted();
        }
        self.chunks = Chunks::None;
        self.octets = 0;
    }

    /// Whether a message in chunks has begun at the upstream and is not over. The driver looks at it
    /// after each input: while it is so, the upstream connection can't be let go of; when it is no
    /// longer so and the upstream has not replied to the last chunk, the message is to be given up
    /// there.
    #[must_use]
    pub fn is_in_message(&self) -> bool {
        self.chunks == Chunks::Begun
    }
}
