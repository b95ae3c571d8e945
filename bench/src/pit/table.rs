//! What was measured, as a table for people and as JSON for programs.

use serde_json::{Value, json};

use super::case::{Case, Doing, Measured, Phase};
use super::machine::Kernel;
use super::mail;
use super::subject::Holding;
use crate::report::Table;
use crate::stats::{self, count, milliseconds, thousands};

const COLUMNS: &[&str] = &[
    "pit",
    "held",
    "by processes",
    "meanwhile",
    "user bytes each: as they came / meanwhile",
    "kernel bytes each: slabs / TCP buffers",
    "CPU s for 1,000 and a minute",
    "taken in, s",
    "replies late, ms median / 99 %: beside paced mail; at capacity",
    "mail, messages/s",
    "of empty pit (of windows)",
    "paced mail, ms median / 99 %",
    "upstream connections",
];

/// All cases.
pub(crate) fn to_markdown(all: &[Measured]) -> String {
    let mut table = Table::new(COLUMNS);
    let mut remarks = Vec::new();
    for measured in all {
        if measured.case.windows > 0 {
            table.row(empty(measured));
        }
        for phase in &measured.phases {
            table.row(row(measured, phase));
        }
        remarks.extend(self::remarks(measured));
    }
    let remarks = remarks.join("\n");
    format!("{}\n{remarks}\n", table.to_markdown())
}

fn empty(measured: &Measured) -> Vec<String> {
    let mail = &measured.empty;
    let mut cells = vec![measured.case.kind.name().to_owned(), "0".to_owned()];
    cells.resize(COLUMNS.len(), "-".to_owned());
    cells[9] = thousands(mail.rate());
    cells[10] = ratio(&mail.rates, mail.rate());
    cells[11] = latency(mail);
    cells
}

fn row(measured: &Measured, phase: &Phase) -> Vec<String> {
    let filled = &measured.filled;
    let mail = &phase.mail;
    let (rate, of_empty, paced) = if measured.case.windows > 0 {
        (
            thousands(mail.rate()),
            ratio(&mail.rates, measured.empty.rate()),
            latency(mail),
        )
    } else {
        ("-".to_owned(), "-".to_owned(), "-".to_owned())
    };
    vec![
        measured.case.kind.name().to_owned(),
        count(phase.held),
        filled.processes.to_string(),
        meanwhile(&measured.case, phase),
        format!(
            "{:.0} / {:.0}",
            user_bytes(measured),
            user_bytes_in(measured, phase)
        ),
        format!("{:.0} / {:.0}", slab_bytes(measured), tcp_bytes(measured)),
        format!("{:.3}", cpu(phase)),
        format!("{:.1}", filled.took.as_secs_f64()),
        late(phase),
        rate,
        of_empty,
        paced,
        phase.upstream.to_string(),
    ]
}

/// How late replies were.
fn late(phase: &Phase) -> String {
    let times = [phase.late_ms, phase.late_at_capacity_ms];
    let words: Vec<_> = times
        .iter()
        .flatten()
        .map(|(half, most)| format!("{half} / {most}"))
        .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join("; ")
    }
}

/// What somebody said, without the full stop that the sentence around it has.
fn words(said: Option<&String>) -> &str {
    said.map_or("no word of why", |said| said.trim_end_matches('.'))
}

fn remarks(measured: &Measured) -> Vec<String> {
    let case = &measured.case;
    let who = format!("{}, {} held", case.kind.name(), count(case.held));
    let mut remarks = Vec::new();
    let filled = &measured.filled;
    if filled.held < case.held {
        let why = words(filled.why_not_more.as_ref());
        let mut text = format!("- {who}: held only {} ({why})", count(filled.held));
        if let Some(remark) = &measured.remark {
            text.push_str(&format!("; {remark}"));
        }
        remarks.push(text + ".");
    }
    for phase in &measured.phases {
        if let (lost @ 1.., why) = &phase.lost {
            let why = words(why.as_ref());
            remarks.push(format!(
                "- {who}, {}: {} sessions ended or were refused, the first: {why}.",
                meanwhile(case, phase),
                count(*lost)
            ));
        }
        let mail = &phase.mail;
        if let Some(failure) = &mail.first_failure {
            let failure = words(Some(failure));
            remarks.push(format!(
                "- {who}: {} messages of wanted mail failed, the first: {failure}.",
                count(mail.failures)
            ));
        }
    }
    remarks
}

/// What the herd does, in words.
fn meanwhile(case: &Case, phase: &Phase) -> String {
    let mut words = format!("{} s holds", case.hold.as_secs());
    if case.tls {
        words.push_str(" over TLS");
    }
    if case.holding == Holding::Stutter {
        words.push_str(", said octet by octet");
    }
    if case.asks {
        words.push_str(", the server is asked");
    }
    if case.long {
        words.push_str(", longest names");
    }
    if case.ahead {
        words.push_str(", one octet unread");
    }
    match phase.doing {
        Doing::Waiting => words.push_str(", nothing due"),
        Doing::Guessing { churn, lookers, .. } => {
            words.push_str(&format!(", {} due a second", thousands(phase.replies)));
            if lookers > 0 {
                words.push_str(&format!(", {lookers} look at the page"));
            }
            if churn > 0.0 {
                words.push_str(&format!(", {} new a second", thousands(churn)));
            }
        }
    }
    words
}

/// Growth of PSS for each held session.
fn user_bytes(measured: &Measured) -> f64 {
    let (before, after) = measured.filled.user_kib;
    each(before, after, measured.filled.held)
}

