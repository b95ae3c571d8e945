//! Message data on its way: passed on while it arrives, in constant memory, owned by nobody.
//!
//! CR and LF are withheld until they are judged; a bare one, and anything after it, never reaches
//! the upstream (or reaches it as CRLF, where the listener says so). DATA can only be aborted by
//! closing the upstream connection without the dot; the client is then read to its end of data and
//! told what happened, since it reads no reply before that. Chunks are counted, not searched:
//! `relay/chunk.rs`.
//!
//! There is no limit on the whole: slow honest mail of 25 MiB exists. There is one for each block,
//! and a least average rate. What is read only to be thrown away is no mail: there the time of the
//! session holds, or a client that never ends would keep its place for ever.

mod chunk;
mod hops;
mod inflow;
mod size;
mod trace;

use std::time::Duration;

use tarpit_core::{DataEnd, Trouble};
use tarpit_smtp::{BareNewline, DataScanner, Reply, Scan, ScanState};
use tokio::time::Instant;

use crate::conn::Conn;
use crate::front::is_listed;
use crate::metrics::Stage;
use crate::shared::Shared;
use crate::upstream::Lost;

pub(crate) use chunk::relay_chunk;
use hops::Hops;
pub(crate) use inflow::Inflow;
use size::Size;

/// What is done with the data.
enum Fate {
    /// It is passed on.
    Pass,
    /// It is read and thrown away; this is what the client will be told.
    Discard(DataEnd),
}

impl Fate {
    /// Whether octets are thrown away although the session's time is over.
    fn is_overdue(&self, shared: &Shared, conn: &Conn) -> bool {
        let limit = conn.live.config.limits.session_timeout;
        matches!(self, Self::Discard(_)) && shared.clock.now().since(conn.opened) > limit
    }
}

/// One message on its way.
struct Relay {
    scanner: DataScanner,
    fate: Fate,
    inflow: Inflow,
    size: Size,
    hops: Hops,
    end_of_data: Duration,
    /// How long its octets took to come in, and how long its last reply.
    took: Option<(Duration, Duration)>,
}

/// Passes message data on until its end.
pub(crate) async fn relay(shared: &Shared, conn: &mut Conn) -> DataEnd {
    let limits = &conn.live.config.limits;
    let mut relay = Relay {
        scanner: DataScanner::new(rule(conn)),
        fate: Fate::Pass,
        inflow: Inflow::start(limits),
        size: Size::limited(size_max(conn)),
        hops: Hops::default(),
        end_of_data: limits.end_of_data_timeout,
        took: None,
    };
    let end = relay.run(shared, conn).await;
    if let Some((data, end_of_data)) = relay.took {
        observe(shared, data, end_of_data);
    }
    if !matches!(end, DataEnd::Reply(_)) {
        conn.link.abort();
    }
    end
}

/// A message had all of its octets passed on, and got a reply.
fn observe(shared: &Shared, data: Duration, end_of_data: Duration) {
    let latency = &shared.metrics.latency;
    latency.observe(Stage::Data, data);
    latency.observe(Stage::EndOfData, end_of_data);
}

/// What becomes of a bare LF of this client.
fn rule(conn: &Conn) -> BareNewline {
    let listener = &conn.live.config.listeners[conn.listener];
    if is_listed(&listener.normalize, conn.peer.ip()) {
        BareNewline::Normalize
    } else {
        listener.bare_newline
    }
}

/// The smaller of our limit and the upstream's (RFC 1870 §6.3), in octets.
fn size_max(conn: &Conn) -> Option<u64> {
    let announced = conn.live.mail(conn.listener).capabilities();
    let theirs = announced.and_then(|capabilities| capabilities.size);
    let ours = conn.live.config.limits.message_size_max;
    [theirs, Some(ours)]
        .into_iter()
        .flatten()
        // 0 states none (RFC 1870 §3).
        .filter(|limit| *limit > 0)
        .min()
}

impl Relay {
    async fn run(&mut self, shared: &Shared, conn: &mut Conn) -> DataEnd {
        if let Some(head) = trace::head(conn) {
            self.send(conn, [head.as_bytes(), b""]).await;
        }
        let early = std::mem::take(&mut conn.unread);
        if !early.is_empty()
            && let Some(end) = self.block(conn, &early).await
        {
            return end;
        }
        loop {
            if self.fate.is_overdue(shared, conn) {
                return DataEnd::TooSlow;
            }
            let (buffer, count) = match self.inflow.read(shared, conn, usize::MAX).await {
                Ok(block) => block,
                Err(end) => return end,
            };
            if let Some(end) = self.block(conn, &buffer[..count]).await {
                return end;
            }
        }
    }

    /// One block of the client. `Some` once the message has ended; what follows it is kept for the
    /// command loop.
    async fn block(&mut self, conn: &mut Conn, mut block: &[u8]) -> Option<DataEnd> {
        loop {
            let Scan {
                pieces,
                dots,
                consumed,
                state,
            } = self.scanner.scan(block);
            self.judge(conn, &pieces, dots);
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
                    self.give_up(conn, DataEnd::BareNewline);
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

    /// The upstream is closed on without the dot; the first reason counts.
    fn give_up(&mut self, conn: &mut Conn, why: DataEnd) {
        if matches!(self.fate, Fate::Pass) {
            conn.link.abort();
            self.fate = Fate::Discard(why);
        }
    }

    async fn pass(&mut self, conn: &mut Conn, pieces: &[&[u8]]) {
        for two in pieces.chunks(2) {
            self.send(conn, pair(two)).await;
        }
    }

    /// What can be said of the content before it goes on.
    fn judge(&mut self, conn: &mut Conn, pieces: &[&[u8]], dots: usize) {
        let octets: usize = pieces.iter().map(|piece| piece.len()).sum();
        self.size.add(octets.saturating_sub(dots));
        for piece in pieces {
            self.hops.count(piece);
        }
        if self.hops.is_circle() {
            self.give_up(conn, DataEnd::Looped);
        }
        if self.size.is_over() {
            self.give_up(conn, DataEnd::TooLarge);
        }
    }

    async fn send(&mut self, conn: &mut Conn, body: [&[u8]; 2]) {
        if matches!(self.fate, Fate::Discard(_)) {
            return;
        }
        let sent = conn.link.send_data(body, self.inflow.block()).await;
        if let Err(trouble) = sent {
            self.fate = Fate::Discard(upstream_left(conn, trouble).await);
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
        let waited = asked.elapsed();
        conn.session.note_upstream_wait(waited);
        self.took = end.is_ok().then(|| (self.inflow.lasted(asked), waited));
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
