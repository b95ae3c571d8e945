//! One connection to the upstream, and what stands on it.

use tarpit_core::Trouble;
use tarpit_smtp::{Capabilities, Extensions, Reply};

use super::chunks::Chunks;
use super::identity::Told;
use super::stock::Permit;
use super::wire::{REPLY_LIMIT, Wire};

/// Why a step on a connection has no ordinary reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection is lost or can't be trusted any more.
    Broken(Trouble),
    /// The connection is sound, but will not do for this.
    Unfit(Trouble),
    /// MAIL was refused.
    Sender(Reply),
    /// The greeting or EHLO was refused.
    Service(Reply),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::Broken(trouble)
    }
}

/// What stands on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No transaction.
    Nothing,
    /// MAIL and this many RCPTs of the envelope with this serial were accepted.
    Transaction { serial: u32, recipients: usize },
    /// Something that only RSET can clear.
    Stale,
    /// Message data flows.
    Data,
}

/// How far AUTH has come on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    /// There was none.
    None,
    /// An exchange has begun: the next line belongs to it.
    Exchange,
    /// 235: the connection is that client's.
    Done,
    /// There was one, and it failed.
    Failed,
}

/// One connection to the upstream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) wire: Wire,
    /// Announced to the client that the upstream was told of.
    pub(super) capabilities: Capabilities,
    /// The same as a set, which each transaction is held against.
    pub(super) offers: Extensions,
    pub(super) told: Told,
    pub(super) standing: Standing,
    /// The message that comes in chunks; it stands as [`Standing::Data`].
    pub(super) chunks: Option<Box<Chunks>>,
    /// DATA went out behind the recipient that was accepted last, and its reply is awaited: until
    /// then the connection is good for nothing but that reply.
    pub(super) data_ahead: bool,
    pub(super) auth: Auth,
    /// 5yz replies so far.
    pub(super) refusals: u32,
    /// MAIL commands so far, whatever became of them.
    pub(super) mails: u32,
    /// Messages that the upstream accepted on it.
    pub(super) messages: u32,
    /// Its place among the upstream's connections; the probe has none.
    pub(super) permit: Option<Permit>,
}

impl Connection {
    /// Pinned: the connection is one client's, never pooled, let go of or replayed.
    pub(super) const fn is_pinned(&self) -> bool {
        matches!(self.auth, Auth::Exchange | Auth::Done)
    }

    /// Whether DATA that ran ahead left it where nothing can be said any more.
    pub(super) fn is_lost_ahead(&self) -> bool {
        self.standing == Standing::Data || !(self.data_ahead || self.wire.is_settled())
    }

    /// Whether another session may use it: the upstream took a message on it and refused nothing.
    /// Servers punish a connection, not a client. `messages_max`: after so many messages it serves
    /// nobody else.
    pub(super) fn is_reusable(&self, messages_max: u32) -> bool {
        self.wire.is_settled()
            && self.standing != Standing::Data
            && self.auth == Auth::None
            && self.refusals == 0
            && (1..messages_max).contains(&self.messages)
            && self.takes_mail()
            // RFC 9422 §4.3: the domains of all its recipients count, and the next client's are others.
            && self.capabilities.limits.rcpt_domain_max.is_none()
    }

    /// Whether the upstream takes one more MAIL on it (RFC 9422 §4.1).
    pub(super) fn takes_mail(&self) -> bool {
        let most = self.capabilities.limits.mail_max;
        most.is_none_or(|most| self.mails < most)
    }

    /// Counts refusals on the way.
    pub(super) async fn reply(&mut self) -> Result<Reply, Trouble> {
        let reply = self.wire.reply(REPLY_LIMIT).await?;
        self.note(&reply);
        Ok(reply)
    }

    pub(super) fn note(&mut self, reply: &Reply) {
        if reply.code().is_permanent() {
            self.refusals = self.refusals.saturating_add(1);
        }
    }

    /// Whether MAIL or RCPT used an extension that this connection does not offer.
    pub(super) fn lacks(&self, uses: Extensions) -> bool {
        !self.offers.contains_all(uses)
    }
}
