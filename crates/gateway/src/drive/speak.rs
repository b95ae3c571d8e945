//! The driver's mouth: replies, to clients that may not read them.
//!
//! What it promises:
//! - Replies are said once and in their order, or the session ends. None is left out: a client that
//!   reads on later would take those that follow for the replies to its earlier commands.
//! - Who does not read keeps an upstream connection no longer than who is idle, and is waited for
//!   [`WRITE_TIMEOUT`] at most.
//! - An answer of the upstream is taken while the client is told what is due; neither waits for the
//!   other.
//!
//! Rejected: to wait until all is sent before the upstream's answer is looked at. That is less to
//! write, and leaves the upstream with a client that never reads.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tarpit_core::{Answer, Input, Then};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Activity;
use crate::pit::reached;
use crate::shared::Stop;
use crate::stream::{Left, Stream};

/// A client that does not take a few kilobytes in this time never reads.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why replies were not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// The client is gone, or does not read.
    Gone,
    /// The time to drain is over.
    Stopped,
}

impl Activity<'_> {
    /// Sends what is due.
    pub(super) async fn flush(&mut self) -> Result<(), Unsaid> {
        if self.is_deaf {
            return Err(Unsaid::Gone);
        }
        let (stream, unsent) = (&mut self.conn.stream, &mut self.out.bytes);
        // Whoever reads has room for it at once, and nothing has to be timed.
        if let Some(count) = stream.write_at_once(unsent) {
            unsent.drain(..count);
        }
        match stream.try_send(unsent) {
            Ok(()) => Ok(()),
            // An error that stays is met again there.
            Err(_) => Box::pin(self.flush_in_time()).await,
        }
    }

    async fn flush_in_time(&mut self) -> Result<(), Unsaid> {
        let limit = Instant::now() + WRITE_TIMEOUT;
        let grace = self.conn.grace_end();
        let mut stop = self.shared.stop.subscribe();
        loop {
            let conn = &mut *self.conn;
            let is_kept = conn.link.is_lettable();
            let until = if is_kept { grace.min(limit) } else { limit };
            let sent = tokio::select! {
                biased;
                sent = timeout_at(until, conn.stream.send(&mut self.out.bytes)) => sent,
                () = reached(&mut stop, Stop::Now) => return Err(Unsaid::Stopped),
            };
            match sent {
                Ok(Ok(())) => return Ok(()),
                Err(_) if until < limit => conn.link.let_go(),
                Ok(Err(_)) | Err(_) => {
                    self.is_deaf = true;
                    return Err(Unsaid::Gone);
                }
            }
        }
    }

    /// Replies could not be sent: the machine hears why.
    pub(super) fn unsaid(&mut self, why: Unsaid) -> Then {
        self.handle(match why {
            Unsaid::Gone => Input::Gone,
            Unsaid::Stopped if self.conn.session.is_draining() => Input::Expired,
            Unsaid::Stopped => Input::Drain,
        })
    }
}

/// What became of a question.
pub(super) enum Asked {
    Answer(Answer),
    /// The client reset the connection or does not read, and no answer came within the grace time.
    Gone,
    /// The time to drain is over.
    Stopped,
}

/// What else may happen while an answer is awaited.
pub(super) struct Watch<'a> {
    pub(super) stop: watch::Receiver<Stop>,
    pub(super) grace: Duration,
    pub(super) stream: &'a mut Stream,
    /// Replies that are due.
    pub(super) unsent: &'a mut Vec<u8>,
    pub(super) half_closed: &'a mut bool,
    /// Nothing more can be said to the client.
    pub(super) is_deaf: &'a mut bool,
}

impl Watch<'_> {
    /// Sends what is due, and looks after the client, until the question is answered.
    pub(super) async fn ask(
        mut self,
        mut question: Pin<&mut impl Future<Output = Answer>>,
    ) -> Asked {
        tokio::select! {
            biased;
            answer = &mut question => return Asked::Answer(answer),
            () = reached(&mut self.stop, Stop::Now) => return Asked::Stopped,
            () = gone(self.stream, self.unsent, self.half_closed) => *self.is_deaf = true,
        }
        // What was asked is still charged, if the answer comes soon; but nobody holds an upstream
        // connection without being there.
        tokio::select! {
            biased;
            answer = question => Asked::Answer(answer),
            () = reached(&mut self.stop, Stop::Now) => Asked::Stopped,
            () = tokio::time::sleep(self.grace) => Asked::Gone,
        }
    }
}

/// Sends what is due. Resolves when the client has reset the connection, or has not taken that in time.
async fn gone(stream: &mut Stream, unsent: &mut Vec<u8>, half_closed: &mut bool) {
    let sent = timeout(WRITE_TIMEOUT, stream.send(unsent)).await;
    if !matches!(sent, Ok(Ok(()))) {
        return;
    }
    if !*half_closed && stream.left().await == Left::Reset {
        return;
    }
    // It may still hear: only the answer is waited for.
    *half_closed = true;
    pending::<()>().await;
}

#[cfg(test)]
mod tests;
