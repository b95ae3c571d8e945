//! What waits: everything that is left of a session while nobody works on it.

use std::io;
use std::net::{Shutdown, TcpStream};

use rustix::net::sockopt::{set_socket_oobinline, set_socket_recv_buffer_size};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tarpit_core::{Paced, Tick};

use crate::keeper::message::Freight;
use crate::stream::{Secure, Stream};
use crate::tls::{TlsFailure, TlsInfo};

/// A session that waits: its socket, its deadline, what to say until then, and its record.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Non-blocking.
    pub(crate) socket: TcpStream,
    /// When it is to be looked at again, at the latest.
    pub(crate) until: Tick,
    /// When it came to wait, or had the word, in seconds of the clock: the longest held are shed first.
    pub(crate) since: u32,
    /// What is said to it until then, piece by piece. `None` if nothing is, or all at once at the end.
    pub(crate) paced: Option<Box<Paced>>,
    /// Octets of that which are said.
    pub(crate) said: u32,
    /// Pages that its unread input takes in the kernel, while it is held.
    pub(crate) unread_pages: u32,
    pub(crate) state: Waits,
    /// The frozen connection and session ([`Conn::freeze`](crate::conn::Conn::freeze)).
    pub(crate) record: Box<[u8]>,
    /// TLS, where it is spoken.
    pub(crate) veil: Option<Box<Veil>>,
}

/// What a handshake had agreed on, or why it failed.
type Agreed = Box<Result<TlsInfo, TlsFailure>>;

/// TLS of a session that waits.
#[derive(Debug)]
pub(crate) struct Veil {
    pub(crate) secure: Box<Secure>,
    pub(crate) info: Agreed,
}

impl Veil {
    /// Octets of user memory.
    pub(crate) fn octets(&self) -> usize {
        size_of::<Self>() + size_of::<Result<TlsInfo, TlsFailure>>() + self.secure.octets()
    }
}

/// What a parcel waits for, and what is known of its client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waits {
    /// It is idle: what the client says is looked at at once.
    pub(crate) listens: bool,
    /// It waits for room in the ledger, and may be woken.
    pub(crate) for_room: bool,
    /// The client shut down its sending side.
    pub(crate) half_closed: bool,
    /// It did so while it was listened to. It is told once only, so it is remembered until what
    /// came before it is read.
    pub(crate) closed: bool,
    /// Its holder watches the socket.
    pub(crate) watched: bool,
    /// The socket's receive buffer was made as small as it gets.
    pub(crate) small_window: bool,
    /// Commands that it has said in a row which needed nobody but us, and were not held.
    pub(crate) row: u16,
}

/// Urgent octets (RFC 6093) are octets like others. Else they would hide what comes behind them from
/// who asks how much is unread: a client could fill the kernel's memory and be counted as empty.
pub(crate) fn hear_in_order(socket: &TcpStream) {
    let _ = set_socket_oobinline(socket, true);
}

impl Waits {
    /// What another process told of a parcel.
    pub(crate) fn of(freight: &Freight) -> Self {
        Self {
            listens: freight.flags.listens,
            for_room: freight.ticket.is_some(),
            half_closed: freight.flags.half_closed,
            small_window: freight.flags.small_window,
            ..Self::default()
        }
    }
}

/// Lets a client send as little ahead as the system allows (`SO_RCVBUF`). It costs nothing but
/// speed if it fails.
pub(crate) fn shrink_window(socket: &TcpStream) {
    let _ = set_socket_recv_buffer_size(socket, 1);
}

/// The receive buffer of a session that goes on with mail. Once it was set, the system no longer
/// finds its size by itself; it cuts this one to what it allows (`net.core.rmem_max`).
const WIDE: usize = 4 * 1024 * 1024;

/// Reads from a client whose session is over: 64 KiB at a time. Who sends more is not listening.
const THROWN_AWAY: usize = 4;

/// A moment in seconds of the clock, for [`Parcel::since`].
pub(crate) fn seconds(now: Tick) -> u32 {
    u32::try_from(now.as_millis() / 1000).unwrap_or(u32::MAX)
}

