//! The parameters of MAIL.

use super::values::{date_time, seconds, size};
use super::{flag, set, split_ascii, words};
use crate::command::CommandError;
use crate::extension::{Extension, Extensions};
use crate::limits::{AUTH_VALUE_MAX, ENVID_MAX};
use crate::{Verb, xtext};
use std::fmt::Write as _;

/// What MAIL said beside the reverse-path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MailParams<'a> {
    /// SIZE=: the client's estimate, in octets (RFC 1870 §4).
    pub size: Option<u64>,
    /// BODY= (RFC 6152 §2, RFC 3030 §3).
    pub body: Option<Body>,
    /// SMTPUTF8 (RFC 6531 §3.4).
    pub smtputf8: bool,
    /// RET= (RFC 3461 §4.3).
    pub ret: Option<Ret>,
    /// ENVID=: xtext as written, checked (RFC 3461 §4.4).
    pub envid: Option<&'a str>,
    /// BY= (RFC 2852 §4).
    pub by: Option<DeliverBy>,
    /// REQUIRETLS (RFC 8689 §2).
    pub require_tls: bool,
    /// MT-PRIORITY=, -9 to 9 (RFC 6710 §4).
    pub mt_priority: Option<i8>,
    /// HOLDFOR= or HOLDUNTIL= (RFC 4865 §4).
    pub hold: Option<Hold<'a>>,
    /// AUTH=: xtext as written, checked, or `<>` (RFC 4954 §5).
    pub auth: Option<&'a str>,
}

/// BODY= (RFC 6152 §2, RFC 3030 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// 7BIT.
    SevenBit,
    /// 8BITMIME.
    EightBitMime,
    /// BINARYMIME: any octets, lines of any length; only BDAT can carry it.
    BinaryMime,
}

/// RET=: how much of the message a failure notice shall return (RFC 3461 §4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ret {
    /// FULL: all of it.
    Full,
    /// HDRS: its header.
    Headers,
}

/// BY=: when the message must have been delivered (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DeliverBy {
    /// Seconds that are left, -999,999,999 to 999,999,999; above 0 with [`ByMode::Return`].
    pub seconds: i32,
    /// What is to be done when they are over.
    pub mode: ByMode,
    /// T: each server on the way reports.
    pub trace: bool,
}

/// What is to be done when the time of BY= is over (RFC 2852 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ByMode {
    /// R: return the message.
    Return,
    /// N: notify, and go on.
    Notify,
}

/// When the message may be released (RFC 4865 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hold<'a> {
    /// HOLDFOR=: in so many seconds, 1 to 999,999,999.
    For(u32),
    /// HOLDUNTIL=: at this time, as written, in the form of RFC 3339.
    Until(&'a str),
}

impl Body {
    const ALL: [Self; 3] = [Self::SevenBit, Self::EightBitMime, Self::BinaryMime];

    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SevenBit => "7BIT",
            Self::EightBitMime => "8BITMIME",
            Self::BinaryMime => "BINARYMIME",
        }
    }

    /// In any case (RFC 5321 §2.4).
    fn parse(value: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|body| value.eq_ignore_ascii_case(body.as_str()))
    }
}

impl Ret {
    /// As it is written on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        }
    }

    fn parse(value: &str) -> Option<Self> {
        [Self::Full, Self::Headers]
            .into_iter()
            .find(|ret| value.eq_ignore_ascii_case(ret.as_str()))
    }
}

impl DeliverBy {
    /// RFC 2852 §4: `by-time ";" by-mode [by-trace]`, `by-time = ["-" / "+"] 1*9digit`.
    fn parse(value: &str) -> Option<Self> {
        let (time, mode) = value.split_once(';')?;
        let (negative, digits) = match time.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, time.strip_prefix('+').unwrap_or(time)),
        };
        let count = i32::try_from(seconds(digits)?).ok()?;
        let count = if negative {
            count.checked_neg()?
        } else {
            count
        };
        let (mode, trace) = match mode.as_bytes() {
            [mode] => (mode, false),
            [mode, b'T' | b't'] => (mode, true),
            _ => return None,
        };
        let mode = match mode {
            // A negative or zero value is not allowed with a by-mode of "R".
            b'R' | b'r' if count > 0 => ByMode::Return,
            b'N' | b'n' => ByMode::Notify,
            _ => return None,
        };
        Some(Self {
            seconds: count,
            mode,
            trace,
        })
    }
}

/// RFC 6710 §4: `["-"] NZDIGIT / "0"`.
fn priority(value: &str) -> Option<i8> {
    let digit = value.strip_prefix('-').unwrap_or(value);
    let well_formed = value == "0" || matches!(digit.as_bytes(), [b'1'..=b'9']);
    value.parse().ok().filter(|_| well_formed)
}

