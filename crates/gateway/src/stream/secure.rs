//! TLS over a socket: the library's buffers are filled and emptied here, and nowhere else.
//!
//! Between two calls it keeps: the session's keys and state, the read buffer of the library (4 KiB,
//! which it does not give back), and of what the peer sent the part of one record that nobody has
//! asked for yet: a record is decrypted whole or not at all, and has at most 16 KiB (RFC 8446
//! §5.1). Everything else stays in the kernel, encrypted.

use std::future::poll_fn;
use std::io::{self, BufRead, ErrorKind, IoSlice, Read, Write};
use std::task::{Context, Poll};

use rustls::Connection;

use super::Socket;
use crate::buffers::{Buffer, For};

/// With room for this much, ciphertext is read in large pieces: the library alone reads 4 KiB at a
/// time, and message data would cost sixteen system calls instead of two.
const BULK_MIN: usize = 60 * 1024;

/// How much ciphertext is read then. With the part of a record that may wait already (18 KiB at
/// most) the plaintext fits into [`BULK_MIN`], so that nothing is left over.
const BULK_READ: usize = 40 * 1024;

/// One end of a TLS connection, without its socket.
#[derive(Debug)]
pub(crate) struct Secure {
    connection: Connection,
}

impl Secure {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// From the first octet until both sides have finished, and everything of ours is sent.
    pub(super) async fn handshake(&mut self, socket: &mut Socket) -> io::Result<()> {
        loop {
            self.flush(socket).await?;
            if !self.connection.is_handshaking() {
                return Ok(());
            }
            let read = poll_fn(|context| {
                let mut source = Polled { socket, context };
                pending(self.connection.read_tls(&mut source))
            });
            let count = read.await?;
            self.process(&mut Tried(socket))?;
            if count == 0 && self.connection.is_handshaking() {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }

    pub(super) fn poll_read(
        &mut self,
        socket: &mut Socket,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut source = Polled { socket, context };
        pending(if buffer.len() >= BULK_MIN {
            self.read_bulk(&mut source, buffer)
        } else {
            self.read(&mut source, buffer)
        })
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
        loop {
            match self.connection.reader().fill_buf() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result.map(drop),
            }
            self.connection.read_tls(source)?;
            self.process(source.sink())?;
        }
    }

    fn read(&mut self, source: &mut impl Source, buffer: &mut [u8]) -> io::Result<usize> {
        self.await_plaintext(source)?;
        self.connection.reader().read(buffer)
    }

    /// The same for message data: all ciphertext of one large read is decrypted at once.
    fn read_bulk(&mut self, source: &mut impl Source, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result,
            }
            let mut ciphertext = Buffer::borrow(For::Data);
            let count = source.read(&mut ciphertext[..BULK_READ])?;
            let filled = self.decrypt(source.sink(), &ciphertext[..count], buffer)?;
            if filled > 0 {
                return Ok(filled);
            }
        }
    }

    /// Takes in all of `ciphertext`; if that is empty, the end of the stream. 0: there was no
    /// plaintext in it, or there is an end or an error to be read.
    fn decrypt(
        &mut self,
        mut sink: impl Write,
        mut ciphertext: &[u8],
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            self.connection.read_tls(&mut ciphertext)?;
            self.process(&mut sink)?;
            match self.connection.reader().read(&mut buffer[filled..]) {
                Ok(count) if count > 0 => filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Nothing comes after the end, so what is left of the ciphertext has no meaning.
                Ok(_) | Err(_) => return Ok(filled),
            }
            if ciphertext.is_empty() {
                return Ok(filled);
            }
        }
    }

    /// Decrypts what was taken in. If that has an answer (an alert, new keys), it is sent as far as
    /// the peer takes it at once; the rest goes with the next write.
    fn process(&mut self, mut sink: impl Write) -> io::Result<()> {
        let result = self.connection.process_new_packets();
        if self.connection.wants_write() {
            let _ = self.connection.write_tls(&mut sink);
        }
        let of_tls = |error| io::Error::new(ErrorKind::InvalidData, error);
        result.map(drop).map_err(of_tls)
    }

    pub(super) async fn write_all(&mut self, socket: &Socket, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.flush(socket).await?;
            let count = self.connection.writer().write(bytes)?;
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
        self.connection.wants_write()
    }

    /// One write of ciphertext.
    fn send(&mut self, mut sink: impl Write) -> io::Result<()> {
        match self.connection.write_tls(&mut sink)? {
            0 => Err(ErrorKind::WriteZero.into()),
            _ => Ok(()),
        }
    }

    pub(super) fn try_write(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(socket, &[IoSlice::new(bytes)])
    }

    /// Sends ciphertext; encrypts more only when all of it is gone, so that what waits is bounded
    /// (by 64 KiB, the library's own limit). Says how much plaintext was taken: 0 while older
    /// ciphertext is sent, and then the rest has to be sent by calls with no pieces.
    pub(super) fn try_write_vectored(
        &mut self,
        socket: &Socket,
        pieces: &[IoSlice<'_>],
    ) -> io::Result<usize> {
        self.seal_and_send(Tried(socket), pieces)
    }

    fn seal_and_send(&mut self, sink: impl Write, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.owes() {
            return self.send(sink).map(|()| 0);
        }
        let count = self.connection.writer().write_vectored(pieces)?;
        // If it can't be sent now, the next call says so.
        let _ = self.send(sink);
        Ok(count)
    }

    pub(super) fn close_notify(&mut self, socket: &Socket) {
        self.connection.send_close_notify();
        // Nobody waits for a farewell.
        while self.owes() && self.send(Tried(socket)).is_ok() {}
    }

    /// Gives back all memory that can be had again. Called before the session waits; it may be
    /// called again and again.
    #[expect(
        dead_code,
        clippy::needless_pass_by_ref_mut,
        reason = "the pit calls it"
    )]
    pub(crate) fn rest(&mut self) {
        // A buffered connection has nothing to give.
    }

    /// What this keeps in memory, in octets: an estimate for quotas.
    #[expect(dead_code, reason = "the pit counts with it")]
    pub(crate) fn octets(&self) -> usize {
        /// Measured: buffers, keys and state of one session (reference run, 3,000 sessions).
        const BUFFERED: usize = 8 * 1024;
        size_of_val(self) + BUFFERED
    }

    /// Reads from a socket that no runtime knows, without waiting. 0 octets at the peer's
    /// `close_notify`.
    ///
    /// # Errors
    /// `WouldBlock` if there is no plaintext; `UnexpectedEof` at an end without `close_notify`
    /// (RFC 8446 §6.1); `InvalidData` for what is no TLS.
    #[expect(dead_code, reason = "the pit reads with it")]
    pub(crate) fn read_now(
        &mut self,
        socket: &std::net::TcpStream,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        self.read(&mut Bare(socket), buffer)
    }

    /// Encrypts and sends to a socket that no runtime knows, without waiting. The octets that it
    /// says are taken, whether all of their ciphertext is sent or not: see
    /// [`flush_now`](Self::flush_now).
    ///
    /// # Errors
    /// `WouldBlock` if the peer has not taken what was written before: nothing is taken then.
    #[expect(dead_code, reason = "the pit writes with it")]
    pub(crate) fn write_now(
        &mut self,
        socket: &std::net::TcpStream,
        bytes: &[u8],
    ) -> io::Result<usize> {
        self.flush_now(socket)?;
        self.seal_and_send(Bare(socket), &[IoSlice::new(bytes)])
    }

    /// Sends the ciphertext that the system has not taken yet.
    ///
    /// # Errors
    /// `WouldBlock` if it does not take all of it now.
    pub(crate) fn flush_now(&mut self, socket: &std::net::TcpStream) -> io::Result<()> {
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

/// Where ciphertext comes from.
trait Source: Read {
    /// Where answers go to.
    fn sink(&self) -> impl Write;
}

/// A socket that no runtime knows.
struct Bare<'a>(&'a std::net::TcpStream);

