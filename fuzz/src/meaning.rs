//! What a command means, in a form in which two parsers can be compared.

use smtp_proto as other;
use smtp_proto::Request;
use std::borrow::Cow;
use tarpit_smtp::{Body, ByMode, Command, ForwardPath, Hold, MailParams, Mailbox, RcptParams, Ret};
use tarpit_smtp::{ReversePath, Verb};

/// The meaning of one command.
#[derive(Debug, PartialEq, Eq)]
pub enum Meaning {
    /// EHLO or HELO.
    Hello(Verb, String),
    /// MAIL: the address without quotes, empty if there is none.
    Mail(String, Box<Mail>),
    /// RCPT: the address, NOTIFY as bits, the address of ORCPT.
    Rcpt(String, u64, Option<String>),
    /// BDAT.
    Chunk(u64, bool),
    /// AUTH: the initial response; their numbers for mechanisms aren't compared.
    Auth(String),
    /// A command whose argument nobody acts on, by its name.
    Other(String),
}

/// The parameters of MAIL; what isn't given is zero or none, as their parser has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mail {
    flags: u64,
    size: u64,
    by: i64,
    envid: Option<String>,
    auth: Option<String>,
    hold_for: u64,
    hold_until: bool,
    priority: i64,
}

impl Meaning {
    /// What we read.
    pub fn ours(command: &Command<'_>) -> Self {
        match *command {
            Command::Ehlo(name) | Command::Helo(name) => Self::Hello(command.verb(), name.into()),
            Command::Mail { path, params } => {
                let address = match path {
                    ReversePath::Null => String::new(),
                    ReversePath::Mailbox(mailbox) => plain(&mailbox),
                };
                Self::Mail(address, Box::new(ours(&params)))
            }
            Command::Rcpt { path, params } => {
                let address = match path {
                    // Their parser has no other word for it.
                    ForwardPath::Postmaster(_) => String::new(),
                    ForwardPath::Mailbox(mailbox) => plain(&mailbox),
                };
                Self::Rcpt(address, notify(&params), orcpt(&params))
            }
            Command::Bdat { size, last } => Self::Chunk(size, last),
            Command::Auth { initial, .. } => Self::Auth(initial.unwrap_or_default().into()),
            _ => Self::Other(command.verb().to_string()),
        }
    }

    /// What they read.
    pub fn theirs(request: &Request<Cow<'_, str>>) -> Self {
        match request {
            Request::Ehlo { host } => Self::Hello(Verb::Ehlo, host.to_string()),
            Request::Helo { host } => Self::Hello(Verb::Helo, host.to_string()),
            Request::Mail { from } => Self::Mail(
                from.address.to_string(),
                Box::new(Mail {
                    flags: from.flags,
                    size: from.size as u64,
                    by: from.by,
                    envid: from.env_id.as_ref().map(ToString::to_string),
                    auth: from.auth.as_ref().map(ToString::to_string),
                    hold_for: from.hold_for,
                    hold_until: from.hold_until != 0,
                    priority: from.mt_priority,
                }),
            ),
            Request::Rcpt { to } => Self::Rcpt(
                to.address.to_string(),
                to.flags,
                to.orcpt.as_ref().map(ToString::to_string),
            ),
            Request::Bdat {
                chunk_size,
                is_last,
            } => Self::Chunk(*chunk_size as u64, *is_last),
            Request::Auth {
                initial_response, ..
            } => Self::Auth(initial_response.to_string()),
            _ => Self::Other(request.name().into()),
        }
    }
}

fn plain(mailbox: &Mailbox<'_>) -> String {
    format!("{}@{}", mailbox.local_unquoted(), mailbox.domain())
}

fn ours(params: &MailParams<'_>) -> Mail {
    let body = match params.body {
        None => 0,
        Some(Body::SevenBit) => other::MAIL_BODY_7BIT,
        Some(Body::EightBitMime) => other::MAIL_BODY_8BITMIME,
        Some(Body::BinaryMime) => other::MAIL_BODY_BINARYMIME,
    };
    let ret = match params.ret {
        None => 0,
        Some(Ret::Full) => other::MAIL_RET_FULL,
        Some(Ret::Headers) => other::MAIL_RET_HDRS,
    };
    let by = params.by.map_or(0, |by| {
        let mode = match by.mode {
            ByMode::Return => other::MAIL_BY_RETURN,
            ByMode::Notify => other::MAIL_BY_NOTIFY,
        };
        mode | flag(by.trace, other::MAIL_BY_TRACE)
    });
    Mail {
        flags: body
            | ret
            | by
            | flag(params.smtputf8, other::MAIL_SMTPUTF8)
            | flag(params.require_tls, other::MAIL_REQUIRETLS),
        size: params.size.unwrap_or(0),
        by: params.by.map_or(0, |by| by.seconds.into()),
        envid: params.envid.map(octets),
        auth: params.auth.map(octets),
        hold_for: match params.hold {
            Some(Hold::For(seconds)) => seconds.into(),
            _ => 0,
        },
        // Only 1970 itself reads as none.
        hold_until: matches!(params.hold, Some(Hold::Until(_))),
        priority: params.mt_priority.unwrap_or(0).into(),
    }
}

fn notify(params: &RcptParams<'_>) -> u64 {
    params.notify.map_or(0, |notify| {
        let some = flag(notify.success, other::RCPT_NOTIFY_SUCCESS)
            | flag(notify.failure, other::RCPT_NOTIFY_FAILURE)
            | flag(notify.delay, other::RCPT_NOTIFY_DELAY);
        if some == 0 {
            other::RCPT_NOTIFY_NEVER
        } else {
            some
        }
    })
}

fn orcpt(params: &RcptParams<'_>) -> Option<String> {
    let (_, address) = params.orcpt?.split_once(';')?;
    Some(octets(address))
}

fn flag(set: bool, bit: u64) -> u64 {
    if set { bit } else { 0 }
}

/// Xtext decoded as they do it: each octet a character.
fn octets(xtext: &str) -> String {
    let mut out = String::new();
    let mut rest = xtext.chars();
    while let Some(c) = rest.next() {
        let hex = rest.as_str().get(..2).filter(|_| c == '+');
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(octet) => {
                out.push(char::from(octet));
                rest = rest.as_str().get(2..).unwrap_or_default().chars();
            }
            None => out.push(c),
        }
    }
    out
}
