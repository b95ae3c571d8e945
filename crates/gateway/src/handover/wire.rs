//! One end of the line to a successor, or to `tarpit upgrade`: a SOCK_SEQPACKET socket on the
//! runtime, with sockets beside the messages (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::message::{MESSAGE_MAX, Message, Unreadable};

/// Sockets beside one message at most. The kernel allows 253 (SCM_MAX_FD, unix(7)); nobody has so
/// many listeners, and fewer at once are sooner out of flight. Tests see several batches with a few.
pub(super) const SOCKETS_MAX: usize = if cfg!(test) { 8 } else { 64 };

const CONTROL: usize = cmsg_space!(ScmRights(SOCKETS_MAX));

/// Why the line is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
    /// What came in can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// Sockets were lost on the way: the receiver has no descriptor free.
    #[error("only {found} of {told} sockets came: too few descriptors, or too many on their way")]
    Lost {
        /// How many the message speaks of.
        told: usize,
        /// How many there are.
        found: usize,
    },
}

impl From<Unreadable> for WireError {
    fn from(error: Unreadable) -> Self {
        Self::Unreadable(error.to_string())
    }
}

/// The two ends of a new line.
///
/// # Errors
/// There are no descriptors for it.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    Ok(pair)
}

/// One end.
#[derive(Debug)]
pub(super) struct Wire {
    /// Not a stream but SOCK_SEQPACKET, which the runtime need not know: it says when the socket is
    /// ready, no more. `AsyncFd` can't be had without `unsafe`.
    socket: UnixStream,
    buffer: Box<[u8]>,
}

impl Wire {
    /// Takes one end over. Called on the runtime.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixStream::from(socket);
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
            buffer: vec![0; MESSAGE_MAX + 1].into(),
        })
    }

    /// Sends a message with its sockets, once there is room for it.
    pub(super) async fn send(
        &self,
        message: &Message,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(), WireError> {
        debug_assert_eq!(message.sockets(), sockets.len());
        let octets = message.encode();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let socket = &self.socket;
        let send = || {
            let mut space = [MaybeUninit::uninit(); CONTROL];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
                return Err(io::Error::from(Errno::TOOMANYREFS));
            }
            sendmsg(socket, &[IoSlice::new(&octets)], &mut control, flags)?;
            Ok(())
        };
        Ok(socket.async_io(Interest::WRITABLE, send).await?)
    }

    /// The next message with its sockets; `None` when the other end is gone.
    pub(super) async fn receive(&mut self) -> Result<Option<(Message, Vec<OwnedFd>)>, WireError> {
        let Self { socket, buffer } = self;
        let receive = || {
            let mut space = [MaybeUninit::uninit(); CONTROL];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let mut parts = [IoSliceMut::new(buffer)];
            let received = recvmsg(&*socket, &mut parts, &mut control, flags)?;
            let rights = control.drain().filter_map(|part| match part {
                RecvAncillaryMessage::ScmRights(rights) => Some(rights),
                _ => None,
            });
            let sockets: Vec<OwnedFd> = rights.flatten().collect();
            Ok((received.bytes, received.flags, sockets))
        };
        let (count, flags, sockets) = match socket.async_io(Interest::READABLE, receive).await {
            Ok(received) => received,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if count == 0 {
            return Ok(None);
        }
        if count > MESSAGE_MAX || flags.contains(ReturnFlags::TRUNC) {
            return Err(WireError::Unreadable(format!(
                "found a message of more than {MESSAGE_MAX} octets"
            )));
        }
        let message = Message::decode(self.buffer.get(..count).unwrap_or_default())?;
        let (told, found) = (message.sockets(), sockets.len());
        if told != found {
            return Err(WireError::Lost { told, found });
        }
        Ok(Some((message, sockets)))
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::message::Door;
    use super::*;

    fn ends() -> (Wire, Wire) {
        let (one, other) = pair().unwrap();
        (Wire::new(one).unwrap(), Wire::new(other).unwrap())
    }

    #[tokio::test]
    async fn sockets_cross() {
        let (old, mut new) = ends();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let door = Door {
            name: "mx".into(),
            asked: "127.0.0.1:0".parse().unwrap(),
        };
        let message = Message::Listeners {
            more: false,
            list: vec![door],
        };
        old.send(&message, &[socket.as_fd()]).await.unwrap();
        let (came, mut sockets) = new.receive().await.unwrap().unwrap();
        assert_eq!(came, message);
        let same = TcpListener::from(sockets.remove(0));
        assert_eq!(same.local_addr().unwrap(), socket.local_addr().unwrap());
        drop(old);
        assert!(new.receive().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn sockets_that_are_missing_or_too_many_are_an_error() {
        let (old, mut new) = ends();
        let list = Message::Listeners {
            more: false,
            list: vec![Door {
                name: "mx".into(),
                asked: "127.0.0.1:0".parse().unwrap(),
            }],
        };
        rustix::net::send(&old, &list.encode(), SendFlags::empty()).unwrap();
        let error = new.receive().await.unwrap_err();
        assert!(
            matches!(error, WireError::Lost { told: 1, found: 0 }),
            "{error}"
        );
        rustix::net::send(&old, &vec![1; MESSAGE_MAX + 1], SendFlags::empty()).unwrap();
        assert!(matches!(new.receive().await, Err(WireError::Unreadable(_))));
        rustix::net::send(&old, b"\x01\xff", SendFlags::empty()).unwrap();
        assert!(matches!(new.receive().await, Err(WireError::Unreadable(_))));
    }

    #[tokio::test]
    async fn who_sends_waits_for_who_reads() {
        let (old, mut new) = ends();
        let piece = Message::Ledger {
            last: false,
            piece: vec![1; 60_000],
        };
        let reading = tokio::spawn(async move {
            let mut count = 0;
            while new.receive().await.unwrap().is_some() {
                count += 1;
            }
            count
        });
        for _ in 0..100 {
            old.send(&piece, &[]).await.unwrap();
        }
        drop(old);
        assert_eq!(reading.await.unwrap(), 100);
    }
}
