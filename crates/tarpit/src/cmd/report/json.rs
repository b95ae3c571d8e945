//! The report for programs. Spans are seconds, moments are RFC 3339.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tarpit_core::Source;

use super::tally::{Dealings, Report, Spell};
use super::text;

/// The whole object.
pub(super) fn print(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(&value(report))?)
}

fn value(report: &Report) -> Value {
    let all = &report.all;
    let harm = report.harm.iter().map(|(source, one)| {
        let mut row = row(*source, one);
        row["exempt"] = text::exempt(*source, one).into();
        row
    });
    let reasons = report.reasons.iter().map(|(reason, (were, would))| {
        (
            reason.to_string(),
            json!({ "held": spell(were), "would_hold": spell(would) }),
        )
    });
    let hours = report.hours.iter().map(|(hour, of)| {
        json!({
            "at": time(hour * 3_600_000),
            "sessions": of.sessions,
            "stolen_seconds": of.stolen,
            "harm_seconds": of.harm,
        })
    });
    json!({
        "from": time(report.from),
        "to": time(report.to),
        "estimate": report.is_estimate().then_some(text::ESTIMATE),
        "harm": {
            "sources": harm.collect::<Vec<_>>(),
            "seconds": report.harm_time().as_secs_f64(),
        },
        "sessions": all.sessions,
        "sessions_by_mode": report.modes,
        "sources": report.sources,
        "sources_with_accepted_mail": report.wanted,
        "held": { "count": all.holds, "seconds": seconds(all.held) },
        "would_hold": { "count": all.observed, "seconds": seconds(all.would_hold) },
        "holds_by_reason": reasons.collect::<serde_json::Map<_, _>>(),
        "hold_ends": report.ends,
        "stolen_seconds": seconds(report.stolen),
        "recipients_accepted": all.accepted,
        "recipients_refused": all.refused,
        "auth_failed": all.auth_failed,
        "unseen": all.unseen,
        "guesses": report.by_sessions.guesses,
        "names_learnt": report.by_sessions.names_learnt,
        "harvesters": {
            "sources": report.harvesters,
            "guesses": report.by_harvesters.guesses,
            "names_learnt": report.by_harvesters.names_learnt,
        },
        "messages_accepted": all.messages,
        "top": report.top.iter().map(|(source, one)| row(*source, one)).collect::<Vec<_>>(),
        "hours": hours.collect::<Vec<_>>(),
        "lines_unreadable": report.passed.unreadable,
    })
}

fn row(source: Source, one: &Dealings) -> Value {
    json!({
        "source": source.to_string(),
        "waited_seconds": seconds(one.waited()),
        "held_seconds": seconds(one.held),
        "would_hold_seconds": seconds(one.would_hold),
        "holds": one.holds,
        "would_hold": one.observed,
        "hung_up": one.hung_up,
        "sessions": one.sessions,
        "accepted": one.accepted,
        "refused": one.refused,
        "auth_failed": one.auth_failed,
        "unseen": one.unseen,
        "messages_accepted": one.messages,
        "last": time(one.last),
    })
}

fn spell(spell: &Spell) -> Value {
    json!({ "count": spell.count, "seconds": seconds(spell.time) })
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

/// `null` if there is none.
fn time(millis: i64) -> Option<String> {
    let time = Timestamp::from_millisecond(millis).ok()?;
    Some(time.to_string())
}
