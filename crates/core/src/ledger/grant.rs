//! The values that callers exchange with the ledger.

use std::time::Duration;

#[cfg(doc)]
use super::Ledger;
use crate::{Source, Tick};

/// Bounds of the ledger's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerConfig {
    /// Sources with debt, reservations or waiting sessions. Each shard has its equal share.
    pub sources_max: usize,
    /// Known senders.
    pub known_max: usize,
    /// How long a known sender stays known after its last accepted mail.
    pub known_for: Duration,
}

/// RCPT debt and AUTH debt are kept apart, so that a phone with an old password can't keep its
/// office from getting mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Account {
    /// Recipients, and everything else that is not AUTH.
    Rcpt,
    /// AUTH.
    Auth,
}

/// What policy says about one look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Price of the offence that it may turn out to be. A price above `hold_max` plus `allowance`
    /// counts as that sum, since nobody would ever have room for it.
    pub price: Duration,
    /// Debt that the source may carry without being held.
    pub allowance: Duration,
    /// The longest hold before one reply, and the longest wait for room.
    pub hold_max: Duration,
}

/// A session's number in the queues. A session has one pending request at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// The answer to a request for a look-up.
#[derive(Debug, PartialEq, Eq)]
pub enum Grant {
    /// Make the look-up, then settle the reservation.
    Granted(Reservation),
    /// Poll again at `until`, or earlier if [`Ledger::take_woken`] names the ticket.
    Wait {
        /// Later than now, and never later than the request's deadline.
        until: Tick,
    },
    /// No room within `hold_max`: the client gets an answer that tells nothing. The ticket is out
    /// of the queue.
    NoRoom,
}

/// The reserved price of one look-up in flight. Settled exactly once, by [`Ledger::charge`] or
/// [`Ledger::release`].
#[must_use = "a reservation that is not settled takes room from its source"]
#[derive(Debug, PartialEq, Eq)]
pub struct Reservation {
    pub(super) source: Source,
    pub(super) account: Account,
    pub(super) price_ms: u64,
    pub(super) granted_at: Tick,
    /// False if the table was full: nothing was reserved.
    pub(super) booked: bool,
}

impl Reservation {
    /// Whose it is.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The account it is booked to.
    #[must_use]
    pub const fn account(&self) -> Account {
        self.account
    }

    /// What is reserved.
    #[must_use]
    pub const fn price(&self) -> Duration {
        Duration::from_millis(self.price_ms)
    }

    /// When the look-up was granted.
    #[must_use]
    pub const fn granted_at(&self) -> Tick {
        self.granted_at
    }
}

/// What a source owes after a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// When the source is free of debt. The caller holds the reply until then (less the
    /// allowance), but never longer than `hold_max` from now.
    pub free_at: Tick,
    /// The debt now: the time from now to `free_at`.
    pub owed: Duration,
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerStats {
    /// Sources in the table.
    pub sources: usize,
    /// Known senders in their table.
    pub known: usize,
    /// Debts forgotten before their time since the start, to make place for others.
    pub evicted: u64,
    /// Look-ups and offences since the start that could not be booked, because every entry of the
    /// shard had something pending. They cost their source nothing.
    pub unbooked: u64,
}

impl Charge {
    pub(super) const fn new(now: Tick, free_at: Tick) -> Self {
        Self {
            free_at,
            owed: free_at.since(now),
        }
    }
}
