//! The socket to the upstream: whole commands out, whole replies in.
//!
//! What it promises: a reply is only ever taken as the answer to a command that was sent before it
//! came. The owner asks [`Wire::is_quiet`] before it uses a connection that stood idle; bytes that
//! nobody asked for ("421 timeout", or worse, a stray 250) make the connection dead, not answered.
//!
//! A buffered reader from a library was rejected: it would hide such bytes in its buffer.

use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use tarpit_core::Trouble;
use tarpit_smtp::{
    END_OF_DATA, EnhancedCode, Reply, ReplyCode, ReplyReader, ReplyStep, Verb, write_verb,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::OwnAddress;
use crate::stream::{Stream, Written};
use crate::tls::{ClientTls, Peer, TlsFailure};

/// The greeting, and the replies to MAIL and RCPT (RFC 5321 §4.5.3.2.1 to .3). EHLO, RSET, AUTH
/// and XCLIENT have no number there and get the same.
pub(super) const REPLY_LIMIT: Duration = Duration::from_secs(5 * 60);

/// The reply to DATA (RFC 5321 §4.5.3.2.4).
pub(super) const DATA_LIMIT: Duration = Duration::from_secs(2 * 60);

/// How long a reply that has begun early, or may explain a lost connection, is awaited: it is
/// there already, or it never comes.
pub(super) const EARLY_LIMIT: Duration = Duration::from_secs(1);

/// RFC 3463 §3.4: other or undefined mail system status.
const CLOSED: EnhancedCode = EnhancedCode {
    class: 4,
    subject: 3,
    detail: 0,
};

/// Most replies fit; the reader keeps what it needs, so this never grows.
const READ_LEN: usize = 1024;

/// A piece of message data: what was withheld until it was judged, and what follows it.
pub(super) type Body<'a> = [&'a [u8]; 2];

/// The upstream was lost at the end of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Why.
    pub trouble: Trouble,
    /// Whether end-of-data was sent, or a part of it: then the outcome is unknown (DESIGN promise
    /// 1). If not, the upstream has no message.
    pub after_dot: bool,
}

/// One connection to the upstream, and what of its replies was not asked for yet.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    /// Known as ours for as long as this lives.
    #[cfg_attr(not(test), expect(dead_code, reason = "it is there to be dropped"))]
    near_end: Option<OwnAddress>,
    reader: ReplyReader,
    /// Bytes after the last reply.
    unread: Vec<u8>,
    /// Commands that were sent and not answered. While there are any, the connection is in nobody's
    /// hands: the future that awaited the reply was dropped.
    pending: u32,
}

impl Wire {
    /// A connection that was just made: the greeting is pending.
    pub(super) fn new(stream: TcpStream, near_end: Option<OwnAddress>) -> Self {
        Self {
            stream: Stream::plain(stream),
            near_end,
            reader: ReplyReader::new(),
            unread: Vec::new(),
            pending: 1,
        }
    }

    /// Ours.
    #[cfg(test)]
    pub(super) fn near_end(&self) -> Option<std::net::SocketAddr> {
        self.near_end.as_ref().map(OwnAddress::address)
    }

    /// Whether every command was answered.
    pub(super) const fn is_settled(&self) -> bool {
        self.pending == 0
    }

