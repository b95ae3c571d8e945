//! Replies of the upstream, and what a client said of an envelope.
//!
//! What a server says to a guess quotes the guess, which the record lists already, in one of a few
//! sentences: both are written as one octet that no reply holds.

use tarpit_smtp::{Command, Reply, ReplyCode, limits};

use super::super::{Refusal, Session};
use super::fields::{Fields, Writer};
use crate::Tick;
use crate::envelope::{Envelope, Recipient};
use crate::octets::{Fault, Reader, Unreadable, put_count, put_moment, put_octets};

/// Stands for the name that is quoted.
const NAME: u8 = 1;

/// What Postfix says to most guesses, in pieces. Each stands for itself by an octet from 2 on: a
/// control character that is neither tab nor LF, of which replies are free ([`Reply`]). In a form
/// that was written down these can't change; [`super::FORM`] is for that.
const PIECES: [&[u8]; 7] = [
    b"5.1.1 ",
    b">: Recipient address rejected: ",
    b"User unknown in ",
    b"local recipient table",
    b"virtual mailbox table",
    b"relay recipient table",
    b"virtual alias table",
];

/// The octet of the first piece.
const FIRST_PIECE: u8 = NAME + 1;

/// Most codes are so near to this one that they take one octet; written as moments are.
const USUAL_CODE: Tick = Tick::from_millis(550);

/// A name shorter than this is not worth looking for.
const NAME_MIN: usize = 3;

/// Writes a reply that may quote `name`.
pub(super) fn put_reply(into: &mut Vec<u8>, reply: &Reply, name: &str) {
    let code = Tick::from_millis(reply.code().get().into());
    put_moment(into, USUAL_CODE, code);
    put_octets(into, &squeezed(reply.text(), name.as_bytes()));
}

pub(super) fn take_reply(from: &mut Reader<'_>, name: &str) -> Result<Reply, Unreadable> {
    let start = *from;
    let found = from.moment(USUAL_CODE, "reply code")?.as_millis();
    let code = u16::try_from(found).ok().and_then(ReplyCode::new);
    let code = code.ok_or_else(|| start.fault("reply code", Fault::Unknown { found }))?;
    let start = *from;
    let text = from.octets(limits::REPLY_MAX, "text of a reply")?;
    let text = stretched(text, name.as_bytes())
        .ok_or_else(|| start.fault("text of a reply", Fault::Text))?;
    Ok(Reply::from_text(code, &text))
}

fn squeezed(text: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        let quoted = rest
            .strip_prefix(name)
            .filter(|_| name.len() >= NAME_MIN)
            .map(|after| (NAME, after));
        let known = || {
            (FIRST_PIECE..)
                .zip(PIECES)
                .find_map(|(octet, piece)| Some((octet, rest.strip_prefix(piece)?)))
        };
        let (octet, after) = quoted.or_else(known).unwrap_or((first, after));
        out.push(octet);
        rest = after;
    }
    out
}

/// None if it is longer than a reply may be, or holds a control character that stands for nothing.
fn stretched(text: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    for &octet in text {
        match octet {
            NAME if name.len() >= NAME_MIN => out.extend_from_slice(name),
            b'\t' | b'\n' => out.push(octet),
            _ if octet.is_ascii_control() => {
                let place = octet.checked_sub(FIRST_PIECE)?;
                out.extend_from_slice(PIECES.get(usize::from(place))?);
            }
            _ => out.push(octet),
        }
        if out.len() > limits::REPLY_MAX {
            return None;
        }
    }
    Some(out)
}

/// The reply and in its lowest bit whether it stands for the whole session.
pub(super) fn put_refusal(into: &mut Vec<u8>, refusal: &Refusal) {
    into.push(refusal.whole_session.into());
    put_reply(into, &refusal.reply, "");
}

pub(super) fn take_refusal(from: &mut Reader<'_>) -> Result<Refusal, Unreadable> {
    let whole_session = take_bool(from, "kind of refusal")?;
    let reply = take_reply(from, "")?;
    Ok(Refusal {
        reply,
        whole_session,
    })
}

pub(super) fn take_bool(from: &mut Reader<'_>, field: &'static str) -> Result<bool, Unreadable> {
    let start = *from;
    match from.octet(field)? {
        0 => Ok(false),
        1 => Ok(true),
        found => {
            let found = found.into();
            Err(start.fault(field, Fault::Unknown { found }))
        }
    }
}

/// What the recipient needs of the upstream follows from its parameters.
pub(super) fn put_recipient(into: &mut Vec<u8>, recipient: &Recipient) {
    put_octets(into, recipient.path.as_bytes());
    put_octets(into, recipient.params.as_bytes());
}

