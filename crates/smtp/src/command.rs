//! A client's command, parsed from one line (RFC 5321 §4.1).
//!
//! Promises: a [`Command`] borrows from the line and has been checked to its last octet, so it can be printed
//! anew for the upstream; every fault has a value of its own, and which reply that is, is `core`'s table.
//!
//! Where the standard leaves room this does what Postfix does: spaces and tabs both separate, white space before
//! the line end is ignored (RFC 5321 §4.1.1), space after `FROM:` and `TO:` is accepted. Unlike Postfix it wants
//! the verb in the first column (the limit of a line depends on its first octets) and a path in its brackets.

use crate::limits::{CHUNK_DIGITS_MAX, HELLO_MAX, MECHANISM_MAX};
use crate::param::{MailParams, RcptParams};
use crate::path::{self, ForwardPath, PathError, ReversePath};
use crate::verb::Verb;
use crate::xclient::XclientClaim;
use std::fmt;

/// A well-formed command that the gateway knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO with the client's name: printable ASCII, 1 to 255 octets. More isn't asked of it: real clients send
    /// underscores, bare addresses and worse, and RFC 5321 §4.1.4 forbids to refuse mail for it.
    Ehlo(&'a str),
    /// HELO, as EHLO.
    Helo(&'a str),
    /// MAIL FROM.
    Mail {
        /// Where notifications go.
        path: ReversePath<'a>,
        /// What else it said.
        params: MailParams<'a>,
    },
    /// RCPT TO.
    Rcpt {
        /// The recipient.
        path: ForwardPath<'a>,
        /// What else it said.
        params: RcptParams<'a>,
    },
    /// DATA.
    Data,
    /// BDAT (RFC 3030 §2). Exactly `size` octets of message content follow the line, whatever the reply to it.
    Bdat {
        /// Octets that follow.
        size: u64,
        /// Whether they are the end of the message.
        last: bool,
    },
    /// STARTTLS (RFC 3207 §4).
    StartTls,
    /// XCLIENT.
    Xclient(XclientClaim<'a>),
    /// RSET.
    Rset,
    /// QUIT.
    Quit,
    /// NOOP; an argument is ignored.
    Noop,
    /// HELP; an argument is ignored.
    Help,
    /// VRFY with its argument, which may be UTF-8 (RFC 6531 §3.7.4.2).
    Vrfy(&'a str),
    /// EXPN with its argument, as VRFY.
    Expn(&'a str),
    /// AUTH (RFC 4954 §4).
    Auth {
        /// The mechanism's name as sent.
        mechanism: &'a str,
        /// The initial response: base64 as sent, not decoded; `=` is an empty one.
        initial: Option<&'a str>,
    },
}

/// Why a line is no command that the gateway can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandError {
    /// The first word is no verb. RFC 5321 §4.2.4: 500.
    UnknownVerb,
    /// A verb that the gateway knows of but doesn't offer. RFC 5321 §4.2.4: 502.
    NotImplemented(Verb),
    /// An argument is missing, malformed, or not allowed. RFC 5321 §4.3.2: 501.
    Syntax(Verb),
    /// The path is malformed. RFC 3463 §3.2: 501 5.1.7 for MAIL, 501 5.1.3 for RCPT.
    Path(Verb, PathError),
    /// A known parameter with a bad value, or given twice. RFC 5321 §4.1.1.11: 501.
    Parameter(Verb),
    /// A parameter that isn't known. RFC 5321 §4.1.1.11: 555.
    UnknownParameter(Verb),
    /// An octet above 127 where only ASCII may stand, or one that is no UTF-8.
    NotAscii(Verb),
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVerb => write!(f, "the command isn't known"),
            Self::NotImplemented(verb) => write!(f, "{verb} isn't implemented"),
            Self::Syntax(verb) => write!(
                f,
                "{verb}: an argument is missing, malformed or not allowed"
            ),
            Self::Path(verb, error) => write!(f, "{verb}: {error}"),
            Self::Parameter(verb) => {
                write!(f, "{verb}: a parameter has a bad value or is given twice")
            }
            Self::UnknownParameter(verb) => write!(f, "{verb}: a parameter isn't known"),
            Self::NotAscii(verb) => {
                write!(
                    f,
                    "{verb}: an octet is above 127; UTF-8 is allowed in addresses, elsewhere ASCII"
                )
            }
        }
    }
}

impl std::error::Error for CommandError {}

impl<'a> Command<'a> {
    /// Parses a line without its CRLF.
    ///
    /// # Errors
    /// What is wrong with it; nothing of a line with an error should be acted on.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandError> {
        let (word, rest) = split_word(line);
        let verb = Verb::parse(word).ok_or(CommandError::UnknownVerb)?;
        match verb {
            // RFC 5321 §4.1.1.9: the parameter string of NOOP should be ignored; HELP's we have no use for.
            Verb::Noop => Ok(Self::Noop),
            Verb::Help => Ok(Self::Help),
            Verb::Data => bare(Self::Data, verb, rest),
            Verb::Rset => bare(Self::Rset, verb, rest),
            Verb::Quit => bare(Self::Quit, verb, rest),
            Verb::Ehlo => name(text(verb, rest)?, verb).map(Self::Ehlo),
            Verb::Helo => name(text(verb, rest)?, verb).map(Self::Helo),
            Verb::Vrfy => some(utf8(verb, rest)?, verb).map(Self::Vrfy),
            Verb::Expn => some(utf8(verb, rest)?, verb).map(Self::Expn),
            Verb::Mail => mail(utf8(verb, rest)?),
            Verb::Rcpt => rcpt(utf8(verb, rest)?),
            Verb::Auth => auth(text(verb, rest)?),
            Verb::StartTls => bare(Self::StartTls, verb, rest),
            Verb::Bdat => bdat(text(verb, rest)?),
            Verb::Xclient => XclientClaim::parse(text(verb, rest)?).map(Self::Xclient),
            Verb::Etrn
            | Verb::Atrn
            | Verb::Burl
            | Verb::Turn
            | Verb::Send
            | Verb::Soml
            | Verb::Saml
            | Verb::Xforward => Err(CommandError::NotImplemented(verb)),
        }
    }

    /// The command's verb.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Self::Ehlo(_) => Verb::Ehlo,
            Self::Helo(_) => Verb::Helo,
            Self::Mail { .. } => Verb::Mail,
            Self::Rcpt { .. } => Verb::Rcpt,
            Self::Data => Verb::Data,
            Self::Bdat { .. } => Verb::Bdat,
            Self::StartTls => Verb::StartTls,
            Self::Xclient(_) => Verb::Xclient,
            Self::Rset => Verb::Rset,
            Self::Quit => Verb::Quit,
            Self::Noop => Verb::Noop,
            Self::Help => Verb::Help,
            Self::Vrfy(_) => Verb::Vrfy,
            Self::Expn(_) => Verb::Expn,
            Self::Auth { .. } => Verb::Auth,
        }
    }
}