impl Read for Bare<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        persistent(|| self.0.read(buffer))
    }
}

impl Source for Bare<'_> {
    fn sink(&self) -> impl Write {
        Bare(self.0)
    }
}

impl Write for Bare<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        persistent(|| self.0.write(buffer))
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        persistent(|| self.0.write_vectored(pieces))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The system was interrupted by a signal: again.
fn persistent(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// The socket, by the runtime: it wakes the task when there is more.
struct Polled<'a, 'c> {
    socket: &'a mut Socket,
    context: &'a mut Context<'c>,
}

impl Read for Polled<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.socket.poll_read(self.context, buffer) {
            Poll::Ready(result) => result,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Source for Polled<'_, '_> {
    fn sink(&self) -> impl Write {
        Tried(self.socket)
    }
}

/// The socket, as far as the runtime knows it to be ready.
struct Tried<'a>(&'a Socket);

impl Read for Tried<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.tcp.try_read(buffer)
    }
}

impl Source for Tried<'_> {
    fn sink(&self) -> impl Write {
        Tried(self.0)
    }
}

impl Write for Tried<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.tcp.try_write(bytes)
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.tcp.try_write_vectored(pieces)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The socket, past the runtime: the system itself.
struct Asked<'a>(&'a Socket);

impl Read for Asked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_past_runtime(buffer)
    }
}

impl Source for Asked<'_> {
    fn sink(&self) -> impl Write {
        Tried(self.0)
    }
}
