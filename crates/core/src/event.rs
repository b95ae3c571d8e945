//! The whole contract between the machine and its hands, on one page.
//!
//! The driver calls [`Session::handle`](crate::Session::handle) with one [`Input`], sends what the
//! outbox holds, does what the returned [`Then`] says, and comes back with the next input. There
//! are no callbacks and no channels.

use std::net::IpAddr;

use tarpit_smtp::Reply;

use crate::envelope::Recipient;
use crate::{Source, Tick};

/// What came in.
#[derive(Debug)]
pub enum Input<'a> {
    /// The connection was accepted: greet, or say why not.
    Opened(Admission),
    /// Bytes of the client that were not consumed yet. The machine takes one command at most and
    /// says in the outbox how many bytes it consumed.
    Bytes(&'a [u8]),
    /// A hold is over, the ledger may have room now, or the policy no longer holds anybody.
    Resume,
    /// What came of an [`Ask`].
    Answer(Answer),
    /// How the message data ended ([`Then::Relay`]), or what came of a chunk of it
    /// ([`Then::Chunk`]).
    DataEnd(DataEnd),
    /// The handshake after [`Then::StartTls`] succeeded. A session that is TLS from its first octet
    /// is told by [`Session::note_secured`](crate::Session::note_secured) instead.
    Secured,
    /// What came of [`Then::Identify`]: who the client is now.
    Identified {
        /// Who is charged from now on.
        source: Source,
        /// Whether its network is exempt.
        exempt: bool,
        /// Whether there is a place for it.
        admission: Admission,
    },
    /// The client sent nothing, or not a whole command, within the time for it.
    TimedOut,
    /// The session reached its limit on time, or the drain its own.
    Expired,
    /// The client closed or reset the connection.
    Gone,
    /// The session is to be held, and the client has sent more ahead than a held session may keep.
    Overrun,
    /// There is not enough room in the pit: a session that is held, or waits for its client, ends with 421 4.3.2, and
    /// its debt stays. Any other goes on as it was.
    Shed,
    /// A session comes out of the pit, and all places for sessions outside it are taken: it ends with 421
    /// 4.3.2. Nothing was asked of the upstream for what it said last, so nothing is charged for that.
    Full,
    /// The gateway drains, or runs out of something: end the session where it may be ended.
    Drain,
}

/// Whether there is a place for a new session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Open,
    /// No upstream is healthy, or none has been probed yet: 421 4.3.2, so that senders choose
    /// another MX.
    Unavailable,
    /// The gateway drains.
    Draining,
    /// All places for sessions are taken.
    Full,
    /// All places for sessions of this source are taken.
    SourceFull,
    /// The client is this gateway itself, on its way to the upstream: mail would go round in
    /// circles. 554 5.4.6.
    Ourselves,
}

/// What to do next. Exactly one of these rests the machine.
#[derive(Debug)]
pub enum Then {
    /// Offer the bytes that are left, or read more.
    Read,
    /// Come back with [`Input::Resume`] at `until`, or earlier if the ledger names this session in
    /// [`Ledger::take_woken`](crate::ledger::Ledger::take_woken). Read nothing meanwhile; watch
    /// for a hang-up.
    Hold {
        /// When to come back.
        until: Tick,
    },
    /// Ask the upstream and come back with [`Input::Answer`].
    Ask(Ask),
    /// Send 354 (it is in the outbox), pass message data on until its end, come back with
    /// [`Input::DataEnd`].
    Relay,
    /// Take exactly the octets of this chunk from the client (RFC 3030 §2), first those that were
    /// read already, and come back with [`Input::DataEnd`] once all are taken, whatever became of
    /// them.
    Chunk(Chunk),
    /// Send 220 (it is in the outbox), throw away everything that was read and not consumed (the
    /// client can't have encrypted it: RFC 3207 §4.2, CVE-2011-0411), do the handshake, and come
    /// back with [`Input::Secured`], or with [`Input::Gone`] if it failed.
    StartTls,
    /// The client says who its own client is, and is trusted. Look up what is known of that one and
    /// come back with [`Input::Identified`].
    Identify(Box<Introduction>),
    /// Send what is in the outbox and close.
    Close,
}

/// A chunk of message data that comes in: BDAT (RFC 3030 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// How many octets follow the command line.
    pub size: u64,
    /// The message ends with it.
    pub last: bool,
    /// The message begins with it: MAIL and the accepted RCPTs of the envelope have to stand on the
    /// upstream's connection.
    pub first: bool,
    /// Whether the octets go to the upstream. If not, they are read and thrown away
    /// ([`DataEnd::Discarded`]): they are consumed whatever the reply is. What went to the upstream
    /// of this message before is to be given up, see
    /// [`Session::is_in_message`](crate::Session::is_in_message).
    pub pass: bool,
}