/// The same by the memory in a phase and by those who are held in it.
fn user_bytes_in(measured: &Measured, phase: &Phase) -> f64 {
    each(measured.filled.user_kib.0, phase.user_kib, phase.held)
}

/// What TCP counts as buffered for each, by the page: what its limit (`tcp_mem`) is about.
fn tcp_bytes(measured: &Measured) -> f64 {
    let (before, after) = measured.filled.kernel;
    each(before.tcp_kib, after.tcp_kib, measured.filled.held)
}

/// Growth of the kernel's objects for each held session: both ends of it, for both are here.
fn slab_bytes(measured: &Measured) -> f64 {
    let (before, after) = measured.filled.kernel;
    each(before.slab_kib, after.slab_kib, measured.filled.held)
}

fn each(before_kib: u64, after_kib: u64, held: u64) -> f64 {
    (after_kib as f64 - before_kib as f64) * 1024.0 / (held.max(1) as f64)
}

/// Processor seconds for 1,000 held sessions and a minute.
fn cpu(phase: &Phase) -> f64 {
    let (spent, window) = phase.spent;
    let minutes = window.as_secs_f64() / 60.0;
    spent.as_secs_f64() / minutes / (phase.held.max(1) as f64 / 1000.0)
}

fn ratio(rates: &[f64], empty: f64) -> String {
    if empty <= 0.0 {
        return "-".to_owned();
    }
    let mut ratios: Vec<f64> = rates.iter().map(|rate| rate / empty).collect();
    let [median, least, greatest] =
        [0.5, 0.0, 1.0].map(|share| stats::percentile(&mut ratios, share).unwrap_or(0.0));
    format!("**{median:.2}** ({least:.2}-{greatest:.2})")
}

fn latency(mail: &mail::Seen) -> String {
    if mail.paced.1 <= 0.0 {
        return "none got through".to_owned();
    }
    let (median, p99) = mail.latency;
    format!("{} / {}", milliseconds(median), milliseconds(p99))
}

/// All cases, with what the table leaves out.
pub(crate) fn to_json(machine: &str, raised: &str, all: &[Measured]) -> Value {
    let cases: Vec<Value> = all.iter().map(case).collect();
    json!({ "machine": machine, "raised": raised, "cases": cases })
}

fn case(measured: &Measured) -> Value {
    let Measured {
        case,
        filled,
        empty,
        phases,
        remark,
    } = measured;
    let phases: Vec<Value> = phases.iter().map(|one| phase(measured, one)).collect();
    json!({
        "pit": case.kind.name(),
        "part": format!("{:?}", case.part).to_lowercase(),
        "wanted": case.held,
        "held": filled.held,
        "hold_seconds": case.hold.as_secs(),
        "stutter": case.holding == Holding::Stutter,
        "tls": case.tls,
        "server_is_asked": case.asks,
        "long_names": case.long,
        "unread_octet": case.ahead,
        "processes": filled.processes,
        "user_kib": [filled.user_kib.0, filled.user_kib.1],
        "user_bytes_each": user_bytes(measured),
        "kernel": [kernel(&filled.kernel.0), kernel(&filled.kernel.1)],
        "slab_bytes_each_both_ends": slab_bytes(measured),
        "tcp_bytes_each_both_ends": tcp_bytes(measured),
        "taken_in_seconds": filled.took.as_secs_f64(),
        "taken_in_cpu_seconds": filled.spent.as_secs_f64(),
        "why_not_more": filled.why_not_more,
        "remark": remark,
        "mail_empty": mail(empty),
        "phases": phases,
    })
}

fn kernel(kernel: &Kernel) -> Value {
    json!({ "slab_kib": kernel.slab_kib, "tcp_kib": kernel.tcp_kib })
}

fn mail(mail: &mail::Seen) -> Value {
    json!({
        "messages_per_second": mail.rates,
        "paced_per_second": { "wanted": mail.paced.0, "sent": mail.paced.1 },
        "paced_ms": {
            "median": mail.latency.0.as_secs_f64() * 1e3,
            "p99": mail.latency.1.as_secs_f64() * 1e3,
        },
        "failures": mail.failures,
        "first_failure": mail.first_failure,
    })
}

fn late_to_json((median, p99): (u64, u64)) -> Value {
    json!({ "median": median, "p99": p99 })
}

fn phase(measured: &Measured, phase: &Phase) -> Value {
    let empty = measured.empty.rate();
    let ratio = (empty > 0.0).then(|| phase.mail.rate() / empty);
    json!({
        "meanwhile": meanwhile(&measured.case, phase),
        "held": phase.held,
        "user_kib": phase.user_kib,
        "user_bytes_each": user_bytes_in(measured, phase),
        "replies_per_second": phase.replies,
        "cpu_seconds_per_1000_and_minute": cpu(phase),
        "cores": phase.spent.0.as_secs_f64() / phase.spent.1.as_secs_f64(),
        "load_cores": phase.herd_spent.as_secs_f64() / phase.spent.1.as_secs_f64(),
        "late_ms": phase.late_ms.map(late_to_json),
        "late_at_capacity_ms": phase.late_at_capacity_ms.map(late_to_json),
        "mail": mail(&phase.mail),
        "mail_of_empty": ratio,
        "upstream_connections": phase.upstream,
        "lost": phase.lost.0,
        "first_lost": phase.lost.1,
    })
}
