//! One chunk on its way (BDAT, RFC 3030). Its octets are counted, whatever they are: all of them are
//! taken from the client, also where they can't be passed on.

use tarpit_core::{Answer, Chunk, DataEnd, Trouble};
use tokio::time::Instant;

use super::{Fate, Inflow, observe, trace, upstream_left};
use crate::conn::Conn;
use crate::shared::Shared;
use crate::upstream::{Claim, Stopped};

/// Takes a chunk from the client and passes it on, if that is wanted and can be done. `limit` is the
/// time to find a connection on which the envelope stands.
pub(crate) async fn relay_chunk(
    shared: &Shared,
    conn: &mut Conn,
    chunk: Chunk,
    claim: Claim,
    limit: std::time::Duration,
) -> DataEnd {
    let limits = &conn.live.config.limits;
    let inflow = match conn.inflow {
        Some(inflow) if !chunk.first => inflow,
        _ => Inflow::start(limits),
    };
    let end_of_data = limits.end_of_data_timeout;
    let mut relay = Relay {
        fate: Fate::Pass,
        inflow,
    };
    let asked = Instant::now();
    let head = relay.open(conn, chunk, claim, limit).await;
    let waited = asked.elapsed();
    conn.session.note_upstream_wait(waited);
    relay.inflow.leave_out(waited);
    if let Err(end) = relay.take(shared, conn, chunk.size, &head).await {
        conn.link.abort_message();
        return end;
    }
    if let Fate::Discard(end) = relay.fate {
        conn.inflow = (!chunk.last).then_some(relay.inflow);
        conn.link.abort_message();
        return end;
    }
    let asked = Instant::now();
    let end = conn.link.end_chunk(chunk.last, end_of_data).await;
    let waited = asked.elapsed();
    if chunk.last && matches!(end, DataEnd::Reply(_)) {
        observe(shared, relay.inflow.lasted(asked), waited);
    }
    conn.session.note_upstream_wait(waited);
    relay.inflow.leave_out(waited);
    conn.inflow = (!chunk.last).then_some(relay.inflow);
    end
}

struct Relay {
    fate: Fate,
    inflow: Inflow,
}

impl Relay {
    /// Makes ready for the octets. What we put before the message is a part of its first chunk.
    async fn open(
        &mut self,
        conn: &mut Conn,
        mut chunk: Chunk,
        claim: Claim,
        limit: std::time::Duration,
    ) -> String {
        if !chunk.pass {
            // Nothing of the message can be accepted any more.
            conn.link.abort_message();
            self.fate = Fate::Discard(DataEnd::Discarded);
            return String::new();
        }
        if conn.is_relayed() {
            self.fate = Fate::Discard(refused(Answer::Trouble(Trouble::Relays)));
            return String::new();
        }
        let head = if chunk.first {
            trace::head(conn).unwrap_or_default()
        } else {
            String::new()
        };
        chunk.size = chunk.size.saturating_add(head.len() as u64);
        let who = conn.who();
        let envelope = conn.session.envelope();
        let opened = conn
            .link
            .open_chunk(&chunk, &who, claim, envelope, limit)
            .await;
        if let Err(answer) = opened {
            self.fate = Fate::Discard(refused(answer));
        }
        head
    }

    /// Takes `size` octets of the client, first those that were read with its command.
    async fn take(
        &mut self,
        shared: &Shared,
        conn: &mut Conn,
        size: u64,
        head: &str,
    ) -> Result<(), DataEnd> {
        if !head.is_empty() {
            self.pass(conn, head.as_bytes()).await;
        }
        let mut left = size;
        let unread = std::mem::take(&mut conn.unread);
        let here = usize::try_from(left).map_or(unread.len(), |left| left.min(unread.len()));
        let (octets, behind) = unread.split_at(here);
        self.inflow.add(here)?;
        self.pass(conn, octets).await;
        left -= here as u64;
        conn.unread = behind.to_vec();
        while left > 0 {
            if self.fate.is_overdue(shared, conn) {
                return Err(DataEnd::TooSlow);
            }
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            let (buffer, count) = self.inflow.read(shared, conn, most).await?;
            self.pass(conn, &buffer[..count]).await;
            left -= count as u64;
        }
        Ok(())
    }

    async fn pass(&mut self, conn: &mut Conn, octets: &[u8]) {
        if octets.is_empty() || matches!(self.fate, Fate::Discard(_)) {
            return;
        }
        self.inflow.hops.count(octets);
        if self.inflow.hops.is_circle() {
            self.fate = Fate::Discard(DataEnd::Looped);
            return;
        }
        match conn.link.send_chunk(octets, self.inflow.block()).await {
            Ok(()) => {}
            Err(Stopped::BareNewline) => self.fate = Fate::Discard(DataEnd::BareNewline),
            Err(Stopped::Trouble(trouble)) => {
                self.fate = Fate::Discard(upstream_left(conn, trouble).await);
            }
        }
    }
}

/// What the client is told in place of the chunk's reply, once its octets are taken.
fn refused(answer: Answer) -> DataEnd {
    match answer {
        Answer::Reply(reply) | Answer::SenderRefused(reply) | Answer::ServiceRefused(reply) => {
            DataEnd::Reply(reply)
        }
        Answer::Trouble(trouble) => DataEnd::Lost {
            trouble,
            after_dot: false,
        },
    }
}
