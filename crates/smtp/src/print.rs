//! Commands printed for an upstream, from their parsed form.
//!
//! Promise: each call adds exactly one line with CRLF at its end. The arguments come from parsed commands and hold no
//! control character; should one come from elsewhere, it's written as `?`, so that no argument can end its line.

use crate::names::{Mechanism, XclientAttribute};
use crate::param::MailParams;
use crate::path::ReversePath;
use crate::verb::Verb;
use crate::xtext;

/// `MAIL FROM:<...>` with the parameters that are set (RFC 5321 §4.1.1.2).
pub fn write_mail(out: &mut Vec<u8>, path: ReversePath<'_>, params: &MailParams<'_>) {
    push(out, "MAIL FROM:<");
    push(out, path.as_str());
    push(out, ">");
    if let Some(size) = params.size {
        push(out, " SIZE=");
        push(out, &size.to_string());
    }
    if let Some(body) = params.body {
        push(out, " BODY=");
        push(out, body.as_str());
    }
    if let Some(auth) = params.auth {
        push(out, " AUTH=");
        push(out, auth);
    }
    end(out);
}

/// `RCPT TO:<path>` (RFC 5321 §4.1.1.3); `path` is without brackets.
pub fn write_rcpt(out: &mut Vec<u8>, path: &str) {
    push(out, "RCPT TO:<");
    push(out, path);
    push(out, ">");
    end(out);
}

/// `EHLO name` (RFC 5321 §4.1.1.1).
pub fn write_ehlo(out: &mut Vec<u8>, name: &str) {
    push(out, "EHLO ");
    push(out, name);
    end(out);
}

/// `HELO name` (RFC 5321 §4.1.1.1).
pub fn write_helo(out: &mut Vec<u8>, name: &str) {
    push(out, "HELO ");
    push(out, name);
    end(out);
}

/// `AUTH mechanism [initial]` (RFC 4954 §4); `initial` is base64, or `=` for an empty one.
pub fn write_auth(out: &mut Vec<u8>, mechanism: Mechanism, initial: Option<&str>) {
    push(out, "AUTH ");
    push(out, mechanism.as_str());
    if let Some(initial) = initial {
        push(out, " ");
        push(out, initial);
    }
    end(out);
}

/// `XCLIENT NAME=value ...` (Postfix, XCLIENT_README), the values as xtext.
pub fn write_xclient(out: &mut Vec<u8>, attributes: &[(XclientAttribute, &str)]) {
    push(out, "XCLIENT");
    for (attribute, value) in attributes {
        push(out, " ");
        push(out, attribute.as_str());
        push(out, "=");
        xtext::encode(out, value.as_bytes());
    }
    end(out);
}

/// A command without an argument: DATA, RSET, QUIT, NOOP.
pub fn write_verb(out: &mut Vec<u8>, verb: Verb) {
    push(out, verb.as_str());
    end(out);
}

fn push(out: &mut Vec<u8>, text: &str) {
    out.extend(text.bytes().map(|octet| {
        if octet.is_ascii_control() {
            b'?'
        } else {
            octet
        }
    }));
}

fn end(out: &mut Vec<u8>) {
    out.extend(b"\r\n");
}
