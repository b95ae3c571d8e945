//! Acts: what a client did that was judged, one by one.
//!
//! A hold says who waited; an act says what there was to judge, whether anybody waited or not. Acts
//! are what a replay runs through the machine again under other settings. They
//! are handed out as they happen and not kept in the session: a million sessions are to be held,
//! and a list in each would be the largest thing about it.

use std::time::Duration;

use super::SessionRecord;
use crate::policy::Offence;
use crate::{SessionId, Source};

/// What a client did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Deed {
    /// RCPT that was looked up.
    Rcpt,
    /// RCPT to a foreign domain: nobody was asked.
    Foreign,
    /// RCPT to a name that the recipients file does not hold: nobody was asked.
    Unlisted,
    /// RCPT in a transaction whose MAIL the upstream refused.
    Sender,
    /// RCPT in a session that the upstream refused at its greeting or EHLO.
    Service,
    /// AUTH that was looked up.
    Auth,
    /// AUTH that we refused: in the wrong place, or with a mechanism that is not offered.
    AuthMistake,
    /// Any other command.
    Command,
    /// A command that fails because of refusals before it, such as DATA without recipients.
    FollowUp,
    /// A message that came to its end.
    Message,
    /// A command in the middle of a message in chunks.
    Chunk,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Rcpt,
        Self::Foreign,
        Self::Unlisted,
        Self::Sender,
        Self::Service,
        Self::Auth,
        Self::AuthMistake,
        Self::Command,
        Self::FollowUp,
        Self::Message,
        Self::Chunk,
    ];

    /// The word for records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rcpt => "rcpt",
            Self::Foreign => "foreign",
            Self::Unlisted => "unlisted",
            Self::Sender => "sender",
            Self::Service => "service",
            Self::Auth => "auth",
            Self::AuthMistake => "auth_mistake",
            Self::Command => "command",
            Self::FollowUp => "follow_up",
            Self::Message => "message",
            Self::Chunk => "chunk",
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Judged {
    /// 2yz.
    Accepted,
    /// 4yz that says nothing about the recipient.
    Deferred,
    /// An offence.
    Offence(Offence),
    /// 5yz that costs nothing, since what it follows from was charged.
    Repeated,
    /// Mode `observe`: an offence that `enforce` would have refused. The look-up follows.
    WouldRefuse(Offence),
    /// There was no room: 450 or 454, and nobody was asked.
    Unseen,
    /// The client left before it was looked up.
    Left,
    /// The client left while it was looked up: charged as this offence.
    LeftAsking(Offence),
}

impl Judged {
    /// The word for records; the offence has one of its own.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Deferred => "deferred",
            Self::Offence(_) => "refused",
            Self::Repeated => "repeated",
            Self::WouldRefuse(_) => "would_refuse",
            Self::Unseen => "unseen",
            Self::Left => "left",
            Self::LeftAsking(_) => "left_asking",
        }
    }

    /// The offence, if it is one.
    #[must_use]
    pub const fn offence(self) -> Option<Offence> {
        match self {
            Self::Offence(offence) | Self::WouldRefuse(offence) | Self::LeftAsking(offence) => {
                Some(offence)
            }
            _ => None,
        }
    }

    /// From the two words of a record.
    #[must_use]
    pub fn from_words(word: &str, offence: Option<Offence>) -> Option<Self> {
        Some(match (word, offence) {
            ("accepted", _) => Self::Accepted,
            ("deferred", _) => Self::Deferred,
            ("refused", Some(offence)) => Self::Offence(offence),
            ("repeated", _) => Self::Repeated,
            ("would_refuse", Some(offence)) => Self::WouldRefuse(offence),
            ("unseen", _) => Self::Unseen,
            ("left", _) => Self::Left,
            ("left_asking", Some(offence)) => Self::LeftAsking(offence),
            _ => return None,
        })
    }
}

/// One act, as it was judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRecord {
    /// Whose session.
    pub session: SessionId,
    /// Who is charged.
    pub source: Source,
    /// What was done.
    pub deed: Deed,
    /// What came of it.
    pub judged: Judged,
    /// From the end of the command to the judgement: the wait before the look-up, and the look-up.
    pub took: Duration,
    /// What was charged; zero if nothing was.
    pub price: Duration,
    /// Which MAIL of the session it belongs to.
    pub transaction: u32,
    /// It names a role, which is never held.
    pub role: bool,
}

/// About so many acts of one session are told one by one; the rest is only counted, in the record
/// of the session. A client that goes on for longer is a program, and tells nothing new.
pub const ACTS_MAX: u32 = 512;

impl SessionRecord {
    /// A number that grows by one or two with each act, to compare with [`ACTS_MAX`]. It is derived
    /// from the counts, so that a session that waits has nothing more to keep.
    #[must_use]
    pub const fn acts(&self) -> u32 {
        self.accepted
            .saturating_add(self.deferred)
            .saturating_add(self.errors)
            .saturating_add(self.messages_count)
            .saturating_add(self.would_refuse)
            .saturating_add(self.unseen)
    }
}
