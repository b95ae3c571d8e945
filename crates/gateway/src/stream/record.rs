//! TLS after the handshake, spoken by ourselves: records (RFC 8446 §5, RFC 5246 §6), alerts and new
//! keys, from the secrets that the library hands over with its `KernelConnection`.
//!
//! What it promises:
//! - A session that rests keeps its secrets, the part of a record that has not come whole, the rest
//!   of one record that nobody has asked for, and ciphertext that the peer has not taken: nothing
//!   else, and no spare room.
//! - Of what the peer sends at most 4 KiB is read beyond the record that is asked for, and that
//!   stays encrypted.
//! - An answer that TLS itself needs (an alert, new keys) is bounded: one is waiting at most.
//! - After the first fault nothing is decrypted any more; the alert is sent once.
//!
//! Handshakes stay with the library, which is made for hostile ones; keys are derived there too.
//! What was rejected: the library's own record layer (it keeps 7 KiB for each session, buffers in
//! the main), and its unbuffered interface (3 KiB: the ciphers of both directions).

mod aead;
mod hear;

#[cfg(test)]
pub(super) mod tests;

use std::io::{self, ErrorKind, IoSlice, Write};
use std::mem::take;

use rustls::kernel::KernelConnection;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::{AlertDescription, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};

use super::ends::Source;
use crate::buffers::{Buffer, For};
use aead::{Cipher, HEADER, PLAINTEXT_MAX, Version};

/// How much is encrypted at once: as much as the library's own limit for what waits to be sent.
const SEAL_MAX: usize = 64 * 1024;

/// How much is read when commands are expected.
const READ: usize = 4 * 1024;

/// With room for this much, message data is expected.
const BULK_MIN: usize = 60 * 1024;

/// How much is read then. With the part of a record that may wait already (18 KiB at most) it fits
/// into a buffer for data, and its plaintext into [`BULK_MIN`].
const BULK_READ: usize = 40 * 1024;

/// Records that are kept back from the limit of a key: for the message that changes it, and for the
/// last alert.
const RESERVE: u64 = 2;

/// What the library's state behind a `KernelConnection` takes, in octets (its type is not public):
/// three secrets of 72 octets, and what the allocator adds.
const KERNEL_STATE: usize = 320;

/// The record layer of one server's side.
pub(super) struct Records {
    version: Version,
    read: Half,
    write: Half,
    /// Records that one key may seal (RFC 8446 §5.5).
    limit: u64,
    /// Makes new keys; TLS 1.2 has none.
    kernel: Option<Box<KernelConnection<ServerConnectionData>>>,
    /// Ciphertext that is not decrypted yet.
    incoming: Vec<u8>,
    /// Plaintext that nobody has asked for yet.
    plain: Rest,
    /// Ciphertext that the system has not taken yet.
    owed: Rest,
    /// The peer wants new keys from us.
    update_wanted: bool,
    /// A second handshake was refused (RFC 5246 §7.2.2).
    refused: bool,
    closed: bool,
    fruitless: u8,
    end: End,
}

/// A session waits with this much, its socket and the pit's record apart.
const _: () =
    assert!(size_of::<Records>() + size_of::<KernelConnection<ServerConnectionData>>() <= 1024);

/// What comes from the peer.
#[derive(Debug)]
enum End {
    Open,
    /// It said `close_notify`.
    Closed,
    Failed(Box<Error>),
}

/// Secrets of one direction, and the number of the next record.
struct Half {
    secrets: ConnectionTrafficSecrets,
    sequence: u64,
}

/// Octets of which the first are done with.
#[derive(Default)]
struct Rest {
    bytes: Vec<u8>,
    start: usize,
}

