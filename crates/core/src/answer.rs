//! The one table of what the gateway says for itself: finding to reply.
//!
//! No other place in the product makes up a reply to a client; replies of the upstream pass as
//! they are. Each row is a reply code (RFC 5321 §4.2.3), an enhanced status code (RFC 3463) and a
//! text. 4yz and 5yz texts get the session's id at their end (`[tp-1A2B3C4D]`), so that both sides
//! can talk about one session.

use tarpit_smtp::{CommandError, PathError, Reply, ReplyCode, Verb};

use crate::SessionId;
use crate::event::Trouble;
use crate::policy::Offence;

/// Something the gateway itself has to tell a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Finding {
    /// MAIL is well formed and within the announced limits.
    SenderOk,
    /// RSET.
    Reset,
    /// NOOP.
    Noop,
    /// HELP.
    Help,
    /// VRFY is never answered: it would be a free oracle (RFC 5321 §7.3 asks for 252).
    NotVerified,
    /// DATA may flow.
    StartData,
    /// QUIT.
    Goodbye,

    /// No upstream is healthy.
    Unavailable,
    /// The gateway stops.
    ShuttingDown,
    /// All places for sessions are taken.
    Full,
    /// All places for sessions of this source are taken.
    SourceFull,
    /// The source owes too much to be let in.
    Debtor,
    /// The client is this gateway.
    Ourselves,
    /// Nothing came within the time for a command.
    CommandTimeout,
    /// The session reached its limit on time.
    SessionTimeout,
    /// Message data came too slowly.
    DataTooSlow,
    /// The session had more 5yz replies than it may have.
    TooManyErrors,
    /// The holds of the session reached their sum.
    HeldTooLong,
    /// An authenticated upstream connection was lost; it can't be made again.
    AuthLost,
    /// The gateway has too much to do, and this client waits or idles.
    Shed,
    /// A client that is to be held had sent more ahead than we keep for it.
    TooMuchAhead,
    /// A bug of ours ends this session, and no other.
    Bug,

    /// The source owes so much that its guess is not looked at. The same for a valid name as for
    /// an invalid one.
    OwesRcpt,
    /// The same for AUTH.
    OwesAuth,
    /// The upstream did not answer; nothing is known.
    UpstreamTrouble,
    /// The upstream was lost after end-of-data: delivered or not, nobody knows (RFC 5321
    /// §4.5.3.2.6). A retry may deliver twice, never the reverse.
    OutcomeUnknown,
    /// No upstream connection was free in time.
    UpstreamBusy,
    /// The client's identity can't be told to the upstream.
    IdentityUntold,
    /// More recipients than one transaction may have.
    TooManyRecipients,
    /// DATA with no recipient left, one of which was refused for now only.
    NoRecipientsNow,

    /// The verb is unknown.
    UnknownVerb,
    /// The verb is known and not offered.
    NotImplemented,
    /// The line is longer than any command may be.
    LineTooLong,
    /// The line holds a bare CR, a bare LF or a NUL.
    BadLine,
    /// An argument is missing, malformed, or not allowed.
    Syntax,
    /// The reverse-path is malformed.
    BadReversePath,
    /// The forward-path is malformed.
    BadForwardPath,
    /// Octets above 127 outside SMTPUTF8.
    NotAscii,
    /// A parameter of MAIL or RCPT that was not announced.
    UnknownParameter,
    /// MAIL inside a transaction.
    NestedMail,
    /// RCPT or DATA outside a transaction.
    NeedMail,
    /// DATA with no recipient accepted.
    NoRecipients,
    /// AUTH before EHLO.
    NeedEhlo,
    /// AUTH inside a transaction.
    AuthInTransaction,
    /// AUTH after AUTH.
    AuthTwice,
    /// AUTH is not announced.
    AuthUnavailable,
    /// The mechanism is not announced.
    UnknownMechanism,
    /// An initial response that is not base64 (RFC 4954 §4 asks for 501 5.5.2).
    NotBase64,
    /// SIZE= is over the announced limit.
    TooLarge,
    /// The domain is none of ours.
    RelayDenied,
    /// The recipients file does not hold the name.
    UnknownRecipient,
    /// The message holds a bare CR or LF.
    BareNewline,
    /// The message came through here too often.
    Looped,

    /// STARTTLS may go on.
    ReadyForTls,
    /// STARTTLS was announced, and can't be had now.
    TlsUnavailable,
    /// STARTTLS inside TLS.
    TlsTwice,
    /// STARTTLS inside a transaction.
    TlsInTransaction,
    /// STARTTLS after AUTH.
    TlsAfterAuth,
    /// AUTH needs TLS, which STARTTLS would give.
    NeedTls,
    /// AUTH needs TLS, which this listener does not have.
    AuthNeedsTls,
    /// REQUIRETLS outside TLS.
    RequireTlsNeedsTls,
    /// A submission listener takes mail after AUTH only.
    NeedAuth,
    /// XCLIENT from somebody who is not trusted to say it.
    NotTrusted,
    /// XCLIENT inside a transaction.
    XclientInTransaction,
    /// XCLIENT after AUTH.
    XclientAfterAuth,
    /// A reverse-path with octets above 127, without SMTPUTF8.
    NonAsciiSender,
    /// A forward-path with octets above 127, without SMTPUTF8.
    NonAsciiRecipient,
    /// BY= is less than the announced minimum.
    ByTooSoon,
    /// HOLDFOR= or HOLDUNTIL= is over the announced maximum.
    HoldTooLong,
    /// More transactions than one session may have.
    TooManyMessages,
    /// MAIL, RCPT, DATA or AUTH after the first chunk of a message.
    InChunks,
    /// BDAT after a chunk that failed.
    ChunksFailed,
    /// DATA for a message that was announced as binary.
    BinaryNeedsChunks,
    /// BDAT that can't be read: nobody knows how many octets follow.
    ChunkUnreadable,
}

