//! A connection's socket, plain or TLS, towards clients and the upstream: one type.
//!
//! What it promises: nothing is read ahead of what was asked for, but for the rest of one TLS
//! record and 4 KiB of ciphertext behind it; plain bytes go to the system as they are, without a copy; and what a plain socket can do
//! (write and hear at once, look without waiting, be watched for a hang-up while its bytes stay
//! where they are), TLS can do too.
//!
//! The ready-made stream of `tokio-rustls` was rejected: it has no way to look or to write without
//! waiting, its buffers can't be told from the session, and a hang-up could be seen only by reading.
//! Nobody outside this file and `stream/` knows the library's buffers, so that another interface to
//! them (rustls 0.24) changes nothing elsewhere.

mod accept;
mod buffered;
mod ends;
mod record;
mod secure;

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use rustix::net::{SendFlags, send};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConnection, CommonState};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::tls::Aside;
pub(crate) use secure::Secure;

/// A socket, plain or TLS.
#[derive(Debug)]
pub(crate) struct Stream {
    socket: Socket,
    secure: Option<Box<Secure>>,
}

/// A session that speaks no TLS pays a word for it.
const _: () = assert!(size_of::<Stream>() <= size_of::<TcpStream>() + 16);

/// The TCP side.
#[derive(Debug)]
struct Socket {
    tcp: TcpStream,
    /// It was watched with [`Stream::left`]: the runtime no longer knows whether there are bytes
    /// to read.
    watched: bool,
}

/// How a peer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// It shut down its sending side (FIN): perhaps it still listens.
    Fin,
    /// It reset the connection.
    Reset,
}

/// How [`Stream::write_or_hear`] rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The system took everything.
    All,
    /// The peer does not take it now, and may have said something: read, then go on.
    Heard,
}

impl Stream {
    /// A plain one.
    pub(crate) const fn plain(tcp: TcpStream) -> Self {
        Self {
            socket: Socket {
                tcp,
                watched: false,
            },
            secure: None,
        }
    }

    /// Takes it out of the runtime, for lanes that have none: the socket stays non-blocking.
    ///
    /// # Errors
    /// The system's; the connection is lost.
    pub(crate) fn into_parts(self) -> io::Result<(std::net::TcpStream, Option<Box<Secure>>)> {
        Ok((self.socket.tcp.into_std()?, self.secure))
    }

    /// The reverse, within a runtime.
    ///
    /// # Errors
    /// The system's, or the runtime stops; the connection is lost.
    pub(crate) fn from_parts(
        tcp: std::net::TcpStream,
        secure: Option<Box<Secure>>,
    ) -> io::Result<Self> {
        let tcp = TcpStream::from_std(tcp)?;
        let socket = Socket {
            tcp,
            // The runtime does not know yet whether there are bytes to read: it asks the system.
            watched: true,
        };
        Ok(Self { socket, secure })
    }

    /// The socket below, for its addresses and options. Who reads or writes there breaks TLS.
    pub(crate) const fn tcp(&self) -> &TcpStream {
        &self.socket.tcp
    }

    /// Resolves when a plain peer has said something that was not read, or left. Perhaps early.
    pub(crate) async fn spoken(&mut self) {
        // What came while a hang-up was watched for, the runtime knows nothing of.
        if self.is_quiet() {
            let _ = self.socket.tcp.readable().await;
        }
    }

    /// Starts TLS on a plain stream, as client. What this side read ahead must have been thrown
    /// away: what comes next is taken for TLS. No time limit; on an error nothing can be said on
    /// this stream any more, the alert was sent.
    ///
    /// # Errors
    /// The peer hung up (an error of the system, or `UnexpectedEof`), or does not speak TLS as we
    /// do (`InvalidData` around a [`rustls::Error`]).
    pub(crate) async fn connect(&mut self, connection: ClientConnection) -> io::Result<()> {
        debug_assert!(self.secure.is_none(), "TLS within TLS");
        let secure = self.secure.insert(Box::new(Secure::opening()));
        secure.connect(&mut self.socket, connection).await
    }

