//! The parameters of MAIL and RCPT (RFC 5321 §4.1.2, esmtp-param) that the gateway knows.
//!
//! Promises: a value has been checked to its last octet; a parameter given twice is refused, since servers differ in which
//! one they take; [`MailParams::printed`] gives one canonical text, which parses to the same parameters again and is what
//! the upstream is told, at first and in a replay. Whether the client may use a parameter (announced, sum of sizes,
//! authenticated) is not judged here: [`MailParams::uses`] says what it needs.

mod mail;
mod rcpt;
mod values;

pub use mail::{Body, ByMode, DeliverBy, Hold, MailParams, Ret};
pub use rcpt::{Notify, RcptParams};
pub(crate) use values::{date_time, seconds};

use crate::Verb;
use crate::command::CommandError;

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}

/// Sets a field that is still empty; none if there is no value or it was set before.
fn set<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    let value = value?;
    field.replace(value).is_none().then_some(())
}

/// Sets a flag; none if there is a value or it was set before.
fn flag(field: &mut bool, value: Option<&str>) -> Option<()> {
    (value.is_none() && !std::mem::replace(field, true)).then_some(())
}

/// Keyword and value of one parameter, well formed (RFC 5321 §4.1.2, esmtp-param). The value may hold octets above 127
/// (RFC 6531 §3.3); who takes them says so.
fn split(word: &str, verb: Verb) -> Result<(&str, Option<&str>), CommandError> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    if !keyword.is_ascii() {
        return Err(CommandError::NotAscii(verb));
    }
    let keyword_ok = keyword
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && keyword.starts_with(|c: char| c.is_ascii_alphanumeric());
    let value_ok = value.is_none_or(|text| {
        !text.is_empty()
            && text
                .bytes()
                .all(|octet| (octet.is_ascii_graphic() && octet != b'=') || !octet.is_ascii())
    });
    if keyword_ok && value_ok {
        Ok((keyword, value))
    } else {
        Err(CommandError::Syntax(verb))
    }
}

/// Keyword and value, all ASCII.
fn split_ascii(word: &str, verb: Verb) -> Result<(&str, Option<&str>), CommandError> {
    let parameter = split(word, verb)?;
    if word.is_ascii() {
        Ok(parameter)
    } else {
        Err(CommandError::NotAscii(verb))
    }
}
