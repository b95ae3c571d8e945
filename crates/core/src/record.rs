//! What remains when something is over: values that the driver writes to log, store and metrics.

mod act;

use std::time::Duration;

use tarpit_smtp::{Reply, ReplyCode};

use crate::policy::{Mode, Offence, Way};
use crate::{SessionId, Source};

pub use act::{ACTS_MAX, ActRecord, Deed, Judged};

/// Why a session waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldReason {
    /// It pays for this offence.
    Offence(Offence),
    /// It pays for what was charged when it could not be held: a message refused at end-of-data.
    Debt,
    /// Its source owes so much that the next guess had to wait to be looked at.
    Room,
}

impl HoldReason {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offence(offence) => offence.as_str(),
            Self::Debt => "debt",
            Self::Room => "no_room",
        }
    }
}

/// One hold: who, which rule, how long, and when the source is out (DESIGN promise 9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRecord {
    /// The session that waited.
    pub session: SessionId,
    /// Who pays.
    pub source: Source,
    /// What for.
    pub reason: HoldReason,
    /// In `observe` nothing was held; the figures say what would have been.
    pub mode: Mode,
    /// The code of the reply that waited; `None` if the command waited to be looked at.
    pub code: Option<ReplyCode>,
    /// Debt of the account when the hold began, this charge included.
    pub owed: Duration,
    /// How the reply was held; a command that waits to be looked at waits in silence.
    pub way: Way,
    /// How long it was held; in `observe`, how long it would have been.
    pub held: Duration,
    /// How it ended.
    pub end: HoldEnd,
}

impl HoldRecord {
    /// Whether it came before a look-up. Such a one is written down before the act that it belongs
    /// to, the hold of a reply after it.
    #[must_use]
    pub const fn is_before_look_up(&self) -> bool {
        matches!(self.reason, HoldReason::Debt | HoldReason::Room)
    }
}

/// How a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldEnd {
    /// It was waited out.
    Paid,
    /// No room came within `hold_max`: 450 or 454.
    NoRoom,
    /// The client left. The charge stands.
    HangUp,
    /// The client closed its side, and the reply was tried at the end all the same.
    HalfClosed,
    /// The session reached a limit.
    Limit,
    /// The gateway stopped.
    Drained,
    /// The pit was too full. The charge stands.
    Shed,
    /// The mode was left in which it was to be waited out; its true reply was said at once.
    Released,
    /// Nothing was held: mode `observe`.
    Observed,
}

impl HoldEnd {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Paid => "paid",
            Self::NoRoom => "no_room",
            Self::HangUp => "hang_up",
            Self::HalfClosed => "half_closed",
            Self::Limit => "limit",
            Self::Drained => "drained",
            Self::Shed => "shed",
            Self::Released => "released",
            Self::Observed => "observed",
        }
    }
}

/// What became of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRecord {
    /// The reverse-path, empty for the null reverse-path.
    pub reverse_path: Box<str>,
    /// Recipients that the upstream accepted: the first few, and how many in all.
    pub recipients: Vec<Box<str>>,
    /// How many recipients the upstream accepted.
    pub recipients_count: u32,
    /// The upstream's last word, verbatim (its queue id), or ours if it had none.
    pub reply: Reply,
    /// Whether `reply` came from the upstream.
    pub from_upstream: bool,
}

/// Messages and recipients listed in one record; the rest is only counted. A record is one line of
/// a log, and clients choose how long it gets.
pub const LISTED_MAX: usize = 16;

/// Octets of the refused paths that are listed. A held session keeps its record, clients choose how
/// long their paths are, and a million are to be held: the longest path that RFC 5321 §4.5.3.1.3
/// asks servers to take, or a dozen usual ones.
pub const LISTED_OCTETS_MAX: usize = 256;

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum SessionEnd {
    /// The client said QUIT.
    Quit,
    /// The client closed or reset the connection.
    #[default]
    HangUp,
    /// The client left in the pit.
    HangUpHeld,
    /// The client was too slow.
    TimedOut,
    /// Too many 5yz, or held for too long in all.
    Limit,
    /// Refused at the greeting (no place, or no upstream), or on the way out of the pit (no place).
    Refused,
    /// An authenticated upstream connection was lost.
    UpstreamLost,
    /// The client's commands could no longer be told from message data.
    OutOfStep,
    /// The gateway stopped.
    Drained,
    /// The pit was too full.
    Shed,
    /// A bug of ours.
    Bug,
}

impl SessionEnd {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quit => "quit",
            Self::HangUp => "hang_up",
            Self::HangUpHeld => "hang_up_held",
            Self::TimedOut => "timed_out",
            Self::Limit => "limit",
            Self::Refused => "refused",
            Self::UpstreamLost => "upstream_lost",
            Self::OutOfStep => "out_of_step",
            Self::Drained => "drained",
            Self::Shed => "shed",
            Self::Bug => "bug",
        }
    }
}

/// What remains of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionRecord {
    /// The name in the last EHLO or HELO.
    pub helo: Option<Box<str>>,
    /// Whether the connection was TLS, from its start or since STARTTLS.
    pub secured: bool,
    /// The upstream that was asked last, and which of its servers.
    pub upstream: Option<Box<str>>,
    /// A trusted client said by XCLIENT who its own client is.
    pub introduced: bool,
    /// The name in DNS that it gave its client.
    pub client_name: Option<Box<str>>,
    /// XCLIENTs of a client that is not trusted to say it.
    pub untrusted_xclient: u32,
    /// Whether AUTH succeeded.
    pub authenticated: bool,
    /// Whether the network is exempt.
    pub exempt: bool,
    /// The reverse-path of the last MAIL, empty for the null reverse-path.
    pub sender: Option<Box<str>>,
    /// RCPTs that got 2yz.
    pub accepted: u32,
    /// RCPTs that got 5yz, or 4yz with x.1.1.
    pub refused: u32,
    /// Of these the first [`LISTED_MAX`] forward-paths within [`LISTED_OCTETS_MAX`], where ours or the upstream's reply was about
    /// the recipient.
    pub refused_paths: Vec<Box<str>>,
    /// Other RCPTs: 4yz of the upstream, trouble, debt.
    pub deferred: u32,
    /// Of these, RCPTs over the limit of one transaction.
    pub over_recipients: u32,
    /// Questions to the upstream that found no free connection.
    pub upstream_busy: u32,
    /// Questions to the upstream that got no reply for another reason.
    pub upstream_trouble: u32,
    /// RCPTs and AUTHs that got 450 or 454 unseen. In `observe` this is not foreseen.
    pub unseen: u32,
    /// RCPTs that `domains` or the recipients file would have refused in `enforce`.
    pub would_refuse: u32,
    /// AUTHs that failed.
    pub failed_auth: u32,
    /// 5yz replies.
    pub errors: u32,
    /// Messages, the first [`LISTED_MAX`].
    pub messages: Vec<MessageRecord>,
    /// Messages in all that reached end-of-data or were aborted.
    pub messages_count: u32,
    /// Of them, those that the upstream accepted.
    pub messages_accepted: u32,
    /// Of them, those that the client broke off.
    pub messages_aborted: u32,
    /// Time in holds; in `observe`, time that would have been.
    pub held: Duration,
    /// Holds; in `observe`, that would have been.
    pub holds: u32,
    /// Time waiting for the upstream.
    pub upstream_wait: Duration,
    /// How it ended.
    pub end: SessionEnd,
}
