//! Message data as it comes in: a time for each block, and a least average rate for all of them.

use std::time::Duration;

use tarpit_core::DataEnd;
use tokio::time::Instant;

use super::hops::Hops;
use crate::buffers::{Buffer, For};
use crate::config::Limits;
use crate::conn::Conn;
use crate::pit::reached;
use crate::shared::{Shared, Stop};

/// How one message comes in. For a message in chunks it is kept between them, so that many small
/// ones gain no time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inflow {
    started: Instant,
    received: u64,
    block: Duration,
    rate_min: u64,
    /// Of a message in chunks.
    pub(super) hops: Hops,
}

impl Inflow {
    /// A message begins.
    pub(super) fn start(limits: &Limits) -> Self {
        Self {
            started: Instant::now(),
            received: 0,
            block: limits.data_block_timeout,
            rate_min: limits.data_rate_min.into(),
            hops: Hops::default(),
        }
    }

    /// How long the message had been coming in at `now`, but for what was left out.
    pub(super) fn lasted(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.started)
    }

    /// Time for one block.
    pub(super) const fn block(&self) -> Duration {
        self.block
    }

    /// Reads one block of `most` octets at most within the time for it. A client that is waited for
    /// holds no buffer.
    pub(super) async fn read(
        &mut self,
        shared: &Shared,
        conn: &mut Conn,
        most: usize,
    ) -> Result<(Buffer, usize), DataEnd> {
        let mut stop = shared.stop.subscribe();
        let block = conn.read(For::Data, most);
        let (buffer, count) = tokio::select! {
            biased;
            () = reached(&mut stop, Stop::Now) => return Err(DataEnd::Drained),
            read = tokio::time::timeout(self.block, block) => match read {
                Ok(Ok((_, 0)) | Err(_)) => return Err(DataEnd::ClientGone { reply: None }),
                Ok(Ok(block)) => block,
                Err(_) => return Err(DataEnd::TooSlow),
            },
        };
        self.add(count)?;
        Ok((buffer, count))
    }

    /// Octets that are here. To be asked before they are passed on: with the last of them the
    /// upstream has the message, and then it is too late to refuse it.
    pub(super) fn add(&mut self, count: usize) -> Result<(), DataEnd> {
        self.received = self.received.saturating_add(count as u64);
        if self.is_too_slow() {
            return Err(DataEnd::TooSlow);
        }
        Ok(())
    }

    /// The client waited for the upstream so long.
    pub(super) fn leave_out(&mut self, wait: Duration) {
        self.started += wait;
    }

    /// Below the least average rate, once there was time enough to judge.
    fn is_too_slow(&self) -> bool {
        let elapsed = self.started.elapsed();
        elapsed > self.block && self.received < elapsed.as_secs().saturating_mul(self.rate_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Octets that come with their command are not read here, and chunks without octets have none.
    #[tokio::test(start_paused = true)]
    async fn small_chunks_gain_no_time() {
        let inflow = || Inflow {
            started: Instant::now(),
            received: 0,
            block: Duration::from_secs(180),
            hops: Hops::default(),
            rate_min: 100,
        };
        let (mut slow, mut empty, mut fast) = (inflow(), inflow(), inflow());
        tokio::time::advance(Duration::from_secs(181)).await;
        assert!(matches!(slow.add(18_099), Err(DataEnd::TooSlow)));
        assert!(matches!(empty.add(0), Err(DataEnd::TooSlow)));
        assert!(fast.add(18_100).is_ok());
        fast.leave_out(Duration::from_secs(60));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(fast.add(0).is_ok(), "the upstream took this time");
    }
}