/// RFC 3461 §4.4: xtext of at most 100 octets.
fn envid(value: &str) -> Option<&str> {
    (value.len() <= ENVID_MAX && xtext::is_valid(value.as_bytes())).then_some(value)
}

/// RFC 4865 §4: `%x31-39 *8DIGIT`.
fn hold_for(value: &str) -> Option<Hold<'_>> {
    seconds(value)
        .filter(|_| !value.starts_with('0'))
        .map(Hold::For)
}

fn hold_until(value: &str) -> Option<Hold<'_>> {
    date_time(value).then_some(Hold::Until(value))
}

/// RFC 4954 §3 and §5.
fn auth(value: &str) -> Option<&str> {
    (value.len() <= AUTH_VALUE_MAX && xtext::is_valid(value.as_bytes())).then_some(value)
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
        let (keyword, value) = split_ascii(word, Verb::Mail)?;
        let taken = match keyword.to_ascii_uppercase().as_str() {
            "SIZE" => set(&mut self.size, value.and_then(size)),
            "BODY" => set(&mut self.body, value.and_then(Body::parse)),
            "SMTPUTF8" => flag(&mut self.smtputf8, value),
            "RET" => set(&mut self.ret, value.and_then(Ret::parse)),
            "ENVID" => set(&mut self.envid, value.and_then(envid)),
            "BY" => set(&mut self.by, value.and_then(DeliverBy::parse)),
            "REQUIRETLS" => flag(&mut self.require_tls, value),
            "MT-PRIORITY" => set(&mut self.mt_priority, value.and_then(priority)),
            // One field for both: RFC 4865 §4 allows one of the two.
            "HOLDFOR" => set(&mut self.hold, value.and_then(hold_for)),
            "HOLDUNTIL" => set(&mut self.hold, value.and_then(hold_until)),
            "AUTH" => set(&mut self.auth, value.and_then(auth)),
            _ => return Err(CommandError::UnknownParameter(Verb::Mail)),
        };
        taken.ok_or(CommandError::Parameter(Verb::Mail))
    }

    /// The extensions that these parameters need.
    #[must_use]
    pub fn uses(&self) -> Extensions {
        let body = match self.body {
            None => None,
            // BODY=7BIT too is a parameter of 8BITMIME (RFC 6152 §2).
            Some(Body::SevenBit | Body::EightBitMime) => Some(Extension::EightBitMime),
            Some(Body::BinaryMime) => Some(Extension::BinaryMime),
        };
        let used = [
            (self.size.is_some(), Extension::Size),
            (self.smtputf8, Extension::SmtpUtf8),
            (self.ret.is_some() || self.envid.is_some(), Extension::Dsn),
            (self.by.is_some(), Extension::DeliverBy),
            (self.require_tls, Extension::RequireTls),
            (self.mt_priority.is_some(), Extension::MtPriority),
            (self.hold.is_some(), Extension::FutureRelease),
            (self.auth.is_some(), Extension::Auth),
        ];
        let used = used.into_iter().filter(|(used, _)| *used);
        used.map(|(_, extension)| extension).chain(body).collect()
    }

    /// Adds the canonical text to `out`: each parameter with a space before it.
    pub fn print_into(&self, out: &mut String) {
        let mut put = |text: std::fmt::Arguments<'_>| {
            // Writing to a string can't fail.
            let _ = out.write_fmt(text);
        };
        if let Some(size) = self.size {
            put(format_args!(" SIZE={size}"));
        }
        if let Some(body) = self.body {
            put(format_args!(" BODY={}", body.as_str()));
        }
        if self.smtputf8 {
            put(format_args!(" SMTPUTF8"));
        }
        if let Some(ret) = self.ret {
            put(format_args!(" RET={}", ret.as_str()));
        }
        if let Some(envid) = self.envid {
            put(format_args!(" ENVID={envid}"));
        }
        if let Some(by) = self.by {
            let mode = match by.mode {
                ByMode::Return => "R",
                ByMode::Notify => "N",
            };
            let trace = if by.trace { "T" } else { "" };
            put(format_args!(" BY={};{mode}{trace}", by.seconds));
        }
        if self.require_tls {
            put(format_args!(" REQUIRETLS"));
        }
        if let Some(priority) = self.mt_priority {
            put(format_args!(" MT-PRIORITY={priority}"));
        }
        match self.hold {
            None => {}
            Some(Hold::For(seconds)) => put(format_args!(" HOLDFOR={seconds}")),
            Some(Hold::Until(time)) => put(format_args!(" HOLDUNTIL={time}")),
        }
        if let Some(auth) = self.auth {
            put(format_args!(" AUTH={auth}"));
        }
    }

    /// The canonical text: what an upstream is told behind the reverse-path; empty without parameters.
    #[must_use]
    pub fn printed(&self) -> Box<str> {
        let mut out = String::new();
        self.print_into(&mut out);
        out.into()
    }
}
