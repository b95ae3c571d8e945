//! The sink: the fastest SMTP server that is still one. It takes every message and keeps none.
//!
//! It runs as a process of its own (`tarpit-bench sink`), so that the load's process is the same
//! with and without the gateway between, and processor time can be told apart. A name whose local
//! part starts with `no` does not exist; a mailbox of `example.com` is refused as relaying, since
//! the gateway asks for one before it serves. With a look-up time, each RCPT takes that long, one
//! after the other in a session, as with a server that asks a directory.

mod authority;
mod child;
mod session;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;

pub(crate) use child::{Sink, Stats, run};

/// What one listener has seen.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    looked_up: AtomicU64,
    messages: AtomicU64,
    connections: AtomicU64,
    open: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// As one line: look-ups, messages, connections so far, connections open now.
    pub(crate) fn line(&self) -> String {
        let counters = [
            &self.looked_up,
            &self.messages,
            &self.connections,
            &self.open,
        ];
        counters
            .map(|counter| counter.load(Ordering::Relaxed).to_string())
            .join(" ")
    }
}

/// Listens on a free loopback port and serves there until the runtime ends.
pub(crate) async fn listen(look_up: Duration) -> std::io::Result<(SocketAddr, Arc<Counters>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let counters = Arc::new(Counters::default());
    tokio::spawn(accept(listener, look_up, Arc::clone(&counters)));
    Ok((address, counters))
}

async fn accept(listener: TcpListener, look_up: Duration, counters: Arc<Counters>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, at worst: give the sessions a moment to end.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let counters = Arc::clone(&counters);
        tokio::spawn(async move {
            Counters::add(&counters.connections);
            Counters::add(&counters.open);
            // An error here is a client that left, as some of the benchmark's do on purpose.
            let _gone = session::serve(stream, look_up, &counters).await;
            counters.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}