impl Rest {
    fn left(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    const fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Gives the room back when all is done with.
    fn advance(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn shrink(&mut self) {
        if self.start > 0 || self.bytes.capacity() > self.bytes.len() {
            *self = Self {
                bytes: self.left().to_vec(),
                start: 0,
            };
        }
    }
}

impl std::fmt::Debug for Records {
    /// No secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("version", &self.version)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

impl Records {
    /// Takes over after the handshake; everything that the library had to say must have been
    /// fetched from it. `incoming`: ciphertext behind the handshake.
    pub(super) fn take_over(
        connection: UnbufferedServerConnection,
        incoming: Vec<u8>,
    ) -> Result<Self, Error> {
        let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
        let version = match kernel.protocol_version() {
            ProtocolVersion::TLSv1_3 => Version::Tls13,
            ProtocolVersion::TLSv1_2 => Version::Tls12,
            _ => return Err(Error::HandshakeNotComplete),
        };
        let half = |(sequence, secrets)| Half { secrets, sequence };
        Ok(Self {
            version,
            read: half(secrets.rx),
            write: half(secrets.tx),
            limit: match kernel.negotiated_cipher_suite() {
                rustls::SupportedCipherSuite::Tls12(suite) => suite.common.confidentiality_limit,
                rustls::SupportedCipherSuite::Tls13(suite) => suite.common.confidentiality_limit,
            },
            kernel: (version == Version::Tls13).then(|| Box::new(kernel)),
            incoming: incoming.into_boxed_slice().into_vec(),
            plain: Rest::default(),
            owed: Rest::default(),
            update_wanted: false,
            refused: false,
            closed: false,
            fruitless: 0,
            end: End::Open,
        })
    }

    /// Leaves no spare room.
    pub(super) fn rest(&mut self) {
        self.incoming.shrink_to_fit();
        self.plain.shrink();
        self.owed.shrink();
    }

    /// Whether it keeps nothing of what came, and owes nothing.
    pub(super) const fn is_still(&self) -> bool {
        self.incoming.is_empty() && self.plain.is_empty() && !self.owes() && self.is_open()
    }

    const fn is_open(&self) -> bool {
        matches!(self.end, End::Open) && !self.closed
    }

    /// What this keeps on the heap, in octets.
    pub(super) fn octets(&self) -> usize {
        let kernel = match &self.kernel {
            Some(kernel) => size_of_val(&**kernel) + KERNEL_STATE,
            None => 0,
        };
        let vectors = [&self.incoming, &self.plain.bytes, &self.owed.bytes];
        kernel + vectors.map(Vec::capacity).iter().sum::<usize>()
    }

    /// Reads plaintext; 0 octets at `close_notify`, and if `buffer` is empty as soon as there is
    /// plaintext.
    pub(super) fn read(
        &mut self,
        source: &mut impl Source,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        if !self.plain.is_empty() {
            let count = buffer.len().min(self.plain.left().len());
            buffer[..count].copy_from_slice(&self.plain.left()[..count]);
            self.plain.advance(count);
            return Ok(count);
        }
        match &self.end {
            End::Open => {}
            End::Closed => return Ok(0),
            End::Failed(error) => return Err(of_tls((**error).clone())),
        }
        let mut work = Buffer::borrow(For::Data);
        let incoming = take(&mut self.incoming);
        work[..incoming.len()].copy_from_slice(&incoming);
        let mut there = 0..incoming.len();
        let result = self.take_in(source, &mut work, &mut there, buffer);
        // What is behind the end has no meaning.
        if matches!(self.end, End::Open) {
            self.incoming = work[there].to_vec();
        }
        // Answers go as far as the peer takes them at once; the rest goes with the next write.
        self.answer();
        if !self.owed.is_empty() {
            let _ = self.send(source.sink());
        }
        result
    }

    /// Decrypts records in `work[there]`, and takes in more, until there is plaintext. What goes
    /// beyond `buffer` is kept, from one record at most.
    fn take_in(
        &mut self,
        source: &mut impl Source,
        work: &mut [u8],
        there: &mut std::ops::Range<usize>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let mut filled = 0;
        loop {
            let missing = match self.missing(&work[there.clone()]) {
                Err(error) => return self.fail(error, filled),
                Ok(missing) => missing,
            };
            if missing == 0 {
                let record = record_of(&mut work[there.clone()]);
                let room = buffer.len() - filled;
                if filled > 0 && record.len() > room {
                    return Ok(filled);
                }
                there.start += record.len();
                match self.open(record) {
                    Err(error) => return self.fail(error, filled),
                    Ok(text) => {
                        let (now, later) = text.split_at(text.len().min(room));
                        buffer[filled..filled + now.len()].copy_from_slice(now);
                        filled += now.len();
                        self.plain.bytes.extend_from_slice(later);
                    }
                }
                if !matches!(self.end, End::Open) || !self.plain.is_empty() {
                    return Ok(filled);
                }
                continue;
            }
            if filled > 0 {
                return Ok(filled);
            }
            work.copy_within(there.clone(), 0);
            *there = 0..there.len();
            let most = if buffer.len() < BULK_MIN {
                missing.max(READ)
            } else {
                BULK_READ
            };
            match source.read(&mut work[there.end..there.end + most])? {
                0 => return Err(ErrorKind::UnexpectedEof.into()),
                count => there.end += count,
            }
        }
    }

    fn seal_one(
        &mut self,
        kind: ContentType,
        text: (&[IoSlice<'_>], usize, usize),
    ) -> Result<(), Error> {
        let cipher = Cipher::of(self.version, &self.write.secrets)?;
        let sequence = self.write.sequence;
        // Never the same number twice, whatever comes of it.
        self.write.sequence = following(sequence)?;
        let written = self.owed.bytes.len();
        let sealed = cipher.seal(sequence, kind, text, &mut self.owed.bytes);
        if sealed.is_err() {
            // Perhaps it is there in plain.
            self.owed.bytes.truncate(written);
        }
        sealed
    }

    /// Encrypts and sends. How many octets were taken: 0 while older ciphertext is sent.
    pub(super) fn write(&mut self, sink: impl Write, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.owes() {
            return self.send(sink).map(|()| 0);
        }
        if self.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let all: usize = pieces.iter().map(|piece| piece.len()).sum();
        let (all, mut taken) = (all.min(SEAL_MAX), 0);
        while taken < all {
            if self.write.sequence >= self.limit.saturating_sub(RESERVE) {
                self.update().map_err(of_tls)?;
            }
            let len = PLAINTEXT_MAX.min(all - taken);
            self.seal_one(ContentType::ApplicationData, (pieces, taken, len))
                .map_err(of_tls)?;
            taken += len;
        }
        // If it can't be sent now, the next call says so.
        let _ = self.send(sink);
        Ok(taken)
    }

    pub(super) const fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// One write of ciphertext.
    pub(super) fn send(&mut self, mut sink: impl Write) -> io::Result<()> {
        if self.owes() {
            match sink.write(self.owed.left())? {
                0 => return Err(ErrorKind::WriteZero.into()),
                count => self.owed.advance(count),
            }
            self.answer();
        }
        Ok(())
    }

    /// Says that nothing more comes (RFC 8446 §6.1), after what waits.
    pub(super) fn close(&mut self) {
        self.alert(1, AlertDescription::CloseNotify);
        self.closed = true;
    }
}

/// The first record; [`Records::missing`] said that it is whole.
fn record_of(bytes: &mut [u8]) -> &mut [u8] {
    let len = u16::from_be_bytes([bytes[3], bytes[4]]);
    &mut bytes[..HEADER + usize::from(len)]
}

/// RFC 8446 §5.3: it must not wrap.
fn following(sequence: u64) -> Result<u64, Error> {
    sequence.checked_add(1).ok_or(Error::EncryptError)
}

fn of_tls(error: Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}
