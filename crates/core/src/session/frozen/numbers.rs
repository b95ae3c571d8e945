//! The numbers that stand for the members of closed lists in frozen sessions. Each list has one
//! table.
//!
//! A number is never used for something else: another version of the program reads it. A new
//! member takes the next one that is free.

use tarpit_smtp::{Extension, Mechanism};

use crate::answer::Finding;
use crate::octets::{Fault, Reader, Unreadable};
use crate::policy::{Offence, Way};
use crate::record::SessionEnd;

/// A member of a closed list that has a number.
pub(super) trait Numbered: Copy {
    /// What the list is called in errors.
    const NAME: &'static str;

    /// The number of this one.
    fn number(self) -> u8;

    /// What the number stands for, if it does.
    fn of(number: u8) -> Option<Self>;

    /// Reads one.
    fn read(from: &mut Reader<'_>) -> Result<Self, Unreadable> {
        let start = *from;
        let found = from.octet(Self::NAME)?;
        Self::of(found).ok_or_else(|| {
            let found = found.into();
            start.fault(Self::NAME, Fault::Unknown { found })
        })
    }
}

macro_rules! numbered {
    ($type:ty, $name:literal, { $($member:ident = $number:literal),+ $(,)? }) => {
        impl Numbered for $type {
            const NAME: &'static str = $name;

            fn number(self) -> u8 {
                match self { $( Self::$member => $number, )+ }
            }

            fn of(number: u8) -> Option<Self> {
                match number {
                    $( $number => Some(Self::$member), )+
                    _ => None,
                }
            }
        }
    };
}

numbered!(Way, "way to hold", {
    Silent = 0,
    Stutter = 1,
    Continuation = 2,
});

numbered!(Finding, "finding", {
    SenderOk = 0,
    Reset = 1,
    Noop = 2,
    Help = 3,
    NotVerified = 4,
    StartData = 5,
    Goodbye = 6,
    Unavailable = 7,
    ShuttingDown = 8,
    Full = 9,
    SourceFull = 10,
    Ourselves = 11,
    CommandTimeout = 12,
    SessionTimeout = 13,
    DataTooSlow = 14,
    TooManyErrors = 15,
    HeldTooLong = 16,
    AuthLost = 17,
    TooMuchAhead = 18,
    Bug = 19,
    OwesRcpt = 20,
    OwesAuth = 21,
    UpstreamTrouble = 22,
    OutcomeUnknown = 23,
    UpstreamBusy = 24,
    IdentityUntold = 25,
    TooManyRecipients = 26,
    NoRecipientsNow = 27,
    UnknownVerb = 28,
    NotImplemented = 29,
    LineTooLong = 30,
    BadLine = 31,
    Syntax = 32,
    BadReversePath = 33,
    BadForwardPath = 34,
    NotAscii = 35,
    UnknownParameter = 36,
    NestedMail = 37,
    NeedMail = 38,
    NoRecipients = 39,
    NeedEhlo = 40,
    AuthInTransaction = 41,
    AuthTwice = 42,
    AuthUnavailable = 43,
    UnknownMechanism = 44,
    NotBase64 = 45,
    TooLarge = 46,
    RelayDenied = 47,
    UnknownRecipient = 48,
    BareNewline = 49,
    Looped = 50,
    ReadyForTls = 51,
    TlsUnavailable = 52,
    TlsTwice = 53,
    TlsInTransaction = 54,
    TlsAfterAuth = 55,
    NeedTls = 56,
    AuthNeedsTls = 57,
    RequireTlsNeedsTls = 58,
    NeedAuth = 59,
    NotTrusted = 60,
    XclientInTransaction = 61,
    XclientAfterAuth = 62,
    NonAsciiSender = 63,
    NonAsciiRecipient = 64,
    ByTooSoon = 65,
    HoldTooLong = 66,
    TooManyMessages = 67,
    InChunks = 68,
    ChunksFailed = 69,
    BinaryNeedsChunks = 70,
    ChunkUnreadable = 71,
    Shed = 72,
    Debtor = 73,
});

numbered!(Offence, "offence", {
    UnknownRecipient = 0,
    RecipientRefused = 1,
    SenderRefused = 2,
    RelayDenied = 3,
    FailedAuth = 4,
    AuthMistake = 5,
    MessageRefused = 6,
    Protocol = 7,
});