/// Parsed as the client's own line was: it is going to be said to the upstream.
pub(super) fn take_recipient(from: &mut Reader<'_>) -> Result<Recipient, Unreadable> {
    let start = *from;
    let path = from.text(limits::PATH_MAX, "forward-path")?;
    let params = from.text(limits::RCPT_LINE_MAX, "parameters of RCPT")?;
    let line = format!("RCPT TO:<{path}>{params}");
    if let Ok(Command::Rcpt {
        path: parsed,
        params: said,
    }) = Command::parse(line.as_bytes())
    {
        let recipient = Recipient::new(&parsed, &said);
        if *recipient.path == *path && *recipient.params == *params {
            return Ok(recipient);
        }
    }
    Err(start.fault("recipient", Fault::Text))
}

/// The reverse-path is the one that the record has as the sender, and the number is that of the
/// session's last MAIL.
pub(super) fn put_envelope(fields: &mut Writer<'_>, envelope: Option<&Envelope>) {
    fields.flag(envelope.is_some());
    let Some(envelope) = envelope else {
        return;
    };
    let params = Some(&envelope.params).filter(|params| !params.is_empty());
    fields.value(params, |out, params| put_octets(out, params.as_bytes()));
    let accepted = Some(&envelope.accepted).filter(|accepted| !accepted.is_empty());
    fields.value(accepted, |out, accepted| {
        put_count(out, accepted.len());
        for recipient in accepted {
            put_recipient(out, recipient);
        }
    });
}

/// The number of MAIL comes later.
pub(super) fn take_envelope(
    fields: &mut Fields<'_>,
    sender: &str,
) -> Result<Option<Envelope>, Unreadable> {
    if !fields.flag() {
        return Ok(None);
    }
    let start = fields.from;
    let params = fields.value(|from| from.text(limits::MAIL_LINE_MAX, "parameters of MAIL"))?;
    let params = params.unwrap_or_default();
    let line = format!("MAIL FROM:<{sender}>{params}");
    let mut envelope = match Command::parse(line.as_bytes()) {
        Ok(Command::Mail { path, params }) => Envelope::new(0, path, &params),
        _ => return Err(start.fault("envelope", Fault::Text)),
    };
    if *envelope.reverse_path != *sender || *envelope.params != *params {
        return Err(start.fault("envelope", Fault::Text));
    }
    let accepted = fields.value(|from| {
        let count = from.count(usize::MAX, "accepted recipients")?;
        (0..count).map(|_| take_recipient(from)).collect()
    })?;
    envelope.accepted = accepted.unwrap_or_default();
    Ok(Some(envelope))
}

impl Session {
    /// The name that a reply which is due may quote.
    pub(super) fn quoted(&self) -> &str {
        self.record
            .refused_paths
            .last()
            .map_or("", |path| path.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, name: &str, size: usize) {
        let reply = Reply::new(ReplyCode::new(550).unwrap(), text);
        let mut octets = Vec::new();
        put_reply(&mut octets, &reply, name);
        assert_eq!(
            octets.len(),
            size + 2,
            "one for the code, one for the length"
        );
        let mut from = Reader::new(&octets);
        assert_eq!(take_reply(&mut from, name), Ok(reply));
        assert_eq!(from.rest(), b"");
    }

    #[test]
    fn replies() {
        check("", "", 0);
        check("No such user", "", 12);
        check(
            "5.1.1 <bad@example.org>: Recipient address rejected: User unknown in virtual alias table",
            "bad@example.org",
            6,
        );
        check(
            "5.1.1 a@b unknown\nask a@b\n\tand a@b",
            "a@b",
            34 - 5 - 3 * 2,
        );
        // No name, one that is not quoted, one that is too short to be.
        check("5.1.1 <bad@x>", "", 8);
        check("5.1.1 <bad@x>", "good@x", 8);
        check("5.1.1 <b>", "b", 4);
    }

    #[test]
    fn replies_that_are_none() {
        let read = |octets: &[u8]| take_reply(&mut Reader::new(octets), "a@b").map(|_| ());
        let text = |octets: &[u8]| read(&[&[0][..], octets].concat()).unwrap_err();
        assert_eq!(text(&[1, 31]).fault, Fault::Text);
        assert_eq!(text(&[1, 0]).fault, Fault::Text);
        assert_eq!(text(&[1, b'\r']).fault, Fault::Text);
        assert_eq!(text(&[9, b'x']).fault, Fault::Short);
        // Each octet stands for more, together for more than a reply may have.
        let mut long = vec![0];
        put_octets(&mut long, &vec![3; 1000]);
        assert_eq!(read(&long).unwrap_err().fault, Fault::Text);
        assert!(
            read(&[0xff, 0x7f, 0]).is_err(),
            "no reply code is below 200"
        );
    }
}
