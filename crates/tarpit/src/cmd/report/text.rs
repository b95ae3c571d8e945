//! The report for a terminal, and words that the page has too.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;
use tarpit_core::Source;

use super::tally::{Dealings, LISTED, Report};

/// Why figures of `observe` are an estimate.
pub(super) const ESTIMATE: &str = "In observe nothing waits, so these figures are an estimate, and a lower bound: each \
     session is charged for itself, as if it had waited. That sessions of one source wait for each other, \
     450 for want of room, and clients that would have given up are not foreseen. `tarpit replay` shows more.";

/// The whole text.
pub(super) fn print(report: &Report) -> String {
    let mut out = String::new();
    if report.from > report.to {
        out.push_str("There are no records in this time.\n");
        passed(&mut out, report);
        return out;
    }
    let _ = writeln!(
        out,
        "Records from {} to {}: {} of {}",
        moment(report.from),
        moment(report.to),
        counted(report.all.sessions, "session"),
        counted(report.sources, "source"),
    );
    harm(&mut out, report);
    effect(&mut out, report);
    top(&mut out, report);
    if report.is_estimate() {
        let _ = write!(out, "\n{}", wrapped(ESTIMATE, 98));
    }
    passed(&mut out, report);
    out
}

fn harm(out: &mut String, report: &Report) {
    out.push_str("\nHARM: sources that waited although the upstream accepted their mail\n");
    if report.harm.is_empty() {
        let _ = writeln!(
            out,
            "  none of {}",
            counted(report.wanted, "source with accepted mail")
        );
        return;
    }
    let _ = writeln!(
        out,
        "  {} of {} with accepted mail, {} in all{}\n",
        report.harm.len(),
        report.wanted,
        seconds(report.harm_time()),
        tense(report)
    );
    table(out, &report.harm);
    if report.harm.len() > LISTED {
        let _ = writeln!(
            out,
            "  and {} more (--json lists all)",
            report.harm.len() - LISTED
        );
    }
    out.push_str("\n  To exempt one, say `tarpit exempt add`, or add its lines to the configuration and reload:\n");
    for (source, dealings) in report.harm.iter().take(LISTED) {
        out.push('\n');
        for line in exempt(*source, dealings).lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
}

/// What the configuration takes.
pub(super) fn exempt(source: Source, dealings: &Dealings) -> String {
    format!(
        "[[exempt]]\nnetwork = \"{source}\"\nreason = \"{}, waited {}, last {}\"\n",
        if dealings.messages > 0 {
            format!("{} accepted", counted(dealings.messages, "message"))
        } else {
            "a known sender".to_owned()
        },
        seconds(dealings.waited()),
        moment(dealings.last).split(' ').next().unwrap_or_default()
    )
}

fn effect(out: &mut String, report: &Report) {
    let all = &report.all;
    out.push_str("\nEFFECT\n");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:34} {value}");
    };
    let modes: Vec<String> = report
        .modes
        .iter()
        .map(|(mode, count)| format!("{mode} {}", number(*count)))
        .collect();
    row("sessions by mode", modes.join(", "));
    if report.is_enforced() || all.holds > 0 {
        let ends = &report.ends;
        let ends: Vec<String> = ends
            .iter()
            .map(|(end, count)| format!("{end} {}", number(*count)))
            .collect();
        row(
            "held",
            format!("{}, {}", counted(all.holds, "hold"), seconds(all.held)),
        );
        row("  how they ended", ends.join(", "));
        row("  answered 450 or 454, unseen", number(all.unseen));
    }
    if report.is_estimate() {
        row(
            "would have been held",
            format!(
                "{}, {}",
                counted(all.observed, "hold"),
                seconds(all.would_hold)
            ),
        );
    }
    for (reason, (were, would)) in &report.reasons {
        let time = were.time + would.time;
        row(
            &format!("  for {reason}"),
            format!("{}, {}", number(were.count + would.count), seconds(time)),
        );
    }
    row("time of unwanted sources", seconds(report.stolen));
    row("recipients refused", number(all.refused));
    for (name, value) in lessons(report) {
        row(name, value);
    }
    row("failed AUTHs", number(all.auth_failed));
    row("messages accepted", number(all.messages));
}

/// What was asked and learnt: in sessions, as the metrics count, and by whole sources.
pub(super) fn lessons(report: &Report) -> [(&'static str, String); 4] {
    let (sessions, sources) = (report.by_sessions, report.by_harvesters);
    [
        (
            "guesses (in sessions without mail)",
            number(sessions.guesses),
        ),
        ("names learnt in them", number(sessions.names_learnt)),
        ("guesses of harvesters", number(sources.guesses)),
        ("names that harvesters learnt", number(sources.names_learnt)),
    ]
}

fn top(out: &mut String, report: &Report) {
    if report.top.is_empty() {
        return;
    }
    out.push_str("\nTOP SOURCES without accepted mail\n");
    table(out, &report.top);
}

fn table(out: &mut String, rows: &[(Source, Dealings)]) {
    let _ = writeln!(
        out,
        "  {:<28} {:>10} {:>6} {:>8} {:>7} {:>7} {:>8}  last seen",
        "source", "waited", "holds", "sessions", "guesses", "unseen", "messages"
    );
    for (source, one) in rows.iter().take(LISTED) {
        let _ = writeln!(
            out,
            "  {:<28} {:>10} {:>6} {:>8} {:>7} {:>7} {:>8}  {}",
            source.to_string(),
            seconds(one.waited()),
            one.holds + one.observed,
            one.sessions,
            one.refused,
            one.unseen,
            one.messages,
            moment(one.last)
        );
    }
}

fn passed(out: &mut String, report: &Report) {
    if report.passed.unreadable > 0 {
        let _ = writeln!(
            out,
            "\n{} could not be read.",
            counted(report.passed.unreadable, "line")
        );
    }
}

/// Whether they waited or would have.
fn tense(report: &Report) -> &'static str {
    match (report.is_estimate(), report.is_enforced()) {
        (true, true) => ", partly what would have been (observe)",
        (true, false) => ", what would have been (observe): an estimate",
        (false, _) => "",
    }
}

/// `2026-11-30 20:01`, UTC.
pub(super) fn moment(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(
        |_| "?".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M").to_string(),
    )
}

/// `12.5 s`, `3 min`, `2.5 h`, `4.1 d`.
pub(in crate::cmd) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        0.0 => "0 s".to_owned(),
        _ if seconds < 120.0 => format!("{seconds:.1} s"),
        _ if seconds < 7200.0 => format!("{:.1} min", seconds / 60.0),
        _ if seconds < 172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.1} d", seconds / 86_400.0),
    }
}

/// `1,234,567`
pub(in crate::cmd) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 hold`, `1,234 holds`; the first word is the one that counts.
pub(super) fn counted(count: u64, what: &str) -> String {
    if count == 1 {
        return format!("1 {what}");
    }
    let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
    let space = if rest.is_empty() { "" } else { " " };
    format!("{} {word}s{space}{rest}", number(count))
}

/// Lines of so many characters at most.
fn wrapped(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        if length > 0 && length + 1 + word.len() > width {
            out.push('\n');
            length = 0;
        }
        if length > 0 {
            out.push(' ');
            length += 1;
        }
        out.push_str(word);
        length += word.len();
    }
    out.push('\n');
    out
}
