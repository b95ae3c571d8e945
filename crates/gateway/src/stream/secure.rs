//! One end of a TLS connection, without its socket: who speaks, and for whom the socket is watched.
//!
//! Towards clients we are a server, and sessions are many and wait long: after the handshake they
//! are kept as their secrets, by our own record layer (`record.rs`). Towards the upstream we are a
//! client, connections are few and busy, and the library does everything (`buffered.rs`).

use std::future::poll_fn;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;
use std::task::{Context, Poll};

use rustls::ClientConnection;
use rustls::server::UnbufferedServerConnection;

use super::Socket;
use super::accept;
use super::buffered::Buffered;
use super::ends::{Asked, Bare, Polled, Source, Tried};
use super::record::Records;
use crate::tls::Aside;

/// One end of a TLS connection, without its socket.
#[derive(Debug)]
pub(crate) struct Secure(Kind);

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is the rule, and in a box already"
)]
enum Kind {
    /// The handshake goes on, or has failed: nothing can be read or written.
    Opening {
        /// We have said something.
        answered: bool,
    },
    Client(Box<Buffered>),
    Server(Records),
}

/// What a session in the pit keeps for TLS, apart from what [`Secure::octets`] adds.
const _: () = assert!(size_of::<Secure>() <= 272);

impl Secure {
    /// Before the handshake, and for ever if it fails.
    pub(crate) const fn opening() -> Self {
        Self(Kind::Opening { answered: false })
    }

    /// As a client: until both sides have finished, and everything of ours is sent.
    pub(super) async fn connect(
        &mut self,
        socket: &mut Socket,
        connection: ClientConnection,
    ) -> io::Result<()> {
        self.0 = Kind::Client(Box::new(Buffered::new(connection)));
        loop {
            self.flush(socket).await?;
            let Kind::Client(client) = &mut self.0 else {
                return Err(closed());
            };
            if !client.is_handshaking() {
                return Ok(());
            }
            poll_fn(|context| pending(client.step(&mut Polled { socket, context }))).await?;
        }
    }

    /// The same as a server. `describe` sees what was agreed on.
    pub(super) async fn accept<T>(
        &mut self,
        socket: &mut Socket,
        connection: UnbufferedServerConnection,
        describe: impl FnOnce(&rustls::CommonState) -> T,
        aside: Option<&Aside>,
    ) -> io::Result<T> {
        let Kind::Opening { answered } = &mut self.0 else {
            return Err(closed());
        };
        let (records, agreed) =
            accept::accept(socket, connection, answered, describe, aside).await?;
        self.0 = Kind::Server(records);
        Ok(agreed)
    }

    /// What a client and its server agreed on.
    pub(super) fn connection(&self) -> Option<&ClientConnection> {
        match &self.0 {
            Kind::Client(client) => Some(client.connection()),
            Kind::Opening { .. } | Kind::Server(_) => None,
        }
    }

    pub(super) fn poll_read(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        pending(self.read(&mut Polled { socket, context }, buffer))
    }

    pub(super) fn try_read(&mut self, socket: &Socket, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(&mut Tried(socket), buffer)
    }

    pub(super) fn is_quiet(&mut self, socket: &Socket) -> bool {
        let heard = self.await_plaintext(&mut Asked(socket));
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Takes in ciphertext until there is plaintext, or its end. `WouldBlock` if `source` has not
    /// enough.
    fn await_plaintext(&mut self, source: &mut impl Source) -> io::Result<()> {
        match &mut self.0 {
            Kind::Opening { .. } => Err(closed()),
            Kind::Client(client) => client.await_plaintext(source),
            Kind::Server(records) => records.read(source, &mut []).map(drop),
        }
    }

    fn read(&mut self, source: &mut impl Source, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Opening { .. } => Err(closed()),
            Kind::Client(client) => client.read(source, buffer),
            Kind::Server(records) => records.read(source, buffer),
        }
    }

