//! What the administrator decided, in the form in which the machine asks for it.

use std::fmt;
use std::time::Duration;

/// Whether the pit is at work (DESIGN promise 5: off until it is turned on).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Mode {
    /// No accounts are kept; nothing is delayed.
    Off,
    /// Accounts are kept and reported; nothing is delayed or refused on their behalf.
    #[default]
    Observe,
    /// Offences cost time.
    Enforce,
}

impl Mode {
    /// All of them, the laxest first.
    pub const ALL: [Self; 3] = [Self::Off, Self::Observe, Self::Enforce];

    /// The word for configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}

/// Whose account an offence is booked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scope {
    /// The session alone: the feature of KB 842851. Every 5yz reply waits; nothing else does.
    #[default]
    Session,
    /// The source, over all its sessions: the ledger.
    Source,
}

/// How a reply is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Way {
    /// Nothing is said until the end of the hold, then the whole reply.
    #[default]
    Silent,
    /// The reply byte by byte, what is left of it at the end of the hold.
    Stutter,
    /// A continuation line every few seconds, the reply at the end of the hold.
    Continuation,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Silent, Self::Stutter, Self::Continuation];

    /// The word for configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Stutter => "stutter",
            Self::Continuation => "continuation",
        }
    }

    /// The usual [`Policy::pace`]. An octet a second costs us little (a write each), and keeps every
    /// client that counts the time since the last octet. Clients that count the time since the last
    /// line, and give up early, do so after 5 s or more.
    #[must_use]
    pub const fn pace(self) -> Duration {
        match self {
            Self::Silent => Duration::ZERO,
            Self::Stutter => Duration::from_secs(1),
            Self::Continuation => Duration::from_secs(3),
        }
    }
}

/// Something a source did that costs it time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Offence {
    /// RCPT to a name that does not exist: 5yz about the address, or 4yz with an enhanced code
    /// x.1.1 (Postfix can be set so).
    UnknownRecipient,
    /// Any other 5yz of the upstream to RCPT.
    RecipientRefused,
    /// The upstream refused MAIL, its greeting or EHLO with 5yz. Charged once a transaction.
    SenderRefused,
    /// RCPT to a domain that we do not accept mail for.
    RelayDenied,
    /// AUTH that the upstream answered with 5yz, but for 500-504, 530, 534 and 538.
    FailedAuth,
    /// AUTH in the wrong place, with a mechanism that is not offered, or cancelled: 5yz, but nothing
    /// was guessed. On the account of AUTH, so that a phone with an old setting can't keep its
    /// office from getting mail.
    AuthMistake,
    /// The message was refused with 5yz at end-of-data. Never held there; paid at the next RCPT.
    MessageRefused,
    /// Any other 5yz reply: unknown verbs, wrong order, malformed arguments.
    Protocol,
}

impl Offence {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownRecipient => "unknown_recipient",
            Self::RecipientRefused => "recipient_refused",
            Self::SenderRefused => "sender_refused",
            Self::RelayDenied => "relay_denied",
            Self::FailedAuth => "failed_auth",
            Self::AuthMistake => "auth_mistake",
            Self::MessageRefused => "message_refused",
            Self::Protocol => "protocol",
        }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The policy of one listener: what an offence costs there, and the bounds of one session.
///
/// Growth of the price and allowance by standing will be decided here, so all callers ask
/// [`Policy::price`] and [`Policy::allowance`] instead of reading a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether the pit is at work.
    pub mode: Mode,
    /// Whose account is charged.
    pub scope: Scope,
    /// Price of an offence; TarpitTime of KB 842851. Zero turns the pit off.
    pub delay: Duration,
    /// The longest hold before one reply (scope `source`).
    pub hold_max: Duration,
    /// Recipients of one transaction; more get 452 4.5.3. At least 100 (RFC 5321 §4.5.3.1.8).
    pub recipients_max: u32,
    /// 5yz replies in one session that is not authenticated, since the last message that was
    /// accepted; the next ends it with 421. Applied in `enforce` only.
    pub errors_max: u32,
    /// How replies are held. Never the reply to end-of-data: it is not held at all.
    pub way: Way,
    /// The least time between two pieces of a reply that is held and not silent, in whole
    /// milliseconds. [`Way::pace`] is the usual one.
    pub pace: Duration,
}

/// All work behind one reply, hold included, ends within this time: RFC 5321 §4.5.3.2 lets
/// clients give up after 300 s.
pub const REPLY_MAX: Duration = Duration::from_secs(240);

/// The holds of one session add up to this at most, then 421.
pub const HOLD_TOTAL_MAX: Duration = Duration::from_secs(600);

impl Policy {
    /// What `offence` costs now.
    #[must_use]
    pub fn price(&self, _offence: Offence) -> Duration {
        self.delay
    }

    /// Debt that a source may carry without being held. Zero until there is standing.
    #[must_use]
    pub fn allowance(&self) -> Duration {
        Duration::ZERO
    }

    /// The longest hold before one reply. With scope `session` it is the delay itself.
    #[must_use]
    pub fn longest_hold(&self) -> Duration {
        match self.scope {
            Scope::Session => self.delay,
            Scope::Source => self.hold_max,
        }
    }

    /// Whether accounts are kept at all: not in mode `off`, nor at a delay of zero.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.mode != Mode::Off && !self.delay.is_zero()
    }

    /// Whether replies are really delayed and debtors really refused.
    #[must_use]
    pub fn enforces(&self) -> bool {
        self.mode == Mode::Enforce && !self.delay.is_zero()
    }
}
