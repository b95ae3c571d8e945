//! Records: one for each hold, one for each session, written once, here.
//!
//! Nothing that a client sent reaches the log raw: control characters and everything outside
//! printable ASCII are escaped.

use std::fmt::Write as _;

use tarpit_core::Tick;
use tarpit_core::policy::{Mode, Offence};
use tarpit_core::record::{ActRecord, HoldEnd, HoldRecord, MessageRecord, SessionRecord};
use tarpit_smtp::escape;

use crate::config::Addresses;
use crate::conn::Conn;
use crate::metrics::{self, Family, Figures, Kind, Metrics, Section, Value};
use crate::shared::Shared;

const fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

/// A hold that ended, or that would have been. `is_known`: of a known sender.
pub(crate) fn hold(hold: &HoldRecord, is_known: bool, metrics: &Metrics) {
    let millis = u64::try_from(hold.held.as_millis()).unwrap_or(u64::MAX);
    if hold.end == HoldEnd::Observed {
        metrics.holds_observed.add(hold.reason, 1);
        metrics.observed_millis.add(hold.reason, millis);
    } else {
        metrics.holds.add(hold.reason, hold.way, 1);
        metrics.held_millis.add(hold.reason, hold.way, millis);
        metrics.hold_ends.add(hold.end, 1);
    }
    tracing::info!(
        target: "tarpit::hold",
        session = %format_args!("tp-{}", hold.session),
        source = %hold.source,
        reason = hold.reason.as_str(),
        code = hold.code.map(tarpit_smtp::ReplyCode::get),
        owed_seconds = hold.owed.as_secs_f64(),
        way = hold.way.as_str(),
        held_seconds = hold.held.as_secs_f64(),
        end = hold.end.as_str(),
        mode = mode_word(hold.mode),
        known = is_known.then_some(true),
        "hold"
    );
}

/// Something that was judged. At a level that nobody logs by default: the record file has it.
pub(crate) fn act<S>(act: &ActRecord, conn: &Conn<S>) {
    let listener = &conn.live.config.listeners[conn.listener];
    tracing::debug!(
        target: "tarpit::act",
        session = %format_args!("tp-{}", act.session),
        source = %act.source,
        client = %conn.peer.ip().to_canonical(),
        listener = &*listener.name,
        mode = mode_word(listener.policy.mode),
        deed = act.deed.as_str(),
        judged = act.judged.as_str(),
        offence = act.judged.offence().map(Offence::as_str),
        took_seconds = act.took.as_secs_f64(),
        price_seconds = act.price.as_secs_f64(),
        transaction = act.transaction,
        role = act.role,
        authenticated = conn.session.is_authenticated(),
        exempt = conn.session.is_exempt(),
        "act"
    );
}

/// A session that ended.
pub(crate) fn session<S>(conn: &Conn<S>, now: Tick, metrics: &Metrics) {
    let record = conn.session.record();
    let listener = &conn.live.config.listeners[conn.listener];
    let addresses = conn.live.config.addresses;
    let exemption = conn.exempt.map(|index| &conn.live.config.exempt[index]);
    let (agreed, failed) = match conn.tls.as_deref() {
        Some(Ok(agreed)) => (Some(agreed), None),
        Some(Err(failure)) => (None, Some(failure)),
        None => (None, None),
    };
    if conn.is_check && record.messages_count == 0 {
        // Several a second, for ever, and each like the other: what has no record is not counted.
        tracing::debug!(target: "tarpit::session", proxy = %conn.peer, listener = %listener.name, "a proxy's own check");
        return;
    }
    count(record, metrics);
    let policy = &listener.policy;
    if !policy.enforces() && record.errors > policy.errors_max {
        metrics.sessions_over_error_limit.add(1);
    }
    tracing::info!(
        target: "tarpit::session",
        session = %format_args!("tp-{}", conn.session.id()),
        source = %conn.session.source(),
        client = %conn.peer,
        proxy = conn.via.as_deref().map(|via| tracing::field::display(via.proxy)),
        proxy_tls = conn.via.as_deref().and_then(|via| via.tls.as_deref()),
        listener = %listener.name,
        mode = mode_word(listener.policy.mode),
        helo = record.helo.as_deref().map(shown),
        introduced = record.introduced,
        client_name = record.client_name.as_deref().map(shown),
        untrusted_xclient = record.untrusted_xclient,
        tls = record.secured,
        tls_version = agreed.map(|tls| tls.version),
        tls_cipher = agreed.map(|tls| tls.cipher),
        tls_sni = agreed.and_then(|tls| tls.sni.as_deref()).map(shown),
        tls_resumed = agreed.map(|tls| tls.resumed),
        tls_failed = failed.map(ToString::to_string),
        authenticated = record.authenticated,
        exempt = record.exempt,
        exempt_reason = exemption.map(|exemption| &*exemption.reason),
        over_source_limit = conn.over_source_limit,
        sender = record.sender.as_deref().map(|path| addresses.show(path)),
        accepted = record.accepted,
        refused = record.refused,
        refused_paths = list(&record.refused_paths, addresses),
        deferred = record.deferred,
        unseen = record.unseen,
        would_refuse = record.would_refuse,
        auth_failed = record.failed_auth,
        errors = record.errors,
        messages = record.messages_count,
        messages_accepted = record.messages_accepted,
        messages_aborted = record.messages_aborted,
        envelopes = messages(&record.messages, addresses),
        holds = record.holds,
        held_seconds = record.held.as_secs_f64(),
        upstream = record.upstream.as_deref(),
        upstream_seconds = record.upstream_wait.as_secs_f64(),
        seconds = now.since(conn.opened).as_secs_f64(),
        end = record.end.as_str(),
        "session"
    );
}

