//! Message data as it comes in: a time for each block, and a least average rate for all of them.

use std::time::Duration;

use tarpit_core::DataEnd;
use tokio::time::Instant;

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
}

impl Inflow {
    /// A message begins.
    pub(super) fn start(limits: &Limits) -> Self {
        Self {
            started: Instant::now(),
            received: 0,
            block: limits.data_block_timeout,
            rate_min: limits.data_rate_min.into(),
        }
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
        self.received = self.received.saturating_add(count as u64);
        if self.is_too_slow() {
            return Err(DataEnd::TooSlow);
        }
        Ok((buffer, count))
    }

    /// Octets that had been read with what came before.
    pub(super) fn add(&mut self, count: usize) {
        self.received = self.received.saturating_add(count as u64);
    }

    /// Below the least average rate, once there was time enough to judge.
    fn is_too_slow(&self) -> bool {
        let elapsed = self.started.elapsed();
        elapsed > self.block && self.received < elapsed.as_secs().saturating_mul(self.rate_min)
    }
}
