//! Commands printed for an upstream, from their parsed form.
//!
//! Promise: each call adds exactly one line with CRLF at its end. The arguments come from parsed commands and hold no
//! control character; should one come from elsewhere, it's written as `?`, so that no argument can end its line.

use crate::names::{Mechanism, XclientAttribute};
use crate::verb::Verb;
use crate::xtext;

/// `MAIL FROM:<path>` (RFC 5321 §4.1.1.2); `path` is without brackets, `params` is what
/// [`crate::MailParams::printed`] gave.
pub fn write_mail(out: &mut Vec<u8>, path: &str, params: &str) {
    push(out, "MAIL FROM:<");
    push(out, path);
    push(out, ">");
    push(out, params);
    end(out);
}

/// `RCPT TO:<path>` (RFC 5321 §4.1.1.3); `path` is without brackets, `params` is what
/// [`crate::RcptParams::printed`] gave.
pub fn write_rcpt(out: &mut Vec<u8>, path: &str, params: &str) {
    push(out, "RCPT TO:<");
    push(out, path);
    push(out, ">");
    push(out, params);
    end(out);
}

/// `BDAT size [LAST]` (RFC 3030 §2); exactly `size` octets must follow it.
pub fn write_bdat(out: &mut Vec<u8>, size: u64, last: bool) {
    push(out, "BDAT ");
    push(out, &size.to_string());
    push(out, if last { " LAST" } else { "" });
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
