//! How the arguments of each keyword are read and printed.

use std::fmt::{self, Write as _};

use super::{Capabilities, FutureRelease, Limits};
use crate::limits::PROFILE_MAX;
use crate::names::{Mechanism, XclientAttribute};
use crate::param;

/// Reads and prints the arguments of one keyword.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// Takes the arguments, which are separated by single spaces.
    pub(super) read: fn(&mut Capabilities, &str),
    /// Adds the arguments; whether the keyword is announced. Into a text that is there already: each EHLO
    /// asks for all keywords.
    pub(super) print: fn(&Capabilities, &mut String) -> bool,
}

/// A keyword without arguments; what follows it is ignored, as any client does.
macro_rules! flag {
    ($field:ident) => {
        Line {
            read: |found, _| found.$field = true,
            print: |set, _| set.$field,
        }
    };
}

pub(super) const PIPELINING: Line = flag!(pipelining);
pub(super) const STARTTLS: Line = flag!(starttls);
pub(super) const ENHANCED_STATUS_CODES: Line = flag!(enhanced_status_codes);
pub(super) const EIGHT_BIT_MIME: Line = flag!(eight_bit_mime);
pub(super) const DSN: Line = flag!(dsn);
pub(super) const SMTP_UTF8: Line = flag!(smtp_utf8);
pub(super) const CHUNKING: Line = flag!(chunking);
pub(super) const BINARY_MIME: Line = flag!(binary_mime);
pub(super) const REQUIRE_TLS: Line = flag!(require_tls);

pub(super) const SIZE: Line = Line {
    // RFC 1870 §3: a number that can't be read says no more than none.
    read: |found, text| {
        let number = words(text).next().and_then(|word| word.parse().ok());
        found.size = Some(number.unwrap_or(0));
    },
    // RFC 1870 §3: no number says as much as 0, and nobody reads it as "nothing fits".
    print: |set, out| set.size.is_some_and(|size| number_or_nothing(size, out)),
};

pub(super) const LIMITS: Line = Line {
    read: |found, text| read_limits(&mut found.limits, text),
    print: |set, out| print_limits(&set.limits, out),
};

pub(super) const AUTH: Line = Line {
    read: read_auth,
    print: |set, out| join(set.auth.iter().map(Mechanism::as_str), out),
};

pub(super) const DELIVER_BY: Line = Line {
    // RFC 2852 §2: the least time that is taken, if it is stated.
    read: |found, text| {
        let seconds = words(text).next().and_then(param::seconds);
        found.deliver_by = Some(seconds.unwrap_or(0));
    },
    print: |set, out| {
        let least = set.deliver_by;
        least.is_some_and(|seconds| number_or_nothing(seconds.into(), out))
    },
};

pub(super) const MT_PRIORITY: Line = Line {
    read: |found, text| {
        let name = |word: &&str| {
            word.len() <= PROFILE_MAX
                && word
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
        };
        // RFC 6710 §3: one name. A line that is none of these isn't understood, and isn't passed on.
        found.mt_priority = match words(text).next() {
            None => Some("".into()),
            Some(word) => Some(word).filter(name).map(Into::into),
        };
    },
    print: |set, out| join(set.mt_priority.as_deref(), out),
};

pub(super) const FUTURE_RELEASE: Line = Line {
    // RFC 4865 §4: both limits are required.
    read: |found, text| {
        let mut words = words(text);
        let interval = words.next().and_then(param::seconds);
        let until = words.next().filter(|word| param::date_time(word));
        found.future_release = interval.zip(until).map(|(interval, until)| FutureRelease {
            interval_max: interval,
            until_max: until.into(),
        });
    },
    print: |set, out| {
        let limits = set.future_release.as_ref();
        limits.is_some_and(|limits| {
            add(
                out,
                format_args!("{} {}", limits.interval_max, limits.until_max),
            )
        })
    },
};

pub(super) const XCLIENT: Line = Line {
    read: |found, text| {
        words(text)
            .filter_map(XclientAttribute::from_name)
            .for_each(|name| found.xclient.insert(name));
    },
    print: |set, out| join(set.xclient.iter().map(XclientAttribute::as_str), out),
};

pub(super) fn read_auth(found: &mut Capabilities, text: &str) {
    words(text)
        .filter_map(Mechanism::from_name)
        .for_each(|mechanism| found.auth.insert(mechanism));
}

/// RFC 9422 §4: `NAME=value` words; those that aren't known are ignored.
fn read_limits(limits: &mut Limits, text: &str) {
    for (name, value) in words(text).filter_map(|word| word.split_once('=')) {
        // A limit of 0 would mean that nothing can be sent: it is a mistake, not a limit.
        let value = param::seconds(value).filter(|value| *value > 0);
        match name.to_ascii_uppercase().as_str() {
            "MAILMAX" => limits.mail_max = value.or(limits.mail_max),
            "RCPTMAX" => limits.rcpt_max = value.or(limits.rcpt_max),
            "RCPTDOMAINMAX" => limits.rcpt_domain_max = value.or(limits.rcpt_domain_max),
            _ => {}
        }
    }
}

fn print_limits(limits: &Limits, out: &mut String) -> bool {
    let all = [
        ("MAILMAX", limits.mail_max),
        ("RCPTMAX", limits.rcpt_max),
        ("RCPTDOMAINMAX", limits.rcpt_domain_max),
    ];
    let mut is_stated = false;
    for (name, value) in all {
        if let Some(value) = value {
            let space = if is_stated { " " } else { "" };
            is_stated = add(out, format_args!("{space}{name}={value}"));
        }
    }
    is_stated
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_ascii_whitespace()
}

fn number_or_nothing(number: u64, out: &mut String) -> bool {
    number == 0 || add(out, format_args!("{number}"))
}

/// Adds the words, with spaces between them; whether there are any.
fn join<'a>(words: impl IntoIterator<Item = &'a str>, out: &mut String) -> bool {
    let mut has_words = false;
    for word in words {
        if std::mem::replace(&mut has_words, true) {
            out.push(' ');
        }
        out.push_str(word);
    }
    has_words
}

/// Adds something, which can't fail; so it is announced.
fn add(out: &mut String, text: fmt::Arguments<'_>) -> bool {
    out.write_fmt(text).is_ok()
}
