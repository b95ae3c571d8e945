//! Passthrough: a partner's bytes go to the upstream and back untouched, before any SMTP is spoken.
//! It is the strongest exemption, for partners that use client certificates or extensions that
//! nobody else knows.
//!
//! The upstream greets such a client itself, asks for its certificate itself, and is told who it is
//! where its identity is told before SMTP (PROXY, or the source address). XCLIENT and a trace header
//! would be changes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::net::TcpStream;

use super::Caller;
use crate::metrics::State;
use crate::pit::reached;
use crate::shared::{Shared, Stop};
use crate::upstream::{Claim, ClientIdentity};

/// Passes bytes both ways until both sides have ended, or the gateway stops.
pub(super) async fn pass(shared: &Arc<Shared>, mut caller: Caller) {
    let began = shared.clock.now();
    shared.metrics.passthrough_sessions.add(1);
    let _passing = shared.metrics.states.enter(State::Passthrough);
    let result = connect_and_copy(shared, &mut caller).await;
    let seconds = shared.clock.now().since(began).as_secs_f64();
    let listener = &*caller.listener().name;
    let via = caller.via.as_deref();
    let proxy = via.map(|via| tracing::field::display(via.proxy));
    match result {
        Ok((sent, received)) => tracing::info!(
            target: "tarpit::passthrough",
            client = %caller.peer, proxy, listener, octets_to_upstream = sent, octets_to_client = received, seconds,
            "passed through"
        ),
        Err(why) => tracing::warn!(
            target: "tarpit::passthrough",
            client = %caller.peer, proxy, listener, why, seconds,
            "could not be passed through, or was cut off"
        ),
    }
}

async fn connect_and_copy(shared: &Shared, caller: &mut Caller) -> Result<(u64, u64), String> {
    if *shared.stop.borrow() != Stop::No {
        return Err("the gateway stops".to_owned());
    }
    if caller.place.active > caller.live.config.limits.sessions_max {
        shared.metrics.sessions_refused_full.add(1);
        return Err("all places for sessions are taken".to_owned());
    }
    let is_private = caller.listener().is_private();
    if caller.live.mail(caller.listener).relays() && !is_private {
        return Err("the upstream relays for this gateway".to_owned());
    }
    let Some(upstream) = caller.live.mail(caller.listener).upstream() else {
        return Err("the built-in maildir takes no untouched bytes".to_owned());
    };
    let who = ClientIdentity {
        address: caller.peer,
        local: caller.local,
        helo: None,
        esmtp: true,
        secured: false,
        name: None,
    };
    // Whoever is listed is known to the administrator.
    let claim = Claim {
        source: caller.place.source,
        known: true,
    };
    let mut raw = upstream
        .connect_raw(&who, claim)
        .await
        .map_err(|trouble| format!("the upstream can't be connected: {}", trouble.as_str()))?;
    // In SMTP nobody is silent for longer than until the reply to end-of-data.
    let silence = caller.live.config.limits.end_of_data_timeout;
    let mut stop = shared.stop.subscribe();
    tokio::select! {
        copied = copy(&mut caller.tcp, raw.tcp(), silence) => copied,
        () = reached(&mut stop, Stop::Now) => Err("the time to drain is over".to_owned()),
    }
}

/// Copies until both sides have ended, or have been silent for `silence` (or up to twice as long):
/// where one has ended and the other is gone without a word, nothing more would ever come.
async fn copy(
    client: &mut TcpStream,
    upstream: &mut TcpStream,
    silence: Duration,
) -> Result<(u64, u64), String> {
    let heard = AtomicU64::new(0);
    let mut client = Watched {
        tcp: client,
        heard: &heard,
    };
    let mut upstream = Watched {
        tcp: upstream,
        heard: &heard,
    };
    tokio::select! {
        biased;
        copied = copy_bidirectional(&mut client, &mut upstream) => {
            copied.map_err(|error| format!("cut off: {error}"))
        }
        () = silent(&heard, silence) => Err("cut off: both sides were silent".to_owned()),
    }
}

/// Resolves once nothing was heard for so long.
async fn silent(heard: &AtomicU64, silence: Duration) {
    loop {
        let before = heard.load(Ordering::Relaxed);
        tokio::time::sleep(silence).await;
        if heard.load(Ordering::Relaxed) == before {
            return;
        }
    }
}

/// A socket on which it is counted how often something was heard.
struct Watched<'a> {
    tcp: &'a mut TcpStream,
    heard: &'a AtomicU64,
}

impl AsyncRead for Watched<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut *self.tcp).poll_read(context, buffer);
        if read.is_ready() {
            self.heard.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl AsyncWrite for Watched<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tcp).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Longer than a test takes, if time is not paused.
    const SILENCE: Duration = Duration::from_secs(600);

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let (near, far) = tokio::join!(near, listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn each_side_may_end_first() {
        let (mut client, mut front) = pair().await;
        let (mut back, mut server) = pair().await;
        let talk = async {
            client.write_all(b"QUIT\r\n").await.unwrap();
            client.shutdown().await.unwrap();
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"QUIT\r\n");
            server.write_all(b"221 bye\r\n").await.unwrap();
            drop(server);
            heard.clear();
            client.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"221 bye\r\n");
        };
        let (copied, ()) = tokio::join!(copy(&mut front, &mut back, SILENCE), talk);
        assert_eq!(copied, Ok((6, 9)));
    }

    /// The server has ended, and the client never will.
    #[tokio::test]
    async fn silence_has_an_end() {
        let (mut client, mut front) = pair().await;
        let (mut back, server) = pair().await;
        drop(server);
        let talk = async {
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            tokio::time::pause();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            copied = copy(&mut front, &mut back, SILENCE) => {
                assert!(copied.unwrap_err().contains("silent"));
            }
            () = talk => {}
        }
    }
}
