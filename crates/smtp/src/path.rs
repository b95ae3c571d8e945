//! Reverse-paths and forward-paths (RFC 5321 §4.1.2).
//!
//! What is accepted is what all servers read in the same way; a path is refused if two could read it in two ways
//! (no angle brackets, text after the closing bracket, `a@b@c`, a quoted part joined to an unquoted one, octal
//! address literals). Where real mail leaves the grammar without doubt about the meaning, it is accepted: dots
//! anywhere in an unquoted local part (as Postfix does), underscores and outer hyphens in domains.
//!
//! A source route (`@a,@b:`) is checked and dropped, as RFC 5321 §4.1.1.3 and App. C ask.
//!
//! Above 127 any UTF-8 may stand in local parts and domains (RFC 6531 §3.3) that all readers see in one way
//! (`unicode.rs`); whether SMTPUTF8 was said is not judged here: [`ReversePath::is_ascii`] tells whether it must be.
//!
//! Case, quoting and tags are kept as written: only the server that owns a local part may interpret it (§2.4).

use crate::limits::{DOMAIN_MAX, LABEL_MAX, LOCAL_PART_MAX, PATH_MAX};
use crate::unicode;
use std::borrow::Cow;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The argument of MAIL FROM, as it will be printed: without its source route.
///
/// `Display` prints it with its angle brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath<'a> {
    /// `<>`: a notification, to which nobody may answer (RFC 5321 §4.5.5).
    Null,
    /// `<local@domain>`.
    Mailbox(Mailbox<'a>),
}

/// The argument of RCPT TO, as it will be printed: without its source route.
///
/// `Display` prints it with its angle brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardPath<'a> {
    /// `<Postmaster>` without a domain, in any case, as written (RFC 5321 §4.5.1).
    Postmaster(&'a str),
    /// `<local@domain>`.
    Mailbox(Mailbox<'a>),
}

/// A mailbox: local part and domain, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox<'a> {
    text: &'a str,
    local: &'a str,
    domain: &'a str,
}

/// Why a path can't be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PathError {
    /// Nothing follows the colon.
    Missing,
    /// It doesn't start with `<`, has no closing `>`, or goes on after it.
    Brackets,
    /// The source route is malformed.
    Route,
    /// The local part is empty, longer than 128 octets, has a character that must be quoted, or its quoting is wrong.
    Local,
    /// No `@` and no domain, and it isn't `<Postmaster>`.
    NoDomain,
    /// The domain or address literal is malformed or longer than 255 octets.
    Domain,
    /// The path is longer than 320 octets with its brackets.
    TooLong,
    /// `<>` as a recipient.
    NullForward,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Missing => "the address is missing",
            Self::Brackets => "the address must stand in angle brackets",
            Self::Route => "the source route is malformed",
            Self::Local => {
                return write!(
                    f,
                    "the local part is malformed or longer than {LOCAL_PART_MAX} octets"
                );
            }
            Self::NoDomain => "the address has no domain",
            Self::Domain => {
                return write!(
                    f,
                    "the domain is malformed or longer than {DOMAIN_MAX} octets"
                );
            }
            Self::TooLong => {
                return write!(
                    f,
                    "the address is longer than {PATH_MAX} octets with its brackets"
                );
            }
            Self::NullForward => "the null address can't be a recipient",
        };
        f.write_str(text)
    }
}

impl std::error::Error for PathError {}

impl<'a> ReversePath<'a> {
    /// Parses what stands between the angle brackets; the empty text is the null reverse-path.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(inner: &'a str) -> Result<Self, PathError> {
        match inner {
            "" => Ok(Self::Null),
            _ => Mailbox::parse(strip_route(inner)?).map(Self::Mailbox),
        }
    }

    /// Without angle brackets; empty for the null reverse-path.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        match self {
            Self::Null => "",
            Self::Mailbox(mailbox) => mailbox.text,
        }
    }

    /// Whether it needs no SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.as_str().is_ascii()
    }
}

impl<'a> ForwardPath<'a> {
    /// Parses what stands between the angle brackets.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(inner: &'a str) -> Result<Self, PathError> {
        match inner {
            "" => Err(PathError::NullForward),
            // RFC 5321 §4.1.1.3: the only mailbox without a domain, in any case.
            _ if inner.eq_ignore_ascii_case("postmaster") => Ok(Self::Postmaster(inner)),
            _ => Mailbox::parse(strip_route(inner)?).map(Self::Mailbox),
        }
    }

    /// Without angle brackets.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        match self {
            Self::Postmaster(text) => text,
            Self::Mailbox(mailbox) => mailbox.text,
        }
    }

    /// Whether it needs no SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.as_str().is_ascii()
    }
}

impl fmt::Display for ReversePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

impl fmt::Display for ForwardPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}>", self.as_str())
    }
}

impl fmt::Display for Mailbox<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl<'a> Mailbox<'a> {
    /// Parses `local@domain`, without brackets and source route.
    ///
    /// # Errors
    /// The first fault found.
    pub fn parse(text: &'a str) -> Result<Self, PathError> {
        if text.len() > PATH_MAX.saturating_sub("<>".len()) {
            return Err(PathError::TooLong);
        }
        let (local, domain) = split_mailbox(text)?;
        if local.len() > LOCAL_PART_MAX {
            return Err(PathError::Local);
        }
        if domain.len() > DOMAIN_MAX || !(is_literal(domain) || is_domain(domain)) {
            return Err(PathError::Domain);
        }
        Ok(Self {
            text,
            local,
            domain,
        })
    }

