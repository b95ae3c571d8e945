//! XCLIENT as a client says it (Postfix, XCLIENT_README): a trusted proxy tells who its client is.
//!
//! Promises: each attribute is known, stands once, and its value is one that the gateway can act on; what is text holds,
//! decoded, no control character. Whether the client is trusted to say it is not judged here.

use crate::Verb;
use crate::command::CommandError;
use crate::limits::HELLO_MAX;
use crate::names::{XclientAttribute, XclientAttributes};
use crate::{unicode, xtext};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an XCLIENT command claims. A value is `None` if the attribute wasn't given, or is `[UNAVAILABLE]` or
/// `[TEMPUNAVAIL]`; `given` tells the two apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XclientClaim<'a> {
    /// The attributes that were given, with a value or without.
    pub given: XclientAttributes,
    /// NAME: the client's verified host name.
    pub name: Option<Xtext<'a>>,
    /// ADDR: the client's address. An IPv4 address in an IPv6 one is the IPv4 address.
    pub addr: Option<IpAddr>,
    /// PORT: the client's port, not 0.
    pub port: Option<u16>,
    /// PROTO: whether it is ESMTP.
    pub esmtp: Option<bool>,
    /// HELO: what the client called itself; printable ASCII, 1 to 255 octets, no space.
    pub helo: Option<Xtext<'a>>,
    /// LOGIN: its login name.
    pub login: Option<Xtext<'a>>,
    /// DESTADDR: the address that it connected to.
    pub dest_addr: Option<IpAddr>,
    /// DESTPORT: the port that it connected to, not 0.
    pub dest_port: Option<u16>,
    /// REVERSE_NAME: the name that its address points to, verified or not.
    pub reverse_name: Option<Xtext<'a>>,
}

/// A text in the form of xtext, whose octets were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Xtext<'a>(&'a str);

impl<'a> Xtext<'a> {
    /// None unless it is xtext of 1 to 255 octets of UTF-8 without controls.
    fn parse(value: &'a str) -> Option<Self> {
        let text = xtext::decode(value.as_bytes())?;
        let fine = |c: char| matches!(c, ' '..='~') || (!c.is_ascii() && unicode::is_plain(c));
        ((1..=HELLO_MAX).contains(&text.len()) && text.chars().all(fine)).then_some(Self(value))
    }

    /// As written.
    #[must_use]
    pub fn as_xtext(self) -> &'a str {
        self.0
    }

    /// As meant: no control characters, not empty, 255 octets at most.
    #[must_use]
    pub fn decode(self) -> Cow<'a, str> {
        // It was decoded once, in `parse`.
        xtext::decode(self.0.as_bytes()).unwrap_or(Cow::Borrowed(self.0))
    }
}

impl<'a> XclientClaim<'a> {
    /// Parses what follows the verb: `NAME=value ...`, at least one.
    pub(crate) fn parse(text: &'a str) -> Result<Self, CommandError> {
        let mut claim = Self::default();
        for word in text.split([' ', '\t']).filter(|word| !word.is_empty()) {
            let (name, value) = word
                .split_once('=')
                .ok_or(CommandError::Syntax(Verb::Xclient))?;
            claim
                .take(name, value)
                .ok_or(CommandError::Parameter(Verb::Xclient))?;
        }
        if claim.given.is_empty() {
            return Err(CommandError::Syntax(Verb::Xclient));
        }
        Ok(claim)
    }

    fn take(&mut self, name: &str, value: &'a str) -> Option<()> {
        let attribute = XclientAttribute::from_name(name)?;
        if self.given.contains(attribute) {
            return None;
        }
        self.given.insert(attribute);
        if ["[UNAVAILABLE]", "[TEMPUNAVAIL]"]
            .iter()
            .any(|none| value.eq_ignore_ascii_case(none))
        {
            return Some(());
        }
        match attribute {
            XclientAttribute::Name => self.name = Some(host(value)?),
            XclientAttribute::ReverseName => self.reverse_name = Some(host(value)?),
            XclientAttribute::Helo => self.helo = Some(hello(value)?),
            XclientAttribute::Login => self.login = Some(Xtext::parse(value)?),
            XclientAttribute::Addr => self.addr = Some(address(value)?),
            XclientAttribute::DestAddr => self.dest_addr = Some(address(value)?),
            XclientAttribute::Port => self.port = Some(port(value)?),
            XclientAttribute::DestPort => self.dest_port = Some(port(value)?),
            XclientAttribute::Proto => self.esmtp = Some(is_esmtp(value)?),
        }
        Some(())
    }
}

/// A host name: one word.
fn host(value: &str) -> Option<Xtext<'_>> {
    Xtext::parse(value).filter(|text| !text.decode().contains(' '))
}

/// As EHLO takes it.
fn hello(value: &str) -> Option<Xtext<'_>> {
    let word = |text: &Xtext<'_>| text.decode().bytes().all(|octet| octet.is_ascii_graphic());
    Xtext::parse(value).filter(word)
}

/// `192.0.2.1` or `IPV6:2001:db8::1`; Postfix takes the latter without its prefix too.
fn address(value: &str) -> Option<IpAddr> {
    let prefix = value.split_at_checked("IPV6:".len());
    let six = match prefix {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("IPV6:") => rest,
        _ if value.contains(':') => value,
        _ => return value.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    };
    six.parse::<Ipv6Addr>()
        .ok()
        .map(|six| IpAddr::V6(six).to_canonical())
}

fn port(value: &str) -> Option<u16> {
    let digits = value.bytes().all(|octet| octet.is_ascii_digit());
    value.parse().ok().filter(|port| digits && *port > 0)
}

fn is_esmtp(value: &str) -> Option<bool> {
    match value {
        _ if value.eq_ignore_ascii_case("ESMTP") => Some(true),
        _ if value.eq_ignore_ascii_case("SMTP") => Some(false),
        _ => None,
    }
}
