//! One end of the line between the front and a keeper.
//!
//! A SOCK_SEQPACKET socket, never waited for: what can't be sent now stays here, and is tried again
//! when the other end has read. So the two ends can't wait for each other, whatever they have to say.
//! What waits is bounded: parcels by the credits of the other end, the rest is one message of each
//! kind.
//!
//! A socket that is on its way belongs to nobody's table of descriptors, and the kernel counts those
//! of one user against the sender's limit (unix(7), ETOOMANYREFS). A receiver without free
//! descriptors gets the octets and *not* the sockets, and a flag that tells so (MSG_CTRUNC). Credits
//! keep us from both.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

use super::message::{Credit, MESSAGE_MAX, Message, SOCKETS_MAX, Unreadable};

/// Space for the sockets of one message.
const CONTROL: usize = cmsg_space!(ScmRights(SOCKETS_MAX));

/// One end.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    /// What we may send.
    sent: u64,
    theirs: Credit,
    /// What they may send.
    ours: Credit,
    told: Credit,
}

/// A packet that came in.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) message: Message,
    pub(crate) sockets: Vec<OwnedFd>,
    /// Sockets that the message speaks of and that did not come with it.
    pub(crate) lost: usize,
}

/// What came of an attempt to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    Yes,
    /// Not now: the other end has to read first.
    Full,
    /// Not now: too many sockets of this user are in flight, or there is no memory. Nobody tells when
    /// that is over.
    Crowded,
}

/// Why a link is of no use any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The other end is gone.
    #[error("the other end is gone")]
    Closed,
    /// The system refused.
    #[error(transparent)]
    System(#[from] std::io::Error),
    /// What came in can't be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// A message longer than any.
    #[error("found a message of more than {MESSAGE_MAX} octets")]
    TooLong,
    /// More sockets than were allowed, or than the message speaks of.
    #[error("found {0} sockets that were not asked for")]
    Uncalled(usize),
    /// A message that is not for this end.
    #[error("found a message that goes the other way")]
    WrongWay,
}

/// The two ends of a new line.
///
/// # Errors
/// There are no descriptors for it.
pub(crate) fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

impl Link {
    /// Takes one end over. It must be non-blocking.
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            buffer: vec![0; MESSAGE_MAX + 1].into(),
            sent: 0,
            theirs: Credit::default(),
            ours: Credit::default(),
            told: Credit::default(),
        }
    }

    /// Sockets that may be sent now.
    pub(crate) fn credit(&self) -> usize {
        usize::try_from(self.theirs.allowed.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }

    /// Sockets that were sent and, as far as we know, not taken out yet.
    pub(crate) fn in_flight(&self) -> usize {
        usize::try_from(self.sent.saturating_sub(self.theirs.taken)).unwrap_or(usize::MAX)
    }

    /// Sockets that the other end may send and has not, or that we have not taken yet.
    pub(crate) fn granted(&self) -> usize {
        let granted = self.ours.allowed.saturating_sub(self.ours.taken);
        usize::try_from(granted).unwrap_or(usize::MAX)
    }

    /// Lets the other end send sockets until `count` are granted. What was granted is never taken
    /// back.
    pub(crate) fn grant(&mut self, count: usize) {
        let allowed = self.ours.taken.saturating_add(count as u64);
        self.ours.allowed = self.ours.allowed.max(allowed);
    }

    /// Whether the other end does not know all about that.
    pub(crate) fn has_untold(&self) -> bool {
        self.told != self.ours
    }

    /// Tells the other end what it does not know yet about what was taken and granted.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub(crate) fn tell_credit(&mut self) -> Result<Sent, LinkError> {
        if self.told == self.ours {
            return Ok(Sent::Yes);
        }
        let sent = self.send(&Message::Credit(self.ours), &[])?;
        if sent == Sent::Yes {
            self.told = self.ours;
        }
        Ok(sent)
    }

    /// Sends a message with its sockets, if it can be done at once.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub(crate) fn send(
        &mut self,
        message: &Message,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<Sent, LinkError> {
        debug_assert_eq!(message.sockets(), sockets.len());
        let octets = message.encode();
        debug_assert!(octets.len() <= MESSAGE_MAX);
        let mut space = [MaybeUninit::uninit(); CONTROL];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(sockets)) {
            return Err(LinkError::Uncalled(sockets.len()));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match sendmsg(&self.socket, &[IoSlice::new(&octets)], &mut control, flags) {
            Ok(_) => {
                self.sent += sockets.len() as u64;
                Ok(Sent::Yes)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(Sent::Full),
            Err(Errno::TOOMANYREFS | Errno::NOBUFS | Errno::NOMEM) => Ok(Sent::Crowded),
            Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => Err(LinkError::Closed),
            Err(error) => Err(LinkError::System(error.into())),
        }
    }

    /// The next packet, if one is there. Credits are noted here; they are returned all the same.
    ///
    /// # Errors
    /// The link is of no use any more. What was read with it is closed.
    pub(crate) fn receive(&mut self) -> Result<Option<Packet>, LinkError> {
        let mut space = [MaybeUninit::uninit(); CONTROL];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut parts = [IoSliceMut::new(&mut self.buffer)];
        let mut received = recvmsg(&self.socket, &mut parts, &mut control, flags);
        // The other end was closed with something unread. That is told once, and before what it had
        // sent: which is still there, sockets and all.
        if matches!(received, Err(Errno::CONNRESET)) {
            received = recvmsg(&self.socket, &mut parts, &mut control, flags);
        }
        let received = match received {
            Ok(received) => received,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(Errno::CONNRESET | Errno::PIPE) => return Err(LinkError::Closed),
            Err(error) => return Err(LinkError::System(error.into())),
        };
        let mut sockets = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                sockets.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(LinkError::Closed);
        }
        if received.bytes > MESSAGE_MAX || received.flags.contains(ReturnFlags::TRUNC) {
            return Err(LinkError::TooLong);
        }
        let message = Message::decode(&self.buffer[..received.bytes])?;
        let claimed = message.sockets();
        let allowed = self.granted();
        if sockets.len() > claimed || claimed > allowed {
            return Err(LinkError::Uncalled(claimed.max(sockets.len())));
        }
        let lost = claimed - sockets.len();
        self.ours.taken += claimed as u64;
        if let Message::Credit(credit) = message {
            self.theirs.taken = self.theirs.taken.max(credit.taken);
            self.theirs.allowed = self.theirs.allowed.max(credit.allowed);
        }
        Ok(Some(Packet {
            message,
            sockets,
            lost,
        }))
    }
}