    /// The same as server, which must allow its secrets to be extracted. `describe` sees what was
    /// agreed on; it is not kept. The arithmetic is done `aside`, if that is given.
    ///
    /// # Errors
    /// As [`Stream::connect`].
    pub(crate) async fn accept<T>(
        &mut self,
        connection: UnbufferedServerConnection,
        describe: impl FnOnce(&CommonState) -> T,
        aside: Option<&Aside>,
    ) -> io::Result<T> {
        debug_assert!(self.secure.is_none(), "TLS within TLS");
        let secure = self.secure.insert(Box::new(Secure::opening()));
        secure
            .accept(&mut self.socket, connection, describe, aside)
            .await
    }

    /// Whether TLS is spoken, or was to be.
    pub(crate) const fn is_secure(&self) -> bool {
        self.secure.is_some()
    }

    /// What TLS agreed on, where this side is the client.
    pub(crate) fn connection(&self) -> Option<&ClientConnection> {
        self.secure.as_deref().and_then(Secure::connection)
    }

    /// Reads what is there; 0 octets when the peer shut down its sending side. With TLS that is its
    /// `close_notify`; an end without one is an error (RFC 8446 §6.1).
    pub(crate) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.secure {
            None => self.socket.poll_read(context, buffer),
            Some(secure) => secure.poll_read(&mut self.socket, context, buffer),
        }
    }

    /// Appends what is there, `most` octets at most; 0 at the end of the stream.
    pub(crate) async fn read_into(
        &mut self,
        bytes: &mut Vec<u8>,
        most: usize,
    ) -> io::Result<usize> {
        let before = bytes.len();
        bytes.resize(before + most, 0);
        let result = poll_fn(|context| self.poll_read(context, &mut bytes[before..])).await;
        bytes.truncate(before + result.as_ref().unwrap_or(&0));
        result
    }

    /// The same without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is there.
    pub(crate) fn try_read_into(&mut self, bytes: &mut Vec<u8>, most: usize) -> io::Result<usize> {
        let before = bytes.len();
        bytes.resize(before + most, 0);
        let unread = &mut bytes[before..];
        let result = match &mut self.secure {
            None => self.socket.tcp.try_read(unread),
            Some(secure) => secure.try_read(&self.socket, unread),
        };
        bytes.truncate(before + result.as_ref().unwrap_or(&0));
        result
    }

    /// Whether the connection is open and holds nothing unread. Asks the system itself: the runtime
    /// may not have noticed yet. What TLS says to itself (session tickets, new keys) does not count.
    pub(crate) fn is_quiet(&mut self) -> bool {
        match &mut self.secure {
            None => self.socket.is_quiet(),
            Some(secure) => secure.is_quiet(&self.socket),
        }
    }

    /// Writes all of it and sends it.
    pub(crate) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.secure {
            None => self.socket.tcp.write_all(bytes).await,
            Some(secure) => secure.write_all(&self.socket, bytes).await,
        }
    }

    /// What can be written without waiting, for a farewell that nobody waits for.
    pub(crate) fn try_write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.secure {
            None => self.socket.tcp.try_write(bytes),
            Some(secure) => secure.try_write(&self.socket, bytes),
        }
    }

    /// Writes what the system takes at once, if this is a plain socket; how many octets, unless it takes
    /// none. Asks the system itself: of a socket that is new the runtime does not know yet that there
    /// is room, and a greeting would wait for it to notice.
    pub(crate) fn write_at_once(&self, bytes: &[u8]) -> Option<usize> {
        if self.is_secure() {
            return None;
        }
        send(
            &self.socket.tcp,
            bytes,
            SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
        )
        .ok()
    }

    /// Sends what the system takes without waiting, and takes out of `bytes` what is sent, so that it
    /// can be gone on with.
    ///
    /// # Errors
    /// `WouldBlock` while something is left; TLS may have taken all of `bytes` by then.
    pub(crate) fn try_send(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        while !bytes.is_empty() || self.owes() {
            let count = match &mut self.secure {
                None => self.socket.tcp.try_write(bytes)?,
                Some(secure) => secure.try_write(&self.socket, bytes)?,
            };
            bytes.drain(..count);
        }
        Ok(())
    }

    /// The same with waiting. It may be dropped at any moment, and nothing is sent twice or left out.
    pub(crate) async fn send(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        loop {
            match self.try_send(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.socket.tcp.writable().await?;
                }
                result => return result,
            }
        }
    }

    /// Whether something that was written is encrypted, and not sent yet.
    pub(crate) fn owes(&self) -> bool {
        self.secure.as_deref().is_some_and(Secure::owes)
    }

    /// Writes the pieces one behind the other, without copying them together, and stops when the
    /// peer speaks instead of reading. Whoever then finds nothing to read calls again: it goes on
    /// where it stopped. `sent`: octets that may be on their way, however this ends.
    pub(crate) async fn write_or_hear(
        &mut self,
        pieces: &mut &mut [IoSlice<'_>],
        sent: &mut usize,
    ) -> io::Result<Written> {
        // Leaves out what is empty.
        IoSlice::advance_slices(pieces, 0);
        loop {
            let result = match &mut self.secure {
                None if pieces.is_empty() => return Ok(Written::All),
                None => self.socket.tcp.try_write_vectored(pieces),
                Some(secure) if pieces.is_empty() && !secure.owes() => return Ok(Written::All),
                Some(secure) => secure.try_write_vectored(&self.socket, pieces),
            };
            match result {
                Ok(count) => {
                    *sent += count;
                    IoSlice::advance_slices(pieces, count);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let either = Interest::READABLE | Interest::WRITABLE;
                    if self.socket.tcp.ready(either).await?.is_readable() {
                        return Ok(Written::Heard);
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says that nothing more will be sent: `close_notify` first, where TLS is spoken, as far as the
    /// peer takes it at once. What it sends can still be read.
    pub(crate) fn shut_down(&mut self) {
        self.close_notify();
        // The peer may be gone already; there is nobody to tell.
        let _ = SockRef::from(&self.socket.tcp).shutdown(Shutdown::Write);
    }

    /// Ends TLS (RFC 8446 §6.1), if it is spoken; the socket is closed by dropping this. A peer that
    /// hears it knows that nothing was cut off.
    pub(crate) fn close_notify(&mut self) {
        if let Some(secure) = &mut self.secure {
            secure.close_notify(&self.socket);
        }
    }

    /// Resolves when the peer leaves; bytes that it sends are left where they are, encrypted ones
    /// too.
    ///
    /// Bytes that are left in the kernel keep the socket "readable", and waiting for that returns
    /// at once, for ever; so the readiness is cleared without reading. After a FIN the socket is
    /// "read closed" for ever: don't ask again.
    pub(crate) async fn left(&mut self) -> Left {
        self.socket.watched = true;
        let tcp = &self.socket.tcp;
        loop {
            let Ok(ready) = tcp.ready(Interest::READABLE | Interest::ERROR).await else {
                return Left::Reset;
            };
            if ready.is_error() {
                return Left::Reset;
            }
            if ready.is_read_closed() {
                return Left::Fin;
            }
            // This "would block" is ours, not the kernel's.
            let _ = tcp.try_io(Interest::READABLE, || {
                Err::<(), _>(ErrorKind::WouldBlock.into())
            });
        }
    }
}

impl Socket {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.watched {
            // The runtime does not see these reads: without this a peer that only sends would keep
            // the worker.
            ready!(pin!(tokio::task::consume_budget()).poll(context));
            match self.read_past_runtime(buffer) {
                // Once the kernel has said that there is nothing, the next bytes will be announced
                // again.
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.watched = false,
                result => return Poll::Ready(result),
            }
        }
        let mut unread = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut unread))?;
        Poll::Ready(Ok(unread.filled().len()))
    }

    fn read_past_runtime(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match (&*SockRef::from(&self.tcp)).read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn is_quiet(&self) -> bool {
        let mut octet = [MaybeUninit::uninit()];
        SockRef::from(&self.tcp)
            .peek(&mut octet)
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