numbered!(SessionEnd, "end of the session", {
    Quit = 0,
    HangUp = 1,
    HangUpHeld = 2,
    TimedOut = 3,
    Limit = 4,
    Refused = 5,
    UpstreamLost = 6,
    OutOfStep = 7,
    Drained = 8,
    Bug = 9,
    Shed = 10,
});

numbered!(Mechanism, "mechanism", {
    Plain = 0,
    Login = 1,
    CramMd5 = 2,
    ScramSha1 = 3,
    ScramSha224 = 4,
    ScramSha256 = 5,
    ScramSha384 = 6,
    ScramSha512 = 7,
    Xoauth2 = 8,
    OauthBearer = 9,
});

// Each is a bit of a set.
numbered!(Extension, "extension", {
    Pipelining = 0,
    Size = 1,
    StartTls = 2,
    Auth = 3,
    EnhancedStatusCodes = 4,
    EightBitMime = 5,
    Dsn = 6,
    SmtpUtf8 = 7,
    Chunking = 8,
    BinaryMime = 9,
    DeliverBy = 10,
    RequireTls = 11,
    Limits = 12,
    MtPriority = 13,
    FutureRelease = 14,
    Xclient = 15,
});

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;

    /// Names in the order of their numbers.
    fn names<T: Numbered + Debug + PartialEq>() -> String {
        let members: Vec<T> = (0..=u8::MAX).map_while(T::of).collect();
        for (number, member) in members.iter().enumerate() {
            assert_eq!(usize::from(member.number()), number);
        }
        let beyond = u8::try_from(members.len()).unwrap()..=u8::MAX;
        assert!(beyond.into_iter().all(|number| T::of(number).is_none()));
        let names: Vec<String> = members.iter().map(|member| format!("{member:?}")).collect();
        names.join(" ")
    }

    /// What another version has written is read by these. A line may get longer, nothing else.
    #[test]
    fn numbers_never_change() {
        assert_eq!(
            names::<Finding>(),
            "SenderOk Reset Noop Help NotVerified StartData Goodbye Unavailable ShuttingDown Full \
             SourceFull Ourselves CommandTimeout SessionTimeout DataTooSlow TooManyErrors \
             HeldTooLong AuthLost TooMuchAhead Bug OwesRcpt OwesAuth UpstreamTrouble \
             OutcomeUnknown UpstreamBusy IdentityUntold TooManyRecipients NoRecipientsNow \
             UnknownVerb NotImplemented LineTooLong BadLine Syntax BadReversePath BadForwardPath \
             NotAscii UnknownParameter NestedMail NeedMail NoRecipients NeedEhlo AuthInTransaction \
             AuthTwice AuthUnavailable UnknownMechanism NotBase64 TooLarge RelayDenied \
             UnknownRecipient BareNewline Looped ReadyForTls TlsUnavailable TlsTwice \
             TlsInTransaction TlsAfterAuth NeedTls AuthNeedsTls RequireTlsNeedsTls NeedAuth \
             NotTrusted XclientInTransaction XclientAfterAuth NonAsciiSender NonAsciiRecipient \
             ByTooSoon HoldTooLong TooManyMessages InChunks ChunksFailed BinaryNeedsChunks \
             ChunkUnreadable Shed Debtor"
        );
        assert_eq!(
            names::<Offence>(),
            "UnknownRecipient RecipientRefused SenderRefused RelayDenied FailedAuth AuthMistake \
             MessageRefused Protocol"
        );
        assert_eq!(
            names::<SessionEnd>(),
            "Quit HangUp HangUpHeld TimedOut Limit Refused UpstreamLost OutOfStep Drained Bug Shed"
        );
        assert_eq!(
            names::<Mechanism>(),
            "Plain Login CramMd5 ScramSha1 ScramSha224 ScramSha256 ScramSha384 ScramSha512 \
             Xoauth2 OauthBearer"
        );
        assert_eq!(
            names::<Extension>(),
            "Pipelining Size StartTls Auth EnhancedStatusCodes EightBitMime Dsn SmtpUtf8 Chunking \
             BinaryMime DeliverBy RequireTls Limits MtPriority FutureRelease Xclient"
        );
    }
}