impl Parcel {
    /// When something is to be done about it.
    pub(crate) fn due(&self) -> Tick {
        let piece = self
            .paced
            .as_ref()
            .map(|paced| paced.next_at(self.said as usize));
        piece.map_or(self.until, |piece| piece.min(self.until))
    }

    /// Octets of user memory beside the slot that it stands in.
    pub(crate) fn octets(&self) -> usize {
        let paced = self
            .paced
            .as_ref()
            .map_or(0, |paced| size_of::<Paced>() + paced.text().len());
        let veil = self.veil.as_ref().map_or(0, |veil| veil.octets());
        self.record.len() + paced + veil
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// `WouldBlock` if nothing is; else the connection is gone.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.veil {
            Some(veil) => veil.secure.read_now(&self.socket, buffer),
            None => Ok(recv(&self.socket, buffer, RecvFlags::empty())?.0),
        }
    }

    /// Writes what the client takes at once.
    ///
    /// # Errors
    /// `WouldBlock` if that is nothing; else the connection is gone.
    pub(crate) fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match &mut self.veil {
            Some(veil) => veil.secure.write_now(&self.socket, octets),
            None => Ok(send(&self.socket, octets, SendFlags::NOSIGNAL)?),
        }
    }

    /// Sends what TLS still owes of what was written.
    ///
    /// # Errors
    /// `WouldBlock` if the client does not take it now; else the connection is gone.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match &mut self.veil {
            Some(veil) => veil.secure.flush_now(&self.socket),
            None => Ok(()),
        }
    }

    /// Says the pieces of the reply that are due. `false` if the client is gone. One that does not
    /// read hears the rest at the end.
    pub(crate) fn say_piece(&mut self, now: Tick) -> bool {
        let Some(paced) = self.paced.take() else {
            return true;
        };
        let due = paced.due(now);
        let piece = paced
            .text()
            .get(self.said as usize..due)
            .unwrap_or_default();
        let written = if piece.is_empty() {
            Ok(0)
        } else {
            self.write(piece)
        };
        match written {
            Ok(count) => {
                self.said += u32::try_from(count).unwrap_or(0);
                self.paced = Some(paced);
                true
            }
            // It does not read. Then there is no sense in more pieces.
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Its session is over, and nothing more is said to it. What TLS had agreed on is given out.
    pub(crate) fn say_farewell(&mut self) -> Option<Box<Result<TlsInfo, TlsFailure>>> {
        self.paced = None;
        self.record = Box::default();
        let veil = self.veil.take()?;
        let Veil { mut secure, info } = *veil;
        secure.close_notify_now(&self.socket);
        Some(info)
    }

    /// Whether the session is over, and only its socket is left for a moment.
    pub(crate) fn is_over(&self) -> bool {
        self.record.is_empty()
    }

    /// Tells the client that nothing more comes.
    pub(crate) fn shut_down(&self) {
        // It may be gone already; there is nobody to tell.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Throws away what the client has sent. Whether it may send more.
    pub(crate) fn throw_away(&self, buffer: &mut [u8]) -> bool {
        for _ in 0..THROWN_AWAY {
            match recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((_, count)) if count > 0 => {}
                Err(rustix::io::Errno::AGAIN) => return true,
                _ => break,
            }
        }
        false
    }

    /// Back into the mail lane: its stream, and what the handshake had agreed on.
    ///
    /// # Errors
    /// The runtime can't watch the socket.
    pub(crate) fn into_stream(self) -> io::Result<(Stream, Option<Agreed>)> {
        let (secure, info) = match self.veil {
            Some(veil) => (Some(veil.secure), Some(veil.info)),
            None => (None, None),
        };
        if self.state.small_window {
            let _ = set_socket_recv_buffer_size(&self.socket, WIDE);
        }
        let stream = Stream::from_parts(self.socket, secure)?;
        Ok((stream, info))
    }
}
