//! The whole contract between the machine and its hands, on one page.
//!
//! The driver calls [`Session::handle`](crate::Session::handle) with one [`Input`], sends what the
//! outbox holds, does what the returned [`Then`] says, and comes back with the next input. There
//! are no callbacks and no channels.

use tarpit_smtp::Reply;

use crate::Tick;

/// What came in.
#[derive(Debug)]
pub enum Input<'a> {
    /// The connection was accepted: greet, or say why not.
    Opened(Admission),
    /// Bytes of the client that were not consumed yet. The machine takes one command at most and
    /// says in the outbox how many bytes it consumed.
    Bytes(&'a [u8]),
    /// A hold is over, or the ledger may have room now.
    Resume,
    /// What came of an [`Ask`].
    Answer(Answer),
    /// How the message data ended ([`Then::Relay`]).
    DataEnd(DataEnd),
    /// The client sent nothing, or not a whole command, within the time for it.
    TimedOut,
    /// The session reached its limit on time, or the drain its own.
    Expired,
    /// The client closed or reset the connection.
    Gone,
    /// The session is to be held, and the client has sent more ahead than a held session may keep.
    Overrun,
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
    /// Send what is in the outbox and close.
    Close,
}

/// A question to the upstream. The envelope it belongs to is [`Session::envelope`](crate::Session::envelope).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// RCPT with this forward-path (without brackets), after MAIL and the accepted RCPTs of the
    /// envelope stand on the connection.
    Rcpt(Box<str>),
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
            Self::Changed => "changed",
            Self::Lacks => "lacks",
            Self::Relays => "relays",
            Self::AuthLost => "auth_lost",
        }
    }
}

/// How message data ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataEnd {
    /// The upstream's reply: to end-of-data, or a 4yz or 5yz before it (the client was read to its
    /// end of data all the same).
    Reply(Reply),
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
