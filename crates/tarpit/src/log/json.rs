//! A record as one JSON object (RFC 8259) on one line: time, level, the fields in their order, and
//! the target last.
//!
//! The formatter that comes with the subscriber was rejected: it passes each quotation mark and
//! comma through a check for UTF-8 and a call of its own, and so the record of a session cost more
//! than all that the machine had to decide in it. The lines are the same.
//! Writing into the subscriber's writer piece by piece was rejected too: each of some two hundred
//! pieces was a call through a pointer.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Octets of the record of a session with one message, and a little more.
const USUAL: usize = 1024;

/// Formats records as JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json;

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(USUAL);
        line.push_str("{\"timestamp\":\"");
        SystemTime.format_time(&mut Writer::new(&mut line))?;
        line.push_str("\",\"level\":\"");
        line.push_str(event.metadata().level().as_str());
        line.push('"');
        members(&mut line, event);
        writer.write_str(&line)
    }
}

/// A line of the record file: the version of the format, then as in the log; a record has no level.
pub(super) fn record(line: &mut String, event: &Event<'_>) -> fmt::Result {
    line.push_str("{\"v\":1,\"timestamp\":\"");
    SystemTime.format_time(&mut Writer::new(line))?;
    line.push('"');
    members(line, event);
    Ok(())
}

/// The fields of an event, its target, and the end of the line.
fn members(line: &mut String, event: &Event<'_>) {
    event.record(&mut Object(line));
    line.push_str(",\"target\":");
    string(line, event.metadata().target());
    line.push_str("}\n");
}

/// The members of an object. Writing to a `String` can't fail.
struct Object<'a>(&'a mut String);

impl Object<'_> {
    fn member(&mut self, field: &Field) -> &mut String {
        self.0.push_str(",\"");
        escape(self.0, field.name());
        self.0.push_str("\":");
        self.0
    }

    fn number(&mut self, field: &Field, value: impl fmt::Display) {
        let _ok = write!(self.member(field), "{value}");
    }
}

impl Visit for Object<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let out = self.member(field);
        out.push('"');
        let _ok = write!(Escaping(out), "{value:?}");
        out.push('"');
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        string(self.member(field), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field)
            .push_str(if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.number(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match value {
            // Most counts of a session.
            0 => self.member(field).push('0'),
            1 => self.member(field).push('1'),
            _ => self.number(field, value),
        }
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.number(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.number(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value == 0.0 {
            self.member(field).push_str("0.0");
        } else if !value.is_finite() {
            // RFC 8259 §6: infinity and NaN are no numbers.
            self.member(field).push_str("null");
        } else if value.fract() == 0.0 {
            self.number(field, format_args!("{value:.1}"));
        } else {
            self.number(field, value);
        }
    }
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// Writes the inside of a string.
struct Escaping<'a>(&'a mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

fn escape(out: &mut String, text: &str) {
    let mut rest = text;
    // RFC 8259 §7: quotation mark, reverse solidus and the controls U+0000 to U+001F.
    let special = |octet: u8| octet < b' ' || octet == b'"' || octet == b'\\';
    while let Some(at) = rest.bytes().position(special) {
        // Each of these octets is a character, so both cuts are between characters.
        let (plain, from) = rest.split_at(at);
        let (found, after) = from.split_at(1);
        out.push_str(plain);
        match found {
            "\"" => out.push_str("\\\""),
            "\\" => out.push_str("\\\\"),
            "\n" => out.push_str("\\n"),
            "\r" => out.push_str("\\r"),
            "\t" => out.push_str("\\t"),
            other => {
                for octet in other.bytes() {
                    let _ok = write!(out, "\\u{octet:04x}");
                }
            }
        }
        rest = after;
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn emit() {
        tracing::info!(
            target: "tarpit::session",
            client = %"192.0.2.7:1",
            none = None::<u32>,
            some = Some("x"),
            yes = true,
            count = 12_u32,
            one = 1_u64,
            less = -3_i64,
            zero = 0.0,
            whole = 3.0,
            small = 0.000_077_11,
            large = 86_400.25,
            debug = ?["a\"b", "\u{1f}\n\r\t\\"],
            text = "quote \" back \\ line \n tab \t bell \u{7} \u{e4}\u{20ac} \u{7f}",
            "session"
        );
        tracing::warn!(not_a_number = f64::NAN, endless = f64::INFINITY, "odd");
        tracing::info!("formatted {}", "text");
    }

    /// Line by line what the subscriber's own formatter writes, but for the times.
    #[test]
    fn the_same_lines_as_ever() {
        let (ours, theirs) = (Kept::default(), Kept::default());
        let subscriber = tracing_subscriber::fmt()
            .with_writer(ours.clone())
            .event_format(Json)
            .finish();
        tracing::subscriber::with_default(subscriber, emit);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(theirs.clone())
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .finish();
        tracing::subscriber::with_default(subscriber, emit);
        let lines = |kept: &Kept| -> Vec<String> {
            let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
            text.lines()
                .map(|line| {
                    let (_, rest) = line.split_once("\",\"level\"").unwrap();
                    assert!(line.starts_with("{\"timestamp\":\"20"), "{line}");
                    rest.to_owned()
                })
                .collect()
        };
        assert_eq!(lines(&ours).len(), 3);
        assert_eq!(lines(&ours), lines(&theirs));
    }
}
