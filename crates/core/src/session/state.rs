//! What a session waits for, and what it keeps meanwhile.

use std::borrow::Cow;
use std::time::Duration;

use tarpit_smtp::{Mechanism, Reply, ReplyCode};

use crate::SessionId;
use crate::Tick;
use crate::answer::Finding;
use crate::envelope::Recipient;
use crate::ledger::{Account, Reservation};
use crate::outbox::Outbox;
use crate::policy::{Offence, Way};
use crate::record::{Deed, HoldReason, SessionEnd};

/// What the session waits for.
#[derive(Debug)]
pub(super) enum State {
    /// Its first input.
    Opening,
    /// A command line.
    Command,
    /// The client's next line of an AUTH exchange. The price of a failure stays reserved.
    AuthLine(Bill),
    /// Its debt to be paid, or room for a look-up.
    Waiting(Box<Waiting>),
    /// The upstream.
    Asking(Asking),
    /// The end of a hold; then the reply goes out.
    Holding(Box<Holding>),
    /// The end of message data.
    Relaying,
    /// The end of a chunk of message data.
    Taking(Taking),
    /// The end of a TLS handshake.
    Securing,
    /// What is known of the client that XCLIENT named.
    Identifying,
    /// Nothing any more.
    Closed,
}

/// A chunk whose octets come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taking {
    pub(super) last: bool,
    /// Why it is thrown away, if it is.
    pub(super) refusal: Option<Finding>,
}

/// How far a message in chunks is (RFC 3030 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// There was no chunk in this transaction.
    None,
    /// The upstream has taken or is taking chunks, and more have to come.
    Begun,
    /// A chunk failed: the rest is thrown away.
    Failed,
}

/// How an offence is paid.
#[derive(Debug)]
pub(super) enum Bill {
    /// Not at all: authenticated, exempt, mode `off`.
    Free,
    /// Role names are always looked at and never held; but only where they exist or could.
    Role,
    /// By the session alone (scope `session`).
    Session,
    /// By the source; nothing is reserved.
    Source,
    /// By the source; the price is reserved.
    Reserved(Reservation),
}

/// A command that waits to be looked at.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) command: Pending,
    pub(super) reason: HoldReason,
    pub(super) since: Tick,
    /// The end of a wait for debt. For room the ledger says when.
    pub(super) until: Tick,
    /// What stood in the way when the wait began, for the record.
    pub(super) owed: Duration,
}

/// RCPT or AUTH before it is looked at.
#[derive(Debug)]
pub(super) enum Pending {
    Rcpt {
        recipient: Box<Recipient>,
        /// The recipients file does not hold it: refused without asking the upstream, but only
        /// after the price was reserved, as for any other guess.
        unlisted: bool,
    },
    Auth {
        mechanism: Mechanism,
        initial: Option<Box<str>>,
    },
}

impl Pending {
    pub(super) const fn account(&self) -> Account {
        match self {
            Self::Rcpt { .. } => Account::Rcpt,
            Self::Auth { .. } => Account::Auth,
        }
    }

    pub(super) const fn deed(&self) -> Deed {
        match self {
            Self::Rcpt { .. } => Deed::Rcpt,
            Self::Auth { .. } => Deed::Auth,
        }
    }

    /// What is said when there is no room.
    pub(super) const fn unseen(&self) -> Finding {
        match self {
            Self::Rcpt { .. } => Finding::OwesRcpt,
            Self::Auth { .. } => Finding::OwesAuth,
        }
    }
}

/// A question to the upstream that is open.
#[derive(Debug)]
pub(super) enum Asking {
    Rcpt {
        recipient: Box<Recipient>,
        bill: Bill,
    },
    Auth(Bill),
    Data,
}

/// A reply that waits.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) due: Due,
    pub(super) after: After,
    pub(super) offence: Offence,
    pub(super) since: Tick,
    pub(super) until: Tick,
    /// When the account is free; the hold may end earlier.
    pub(super) free_at: Tick,
    /// How it waits; decided when the hold began, so that another policy can't change a reply that
    /// is half said.
    pub(super) way: Way,
    /// Milliseconds between two pieces at least.
    pub(super) pace: u32,
    /// Octets of the [`Paced`](crate::Paced) text that were said already.
    pub(super) said: u32,
}

/// A reply that is due.
#[derive(Debug)]
pub(super) enum Due {
    Own(Finding),
    Upstream(Reply),
}

impl Due {
    pub(super) fn code(&self) -> Option<ReplyCode> {
        match self {
            Self::Own(finding) => ReplyCode::new(finding.code()),
            Self::Upstream(reply) => Some(reply.code()),
        }
    }

    pub(super) fn print(&self, id: SessionId, out: &mut Outbox) {
        match self {
            Self::Own(finding) => finding.write_to(id, &mut out.bytes),
            Self::Upstream(reply) => out.reply(reply),
        }
    }

    pub(super) fn reply(&self, id: SessionId) -> Cow<'_, Reply> {
        match self {
            Self::Own(finding) => Cow::Owned(finding.reply(id)),
            Self::Upstream(reply) => Cow::Borrowed(reply),
        }
    }
}

/// What follows the reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum After {
    Next,
    Close(SessionEnd),
}
