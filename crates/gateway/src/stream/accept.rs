//! The handshake with a client, by the library's interface without buffers, until the record layer
//! takes over.
//!
//! The library is given whole records, one after the other, and none behind the end of the
//! handshake: what it had decrypted beyond would be lost with its state.

#[cfg(test)]
pub(super) mod tests;

use std::future::poll_fn;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::task::Poll;

use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncodeTlsData, UnbufferedStatus};
use rustls::{CommonState, Error, InvalidMessage, PeerMisbehaved};

use super::Socket;
use super::ends::{Polled, Tried};
use super::record::Records;
use crate::buffers::{Buffer, For};
use crate::tls::Aside;

/// Ciphertext of one flight that may wait for its end. Handshake messages have 64 KiB at most with
/// the library, and none that we ask for has more than 2 KiB; the record layer takes what is left
/// into one buffer.
const INCOMING_MAX: usize = 48 * 1024;

/// RFC 5246 §6.2.3: what the length in a header may say.
const PAYLOAD_MAX: usize = (1 << 14) + 2048;

/// A handshake under way.
struct Handshake {
    connection: Box<UnbufferedServerConnection>,
    /// What came and is not done with.
    incoming: Vec<u8>,
    /// So much of it the library has seen.
    seen: usize,
    /// What is to be sent.
    owed: Vec<u8>,
}

/// From the first octet until both sides have finished, and everything of ours is sent. On an error
/// the alert was sent, as far as the peer takes it at once. `answered`: we have said something.
pub(super) async fn accept<T>(
    socket: &mut Socket,
    connection: UnbufferedServerConnection,
    answered: &mut bool,
    describe: impl FnOnce(&CommonState) -> T,
    aside: Option<&Aside>,
) -> io::Result<(Records, T)> {
    let mut handshake = Handshake::new(connection);
    loop {
        let finished = match aside {
            Some(aside) if handshake.has_whole_record() => {
                let advance = move || {
                    let finished = handshake.advance();
                    (handshake, finished)
                };
                let (back, finished) = aside.run(advance).await?;
                handshake = back;
                finished
            }
            _ => handshake.advance(),
        };
        *answered |= !handshake.owed.is_empty();
        if finished.is_err() {
            let _ = Tried(socket).write(&handshake.owed);
        }
        let finished = finished.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        handshake.flush(socket).await?;
        if finished {
            break;
        }
        handshake.take_in(socket).await?;
    }
    let Handshake {
        connection,
        incoming,
        ..
    } = handshake;
    let agreed = describe(&connection);
    let records = Records::take_over(*connection, incoming);
    let records = records.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
    Ok((records, agreed))
}

impl Handshake {
    fn new(connection: UnbufferedServerConnection) -> Self {
        Self {
            connection: Box::new(connection),
            incoming: Vec::new(),
            seen: 0,
            owed: Vec::new(),
        }
    }

    /// Whether there is something to do.
    fn has_whole_record(&self) -> bool {
        whole(&self.incoming[self.seen..]).is_some()
    }

    /// Shows the library all whole records. Whether the handshake is finished.
    fn advance(&mut self) -> Result<bool, Error> {
        while let Some(len) = whole(&self.incoming[self.seen..]) {
            self.seen += len;
            if self.process()? {
                return Ok(true);
            }
        }
        if self.incoming.len() > INCOMING_MAX {
            return Err(InvalidMessage::HandshakePayloadTooLarge.into());
        }
        Ok(false)
    }

    /// Lets the library do what it can with what it has seen.
    fn process(&mut self) -> Result<bool, Error> {
        let result = loop {
            let seen = &mut self.incoming[..self.seen];
            let UnbufferedStatus { discard, state } = self.connection.process_tls_records(seen);
            let rest = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.owed).map(|()| None)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => {
                    data.done();
                    Ok(None)
                }
                Ok(ConnectionState::WriteTraffic(_)) => Ok(Some(true)),
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(false)),
                // `close_notify`, or data where there is none yet.
                Ok(_) => Err(Error::HandshakeNotComplete),
                Err(error) => Err(error),
            };
            self.incoming.drain(..discard);
            self.seen -= discard;
            match rest {
                Ok(None) => {}
                Ok(Some(finished)) => break Ok(finished),
                Err(error) => break Err(error),
            }
        };
        if result.is_err() {
            self.last_words();
        }
        let finished = result? && !self.connection.is_handshaking();
        if finished && self.seen > 0 {
            // The beginning of another message, which would be lost (RFC 8446 §5.1).
            return Err(PeerMisbehaved::KeyEpochWithPendingFragment.into());
        }
        Ok(finished)
    }

    /// The alert that says what was wrong.
    fn last_words(&mut self) {
        while let UnbufferedStatus {
            state: Ok(ConnectionState::EncodeTlsData(data)),
            ..
        } = self.connection.process_tls_records(&mut [])
        {
            if encode(data, &mut self.owed).is_err() {
                return;
            }
        }
    }

    async fn flush(&mut self, socket: &Socket) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.owed.len() {
            match Tried(socket).write(&self.owed[sent..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    socket.tcp.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        self.owed = Vec::new();
        Ok(())
    }

    async fn take_in(&mut self, socket: &mut Socket) -> io::Result<()> {
        let incoming = &mut self.incoming;
        let count = poll_fn(|context| {
            let mut buffer = Buffer::borrow(For::Commands);
            match (Polled { socket, context }).read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
                Ok(count) => {
                    incoming.extend_from_slice(&buffer[..count]);
                    Poll::Ready(Ok(count))
                }
            }
        });
        match count.await? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, owed: &mut Vec<u8>) -> Result<(), Error> {
    let start = owed.len();
    let need = match data.encode(&mut []) {
        Ok(_) => return Ok(()),
        Err(EncodeError::InsufficientSize(need)) => need.required_size,
        Err(EncodeError::AlreadyEncoded) => return Err(Error::EncryptError),
    };
    owed.resize(start + need, 0);
    data.encode(&mut owed[start..])
        .map(drop)
        .map_err(|_| Error::EncryptError)
}

/// The length of the first record, if all of it is there; of everything, if that is no record: the
/// library says then what it is.
fn whole(bytes: &[u8]) -> Option<usize> {
    let (&kind, rest) = bytes.split_first()?;
    // RFC 8446 §5.1
    if !(20..=23).contains(&kind) || rest.first().is_some_and(|&major| major != 3) {
        return Some(bytes.len());
    }
    let &[high, low] = bytes.get(3..5)? else {
        return None;
    };
    let len = usize::from(u16::from_be_bytes([high, low]));
    if len > PAYLOAD_MAX {
        return Some(bytes.len());
    }
    (bytes.len() >= 5 + len).then_some(5 + len)
}
