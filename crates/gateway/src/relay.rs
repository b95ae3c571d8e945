//! Message data on its way: passed on while it arrives, in constant memory, owned by nobody.
//!
//! CR and LF are withheld until they are judged; a bare one, and anything after it, never reaches
//! the upstream. DATA can only be aborted by closing the upstream connection without the dot; the
//! client is then read to its end of data and told what happened, since it reads no reply before
//! that.
//!
//! There is no limit on the whole: slow honest mail of 25 MiB exists. There is one for each block,
//! and a least average rate.

use std::time::Duration;

use tarpit_core::{DataEnd, Trouble};
use tarpit_smtp::{BareNewline, DataScanner, Reply, Scan, ScanState};
use tokio::time::Instant;

use crate::buffers::{Buffer, For};
use crate::conn::Conn;
use crate::pit::reached;
use crate::shared::{Shared, Stop};
use crate::upstream::Lost;

/// What is done with the data.
enum Fate {
    /// It is passed on.
    Pass,
    /// It is read and thrown away; this is what the client will be told.
    Discard(DataEnd),
}

/// One message on its way.
struct Relay {
    scanner: DataScanner,
    fate: Fate,
    started: Instant,
    received: u64,
    block: Duration,
    rate_min: u64,
    end_of_data: Duration,
}

/// Passes message data on until its end.
pub(crate) async fn relay(shared: &Shared, conn: &mut Conn) -> DataEnd {
    let limits = &conn.live.config.limits;
    let mut relay = Relay {
        scanner: DataScanner::new(BareNewline::Reject),
        fate: Fate::Pass,
        started: Instant::now(),
        received: 0,
        block: limits.data_block_timeout,
        rate_min: limits.data_rate_min.into(),
        end_of_data: limits.end_of_data_timeout,
    };
    let end = relay.run(shared, conn).await;
    if !matches!(end, DataEnd::Reply(_)) {
        conn.link.abort();
    }
    end
}

impl Relay {
    async fn run(&mut self, shared: &Shared, conn: &mut Conn) -> DataEnd {
        let early = std::mem::take(&mut conn.unread);
        if !early.is_empty()
            && let Some(end) = self.block(conn, &early).await
        {
            return end;
        }
        loop {
            let (buffer, count) = match self.read(shared, conn).await {
                Ok(block) => block,
                Err(end) => return end,
            };
            self.received = self.received.saturating_add(count as u64);
            if let Some(end) = self.block(conn, &buffer[..count]).await {
                return end;
            }
        }
    }

    /// Reads one block within the time for it. A client that is waited for holds no buffer.
    async fn read(&self, shared: &Shared, conn: &mut Conn) -> Result<(Buffer, usize), DataEnd> {
        let mut stop = shared.stop.subscribe();
        let block = conn.read(For::Data, usize::MAX);
        tokio::select! {
            biased;
            () = reached(&mut stop, Stop::Now) => Err(DataEnd::Drained),
            read = tokio::time::timeout(self.block, block) => match read {
                Ok(Ok((_, 0)) | Err(_)) => Err(DataEnd::ClientGone { reply: None }),
                Ok(Ok((_, count))) if self.is_too_slow(count) => Err(DataEnd::TooSlow),
                Ok(Ok(block)) => Ok(block),
                Err(_) => Err(DataEnd::TooSlow),
            },
        }
    }

    /// Below the least average rate, once there was time enough to judge.
    fn is_too_slow(&self, count: usize) -> bool {
        let elapsed = self.started.elapsed();
        let received = self.received.saturating_add(count as u64);
        elapsed > self.block && received < elapsed.as_secs().saturating_mul(self.rate_min)
    }

    /// One block of the client. `Some` once the message has ended; what follows it is kept for the
    /// command loop.
    async fn block(&mut self, conn: &mut Conn, mut block: &[u8]) -> Option<DataEnd> {
        loop {
            let Scan {
                pieces,
                consumed,
                state,
            } = self.scanner.scan(block);
            match state {
                ScanState::More => {
                    self.pass(conn, &pieces).await;
                    return None;
                }
                ScanState::Full => {
                    self.pass(conn, &pieces).await;
                    block = &block[consumed..];
                }
                ScanState::Bare(_) => {
                    if matches!(self.fate, Fate::Pass) {
                        conn.link.abort();
                        self.fate = Fate::Discard(DataEnd::BareNewline);
                    }
                    block = &block[consumed..];
                    if block.is_empty() {
                        return None;
                    }
                }
                ScanState::End => {
                    let end = self.end(conn, &pieces).await;
                    conn.unread = block[consumed..].to_vec();
                    return Some(end);
                }
            }
        }
    }

    async fn pass(&mut self, conn: &mut Conn, pieces: &[&[u8]]) {
        for two in pieces.chunks(2) {
            if matches!(self.fate, Fate::Discard(_)) {
                return;
            }
            let sent = conn.link.send_data(pair(two), self.block).await;
            if let Err(trouble) = sent {
                self.fate = Fate::Discard(upstream_left(conn, trouble).await);
            }
        }
    }

    /// The client has sent everything: the upstream's word on it, or what went wrong before.
    async fn end(&mut self, conn: &mut Conn, pieces: &[&[u8]]) -> DataEnd {
        let (before, last) = pieces.split_at(pieces.len().saturating_sub(2));
        self.pass(conn, before).await;
        if let Fate::Discard(end) = std::mem::replace(&mut self.fate, Fate::Pass) {
            return end;
        }
        let body = pair(last);
        let asked = Instant::now();
        let end = conn.link.end_of_data(body, self.end_of_data).await;
        conn.session.note_upstream_wait(asked.elapsed());
        match end {
            Ok(reply) if is_final(&reply) => DataEnd::Reply(reply),
            Ok(_) => DataEnd::Lost {
                trouble: Trouble::Garbage,
                after_dot: true,
            },
            Err(Lost { trouble, after_dot }) => DataEnd::Lost { trouble, after_dot },
        }
    }
}

/// The upstream stopped taking data. If it said why, the client will hear it; a yes before the end
/// of data is no yes.
async fn upstream_left(conn: &mut Conn, trouble: Trouble) -> DataEnd {
    let reply = conn.link.early_reply().await;
    conn.link.abort();
    match reply {
        Some(reply) if reply.code().is_transient() || reply.code().is_permanent() => {
            DataEnd::Reply(reply)
        }
        _ => DataEnd::Lost {
            trouble,
            after_dot: false,
        },
    }
}

/// What one write takes.
fn pair<'a>(pieces: &[&'a [u8]]) -> [&'a [u8]; 2] {
    match pieces {
        [] => [b"", b""],
        [one] => [b"", one],
        [one, two, ..] => [one, two],
    }
}

fn is_final(reply: &Reply) -> bool {
    let code = reply.code();
    code.is_positive() || code.is_transient() || code.is_permanent()
}