#[cfg(test)]
impl Link {
    /// All that is there now, but for greetings, credit and load.
    pub(super) fn heard(&mut self) -> Vec<Message> {
        let packets = std::iter::from_fn(|| self.receive().unwrap());
        let messages = packets.map(|packet| packet.message);
        let is_aside = |message: &Message| {
            matches!(
                message,
                Message::Credit(_) | Message::Hello { .. } | Message::Load { .. }
            )
        };
        messages.filter(|message| !is_aside(message)).collect()
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keeper::message::VERSION;
    use crate::keeper::message::tests::small;

    fn ends() -> (Link, Link) {
        let (one, other) = pair().unwrap();
        (Link::new(one), Link::new(other))
    }

    fn sockets(count: usize) -> Vec<OwnedFd> {
        (0..count).map(|_| pair().unwrap().0).collect()
    }

    fn park(link: &mut Link, count: usize) -> Result<Sent, LinkError> {
        let sockets = sockets(count);
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        link.send(&Message::Park(vec![small(); count]), &sockets)
    }

    #[test]
    fn sockets_cross_against_credit() {
        let (mut front, mut keeper) = ends();
        assert_eq!(front.credit(), 0);
        keeper.grant(300);
        assert_eq!(keeper.tell_credit().unwrap(), Sent::Yes);
        assert!(front.receive().unwrap().is_some());
        assert_eq!(front.credit(), 300);
        assert_eq!(park(&mut front, SOCKETS_MAX).unwrap(), Sent::Yes);
        assert_eq!((front.credit(), front.in_flight()), (47, SOCKETS_MAX));
        let packet = keeper.receive().unwrap().unwrap();
        assert_eq!((packet.sockets.len(), packet.lost), (SOCKETS_MAX, 0));
        assert_eq!(keeper.granted(), 47);
        keeper.tell_credit().unwrap();
        front.receive().unwrap();
        assert_eq!((front.credit(), front.in_flight()), (47, 0));
        assert!(keeper.receive().unwrap().is_none());
    }

    #[test]
    fn nobody_sends_what_was_not_asked_for() {
        let (mut front, mut keeper) = ends();
        keeper.grant(2);
        assert_eq!(park(&mut front, 3).unwrap(), Sent::Yes);
        assert!(matches!(keeper.receive(), Err(LinkError::Uncalled(3))));
    }

    #[test]
    fn neither_end_waits_for_the_other() {
        let (mut front, mut keeper) = ends();
        let tickets = Message::Recall(vec![u64::MAX; 4000]);
        let full =
            |link: &mut Link| (0..1000).any(|_| link.send(&tickets, &[]).unwrap() == Sent::Full);
        assert!(full(&mut front) && full(&mut keeper));
        while keeper.receive().unwrap().is_some() {}
        assert_eq!(front.send(&tickets, &[]).unwrap(), Sent::Yes);
    }

    #[test]
    fn an_end_is_noticed() {
        let (mut front, keeper) = ends();
        drop(keeper);
        assert!(matches!(front.receive(), Err(LinkError::Closed)));
        assert!(matches!(
            front.send(&Message::Drain, &[]),
            Err(LinkError::Closed)
        ));
    }

    #[test]
    fn what_was_sent_before_an_end_is_there() {
        let (mut front, mut keeper) = ends();
        keeper.grant(1);
        assert_eq!(park(&mut front, 1).unwrap(), Sent::Yes);
        // It dies without having read this.
        assert_eq!(keeper.tell_credit().unwrap(), Sent::Yes);
        drop(front);
        assert_eq!(keeper.receive().unwrap().unwrap().sockets.len(), 1);
        assert!(matches!(keeper.receive(), Err(LinkError::Closed)));
    }

    #[test]
    fn what_makes_no_sense_ends_the_link() {
        let (front, mut keeper) = ends();
        rustix::net::send(&front, &[VERSION, 0x63], SendFlags::empty()).unwrap();
        assert!(matches!(
            keeper.receive(),
            Err(LinkError::Unreadable(Unreadable::Kind(0x63)))
        ));
        rustix::net::send(&front, &vec![1; MESSAGE_MAX + 1], SendFlags::empty()).unwrap();
        assert!(matches!(keeper.receive(), Err(LinkError::TooLong)));
    }
}