    /// Whether the connection is open and nothing came that nobody asked for. Asks the system
    /// itself: the runtime may not have noticed yet.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.is_settled() && !self.has_spoken() && self.stream.is_quiet()
    }

    /// Speaks TLS after the 220 to STARTTLS. Forget the capabilities afterwards (RFC 3207 §4.2).
    ///
    /// What stands behind the 220 was sent by nobody knows whom: it is no reply to anything
    /// (CVE-2011-0411 from the other side), and the connection is lost.
    pub(super) async fn start_tls(
        &mut self,
        tls: &ClientTls,
        limit: Duration,
    ) -> Result<Peer, TlsFailure> {
        if self.has_spoken() || !self.is_settled() {
            return Err(TlsFailure::Injected);
        }
        tls.connect(&mut self.stream, limit).await
    }

    /// Sends `lines`, which hold `replies` commands, in one write.
    pub(super) async fn send(&mut self, lines: &[u8], replies: u32) -> Result<(), Trouble> {
        if self.has_spoken() {
            return Err(Trouble::Garbage);
        }
        self.pending += replies;
        self.stream
            .write_all(lines)
            .await
            .map_err(|_| Trouble::Closed)
    }

    /// Sends a command that takes no argument and awaits its reply.
    pub(super) async fn verb(&mut self, verb: Verb, limit: Duration) -> Result<Reply, Trouble> {
        let mut line = Vec::new();
        write_verb(&mut line, verb);
        self.command(&line, limit).await
    }

    /// Sends one command and awaits its reply.
    pub(super) async fn command(&mut self, line: &[u8], limit: Duration) -> Result<Reply, Trouble> {
        self.send(line, 1).await?;
        self.reply(limit).await
    }

    /// Awaits the next reply. 421 is the end of the connection, not an answer (RFC 5321 §3.8).
    pub(super) async fn reply(&mut self, limit: Duration) -> Result<Reply, Trouble> {
        // Replies to a group come together: only the first of them is waited for.
        let reply = match self.reply_at_hand()? {
            Some(reply) => reply,
            None => timeout(limit, self.read_reply())
                .await
                .unwrap_or(Err(Trouble::TimedOut))?,
        };
        self.pending = self.pending.saturating_sub(1);
        if reply.code() == ReplyCode::CLOSING {
            tracing::info!(target: "tarpit::upstream", reply = reply.to_log(), "the upstream closes a connection");
            return Err(Trouble::Closed);
        }
        Ok(reply)
    }

    /// The next reply, if the rest of it was read with the last one.
    fn reply_at_hand(&mut self) -> Result<Option<Reply>, Trouble> {
        if self.unread.is_empty() {
            return Ok(None);
        }
        match self.reader.read(&self.unread) {
            Ok(ReplyStep::Done { reply, consumed }) => {
                self.unread.drain(..consumed);
                Ok(Some(reply))
            }
            Ok(ReplyStep::Partial { .. }) => {
                self.unread.clear();
                Ok(None)
            }
            Err(error) => {
                tracing::debug!(target: "tarpit::upstream", %error, "the upstream sent what is no reply");
                Err(Trouble::Garbage)
            }
        }
    }

    async fn read_reply(&mut self) -> Result<Reply, Trouble> {
        loop {
            if let Some(reply) = self.reply_at_hand()? {
                return Ok(reply);
            }
            match self.stream.read_into(&mut self.unread, READ_LEN).await {
                Ok(0) | Err(_) => return Err(Trouble::Closed),
                Ok(_) => {}
            }
        }
    }

    /// Passes message data on. Stops with an error as soon as the upstream speaks instead of
    /// reading: it has nothing to say before the end of data but that it does not want the rest.
    pub(super) async fn send_data(
        &mut self,
        body: Body<'_>,
        limit: Duration,
    ) -> Result<(), Trouble> {
        let mut pieces = body.map(IoSlice::new);
        timeout(limit, self.push(&mut pieces, &mut 0))
            .await
            .unwrap_or(Err(Trouble::TimedOut))
    }

    /// Writes the pieces one behind the other, without copying them together. `sent`: octets that
    /// the system took, however this ends.
    async fn push(
        &mut self,
        mut pieces: &mut [IoSlice<'_>],
        sent: &mut usize,
    ) -> Result<(), Trouble> {
        // What came with the reply before is not announced again by the system.
        if self.has_spoken() {
            return Err(Trouble::Closed);
        }
        loop {
            let written = self.stream.write_or_hear(&mut pieces, sent).await;
            match written.map_err(|_| Trouble::Closed)? {
                Written::All => return Ok(()),
                Written::Heard if self.hears_something() => return Err(Trouble::Closed),
                Written::Heard => {}
            }
        }
    }

    /// Whether something is here that answers nothing.
    fn has_spoken(&self) -> bool {
        !self.unread.is_empty() || self.reader.in_reply()
    }

    /// Reads what is there without waiting: bytes, or the end.
    fn hears_something(&mut self) -> bool {
        if self.has_spoken() {
            return true;
        }
        match self.stream.try_read_into(&mut self.unread, READ_LEN) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Ok(_) | Err(_) => true,
        }
    }

    /// The dot, in one write with what goes before it, and the reply.
    ///
    /// If the upstream has spoken already, the dot is not sent: a refusal is the reply, anything
    /// else is garbage. A yes before the dot is no yes (DESIGN promise 1).
    pub(super) async fn end_of_data(
        &mut self,
        body: Body<'_>,
        limit: Duration,
    ) -> Result<Reply, Lost> {
        let before = body.map(<[u8]>::len).iter().sum::<usize>();
        let mut sent = 0;
        let result = timeout(limit, async {
            if !self.is_quiet() {
                return self.early_reply(true).await.ok_or(Trouble::Closed);
            }
            self.pending += 1;
            let [withheld, body] = body;
            let mut pieces = [withheld, body, END_OF_DATA].map(IoSlice::new);
            self.push(&mut pieces, &mut sent).await?;
            self.answer_to_dot().await
        })
        .await
        .unwrap_or(Err(Trouble::TimedOut));
        result.map_err(|trouble| Lost {
            trouble,
            // A dot without its CRLF ends nothing, but no server is bound to think so.
            after_dot: sent > before,
        })
    }

    /// What is sent next is answered, although it is sent as message data.
    pub(super) const fn expect_reply(&mut self) {
        self.pending += 1;
    }

    /// The reply to a chunk. To the last one 421 is an answer, as to the dot.
    pub(super) async fn chunk_reply(
        &mut self,
        last: bool,
        limit: Duration,
    ) -> Result<Reply, Trouble> {
        if !last {
            return self.reply(limit).await;
        }
        timeout(limit, self.answer_to_dot())
            .await
            .unwrap_or(Err(Trouble::TimedOut))
    }

    /// Here 421 is an answer as well: the upstream closes, and it has not taken the message (RFC 5321
    /// §4.2.5). The client is not closed on, so for it that is 451, with the upstream's words.
    async fn answer_to_dot(&mut self) -> Result<Reply, Trouble> {
        let reply = self.read_reply().await?;
        if reply.code() == ReplyCode::CLOSING {
            // Still pending: this connection is never used again.
            return Ok(reply.with_code(ReplyCode::LOCAL_ERROR, Some(CLOSED)));
        }
        self.pending = self.pending.saturating_sub(1);
        Ok(reply)
    }

    /// A 4yz or 5yz reply that nobody asked for. `wait`: the connection is lost or has spoken, so
    /// what is on its way is awaited for a moment; otherwise only what is there counts.
    pub(super) async fn early_reply(&mut self, wait: bool) -> Option<Reply> {
        if !wait && !self.hears_something() {
            return None;
        }
        // Never to be used again: what comes now answers nothing.
        self.pending += 1;
        let reply = timeout(EARLY_LIMIT, self.read_reply()).await.ok()?.ok()?;
        let code = reply.code();
        let refuses = code.is_permanent() || (code.is_transient() && code != ReplyCode::CLOSING);
        refuses.then_some(reply)
    }

    /// QUIT without awaiting the reply, for a connection that is closed at once. That it can't be
    /// sent does not matter: closing says the same.
    pub(super) fn hang_up(mut self) {
        let _: io::Result<usize> = self.stream.try_write(b"QUIT\r\n");
        self.stream.close_notify();
    }
}

#[cfg(test)]
mod tests;
