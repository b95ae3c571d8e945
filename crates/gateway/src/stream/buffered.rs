//! TLS towards the upstream: the library's buffers are filled and emptied here, and nowhere else.
//!
//! Between two calls it keeps: the session's keys and state, the read buffer of the library (4 KiB,
//! which it does not give back), and of what the peer sent the part of one record that nobody has
//! asked for yet: a record is decrypted whole or not at all, and has at most 16 KiB (RFC 8446
//! §5.1). Everything else stays in the kernel, encrypted.

use std::io::{self, BufRead as _, ErrorKind, IoSlice, Read as _, Write};

use rustls::ClientConnection;

use super::ends::Source;
use crate::buffers::{Buffer, For};

/// With room for this much, ciphertext is read in large pieces: the library alone reads 4 KiB at a
/// time, and message data would cost sixteen system calls instead of two.
const BULK_MIN: usize = 60 * 1024;

/// How much ciphertext is read then. With the part of a record that may wait already (18 KiB at
/// most) the plaintext fits into [`BULK_MIN`], so that nothing is left over.
const BULK_READ: usize = 40 * 1024;

/// A client's end of a connection.
#[derive(Debug)]
pub(super) struct Buffered {
    connection: ClientConnection,
}

impl Buffered {
    pub(super) const fn new(connection: ClientConnection) -> Self {
        Self { connection }
    }

    pub(super) const fn connection(&self) -> &ClientConnection {
        &self.connection
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Takes in more of the handshake.
    pub(super) fn step(&mut self, source: &mut impl Source) -> io::Result<()> {
        let count = self.connection.read_tls(source)?;
        self.process(source.sink())?;
        if count == 0 && self.connection.is_handshaking() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Takes in ciphertext until there is plaintext, or its end. `WouldBlock` if `source` has not
    /// enough.
    pub(super) fn await_plaintext(&mut self, source: &mut impl Source) -> io::Result<()> {
        loop {
            match self.connection.reader().fill_buf() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                result => return result.map(drop),
            }
            self.connection.read_tls(source)?;
            self.process(source.sink())?;
        }
    }

    pub(super) fn read(
        &mut self,
        source: &mut impl Source,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        if buffer.len() >= BULK_MIN {
            return self.read_bulk(source, buffer);
        }
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

    /// Whether there is ciphertext that the system has not taken yet.
    pub(super) fn owes(&self) -> bool {
        self.connection.wants_write()
    }

    /// One write of ciphertext.
    pub(super) fn send(&mut self, mut sink: impl Write) -> io::Result<()> {
        match self.connection.write_tls(&mut sink)? {
            0 => Err(ErrorKind::WriteZero.into()),
            _ => Ok(()),
        }
    }

    /// Sends ciphertext; encrypts more only when all of it is gone.
    pub(super) fn write(&mut self, sink: impl Write, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.owes() {
            return self.send(sink).map(|()| 0);
        }
        let count = self.connection.writer().write_vectored(pieces)?;
        // If it can't be sent now, the next call says so.
        let _ = self.send(sink);
        Ok(count)
    }

    pub(super) fn close(&mut self) {
        self.connection.send_close_notify();
    }
}