    /// The whole mailbox as written.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// Whether it needs no SMTPUTF8 (RFC 6531).
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.text.is_ascii()
    }

    /// The local part as written, quotes included.
    #[must_use]
    pub fn local(&self) -> &'a str {
        self.local
    }

    /// The local part as it is meant: `"a\ b"` is `a b`.
    #[must_use]
    pub fn local_unquoted(&self) -> Cow<'a, str> {
        let Some(quoted) = self
            .local
            .strip_prefix('"')
            .and_then(|rest| rest.strip_suffix('"'))
        else {
            return Cow::Borrowed(self.local);
        };
        if !quoted.contains('\\') {
            return Cow::Borrowed(quoted);
        }
        let mut plain = String::with_capacity(quoted.len());
        let mut chars = quoted.chars();
        while let Some(c) = chars.next() {
            // RFC 5321 §4.1.2: a quoted pair stands for its second character.
            plain.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        Cow::Owned(plain)
    }

    /// The domain or address literal as written.
    #[must_use]
    pub fn domain(&self) -> &'a str {
        self.domain
    }
}

/// Splits `<path> rest` behind the closing bracket; `rest` is empty or starts with white space.
pub(crate) fn split_path(text: &str) -> Result<(&str, &str), PathError> {
    if text.is_empty() {
        return Err(PathError::Missing);
    }
    let inner = text.strip_prefix('<').ok_or(PathError::Brackets)?;
    let (mut quoted, mut escaped) = (false, false);
    let end = inner.bytes().position(|octet| {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    });
    let (path, rest) = end
        .and_then(|at| inner.split_at_checked(at))
        .ok_or(PathError::Brackets)?;
    let rest = rest.strip_prefix('>').ok_or(PathError::Brackets)?;
    if rest.is_empty() || rest.starts_with([' ', '\t']) {
        Ok((path, rest))
    } else {
        Err(PathError::Brackets)
    }
}

/// Drops `@a,@b:` (RFC 5321 §4.1.2, A-d-l) after a look at it.
fn strip_route(inner: &str) -> Result<&str, PathError> {
    if !inner.starts_with('@') {
        return Ok(inner);
    }
    let (route, mailbox) = inner.split_once(':').ok_or(PathError::Route)?;
    let hop = |hop: &str| {
        hop.strip_prefix('@')
            .is_some_and(|domain| domain.len() <= DOMAIN_MAX && is_domain(domain))
    };
    if route.split(',').all(hop) {
        Ok(mailbox)
    } else {
        Err(PathError::Route)
    }
}

/// Local part and what follows its `@`; the local part's characters are checked.
fn split_mailbox(text: &str) -> Result<(&str, &str), PathError> {
    let end = match text.strip_prefix('"') {
        // The two quotes belong to the local part.
        Some(rest) => quoted_len(rest).ok_or(PathError::Local)?.saturating_add(2),
        None => text
            .find(|c| !(is_atext(c) || c == '.'))
            .unwrap_or(text.len()),
    };
    let (local, rest) = text.split_at_checked(end).ok_or(PathError::Local)?;
    if local.is_empty() {
        return Err(PathError::Local);
    }
    match rest.strip_prefix('@') {
        Some(domain) => Ok((local, domain)),
        None if rest.is_empty() => Err(PathError::NoDomain),
        None => Err(PathError::Local),
    }
}

/// Octets before the closing quote, if all are allowed.
fn quoted_len(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            // RFC 6531 §3.3: qtextSMTP, but not quoted-pairSMTP, may be above 127.
            _ if !c.is_ascii() && !escaped && unicode::is_plain(c) => {}
            // RFC 5321 §4.1.2: quoted-pairSMTP and qtextSMTP are printable ASCII and space.
            _ if !(' '..='~').contains(&c) => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// RFC 5322 §3.2.3, and RFC 6531 §3.3 above 127.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || "!#$%&'*+-/=?^_`{|}~".contains(c)
        || (!c.is_ascii() && unicode::is_plain(c))
}

/// Labels of letters, digits, hyphens and underscores (RFC 5321 §4.1.2, but for the underscore, which real
/// hosts have), and of letters of the world (RFC 6531 §3.3, U-label). An empty label, and so a dot at the end, is
/// refused: servers disagree about it.
fn is_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        // RFC 5890 §2.3.2.1: the 63 octets are those of the A-label, `xn--` and at least one for each character.
        let len = if label.is_ascii() {
            label.len()
        } else {
            label.chars().count().saturating_add("xn--".len())
        };
        (1..=LABEL_MAX).contains(&len)
            && label.chars().all(|c| match c {
                '-' | '_' => true,
                _ if c.is_ascii() => c.is_ascii_alphanumeric(),
                _ => unicode::is_label(c),
            })
    })
}

/// RFC 5321 §4.1.3. An octet of IPv4 with a leading zero is refused (octal or decimal?), and so are angle
/// brackets and quotes in a general literal (where does the path end?).
fn is_literal(text: &str) -> bool {
    let Some(inner) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return false;
    };
    let Some((tag, value)) = inner.split_once(':') else {
        return inner.parse::<Ipv4Addr>().is_ok();
    };
    if tag.eq_ignore_ascii_case("IPv6") {
        return value.parse::<Ipv6Addr>().is_ok();
    }
    let tag_ok = tag
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && tag.ends_with(|c: char| c.is_ascii_alphanumeric());
    let dcontent = |octet: u8| octet.is_ascii_graphic() && !b"[]\\<>\"".contains(&octet);
    tag_ok && !value.is_empty() && value.bytes().all(dcontent)
}
