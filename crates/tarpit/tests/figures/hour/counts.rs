//! What each view shows, under names that they have in common.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::parse::{Metrics, sum, value};

/// What a view shows. A name may stand there twice, if the view shows it twice.
pub(super) type Counts = Vec<(String, f64)>;

/// What the page and `tarpit status` have alike.
const BOTH: &[(&str, &str)] = &[
    ("/mail/sessions", "sessions now"),
    ("/mail/accepted", "messages accepted"),
    ("/mail/refused", "messages refused"),
    ("/mail/aborted", "messages aborted"),
    ("/mail/recipients_accepted", "recipients accepted"),
    ("/mail/recipients_refused", "recipients refused"),
    ("/mail/recipients_deferred", "recipients deferred"),
    ("/pit/held", "held now"),
    ("/pit/holds", "holds"),
    ("/pit/held_seconds", "seconds held"),
    ("/pit/observed_holds", "holds observed"),
    ("/pit/observed_seconds", "seconds observed"),
    ("/pit/shed", "sessions ended by shed"),
    ("/pit/unseen", "unseen"),
    ("/harm/seconds", "harm seconds"),
    ("/harm/observed_seconds", "harm seconds observed"),
    ("/harm/hang_ups", "harm hang-ups"),
    ("/known_senders", "sources with mail"),
];

const PAGE: &[(&str, &str)] = &[
    ("/effect/guesses", "guesses"),
    ("/effect/names_learnt", "names learnt"),
    ("/effect/unseen", "unseen"),
    ("/effect/stolen_seconds", "stolen seconds"),
    ("/effect/would_steal_seconds", "stolen seconds observed"),
    ("/effect/auth_failures", "failed AUTHs"),
];

const REPORT: &[(&str, &str)] = &[
    ("/sessions", "sessions"),
    ("/sources", "sources"),
    ("/sources_with_accepted_mail", "sources with mail"),
    ("/held/count", "holds"),
    ("/held/seconds", "seconds held"),
    ("/would_hold/count", "holds observed"),
    ("/would_hold/seconds", "seconds observed"),
    ("/harm/seconds", "harm seconds in all"),
    ("/stolen_seconds", "stolen seconds in all"),
    ("/recipients_accepted", "recipients accepted"),
    ("/recipients_refused", "recipients refused"),
    ("/messages_accepted", "messages accepted"),
    ("/auth_failed", "failed AUTHs"),
    ("/unseen", "unseen"),
    ("/guesses", "guesses"),
    ("/names_learnt", "names learnt"),
    ("/harvesters/sources", "harvesters"),
    ("/harvesters/guesses", "guesses of harvesters"),
    ("/harvesters/names_learnt", "names learnt by harvesters"),
    ("/lines_unreadable", "lines unreadable"),
];

/// One series each.
const SERIES: &[(&str, &[&str], &str)] = &[
    (
        "tarpit_messages_total",
        &["outcome=accepted"],
        "messages accepted",
    ),
    (
        "tarpit_messages_total",
        &["outcome=refused"],
        "messages refused",
    ),
    (
        "tarpit_messages_total",
        &["outcome=aborted"],
        "messages aborted",
    ),
    (
        "tarpit_recipients_total",
        &["outcome=accepted"],
        "recipients accepted",
    ),
    (
        "tarpit_recipients_total",
        &["outcome=refused"],
        "recipients refused",
    ),
    (
        "tarpit_recipients_total",
        &["outcome=deferred"],
        "recipients deferred",
    ),
    (
        "tarpit_recipients_would_refuse_total",
        &[],
        "recipients to be refused",
    ),
    (
        "tarpit_sessions_over_error_limit_total",
        &[],
        "sessions over the error limit",
    ),
    (
        "tarpit_tls_handshakes_total",
        &["outcome=succeeded"],
        "sessions over TLS",
    ),
    ("tarpit_auth_failures_total", &[], "failed AUTHs"),
    ("tarpit_guesses_total", &[], "guesses"),
    ("tarpit_names_learnt_total", &[], "names learnt"),
    ("tarpit_unseen_total", &[], "unseen"),
    ("tarpit_harm_seconds_total", &[], "harm seconds"),
    (
        "tarpit_observed_harm_seconds_total",
        &[],
        "harm seconds observed",
    ),
    ("tarpit_harm_hang_ups_total", &[], "harm hang-ups"),
    ("tarpit_known_senders", &[], "sources with mail"),
    ("tarpit_pit_sessions", &[], "held now"),
    ("tarpit_records_dropped_total", &[], "records lost"),
    ("tarpit_panics_total", &[], "sessions ended by bug"),
];

/// All series together.
const SUMS: &[(&str, &str)] = &[
    ("tarpit_sessions", "sessions now"),
    ("tarpit_sessions_ended_total", "sessions"),
    ("tarpit_holds_total", "holds"),
    ("tarpit_held_seconds_total", "seconds held"),
    ("tarpit_holds_ended_total", "holds"),
    ("tarpit_observed_holds_total", "holds observed"),
    ("tarpit_observed_seconds_total", "seconds observed"),
    ("tarpit_sheds_total", "sessions ended by shed"),
];

