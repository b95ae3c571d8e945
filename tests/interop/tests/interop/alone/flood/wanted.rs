//! Wanted mail, and how long it takes.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tarpit_interop::{Client, plain, stuffed};

/// Mail to one gateway.
pub(super) struct Mail {
    port: u16,
    sent: AtomicU32,
}

/// What messages took, connect and QUIT included.
pub(super) struct Took {
    pub(super) median: Duration,
    pub(super) slowest: Duration,
}

impl Mail {
    /// Messages of one measurement.
    pub(super) const MESSAGES: usize = 100;

    pub(super) fn new(port: u16) -> Self {
        Self {
            port,
            sent: AtomicU32::new(0),
        }
    }

    /// One message after the other, each from a source of its own.
    pub(super) fn measure(&self) -> Result<Took> {
        let mut took = Vec::new();
        for _ in 0..Self::MESSAGES {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let [.., high, low] = number.to_be_bytes();
            let start = Instant::now();
            self.deliver(Ipv4Addr::new(127, 10, high, low))
                .with_context(|| format!("message {number}"))?;
            took.push(start.elapsed());
        }
        took.sort();
        Ok(Took {
            median: took[took.len() / 2],
            slowest: *took.last().context("nothing was measured")?,
        })
    }

    /// One message.
    pub(super) fn deliver(&self, source: Ipv4Addr) -> Result<()> {
        let mut client = Client::hello_from(source, self.port)?;
        client
            .deliver(
                "s@example.net",
                &["alice@example.org"],
                &stuffed(&plain("wanted")),
            )?
            .expect(250)?;
        client.quit()
    }
}

impl Took {
    /// How much longer it took than `other`.
    pub(super) fn over(&self, other: &Self) -> String {
        let ratio = self.median.as_secs_f64() / other.median.as_secs_f64();
        format!("median times {ratio:.2}")
    }
}

impl fmt::Display for Took {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |took: Duration| took.as_secs_f64() * 1000.0;
        write!(
            f,
            "{:.1} ms ({:.1} at most)",
            millis(self.median),
            millis(self.slowest)
        )
    }
}
