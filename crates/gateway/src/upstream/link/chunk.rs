//! A message in chunks (BDAT, RFC 3030) on a session's line.
//!
//! It goes on in chunks where the connection offers CHUNKING. Where it doesn't, although the client
//! was offered it (a server that was restarted with less, one of several), the content becomes DATA
//! if it can: then the chunks before the last are answered here, and the last is the upstream's.

use std::time::Duration;

use tarpit_core::{Answer, Chunk, DataEnd, Envelope, Trouble};

use super::{Question, UpstreamLink};
use crate::upstream::connection::{Connection, Standing};
use crate::upstream::identity::ClientIdentity;
use crate::upstream::stock::Claim;
use crate::upstream::wire::Lost;

/// Why a chunk is not passed on any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The connection takes no more; [`UpstreamLink::early_reply`] may have the reason.
    Trouble(Trouble),
    /// A bare CR or LF in content that becomes DATA.
    BareNewline,
}

impl UpstreamLink {
    /// Makes ready for the octets of a chunk: with the first one MAIL and the accepted RCPTs of the
    /// envelope are made to stand on a connection, as for DATA. `limit` bounds the whole.
    ///
    /// # Errors
    /// The answer in place of the chunk's: nothing of it can be passed on.
    pub async fn open_chunk(
        &mut self,
        chunk: &Chunk,
        who: &ClientIdentity,
        claim: Claim,
        envelope: Option<&Envelope>,
        limit: Duration,
    ) -> Result<(), Answer> {
        if chunk.first {
            let question = Question::Chunks;
            match self.put(question, who, claim, envelope, limit).await {
                Answer::Reply(reply) if reply.code().is_intermediate() => {}
                other => return Err(other),
            }
        }
        let Some(connection) = self.in_message() else {
            return Err(Answer::Trouble(Trouble::Closed));
        };
        connection.open_chunk(chunk.size, chunk.last);
        Ok(())
    }

    /// Passes octets of the open chunk on.
    ///
    /// # Errors
    /// See [`Stopped`].
    pub async fn send_chunk(&mut self, octets: &[u8], limit: Duration) -> Result<(), Stopped> {
        let Some(connection) = self.in_message() else {
            return Err(Stopped::Trouble(Trouble::Closed));
        };
        let result = connection.send_chunk(octets, limit).await;
        self.spoilt |= result.is_err();
        result
    }

    /// All octets of the open chunk were passed on: what the upstream says to it, or, before the
    /// last one and without CHUNKING, what we say.
    pub async fn end_chunk(&mut self, limit: Duration) -> DataEnd {
        let Some(connection) = self.in_message() else {
            return DataEnd::Lost {
                trouble: Trouble::Closed,
                after_dot: false,
            };
        };
        let end = connection.end_chunk(limit).await;
        let is_settled = connection.wire.is_settled();
        match &end {
            DataEnd::Reply(_) if is_settled => {}
            DataEnd::Reply(_) => {
                self.connection = None;
                self.upstream.note(self.server(), Trouble::Closed);
            }
            DataEnd::Lost { trouble, .. } => {
                self.connection = None;
                self.upstream.note(self.server(), *trouble);
            }
            _ => self.connection = None,
        }
        end
    }

    fn in_message(&mut self) -> Option<&mut Connection> {
        self.connection
            .as_deref_mut()
            .filter(|connection| connection.standing == Standing::Data)
    }
}

impl From<Lost> for DataEnd {
    fn from(lost: Lost) -> Self {
        Self::Lost {
            trouble: lost.trouble,
            after_dot: lost.after_dot,
        }
    }
}
