//! Wanted mail beside a pit: as much as goes through, and paced at a quarter of that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use crate::load::{Load, Server, Timing, Turn, turn};
use crate::message::Message;
use crate::stats;

/// Senders, each from an address of its own.
const SENDERS: u8 = 10;

/// Messages on a connection.
const EACH: u32 = 10;

/// Time before a window counts.
const WARM: Duration = Duration::from_millis(300);

/// What wanted mail was like in some windows.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Messages a second, in each window at capacity.
    pub(crate) rates: Vec<f64>,
    /// Messages a second that were asked for, and sent, in the paced window.
    pub(crate) paced: (f64, f64),
    /// Latencies of the paced window: median and 99th percentile.
    pub(crate) latency: (Duration, Duration),
    /// Messages that failed, and how the first did.
    pub(crate) failures: u64,
    /// The words of the first.
    pub(crate) first_failure: Option<String>,
}

impl Seen {
    /// The middle rate.
    pub(crate) fn rate(&self) -> f64 {
        stats::median(&mut self.rates.clone()).unwrap_or(0.0)
    }

    fn count(&mut self, turn: &Turn) {
        self.failures += turn.failures;
        if self.first_failure.is_none() {
            self.first_failure.clone_from(&turn.first_failure);
        }
    }

    /// One more window at capacity.
    pub(crate) async fn at_capacity(&mut self, to: SocketAddr, window: Duration) -> Result<()> {
        let turn = turn(Server::plain(to), &load(None), timing(window)).await?;
        self.rates.push(turn.rate);
        self.count(&turn);
        Ok(())
    }

    /// A window in which `rate` messages a second are sent.
    pub(crate) async fn paced(
        &mut self,
        to: SocketAddr,
        rate: f64,
        window: Duration,
    ) -> Result<()> {
        // At least one message a second of each sender: a pit may have let nothing through.
        let every = Duration::from_secs_f64(f64::from(SENDERS) / rate.max(SENDERS.into()));
        let turn = turn(Server::plain(to), &load(Some(every)), timing(window)).await?;
        self.paced = (rate, turn.rate);
        self.latency = (turn.median, turn.p99);
        self.count(&turn);
        Ok(())
    }
}

fn load(every: Option<Duration>) -> Load {
    Load {
        senders: SENDERS,
        message: Arc::new(Message::new("user@example.org", 1 << 10)),
        each: EACH,
        certificate: None,
        every,
    }
}

fn timing(window: Duration) -> Timing {
    Timing {
        rounds: 1,
        warm: WARM,
        turn: window,
    }
}
