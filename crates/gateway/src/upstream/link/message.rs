//! Message data on a session's line, from 354 to the reply to end-of-data.

use std::time::Duration;

use tarpit_core::Trouble;
use tarpit_smtp::Reply;

use super::UpstreamLink;
use crate::upstream::connection::{Connection, Standing};
use crate::upstream::wire::Lost;

impl UpstreamLink {
    /// Passes message data on, dot-stuffed as it came: `body` is what was withheld until it was
    /// judged, and what follows it.
    ///
    /// # Errors
    /// The connection takes no more; [`Self::early_reply`] may have the reason.
    pub async fn send_data(&mut self, body: [&[u8]; 2], limit: Duration) -> Result<(), Trouble> {
        let Some(connection) = self.in_data() else {
            return Err(Trouble::Closed);
        };
        let result = connection.wire.send_data(body, limit).await;
        self.spoilt |= result.is_err();
        result
    }

    /// Sends the last of the message and the dot in one write, and awaits the reply.
    ///
    /// # Errors
    /// There is no reply; the connection is closed.
    pub async fn end_of_data(&mut self, body: [&[u8]; 2], limit: Duration) -> Result<Reply, Lost> {
        let Some(connection) = self.in_data() else {
            return Err(Lost {
                trouble: Trouble::Closed,
                after_dot: false,
            });
        };
        let result = connection.wire.end_of_data(body, limit).await;
        let is_final = |reply: &Reply| !reply.code().is_intermediate();
        match result {
            Ok(reply) if is_final(&reply) => {
                connection.note(&reply);
                connection.messages += u32::from(reply.code().is_positive());
                connection.standing = Standing::Nothing;
                if !connection.wire.is_settled() {
                    self.connection = None;
                    self.upstream.note(self.server(), Trouble::Closed);
                }
                Ok(reply)
            }
            failed => {
                self.connection = None;
                // An intermediate reply is none to the dot; what became of the message is unknown.
                let lost = failed.err().unwrap_or(Lost {
                    trouble: Trouble::Garbage,
                    after_dot: true,
                });
                self.upstream.note(self.server(), lost.trouble);
                Err(lost)
            }
        }
    }

    /// A 4yz or 5yz reply (but 421) that the upstream sent before end-of-data, if it is there to be
    /// read. Waits up to a second after a failed send, otherwise only for the rest of what has
    /// begun. After one, the connection takes no more data.
    pub async fn early_reply(&mut self) -> Option<Reply> {
        let spoilt = self.spoilt;
        let connection = self.in_data()?;
        let reply = connection.wire.early_reply(spoilt).await;
        self.spoilt |= reply.is_some();
        reply
    }

    fn in_data(&mut self) -> Option<&mut Connection> {
        self.connection
            .as_deref_mut()
            .filter(|connection| connection.standing == Standing::Data)
    }
}
