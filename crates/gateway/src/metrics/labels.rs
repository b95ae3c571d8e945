//! The words of the labels: closed sets all of them. A new variant does not compile before it has
//! its place in the list here.

use tarpit_core::budget::Strain;
use tarpit_core::policy::{Mode, Offence, Way};
use tarpit_core::record::{HoldEnd, HoldReason, SessionEnd};

/// A closed set of words.
pub trait Closed: Copy + PartialEq + 'static {
    /// All that are counted, in the order in which they are shown.
    const ALL: &'static [Self];

    /// The word for logs and metrics.
    fn word(self) -> &'static str;

    /// Its place in [`Self::ALL`]; `None` for what the set leaves out.
    fn place(self) -> Option<usize> {
        Self::ALL.iter().position(|word| *word == self)
    }

    /// All words.
    fn words() -> Vec<&'static str> {
        Self::ALL.iter().map(|word| word.word()).collect()
    }
}

macro_rules! closed {
    ($type:ident { $($variant:ident,)+ } $(without $left_out:ident)?) => {
        impl Closed for $type {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant)|+ $(| Self::$left_out)? => self.as_str(),
                }
            }
        }
    };
}

macro_rules! words {
    ($(#[doc = $doc:literal])+ $type:ident { $($(#[doc = $what:literal])+ $variant:ident = $word:literal,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $type {
            $($(#[doc = $what])+ $variant,)+
        }

        impl Closed for $type {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// What a session does now.
    State {
        /// It is in the pit: it waits out its debt or for room, or is idle there after a hold.
        Held = "held",
        /// It waits for an answer of the upstream.
        Upstream = "upstream",
        /// Message data, or a chunk of it, comes in and is passed on.
        Message = "message",
        /// It is in a TLS handshake.
        Handshake = "handshake",
        /// Its bytes go through untouched.
        Passthrough = "passthrough",
        /// It is between two commands, or about to begin or end.
        Open = "open",
    }
}

closed! {
    Strain { Sessions, Memory, Unread, }
}

words! {
    /// A part of the way of wanted mail.
    Stage {
        /// From RCPT being let through to the upstream's answer, connecting included.
        Lookup = "lookup",
        /// From AUTH, or a line of its exchange, to the upstream's answer.
        Auth = "auth",
        /// From the first octet of message data to the last being passed on.
        Data = "data",
        /// From end of data to the upstream's last word.
        EndOfData = "end_of_data",
        /// A TLS handshake with a client that succeeded.
        TlsHandshake = "tls_handshake",
        /// From the look-up of the first accepted recipient to the reply to end of data.
        Message = "message",
    }
}

closed! {
    Way { Silent, Stutter, Continuation, }
}

closed! {
    HoldEnd { Paid, NoRoom, HangUp, HalfClosed, Limit, Drained, Shed, Released, } without Observed
}

closed! {
    SessionEnd {
        Quit, HangUp, HangUpHeld, TimedOut, Limit, Refused, UpstreamLost, OutOfStep, Drained, Shed, Bug,
    }
}

impl Closed for HoldReason {
    const ALL: &'static [Self] = &[
        Self::Offence(Offence::UnknownRecipient),
        Self::Offence(Offence::RecipientRefused),
        Self::Offence(Offence::SenderRefused),
        Self::Offence(Offence::RelayDenied),
        Self::Offence(Offence::FailedAuth),
        Self::Offence(Offence::AuthMistake),
        Self::Offence(Offence::MessageRefused),
        Self::Offence(Offence::Protocol),
        Self::Debt,
        Self::Room,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Offence(
                Offence::UnknownRecipient
                | Offence::RecipientRefused
                | Offence::SenderRefused
                | Offence::RelayDenied
                | Offence::FailedAuth
                | Offence::AuthMistake
                | Offence::MessageRefused
                | Offence::Protocol,
            )
            | Self::Debt
            | Self::Room => self.as_str(),
        }
    }
}

impl Closed for Mode {
    const ALL: &'static [Self] = &[Self::Off, Self::Observe, Self::Enforce];

    fn word(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
        }
    }
}
