//! A client's connection between two activities: what stays when the buffers are gone.

use std::future::poll_fn;
use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};

use socket2::SockRef;
use tarpit_core::{Session, Tick};
use tokio::io::{AsyncRead as _, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::buffers::{Buffer, For};
use crate::link::Link;
use crate::live::Live;
use crate::places::Place;

/// One client. A held one is this, its session and nothing else.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) session: Session,
    /// Bytes that were read and not consumed yet: pipelined commands. At most `held_unread_max`,
    /// or one line of an AUTH exchange.
    pub(crate) unread: Vec<u8>,
    pub(crate) link: Link,
    /// The configuration that was in force when the client came; it stays for the session.
    pub(crate) live: Arc<Live>,
    /// Which of its listeners.
    pub(crate) listener: usize,
    pub(crate) opened: Tick,
    /// When the upstream last answered: an idle session keeps its connection for the grace time
    /// from here.
    pub(crate) answered: Instant,
    /// Which of the exemptions covers the client.
    pub(crate) exempt: Option<usize>,
    /// It came although all places of its source were taken (modes off and observe).
    pub(crate) over_source_limit: bool,
    /// The client shut down its sending side; what is due is still tried.
    pub(crate) half_closed: bool,
    /// The client was watched with [`Conn::left`]: the runtime no longer knows whether there are
    /// bytes to read.
    pub(crate) watched: bool,
    pub(crate) _place: Place,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It shut down its sending side (FIN): perhaps it still listens.
    Fin,
    /// It reset the connection.
    Reset,
}

impl Conn {
    /// When an idle or held session has to let go of its upstream connection.
    pub(crate) fn grace_end(&self) -> Instant {
        self.answered + self.live.grace()
    }

    /// Waits for bytes of the client, `most` at most; 0 octets if it shut down its sending side.
    /// The buffer is borrowed only when the runtime wants to read: a client that is waited for
    /// costs none.
    pub(crate) async fn read(
        &mut self,
        what: For,
        most: usize,
    ) -> std::io::Result<(Buffer, usize)> {
        if self.watched {
            let mut buffer = Buffer::borrow(what);
            let most = most.min(buffer.len());
            match self.read_past_runtime(&mut buffer[..most]) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => {
                    // The runtime does not see these reads: without this a client that only sends
                    // would keep the worker.
                    tokio::task::consume_budget().await;
                    return result.map(|count| (buffer, count));
                }
            }
        }
        poll_fn(|context| {
            let mut buffer = Buffer::borrow(what);
            let most = most.min(buffer.len());
            let mut unread = ReadBuf::new(&mut buffer[..most]);
            let result = ready!(Pin::new(&mut self.stream).poll_read(context, &mut unread));
            let count = unread.filled().len();
            Poll::Ready(result.map(|()| (buffer, count)))
        })
        .await
    }

    /// The runtime has forgotten that there may be bytes. Once the kernel has said that there are
    /// none, the next ones will be announced again.
    fn read_past_runtime(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let result = (&*SockRef::from(&self.stream)).read(buffer);
        if let Err(error) = &result
            && error.kind() == ErrorKind::WouldBlock
        {
            self.watched = false;
        }
        result
    }
}

/// Resolves when the client leaves; bytes that it sends are left where they are. Set
/// [`Conn::watched`] before.
///
/// Bytes that are left in the kernel keep the socket "readable", and waiting for that returns at
/// once, for ever; so the readiness is cleared without reading. After a FIN the socket is "read
/// closed" for ever: don't ask again.
pub(crate) async fn left(stream: &TcpStream) -> Left {
    loop {
        let Ok(ready) = stream.ready(Interest::READABLE | Interest::ERROR).await else {
            return Left::Reset;
        };
        if ready.is_error() {
            return Left::Reset;
        }
        if ready.is_read_closed() {
            return Left::Fin;
        }
        // This "would block" is ours, not the kernel's.
        let _ = stream.try_io(Interest::READABLE, || {
            Err::<(), _>(ErrorKind::WouldBlock.into())
        });
    }
}