/// The first word, and the rest without the white space around it.
fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    let blank = |octet: &u8| matches!(octet, b' ' | b'\t');
    let end = line.iter().position(blank).unwrap_or(line.len());
    let (word, mut rest) = line.split_at_checked(end).unwrap_or((line, b""));
    while let Some((_, after)) = rest.split_first().filter(|(first, _)| blank(first)) {
        rest = after;
    }
    // RFC 5321 §4.1.1: receivers should tolerate trailing white space.
    while let Some((_, before)) = rest.split_last().filter(|(last, _)| blank(last)) {
        rest = before;
    }
    (word, rest)
}

/// An argument as text: ASCII, with no control character but the tab.
fn text(verb: Verb, rest: &[u8]) -> Result<&str, CommandError> {
    if rest.is_ascii() {
        utf8(verb, rest)
    } else {
        Err(CommandError::NotAscii(verb))
    }
}

/// An argument as text: UTF-8 (no overlong form, no surrogate), with no ASCII control character but the tab. Which
/// characters above 127 may stand where is judged there.
fn utf8(verb: Verb, rest: &[u8]) -> Result<&str, CommandError> {
    let text = std::str::from_utf8(rest).map_err(|_| CommandError::NotAscii(verb))?;
    let clean = text
        .bytes()
        .all(|octet| matches!(octet, b' '..=b'~' | b'\t') || !octet.is_ascii());
    if clean {
        Ok(text)
    } else {
        Err(CommandError::Syntax(verb))
    }
}