/// Who a trusted client says its own client is: XCLIENT. What was not said, or is not available,
/// is `None` and stays as it is; the address is never "not available".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Introduction {
    /// ADDR: its address.
    pub address: Option<IpAddr>,
    /// PORT: its port.
    pub port: Option<u16>,
    /// NAME: its name in DNS, for the log.
    pub name: Option<Box<str>>,
    /// HELO: what it greeted with. It stands until the next EHLO.
    pub helo: Option<Box<str>>,
    /// PROTO: whether it speaks ESMTP.
    pub esmtp: Option<bool>,
    /// DESTADDR: the address that it connected to.
    pub local_address: Option<IpAddr>,
    /// DESTPORT: the port that it connected to.
    pub local_port: Option<u16>,
}

/// A question to the upstream. The envelope it belongs to is [`Session::envelope`](crate::Session::envelope).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// RCPT with this forward-path and these parameters, after MAIL and the accepted RCPTs of the
    /// envelope stand on the connection.
    Rcpt(Recipient),
    /// DATA. A 354 as the answer means that data may flow.
    Data,
    /// AUTH, on a connection with no transaction on it.
    Auth {
        /// The mechanism, in upper case.
        mechanism: &'static str,
        /// The initial response, in base64, or `=`.
        initial: Option<Box<str>>,
    },
    /// One more line of the AUTH exchange: base64, or `*`.
    AuthLine(Box<str>),
}

/// What came of an [`Ask`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The upstream's reply to the command that was asked.
    Reply(Reply),
    /// The upstream refused MAIL with this 4yz or 5yz: kept for the transaction.
    SenderRefused(Reply),
    /// The upstream refused in its greeting or EHLO with this 4yz or 5yz (but 421): kept for the
    /// session.
    ServiceRefused(Reply),
    /// There is no reply.
    Trouble(Trouble),
}

/// Why there is no reply of the upstream. Each is a 4yz for the client and never an offence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// It could not be connected.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It closed the connection, or said 421.
    Closed,
    /// It said what is no reply, or a reply that has no meaning there.
    Garbage,
    /// No upstream connection was free within the time for it.
    Capacity,
    /// The client's identity can't be told on this connection.
    Identity,
    /// TLS with it is required and can't be had.
    Tls,
    /// The replay of MAIL and RCPT got another answer than before.
    Changed,
    /// It no longer offers an extension that MAIL used.
    Lacks,
    /// It relays for our address; whoever came through us would be relayed (DESIGN promise 7).
    Relays,
    /// An AUTH exchange or an authenticated connection was lost; it can't be made again.
    AuthLost,
}

impl Trouble {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Closed => "closed",
            Self::Garbage => "garbage",
            Self::Capacity => "capacity",
            Self::Identity => "identity",
            Self::Tls => "tls",
            Self::Changed => "changed",
            Self::Lacks => "lacks",
            Self::Relays => "relays",
            Self::AuthLost => "auth_lost",
        }
    }
}

/// How message data ended, or what came of one chunk. "Read to its end of data" means for a chunk:
/// all its octets were read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataEnd {
    /// The upstream's reply: to end-of-data or to a chunk, or a 4yz or 5yz before it (the client was
    /// read to its end of data all the same). For a chunk that is not the last the driver says 250
    /// itself where chunks are turned into DATA; for the last it never does.
    Reply(Reply),
    /// The chunk was not to be passed on ([`Chunk::pass`]), and all its octets were read.
    Discarded,
    /// The message got larger than the limit (RFC 1870 §6.3); the upstream connection was closed
    /// without the dot, the client was read to its end of data.
    TooLarge,
    /// The message came through here more often than any honest one (RFC 5321 §6.3); the upstream
    /// connection was closed without the dot, the client was read to its end of data.
    Looped,
    /// A bare CR or LF; the upstream connection was closed without the dot, the client was read to
    /// its end of data.
    BareNewline,
    /// The upstream was lost. The client was read to its end of data.
    Lost {
        /// Why.
        trouble: Trouble,
        /// Whether end-of-data had been sent: then the outcome is *unknown* (DESIGN promise 1).
        after_dot: bool,
    },
    /// The client was slower than the least average rate, or let a block time out.
    TooSlow,
    /// The client left. If end-of-data had been sent by then, the upstream's reply was still read.
    ClientGone {
        /// The upstream's reply to end-of-data, for the record.
        reply: Option<Reply>,
    },
    /// The gateway's drain time ran out in the middle of the message.
    Drained,
}
