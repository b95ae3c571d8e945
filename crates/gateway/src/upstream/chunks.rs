//! BDAT on a connection (RFC 3030), or the same content as DATA.

use std::time::Duration;

use tarpit_core::{DataEnd, Envelope, Trouble};
use tarpit_smtp::{Reply, ReplyCode, ScanState, Stuffer, write_bdat};

use super::connection::{Connection, Failure, Standing};
use super::link::Stopped;
use super::wire::Lost;

/// A message in chunks, under way.
#[derive(Debug)]
pub(super) struct Chunks {
    form: Form,
    /// The command line of the open chunk, until it goes out with its first octets.
    line: Vec<u8>,
    /// The size of the open chunk.
    size: u64,
    /// The open chunk is the last.
    last: bool,
}

/// How the content goes to the upstream.
#[derive(Debug)]
enum Form {
    /// Chunk by chunk.
    Bdat,
    /// As DATA.
    Data(Stuffer),
}

/// To a chunk that the upstream never saw as one. RFC 3030 §2 repeats the size.
fn taken(size: u64) -> Reply {
    Reply::new(ReplyCode::OK, &format!("2.0.0 {size} octets received"))
}

impl Connection {
    /// Makes the envelope stand here and begins a message in chunks. 354 if its octets may follow.
    pub(super) async fn begin_chunks(
        &mut self,
        envelope: &Envelope,
        before: bool,
    ) -> Result<Reply, Failure> {
        if self.capabilities.chunking {
            self.stand(envelope, before).await?;
            self.standing = Standing::Data;
            self.chunks = Some(Box::new(Chunks::new(Form::Bdat)));
            return Ok(Reply::new(ReplyCode::START_DATA, "Send chunks"));
        }
        if envelope.binary {
            return Err(Failure::Unfit(Trouble::Lacks));
        }
        let reply = self.data(envelope, before).await?;
        if self.standing == Standing::Data {
            self.chunks = Some(Box::new(Chunks::new(Form::Data(Stuffer::new()))));
        }
        Ok(reply)
    }

    /// The octets of a chunk follow.
    pub(super) fn open_chunk(&mut self, size: u64, last: bool) {
        if let Some(chunks) = &mut self.chunks {
            (chunks.size, chunks.last) = (size, last);
            if matches!(chunks.form, Form::Bdat) {
                write_bdat(&mut chunks.line, size, last);
            }
        }
    }

    pub(super) async fn send_chunk(
        &mut self,
        octets: &[u8],
        limit: Duration,
    ) -> Result<(), Stopped> {
        let Some(chunks) = &mut self.chunks else {
            return Err(Stopped::Trouble(Trouble::Closed));
        };
        let Form::Data(stuffer) = &mut chunks.form else {
            let line = std::mem::take(&mut chunks.line);
            if !line.is_empty() {
                // What came before the chunk is no answer to it.
                if !self.wire.is_quiet() {
                    return Err(Stopped::Trouble(Trouble::Closed));
                }
                self.wire.expect_reply();
            }
            let sent = self.wire.send_data([&line, octets], limit).await;
            return sent.map_err(Stopped::Trouble);
        };
        let mut rest = octets;
        loop {
            let scan = stuffer.stuff(rest);
            for two in scan.pieces.chunks(2) {
                let pair = [two[0], two.get(1).copied().unwrap_or_default()];
                let sent = self.wire.send_data(pair, limit).await;
                sent.map_err(Stopped::Trouble)?;
            }
            match scan.state {
                ScanState::Bare(_) => return Err(Stopped::BareNewline),
                ScanState::Full => rest = &rest[scan.consumed..],
                ScanState::More | ScanState::End => return Ok(()),
            }
        }
    }

    /// The reply to the open chunk.
    pub(super) async fn end_chunk(&mut self, limit: Duration) -> DataEnd {
        let lost = |trouble, after_dot| DataEnd::Lost { trouble, after_dot };
        // A chunk without octets: its line was not sent yet.
        if let Err(Stopped::Trouble(trouble)) = self.send_line(limit).await {
            return lost(trouble, false);
        }
        let Some(chunks) = &mut self.chunks else {
            return lost(Trouble::Closed, false);
        };
        let (size, last) = (chunks.size, chunks.last);
        let result = match (&mut chunks.form, last) {
            (Form::Data(_), false) => return DataEnd::Reply(taken(size)),
            (Form::Data(stuffer), true) => match stuffer.finish() {
                Ok(tail) => self.wire.end_of_data([tail, b""], limit).await,
                Err(_) => return DataEnd::BareNewline,
            },
            (Form::Bdat, _) => {
                let answer = self.wire.chunk_reply(last, limit).await;
                answer.map_err(|trouble| Lost {
                    trouble,
                    // Not a word before the last chunk makes the upstream keep anything.
                    after_dot: last,
                })
            }
        };
        match result {
            Ok(reply) if reply.code().is_intermediate() => lost(Trouble::Garbage, last),
            Ok(reply) => {
                self.note(&reply);
                self.conclude(last, &reply);
                DataEnd::Reply(reply)
            }
            Err(lost) => lost.into(),
        }
    }

    async fn send_line(&mut self, limit: Duration) -> Result<(), Stopped> {
        match &self.chunks {
            Some(chunks) if !chunks.line.is_empty() => self.send_chunk(b"", limit).await,
            _ => Ok(()),
        }
    }

    /// The message is over with its last chunk; a chunk that failed leaves what only RSET can clear
    /// (RFC 3030 §2).
    fn conclude(&mut self, last: bool, reply: &Reply) {
        let is_taken = reply.code().is_positive();
        if last {
            self.messages += u32::from(is_taken);
            self.standing = if is_taken {
                Standing::Nothing
            } else {
                Standing::Stale
            };
            self.chunks = None;
        } else if !is_taken {
            self.standing = Standing::Stale;
            self.chunks = None;
        }
    }
}

impl Chunks {
    const fn new(form: Form) -> Self {
        Self {
            form,
            line: Vec::new(),
            size: 0,
            last: false,
        }
    }
}