    pub(super) async fn write_all(&mut self, socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.flush(socket).await?;
            let count = self.write(Tried(socket), &[IoSlice::new(bytes)])?;
            bytes = &bytes[count..];
        }
        self.flush(socket).await
    }

    async fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        while self.owes() {
            match self.send(Tried(socket)) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    socket.tcp.writable().await?;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Whether there is ciphertext that the system has not taken yet.
    pub(super) fn owes(&self) -> bool {
        match &self.0 {
            Kind::Opening { .. } => false,
            Kind::Client(client) => client.owes(),
            Kind::Server(records) => records.owes(),
        }
    }

    /// One write of ciphertext.
    fn send(&mut self, sink: impl Write) -> io::Result<()> {
        match &mut self.0 {
            Kind::Opening { .. } => Err(closed()),
            Kind::Client(client) => client.send(sink),
            Kind::Server(records) => records.send(sink),
        }
    }

    pub(super) fn try_write(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(socket, &[IoSlice::new(bytes)])
    }

    /// Sends ciphertext; encrypts more only when all of it is gone, so that what waits is bounded
    /// (by 64 KiB of plaintext). Says how much plaintext was taken: 0 while older ciphertext is
    /// sent, and then the rest has to be sent by calls with no pieces.
    pub(super) fn try_write_vectored(
        &mut self,
        socket: &Socket,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.write(Tried(socket), pieces)
    }

    fn write(&mut self, sink: impl Write, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::Opening { .. } => Err(closed()),
            Kind::Client(client) => client.write(sink, pieces),
            Kind::Server(records) => records.write(sink, pieces),
        }
    }

    pub(super) fn close_notify(&mut self, socket: &Socket) {
        match &mut self.0 {
            // Nothing is encrypted yet (RFC 8446 §6.1). Later the library alone could say it, which
            // does not in a handshake.
            Kind::Opening { answered: false } => {
                let _ = Tried(socket).write(&[21, 3, 3, 0, 2, 1, 0]);
            }
            Kind::Opening { answered: true } => {}
            Kind::Client(client) => client.close(),
            Kind::Server(records) => records.close(),
        }
        // Nobody waits for a farewell.
        while self.owes() && self.send(Tried(socket)).is_ok() {}
    }
}

/// Without a runtime, for sessions in the pit.
impl Secure {
    /// Gives back all memory that can be had again. Called before the session waits; it may be
    /// called again and again.
    pub(crate) fn rest(&mut self) {
        if let Kind::Server(records) = &mut self.0 {
            records.rest();
        }
    }

    /// Whether it can be parted from its socket while nobody speaks: nothing that came is kept here,
    /// and nothing is owed. Then whatever the peer does shows at the socket.
    pub(crate) const fn is_still(&self) -> bool {
        match &self.0 {
            Kind::Opening { .. } | Kind::Client(_) => false,
            Kind::Server(records) => records.is_still(),
        }
    }

    /// What this keeps in memory, in octets: an estimate for quotas.
    pub(crate) fn octets(&self) -> usize {
        /// Measured: buffers, keys and state of one session (`docs/performance.md`).
        const BUFFERED: usize = 8 * 1024;
        size_of_val(self)
            + match &self.0 {
                Kind::Opening { .. } => 0,
                Kind::Client(_) => BUFFERED,
                Kind::Server(records) => records.octets(),
            }
    }

    /// Reads from a socket that no runtime knows, without waiting. 0 octets at the peer's
    /// `close_notify`.
    ///
    /// # Errors
    /// `WouldBlock` if there is no plaintext; `UnexpectedEof` at an end without `close_notify`
    /// (RFC 8446 §6.1); `InvalidData` for what is no TLS.
    pub(crate) fn read_now(&mut self, socket: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        self.read(&mut Bare(socket), buffer)
    }

    /// Encrypts and sends to a socket that no runtime knows, without waiting. The octets that it
    /// says are taken, whether all of their ciphertext is sent or not: see
    /// [`flush_now`](Self::flush_now).
    ///
    /// # Errors
    /// `WouldBlock` if the peer has not taken what was written before: nothing is taken then.
    pub(crate) fn write_now(&mut self, socket: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
        self.flush_now(socket)?;
        self.write(Bare(socket), &[IoSlice::new(bytes)])
    }

    /// Ends TLS (RFC 8446 §6.1) as far as the peer takes it at once.
    pub(crate) fn close_notify_now(&mut self, socket: &TcpStream) {
        match &mut self.0 {
            Kind::Opening { .. } => {}
            Kind::Client(client) => client.close(),
            Kind::Server(records) => records.close(),
        }
        // Nobody waits for a farewell.
        let _ = self.flush_now(socket);
    }

    /// Sends the ciphertext that the system has not taken yet.
    ///
    /// # Errors
    /// `WouldBlock` if it does not take all of it now.
    pub(crate) fn flush_now(&mut self, socket: &TcpStream) -> io::Result<()> {
        while self.owes() {
            self.send(Bare(socket))?;
        }
        Ok(())
    }
}

/// `WouldBlock` of a [`Polled`] source means that the task will be woken.
fn pending<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}

/// There is no session to speak in.
fn closed() -> io::Error {
    ErrorKind::NotConnected.into()
}
