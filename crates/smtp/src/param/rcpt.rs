//! The parameters of RCPT (RFC 3461 §4.1 and §4.2, RFC 6533 §3).

use super::{set, split, words};
use crate::command::CommandError;
use crate::extension::{Extension, Extensions};
use crate::limits::{ADDRESS_TYPE_MAX, ORCPT_MAX};
use crate::{Verb, unicode, xtext};

/// What RCPT said beside the forward-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RcptParams<'a> {
    /// NOTIFY= (RFC 3461 §4.1).
    pub notify: Option<Notify>,
    /// ORCPT= as written, checked: `type;address`, the address as xtext (RFC 3461 §4.2), or with the type `utf-8` in one of
    /// the forms of RFC 6533 §3. Only there may octets be above 127.
    pub orcpt: Option<&'a str>,
}

/// NOTIFY=: of what the sender wants to hear. Nothing set is NEVER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Notify {
    /// SUCCESS.
    pub success: bool,
    /// FAILURE.
    pub failure: bool,
    /// DELAY.
    pub delay: bool,
}

impl Notify {
    /// RFC 3461 §4.1: `"NEVER" / 1#notify-list-element`; a word given twice is refused.
    fn parse(value: &str) -> Option<Self> {
        let mut notify = Self::default();
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(notify);
        }
        for word in value.split(',') {
            let field = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut notify.success,
                "FAILURE" => &mut notify.failure,
                "DELAY" => &mut notify.delay,
                _ => return None,
            };
            if std::mem::replace(field, true) {
                return None;
            }
        }
        Some(notify)
    }

    fn print_into(self, out: &mut String) {
        let words = [
            (self.success, "SUCCESS"),
            (self.failure, "FAILURE"),
            (self.delay, "DELAY"),
        ];
        let words: Vec<&str> = words
            .into_iter()
            .filter_map(|(set, word)| set.then_some(word))
            .collect();
        if words.is_empty() {
            out.push_str("NEVER");
        } else {
            out.push_str(&words.join(","));
        }
    }
}

/// RFC 3461 §4.2: `addr-type ";" xtext`; RFC 6533 §3: `"utf-8;"` with text of its own.
fn orcpt(value: &str) -> Option<&str> {
    let (kind, address) = value.split_once(';')?;
    // RFC 3461 §4.2: addr-type is an atom; registered types are letters, digits and hyphens.
    let kind_ok = (1..=ADDRESS_TYPE_MAX).contains(&kind.len())
        && kind
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.'));
    let address_ok = if kind.eq_ignore_ascii_case("utf-8") {
        is_utf8_address(address)
    } else {
        xtext::is_valid(address.as_bytes())
    };
    let whole_ok = !address.is_empty() && value.len() <= ORCPT_MAX;
    (kind_ok && address_ok && whole_ok).then_some(value)
}

/// RFC 6533 §3: printable characters without `+` and `=`, a backslash only in `\x{10FFFF}`. Senders that know only
/// RFC 3461 write the address as xtext; so `+` is taken too where two hexadecimal digits follow.
fn is_utf8_address(text: &str) -> bool {
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.strip_prefix(c).unwrap_or_default();
        rest = match c {
            '\\' => match embedded(after) {
                Some(after) => after,
                None => return false,
            },
            '+' => match after.split_at_checked(2) {
                Some((hex, after)) if xtext::is_valid(format!("+{hex}").as_bytes()) => after,
                _ => return false,
            },
            '=' => return false,
            _ if c.is_ascii_graphic() || (!c.is_ascii() && unicode::is_plain(c)) => after,
            _ => return false,
        };
    }
    true
}

/// What follows `x{10FFFF}`, which must be a character that could stand in an address.
fn embedded(text: &str) -> Option<&str> {
    let (hex, after) = text.strip_prefix("x{")?.split_once('}')?;
    let hex_ok = (2..=6).contains(&hex.len()) && hex.bytes().all(|octet| octet.is_ascii_hexdigit());
    let c = char::from_u32(u32::from_str_radix(hex, 16).ok().filter(|_| hex_ok)?)?;
    let plain = matches!(c, ' '..='~') || (!c.is_ascii() && unicode::is_plain(c));
    plain.then_some(after)
}

impl<'a> RcptParams<'a> {
    /// Parses what follows the forward-path.
    pub(crate) fn parse(text: &'a str) -> Result<Self, CommandError> {
        let mut params = Self::default();
        for word in words(text) {
            params.take(word)?;
        }
        Ok(params)
    }

    fn take(&mut self, word: &'a str) -> Result<(), CommandError> {
        let (keyword, value) = split(word, Verb::Rcpt)?;
        let is_orcpt = keyword.eq_ignore_ascii_case("ORCPT");
        if !word.is_ascii() && !is_orcpt {
            return Err(CommandError::NotAscii(Verb::Rcpt));
        }
        let taken = if is_orcpt {
            set(&mut self.orcpt, value.and_then(orcpt))
        } else if keyword.eq_ignore_ascii_case("NOTIFY") {
            set(&mut self.notify, value.and_then(Notify::parse))
        } else {
            return Err(CommandError::UnknownParameter(Verb::Rcpt));
        };
        taken.ok_or(CommandError::Parameter(Verb::Rcpt))
    }

    /// Whether nothing was said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The extensions that these parameters need: DSN, and SMTPUTF8 for an ORCPT with octets above 127.
    #[must_use]
    pub fn uses(&self) -> Extensions {
        let utf8 = self.orcpt.is_some_and(|orcpt| !orcpt.is_ascii());
        let dsn = (!self.is_empty()).then_some(Extension::Dsn);
        let utf8 = utf8.then_some(Extension::SmtpUtf8);
        dsn.into_iter().chain(utf8).collect()
    }

    /// Adds the canonical text to `out`: each parameter with a space before it.
    pub fn print_into(&self, out: &mut String) {
        if let Some(notify) = self.notify {
            out.push_str(" NOTIFY=");
            notify.print_into(out);
        }
        if let Some(orcpt) = self.orcpt {
            out.push_str(" ORCPT=");
            out.push_str(orcpt);
        }
    }

    /// The canonical text: what an upstream is told behind the forward-path; empty without parameters.
    #[must_use]
    pub fn printed(&self) -> Box<str> {
        let mut out = String::new();
        self.print_into(&mut out);
        out.into()
    }
}