fn count(record: &SessionRecord, metrics: &Metrics) {
    metrics.session_ends.add(record.end, 1);
    metrics.recipients_accepted.add(record.accepted.into());
    metrics.recipients_refused.add(record.refused.into());
    metrics.recipients_deferred.add(record.deferred.into());
    metrics
        .recipients_over_limit
        .add(record.over_recipients.into());
    metrics
        .recipients_would_refuse
        .add(record.would_refuse.into());
    metrics.upstream_busy.add(record.upstream_busy.into());
    metrics.upstream_trouble.add(record.upstream_trouble.into());
    metrics.messages_aborted.add(record.messages_aborted.into());
    metrics.unseen.add(record.unseen.into());
    if record.refused > 0 && record.messages_accepted == 0 {
        metrics.guesses.add(record.refused.into());
        metrics.names_learnt.add(record.accepted.into());
    }
    metrics.auth_failed.add(record.failed_auth.into());
    metrics
        .messages_accepted
        .add(record.messages_accepted.into());
    // What is neither: refused at its end, or its upstream was lost.
    let others = record.messages_accepted + record.messages_aborted;
    let refused = record.messages_count.saturating_sub(others);
    metrics.messages_refused.add(refused.into());
}

/// All counts since the start, those that are zero left out: once in a while, and at the end.
pub(crate) fn totals(shared: &Shared) {
    let counts = counts(&metrics::figures(shared));
    let ledger = shared.ledger.stats();
    tracing::info!(
        target: "tarpit::totals",
        sessions = shared.places.active(),
        held = shared.places.held(),
        ledger_sources = ledger.sources,
        ledger_evicted = ledger.evicted,
        ledger_unbooked = ledger.unbooked,
        known_senders = ledger.known,
        counts,
        "totals"
    );
}

/// `messages{outcome=accepted}=3 ...`: the counters of the table, by their names there.
fn counts(figures: &Figures) -> String {
    let mut counts = String::new();
    let ours = |family: &&Family| family.kind == Kind::Counter && family.section != Section::Ledger;
    for family in metrics::families().filter(ours) {
        let Some(name) = family.name.strip_prefix("tarpit_") else {
            continue;
        };
        let name = name.strip_suffix("_total").unwrap_or(name);
        (family.read)(figures, &mut |values, value| {
            let count = match value {
                Value::Count(count) if count > 0 => count.to_string(),
                Value::Real(sum) if sum > 0.0 => sum.to_string(),
                _ => return,
            };
            if !counts.is_empty() {
                counts.push(' ');
            }
            counts.push_str(name);
            let labels = family.labels.iter().zip(values);
            let labels: Vec<_> = labels
                .map(|(label, value)| format!("{}={value}", label.name))
                .collect();
            if !labels.is_empty() {
                let _ = write!(counts, "{{{}}}", labels.join(","));
            }
            let _ = write!(counts, "={count}");
        });
    }
    counts
}

fn shown(text: &str) -> String {
    escape(text.as_bytes()).to_string()
}

/// `<a@b>,<c@d>`
fn list(paths: &[Box<str>], addresses: Addresses) -> Option<String> {
    let shown = paths
        .iter()
        .map(|path| format!("<{}>", addresses.show(path)));
    let list = shown.collect::<Vec<_>>().join(",");
    (!list.is_empty()).then_some(list)
}

/// `from=<a@b> to=<c@d>,<e@f> upstream=250 2.0.0 Ok: queued as 4XY; from=...`
fn messages(messages: &[MessageRecord], addresses: Addresses) -> Option<String> {
    if messages.is_empty() {
        return None;
    }
    let mut text = String::new();
    for message in messages {
        let separator = if text.is_empty() { "" } else { "; " };
        let _ = write!(
            text,
            "{separator}from=<{}> to=",
            addresses.show(&message.reverse_path)
        );
        for (index, recipient) in message.recipients.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(text, "{comma}<{}>", addresses.show(recipient));
        }
        let more = message.recipients_count as usize - message.recipients.len();
        if more > 0 {
            let _ = write!(text, ",+{more}");
        }
        let who = if message.from_upstream {
            "upstream"
        } else {
            "gateway"
        };
        let reply = message.reply.to_log();
        let _ = write!(text, " {who}={}", addresses.show_text(&reply));
    }
    Some(text)
}