/// Room for the replies to a group of commands, so that an outbox grows once for all of them.
const REPLY_ROOM: usize = 96;

impl Finding {
    /// Code, enhanced status code, text.
    #[expect(
        clippy::too_many_lines,
        reason = "one table of what is said, to be read from top to bottom"
    )]
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::SenderOk => (250, "2.1.0", "Sender ok"),
            Self::Reset | Self::Noop => (250, "2.0.0", "Ok"),
            Self::Help => (214, "2.0.0", "See RFC 5321"),
            Self::NotVerified => (
                252,
                "2.5.0",
                "Cannot verify, but will accept and try to deliver",
            ),
            Self::StartData => (354, "", "End data with <CR><LF>.<CR><LF>"),
            Self::Goodbye => (221, "2.0.0", "Bye"),

            Self::Unavailable => (421, "4.3.2", "Mail server not available, try again later"),
            Self::ShuttingDown => (421, "4.3.2", "Service shutting down, try again later"),
            Self::Full => (421, "4.3.2", "Too many sessions, try again later"),
            Self::SourceFull => (421, "4.7.0", "Too many sessions from your network"),
            Self::Debtor => (
                421,
                "4.7.0",
                "Too many errors from your network, try again later",
            ),
            Self::Ourselves => (554, "5.4.6", "This is the gateway itself: a routing loop"),
            Self::CommandTimeout => (421, "4.4.2", "Timeout waiting for a command"),
            Self::SessionTimeout => (421, "4.4.2", "Session took too long"),
            Self::DataTooSlow => (421, "4.4.2", "Message data came too slowly"),
            Self::TooManyErrors => (421, "4.7.0", "Too many errors"),
            Self::HeldTooLong => (421, "4.7.0", "Session was held for too long"),
            Self::AuthLost => (
                421,
                "4.3.0",
                "Authenticated session with the mail server lost",
            ),

            Self::Shed => (421, "4.3.2", "Too busy, try again later"),
            Self::TooMuchAhead => (421, "4.7.0", "Too much sent ahead"),
            Self::Bug => (421, "4.3.0", "Internal error"),

            Self::OwesRcpt => (
                450,
                "4.7.1",
                "Too many errors from your network, try again later",
            ),
            Self::OwesAuth => (
                454,
                "4.7.0",
                "Too many failures from your network, try again later",
            ),
            Self::UpstreamTrouble => (451, "4.3.0", "Mail server does not answer, try again later"),
            Self::OutcomeUnknown => (451, "4.3.0", "Mail server lost, message may be delivered"),
            Self::UpstreamBusy => (451, "4.3.2", "Mail server busy, try again later"),
            Self::IdentityUntold => (451, "4.3.0", "Mail server set-up error, try again later"),
            Self::TooManyRecipients => (452, "4.5.3", "Too many recipients"),
            Self::NoRecipientsNow => (451, "4.5.1", "No valid recipients at present"),

            Self::UnknownVerb => (500, "5.5.2", "Command not recognized"),
            Self::NotImplemented => (502, "5.5.1", "Command not implemented"),
            Self::LineTooLong => (500, "5.5.2", "Line too long"),
            Self::BadLine => (500, "5.5.2", "Bare CR, bare LF or NUL in command"),
            Self::Syntax => (501, "5.5.4", "Syntax error in arguments"),
            Self::BadReversePath => (501, "5.1.7", "Bad sender address syntax"),
            Self::BadForwardPath => (501, "5.1.3", "Bad recipient address syntax"),
            Self::NotAscii => (501, "5.5.4", "Octets above 127 in command"),
            Self::UnknownParameter => (555, "5.5.4", "Parameter not recognized"),
            Self::NestedMail => (503, "5.5.1", "Nested MAIL command"),
            Self::NeedMail => (503, "5.5.1", "Need MAIL command first"),
            Self::NoRecipients => (554, "5.5.1", "No valid recipients"),
            Self::NeedEhlo => (503, "5.5.1", "Send EHLO first"),
            Self::AuthInTransaction => (503, "5.5.1", "AUTH not allowed in a transaction"),
            Self::AuthTwice => (503, "5.5.1", "Already authenticated"),
            Self::AuthUnavailable => (503, "5.5.1", "AUTH not available"),
            Self::UnknownMechanism => (504, "5.5.4", "Mechanism not available"),
            Self::NotBase64 => (501, "5.5.2", "Not base64"),
            Self::TooLarge => (552, "5.3.4", "Message size exceeds the limit"),
            Self::RelayDenied => (550, "5.7.1", "We do not accept mail for this domain"),
            Self::UnknownRecipient => (550, "5.1.1", "No such user here"),
            Self::BareNewline => (550, "5.6.11", "Bare CR or LF in message data"),
            // RFC 3463 §3.5: X.4.6 is a routing loop.
            Self::Looped => (554, "5.4.6", "Message goes round in a loop"),

            Self::ReadyForTls => (220, "2.0.0", "Ready to start TLS"),
            // RFC 3207 §4.
            Self::TlsUnavailable => (454, "4.7.0", "TLS not available now"),
            Self::TlsTwice => (503, "5.5.1", "TLS already active"),
            Self::TlsInTransaction => (503, "5.5.1", "STARTTLS not allowed in a transaction"),
            Self::TlsAfterAuth => (503, "5.5.1", "STARTTLS not allowed after AUTH"),
            Self::NeedTls => (530, "5.7.0", "Must issue a STARTTLS command first"),
            // RFC 4954 §6.
            Self::AuthNeedsTls => (538, "5.7.11", "Encryption required for authentication"),
            Self::NeedAuth => (530, "5.7.0", "Authentication required"),
            // X.7.10 is "encryption needed" in the registry of RFC 5248.
            Self::RequireTlsNeedsTls => (530, "5.7.10", "REQUIRETLS is for TLS sessions only"),
            Self::NotTrusted => (550, "5.7.0", "Not authorized to say who the client is"),
            Self::XclientInTransaction => (503, "5.5.1", "XCLIENT not allowed in a transaction"),
            Self::XclientAfterAuth => (503, "5.5.1", "XCLIENT not allowed after AUTH"),
            // RFC 6531 §3.5: 550 for MAIL, 553 for RCPT.
            Self::NonAsciiSender => (550, "5.6.7", "Sender address needs SMTPUTF8"),
            Self::NonAsciiRecipient => (553, "5.6.7", "Recipient address needs SMTPUTF8"),
            Self::ByTooSoon => (555, "5.5.4", "Time to deliver by is below the minimum"),
            // RFC 4865 §4.
            Self::HoldTooLong => (501, "5.5.4", "Release is too far in the future"),
            Self::TooManyMessages => (421, "4.7.0", "Too many messages in one session"),
            Self::InChunks => (503, "5.5.1", "Message in chunks has begun"),
            Self::ChunksFailed => (503, "5.5.1", "Message failed, send RSET"),
            // RFC 3030 §3.
            Self::BinaryNeedsChunks => (503, "5.5.1", "BINARYMIME needs BDAT"),
            Self::ChunkUnreadable => (501, "5.5.4", "Syntax: BDAT size [LAST]"),
        }
    }

    /// What a client is told when there is no reply of the upstream: a truthful 4yz.
    pub(crate) const fn of(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Capacity => Self::UpstreamBusy,
            Trouble::Identity | Trouble::Relays => Self::IdentityUntold,
            Trouble::AuthLost => Self::AuthLost,
            Trouble::Unreachable
            | Trouble::Tls
            | Trouble::TimedOut
            | Trouble::Closed
            | Trouble::Garbage
            | Trouble::Changed
            | Trouble::Lacks => Self::UpstreamTrouble,
        }
    }

    /// The reply code.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.row().0
    }

    /// What it costs: 5yz that the client brought about. What the gateway says for its own reasons
    /// (debt, limits, upstream trouble) is 4yz and no offence.
    #[must_use]
    pub const fn offence(self) -> Option<Offence> {
        match self {
            Self::RelayDenied => Some(Offence::RelayDenied),
            Self::UnknownRecipient => Some(Offence::UnknownRecipient),
            Self::BareNewline | Self::Looped => Some(Offence::MessageRefused),
            Self::NeedEhlo
            | Self::AuthInTransaction
            | Self::AuthTwice
            | Self::AuthUnavailable
            | Self::UnknownMechanism
            | Self::NotBase64 => Some(Offence::AuthMistake),
            // Honest programs learn by these what is wanted of them; and whoever sends a message in
            // chunks ahead can't know that one failed (RFC 3030 §2).
            Self::NeedTls
            | Self::AuthNeedsTls
            | Self::NeedAuth
            | Self::RequireTlsNeedsTls
            | Self::ChunksFailed
            | Self::Ourselves => None,
            _ if self.code() >= 500 => Some(Offence::Protocol),
            _ => None,
        }
    }

    /// The whole reply; 4yz and 5yz carry the session's id.
    #[must_use]
    pub fn reply(self, id: SessionId) -> Reply {
        let (code, enhanced, text) = self.row();
        let text = match (code, enhanced) {
            (_, "") => text.to_owned(),
            (400.., _) => format!("{enhanced} {text} [tp-{id}]"),
            _ => format!("{enhanced} {text}"),
        };
        Reply::new(reply_code(code), &text)
    }

    /// Adds the reply to `out`. What is no error, and so has no id, is written without being made first: wanted
    /// mail hears little else of ours.
    pub(crate) fn write_to(self, id: SessionId, out: &mut Vec<u8>) {
        let (code, enhanced, text) = self.row();
        if code >= 400 {
            self.reply(id).write_to(out);
            return;
        }
        let space = if enhanced.is_empty() { "" } else { " " };
        out.reserve(REPLY_ROOM);
        out.extend_from_slice(&reply_code(code).digits());
        for part in [" ", enhanced, space, text, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
    }

    /// The reply to somebody who never gets a session, and so no id.
    #[must_use]
    pub fn brief(self) -> Reply {
        let (code, enhanced, text) = self.row();
        Reply::new(reply_code(code), &format!("{enhanced} {text}"))
    }
}