/// RFC 5321 §4.1.1.4, .5, .10: no argument; §4.3.2 and Postfix: 501 if there is one.
fn bare<'a>(command: Command<'a>, verb: Verb, rest: &[u8]) -> Result<Command<'a>, CommandError> {
    match rest {
        [] => Ok(command),
        _ => Err(text(verb, rest).err().unwrap_or(CommandError::Syntax(verb))),
    }
}

fn some(text: &str, verb: Verb) -> Result<&str, CommandError> {
    if text.is_empty() {
        Err(CommandError::Syntax(verb))
    } else {
        Ok(text)
    }
}

/// One word: what EHLO and HELO call themselves.
fn name(text: &str, verb: Verb) -> Result<&str, CommandError> {
    let one_word = text.bytes().all(|octet| octet.is_ascii_graphic());
    if one_word && (1..=HELLO_MAX).contains(&text.len()) {
        Ok(text)
    } else {
        Err(CommandError::Syntax(verb))
    }
}

/// What follows `FROM:` or `TO:`, without the white space that many clients put there.
fn after_keyword<'a>(text: &'a str, keyword: &str, verb: Verb) -> Result<&'a str, CommandError> {
    match text.split_at_checked(keyword.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(keyword) => {
            Ok(rest.trim_start_matches([' ', '\t']))
        }
        _ => Err(CommandError::Syntax(verb)),
    }
}

/// RFC 5321 §4.1.1.2.
fn mail(text: &str) -> Result<Command<'_>, CommandError> {
    let in_path = |error| CommandError::Path(Verb::Mail, error);
    let (inner, rest) =
        path::split_path(after_keyword(text, "FROM:", Verb::Mail)?).map_err(in_path)?;
    let path = ReversePath::parse(inner).map_err(in_path)?;
    Ok(Command::Mail {
        path,
        params: MailParams::parse(rest)?,
    })
}

/// RFC 5321 §4.1.1.3.
fn rcpt(text: &str) -> Result<Command<'_>, CommandError> {
    let in_path = |error| CommandError::Path(Verb::Rcpt, error);
    let (inner, rest) =
        path::split_path(after_keyword(text, "TO:", Verb::Rcpt)?).map_err(in_path)?;
    let path = ForwardPath::parse(inner).map_err(in_path)?;
    Ok(Command::Rcpt {
        path,
        params: RcptParams::parse(rest)?,
    })
}

/// RFC 3030 §2: `BDAT SP chunk-size [SP "LAST"]`.
fn bdat(text: &str) -> Result<Command<'_>, CommandError> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    let size = words.next().and_then(chunk_size);
    let last = match words.next() {
        None => Some(false),
        Some(word) => word.eq_ignore_ascii_case("LAST").then_some(true),
    };
    match (size, last, words.next()) {
        (Some(size), Some(last), None) => Ok(Command::Bdat { size, last }),
        _ => Err(CommandError::Syntax(Verb::Bdat)),
    }
}

fn chunk_size(word: &str) -> Option<u64> {
    let digits = word.len() <= CHUNK_DIGITS_MAX && word.bytes().all(|octet| octet.is_ascii_digit());
    word.parse().ok().filter(|_| digits)
}

/// RFC 4954 §4: `AUTH mechanism [initial-response]`.
fn auth(text: &str) -> Result<Command<'_>, CommandError> {
    let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
    // RFC 4422 §3.1: 1 to 20 letters, digits, hyphens and underscores.
    let is_mechanism = |word: &&str| {
        word.len() <= MECHANISM_MAX
            && word
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
    };
    let mechanism = words
        .next()
        .filter(is_mechanism)
        .ok_or(CommandError::Syntax(Verb::Auth))?;
    let initial = words.next();
    if words.next().is_some() {
        return Err(CommandError::Syntax(Verb::Auth));
    }
    if !initial.is_none_or(is_base64) {
        return Err(CommandError::Parameter(Verb::Auth));
    }
    Ok(Command::Auth { mechanism, initial })
}

/// The alphabet of base64 with its padding at the end (RFC 4648 §4), or `=` for nothing. Decoding is the
/// upstream's affair; this makes sure that it's one harmless word.
fn is_base64(word: &str) -> bool {
    let digits = word.trim_end_matches('=');
    word.len().saturating_sub(digits.len()) <= 2
        && digits
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/'))
}
