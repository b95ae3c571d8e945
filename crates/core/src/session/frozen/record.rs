//! What a session is going to leave behind, as far as it has got, and the envelope with it.

use tarpit_smtp::{Command, limits};

use super::super::Session;
use super::fields::{Fields, Writer};
use super::said;
use crate::octets::{Fault, Reader, Unreadable, put_count, put_number, put_octets, put_span};
use crate::record::{LISTED_MAX, MessageRecord, SessionRecord};

/// What a session that is held for a guess has.
pub(super) fn put_usual(fields: &mut Writer<'_>, session: &Session) {
    let record = &session.record;
    fields.value(record.helo.as_deref(), put_text);
    fields.value(record.sender.as_deref(), put_text);
    said::put_envelope(fields, session.envelope.as_deref());
    put_like(fields, session.errors, record.errors);
    put_like(fields, session.errors, record.refused);
    let refused = Some(&record.refused_paths).filter(|paths| !paths.is_empty());
    fields.value(refused, |out, paths| put_texts(out, paths));
    fields.value(record.upstream.as_deref(), put_text);
    put_spent(fields, record.upstream_wait);
    put_spent(fields, record.held);
    fields.number(record.holds);
}

pub(super) fn take_usual(fields: &mut Fields<'_>, session: &mut Session) -> Result<(), Unreadable> {
    let errors = session.errors;
    let record = &mut session.record;
    record.helo = fields.value(take_helo)?;
    record.sender = fields.value(|from| take_text(from, limits::PATH_MAX, "sender"))?;
    let sender = record.sender.as_deref().unwrap_or_default();
    session.envelope = said::take_envelope(fields, sender)?.map(Box::new);
    record.errors = take_like(fields, errors, "5yz replies")?;
    record.refused = take_like(fields, errors, "refused recipients")?;
    let refused = fields.value(|from| take_paths(from, "refused recipients"))?;
    record.refused_paths = refused.unwrap_or_default();
    record.upstream = fields.value(|from| take_text(from, usize::MAX, "upstream"))?;
    record.upstream_wait = take_spent(fields, "time of the upstream")?;
    record.held = take_spent(fields, "time in holds")?;
    record.holds = fields.short("holds")?;
    Ok(())
}

/// What few have. What a session is at its end is not known yet.
pub(super) fn put_rare(fields: &mut Writer<'_>, record: &SessionRecord) {
    fields.flag(record.introduced);
    fields.value(record.client_name.as_deref(), put_text);
    for count in [
        record.untrusted_xclient,
        record.accepted,
        record.deferred,
        record.over_recipients,
        record.upstream_busy,
        record.upstream_trouble,
        record.unseen,
        record.would_refuse,
        record.failed_auth,
        record.messages_count,
        record.messages_accepted,
        record.messages_aborted,
    ] {
        fields.number(count);
    }
    let messages = Some(&record.messages).filter(|messages| !messages.is_empty());
    fields.value(messages, |out, messages| {
        put_count(out, messages.len());
        for message in messages {
            put_message(out, message);
        }
    });
}

pub(super) fn take_rare(
    fields: &mut Fields<'_>,
    record: &mut SessionRecord,
) -> Result<(), Unreadable> {
    record.introduced = fields.flag();
    record.client_name =
        fields.value(|from| take_text(from, limits::HELLO_MAX, "name of the client"))?;
    for (count, field) in [
        (&mut record.untrusted_xclient, "untrusted XCLIENTs"),
        (&mut record.accepted, "accepted recipients"),
        (&mut record.deferred, "deferred recipients"),
        (&mut record.over_recipients, "recipients over the limit"),
        (&mut record.upstream_busy, "upstream busy"),
        (&mut record.upstream_trouble, "upstream trouble"),
        (&mut record.unseen, "commands unseen"),
        (&mut record.would_refuse, "would be refused"),
        (&mut record.failed_auth, "failed AUTHs"),
        (&mut record.messages_count, "messages"),
        (&mut record.messages_accepted, "accepted messages"),
        (&mut record.messages_aborted, "aborted messages"),
    ] {
        *count = fields.short(field)?;
    }
    record.messages = fields.value(take_messages)?.unwrap_or_default();
    Ok(())
}

/// A number that mostly is the same as another one.
fn put_like(fields: &mut Writer<'_>, like: u32, number: u32) {
    let differs = (number != like).then_some(number);
    fields.value(differs, |out, number| put_number(out, number.into()));
}

fn take_like(fields: &mut Fields<'_>, like: u32, field: &'static str) -> Result<u32, Unreadable> {
    Ok(fields.value(|from| from.short(field))?.unwrap_or(like))
}

fn put_spent(fields: &mut Writer<'_>, spent: std::time::Duration) {
    fields.value(Some(spent).filter(|spent| !spent.is_zero()), put_span);
}

fn take_spent(
    fields: &mut Fields<'_>,
    field: &'static str,
) -> Result<std::time::Duration, Unreadable> {
    Ok(fields.value(|from| from.span(field))?.unwrap_or_default())
}

fn put_text(into: &mut Vec<u8>, text: &str) {
    put_octets(into, text.as_bytes());
}

fn put_texts(into: &mut Vec<u8>, texts: &[Box<str>]) {
    put_count(into, texts.len());
    for text in texts {
        put_text(into, text);
    }
}

fn take_text(
    from: &mut Reader<'_>,
    max: usize,
    field: &'static str,
) -> Result<Box<str>, Unreadable> {
    from.text(max, field).map(Into::into)
}

/// It is said to the upstream where that is told who its client is.
fn take_helo(from: &mut Reader<'_>) -> Result<Box<str>, Unreadable> {
    let start = *from;
    let name = from.text(limits::HELLO_MAX, "name in EHLO")?;
    match Command::parse(format!("HELO {name}").as_bytes()) {
        Ok(Command::Helo(parsed)) if parsed == name => Ok(name.into()),
        _ => Err(start.fault("name in EHLO", Fault::Text)),
    }
}

fn take_paths(from: &mut Reader<'_>, field: &'static str) -> Result<Vec<Box<str>>, Unreadable> {
    let count = from.count(LISTED_MAX, field)?;
    (0..count)
        .map(|_| take_text(from, limits::PATH_MAX, field))
        .collect()
}

fn put_message(into: &mut Vec<u8>, message: &MessageRecord) {
    into.push(message.from_upstream.into());
    put_text(into, &message.reverse_path);
    put_texts(into, &message.recipients);
    put_number(into, message.recipients_count.into());
    said::put_reply(into, &message.reply, "");
}

fn take_messages(from: &mut Reader<'_>) -> Result<Vec<MessageRecord>, Unreadable> {
    let count = from.count(LISTED_MAX, "listed messages")?;
    (0..count).map(|_| take_message(from)).collect()
}

fn take_message(from: &mut Reader<'_>) -> Result<MessageRecord, Unreadable> {
    Ok(MessageRecord {
        from_upstream: said::take_bool(from, "origin of a reply")?,
        reverse_path: take_text(from, limits::PATH_MAX, "reverse-path of a message")?,
        recipients: take_paths(from, "recipients of a message")?,
        recipients_count: from.short("number of recipients")?,
        reply: said::take_reply(from, "")?,
    })
}
