//! A client's connection between two activities: what stays when the buffers are gone.

use std::io::{ErrorKind, Read as _};
use std::net::SocketAddr;
use std::sync::Arc;

use socket2::SockRef;
use tarpit_core::{Session, Tick};
use tokio::io::Interest;
use tokio::net::TcpStream;

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
    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there; then `readable` may be waited for.
    pub(crate) fn try_read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.watched {
            // Past the runtime, which has forgotten that there may be bytes. Once the kernel has
            // said that there are none, the next ones will be announced again.
            match (&*SockRef::from(&self.stream)).read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.watched = false,
                result => return result,
            }
        }
        self.stream.try_read(buffer)
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
