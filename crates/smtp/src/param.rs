//! The parameters of MAIL (RFC 5321 §4.1.2, Mail-parameters) that the gateway knows.

use crate::command::CommandError;
use crate::limits::{AUTH_VALUE_MAX, SIZE_DIGITS_MAX};
use crate::{Verb, xtext};

/// What MAIL said beside the reverse-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParams<'a> {
    /// SIZE=: the client's estimate, in octets (RFC 1870 §4).
    pub size: Option<u64>,
    /// BODY= (RFC 6152 §2).
    pub body: Option<Body>,
    /// AUTH=: xtext as written, checked, or `<>` (RFC 4954 §5).
    pub auth: Option<&'a str>,
}

/// BODY= (RFC 6152 §2). BINARYMIME (RFC 3030) isn't offered and is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
}

impl Body {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
        }
    }

    /// In any case (RFC 5321 §2.4).
    fn parse(value: &str) -> Option<Self> {
        [Self::SevenBit, Self::EightBitMime]
            .into_iter()
            .find(|body| value.eq_ignore_ascii_case(body.as_str()))
    }
}

impl<'a> MailParams<'a> {
    /// Parses what follows the reverse-path.
    pub(crate) fn parse(text: &'a str) -> Result<Self, CommandError> {
        let mut params = Self::default();
        for word in words(text) {
            params.take(word)?;
        }
        Ok(params)
    }

    fn take(&mut self, word: &'a str) -> Result<(), CommandError> {
        let (keyword, value) = split(word, Verb::Mail)?;
        let bad = CommandError::Parameter(Verb::Mail);
        // A parameter given twice is refused: servers would differ in which one they take.
        if keyword.eq_ignore_ascii_case("SIZE") {
            set(&mut self.size, value.and_then(size)).ok_or(bad)
        } else if keyword.eq_ignore_ascii_case("BODY") {
            set(&mut self.body, value.and_then(Body::parse)).ok_or(bad)
        } else if keyword.eq_ignore_ascii_case("AUTH") {
            let checked = value
                .filter(|text| text.len() <= AUTH_VALUE_MAX && xtext::is_valid(text.as_bytes()));
            set(&mut self.auth, checked).ok_or(bad)
        } else {
            Err(CommandError::UnknownParameter(Verb::Mail))
        }
    }
}

/// The parameters of RCPT: none is known, so a well-formed one is unknown.
pub(crate) fn none(text: &str, verb: Verb) -> Result<(), CommandError> {
    match words(text).next() {
        None => Ok(()),
        Some(word) => split(word, verb).and(Err(CommandError::UnknownParameter(verb))),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t']).filter(|word| !word.is_empty())
}

/// Sets a field that is still empty; none if there is no value or it was set before.
fn set<T>(field: &mut Option<T>, value: Option<T>) -> Option<()> {
    let value = value?;
    field.replace(value).is_none().then_some(())
}

/// RFC 1870 §4: `1*20DIGIT`.
fn size(value: &str) -> Option<u64> {
    let digits =
        value.len() <= SIZE_DIGITS_MAX && value.bytes().all(|octet| octet.is_ascii_digit());
    value.parse().ok().filter(|_| digits)
}

/// Keyword and value of one parameter, well formed (RFC 5321 §4.1.2, esmtp-param).
fn split(word: &str, verb: Verb) -> Result<(&str, Option<&str>), CommandError> {
    let (keyword, value) = match word.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (word, None),
    };
    let keyword_ok = keyword
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
        && keyword.starts_with(|c: char| c.is_ascii_alphanumeric());
    let value_ok = value.is_none_or(|text| {
        !text.is_empty()
            && text
                .bytes()
                .all(|octet| octet.is_ascii_graphic() && octet != b'=')
    });
    if keyword_ok && value_ok {
        Ok((keyword, value))
    } else {
        Err(CommandError::Syntax(verb))
    }
}