/// For each word of a label.
const WORDS: &[(&str, &str, &str)] = &[
    ("tarpit_sessions_ended_total", "end", "sessions ended by"),
    ("tarpit_holds_total", "reason", "holds for"),
    ("tarpit_held_seconds_total", "reason", "seconds held for"),
    ("tarpit_holds_total", "way", "holds in the way"),
    (
        "tarpit_held_seconds_total",
        "way",
        "seconds held in the way",
    ),
    ("tarpit_holds_ended_total", "end", "holds ended by"),
    (
        "tarpit_observed_holds_total",
        "reason",
        "holds observed for",
    ),
    (
        "tarpit_observed_seconds_total",
        "reason",
        "seconds observed for",
    ),
];

pub(super) fn number(of: &Value, pointer: &str) -> f64 {
    let found = of.pointer(pointer).and_then(Value::as_f64);
    found.unwrap_or_else(|| panic!("no {pointer} in {of}"))
}

pub(super) fn word<'a>(of: &'a Value, field: &str) -> &'a str {
    let found = of[field].as_str();
    found.unwrap_or_else(|| panic!("no {field} in {of}"))
}

fn named(of: &Value, names: &[(&str, &str)]) -> Counts {
    let names = names.iter();
    names
        .map(|(pointer, name)| ((*name).to_owned(), number(of, pointer)))
        .collect()
}

/// Of `tarpit status --json`.
pub(super) fn status(status: &Value) -> Counts {
    named(status, BOTH)
}

/// Of what the page is sent.
pub(super) fn page(snapshot: &Value) -> Counts {
    let mut counts = named(snapshot, BOTH);
    counts.append(&mut named(snapshot, PAGE));
    counts
}

/// Of `/metrics`.
pub(super) fn metrics(shown: &Metrics) -> Counts {
    let mut counts = Counts::new();
    for (metric, labels, name) in SERIES {
        counts.push(((*name).to_owned(), value(shown, metric, labels)));
    }
    for (metric, name) in SUMS {
        counts.push(((*name).to_owned(), sum(shown, metric)));
    }
    for (metric, label, name) in WORDS {
        let mut words: BTreeMap<&str, f64> = BTreeMap::new();
        for sample in &shown[*metric].samples {
            *words.entry(&sample.labels[*label]).or_default() += sample.value;
        }
        let words = words.into_iter();
        counts.extend(words.map(|(word, count)| (format!("{name} {word}"), count)));
    }
    counts
}

/// Of `tarpit report --json`.
pub(super) fn report(report: &Value) -> Counts {
    let mut counts = named(report, REPORT);
    for (reason, spells) in report["holds_by_reason"].as_object().unwrap() {
        for (pointer, name) in [
            ("/held/count", "holds for"),
            ("/held/seconds", "seconds held for"),
            ("/would_hold/count", "holds observed for"),
            ("/would_hold/seconds", "seconds observed for"),
        ] {
            counts.push((format!("{name} {reason}"), number(spells, pointer)));
        }
    }
    for (object, name) in [
        ("hold_ends", "holds ended by"),
        ("sessions_by_mode", "sessions in"),
    ] {
        for (word, count) in report[object].as_object().unwrap() {
            counts.push((format!("{name} {word}"), count.as_f64().unwrap()));
        }
    }
    let hurt = report["harm"]["sources"].as_array().unwrap();
    let hours = report["hours"].as_array().unwrap();
    counts.push(("sources hurt".to_owned(), hurt.len() as f64));
    for (list, pointer, name) in [
        (hurt, "/held_seconds", "harm seconds"),
        (hurt, "/would_hold_seconds", "harm seconds observed"),
        (hurt, "/hung_up", "harm hang-ups"),
        (hours, "/sessions", "sessions"),
        (hours, "/harm_seconds", "harm seconds in all"),
        (hours, "/stolen_seconds", "stolen seconds in all"),
    ] {
        let sum = list.iter().map(|one| number(one, pointer)).sum();
        counts.push((name.to_owned(), sum));
    }
    counts
}

/// Of the records of acts: what was judged, one by one.
pub(super) fn acts(records: &[Value]) -> Counts {
    let mut counts = BTreeMap::from([
        ("recipients accepted", 0.0),
        ("recipients refused", 0.0),
        ("recipients to be refused", 0.0),
        ("messages accepted", 0.0),
        ("messages refused", 0.0),
        ("failed AUTHs", 0.0),
        ("unseen", 0.0),
    ]);
    for act in records.iter().filter(|one| one["target"] == "tarpit::act") {
        let offence = act["offence"].as_str().unwrap_or_default();
        let name = match (word(act, "deed"), word(act, "judged"), offence) {
            ("rcpt", "accepted", _) => "recipients accepted",
            // What the upstream said to MAIL, again.
            ("sender" | "service", "repeated", _) => "recipients refused",
            ("auth", "refused", "failed_auth") => "failed AUTHs",
            ("message", "accepted", _) => "messages accepted",
            ("message", _, _) => "messages refused",
            (_, "unseen", _) => "unseen",
            (_, "would_refuse", _) => "recipients to be refused",
            (
                _,
                "refused",
                "unknown_recipient" | "recipient_refused" | "sender_refused" | "relay_denied",
            ) => "recipients refused",
            _ => continue,
        };
        *counts.entry(name).or_default() += 1.0;
    }
    let counts = counts.into_iter();
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}