/// A continuation line before `reply`: with its code, and its enhanced status code if it has one
/// (RFC 5321 §4.2.1, RFC 2034 §4: they are the same in all lines of a reply).
pub(crate) fn please_wait(reply: &Reply) -> Vec<u8> {
    let code = reply.code();
    match reply.enhanced() {
        Some(enhanced) => format!("{code}-{enhanced} Please wait\r\n"),
        None => format!("{code}-Please wait\r\n"),
    }
    .into_bytes()
}

impl From<CommandError> for Finding {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::UnknownVerb => Self::UnknownVerb,
            CommandError::Syntax(Verb::Bdat)
            | CommandError::Parameter(Verb::Bdat)
            | CommandError::NotAscii(Verb::Bdat) => Self::ChunkUnreadable,
            CommandError::NotImplemented(_) => Self::NotImplemented,
            CommandError::Parameter(Verb::Auth) => Self::NotBase64,
            CommandError::Syntax(_) | CommandError::Parameter(_) => Self::Syntax,
            CommandError::Path(verb, error) => bad_path(verb, error),
            CommandError::UnknownParameter(_) => Self::UnknownParameter,
            CommandError::NotAscii(_) => Self::NotAscii,
        }
    }
}

fn bad_path(verb: Verb, _error: PathError) -> Finding {
    if verb == Verb::Mail {
        Finding::BadReversePath
    } else {
        Finding::BadForwardPath
    }
}

/// The greeting (RFC 5321 §4.2: the first word is our name).
#[must_use]
pub fn greeting(hostname: &str) -> Reply {
    Reply::new(reply_code(220), &format!("{hostname} ESMTP"))
}

/// The reply to HELO.
#[must_use]
pub fn helo(hostname: &str) -> Reply {
    Reply::new(reply_code(250), hostname)
}

/// A code of the table. All of them are valid, which a test shows; the fallback only keeps this
/// crate free of panics.
fn reply_code(code: u16) -> ReplyCode {
    ReplyCode::new(code).unwrap_or(ReplyCode::LOCAL_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_as_made() {
        for finding in [
            Finding::SenderOk,
            Finding::Reset,
            Finding::Help,
            Finding::NotVerified,
            Finding::StartData,
            Finding::Goodbye,
            Finding::ReadyForTls,
            Finding::Unavailable,
            Finding::NoRecipients,
        ] {
            let id = SessionId(7);
            let (mut written, mut made) = (b"before".to_vec(), b"before".to_vec());
            finding.write_to(id, &mut written);
            finding.reply(id).write_to(&mut made);
            assert_eq!(written, made, "{finding:?}");
        }
    }
}
