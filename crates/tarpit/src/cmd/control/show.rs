//! What was answered, as text for people.
//!
//! Names that clients chose are escaped: a terminal must not obey them.

mod explain;

use std::fmt::Write as _;

use anyhow::Context as _;
use tarpit_admin::api::{
    Exemption, Exemptions, Mail, Pit, Refusal, Rule, Source, Sources, Status, Upstream,
};
use tarpit_smtp::escape;

use super::Answer;
pub(super) use explain::explanation;

/// `tarpit status`
pub(super) fn status(status: &Status) -> String {
    let mut text = format!(
        "tarpit {}, process {}, up {}, {}\n",
        status.version,
        status.process,
        age(status.now, status.started),
        status.config
    );
    if let Some(why) = &status.unready {
        put(
            &mut text,
            format_args!("new clients are not served: {why}\n"),
        );
    }
    if !status.reload_successful {
        text.push_str("the last change of the configuration was not put in force, see the log\n");
    }
    text.push_str(&rule(&status.rule, status.now));
    for listener in &status.listeners {
        if listener.mode != status.rule.mode {
            put(
                &mut text,
                format_args!("  listener {}: {}\n", listener.name, listener.mode),
            );
        }
    }
    text.push_str(&mail(&status.mail));
    for upstream in &status.upstreams {
        text.push_str(&self::upstream(upstream));
    }
    text.push_str(&pit(&status.pit));
    let harm = &status.harm;
    put(
        &mut text,
        format_args!(
            "harm      known senders waited {}, hung up {} times{}\n",
            span(harm.seconds),
            harm.hang_ups,
            if harm.observed_seconds > 0.0 {
                format!("; would have waited {}", span(harm.observed_seconds))
            } else {
                String::new()
            }
        ),
    );
    put(
        &mut text,
        format_args!(
            "sources   {} in the ledger, {} known senders\n",
            status.sources_owing, status.known_senders
        ),
    );
    text
}

fn rule(rule: &Rule, now: u64) -> String {
    let by = match &*rule.set_by {
        "command" => format!("set by command; the configuration says {}", rule.configured),
        "trial" => format!("a trial; the configuration says {}", rule.configured),
        _ => "as the configuration says".to_owned(),
    };
    let mut text = format!("mode      {}, {by}\n", rule.mode);
    if let Some(trial) = &rule.trial {
        put(
            &mut text,
            format_args!(
                "trial     ends in {} ({}); known senders waited {} of {}; `tarpit confirm` keeps it\n",
                age(trial.ends, now),
                date(trial.ends),
                span(trial.waited_seconds),
                span(trial.trip_seconds)
            ),
        );
    }
    if let Some(verdict) = &rule.verdict {
        put(
            &mut text,
            format_args!("verdict   {}: {}\n", date(verdict.at), verdict.text),
        );
    }
    text
}

fn mail(mail: &Mail) -> String {
    format!(
        "mail      {} sessions now; messages: {} accepted, {} refused, {} broken off\n\
         names     {} accepted, {} refused, {} deferred\n",
        mail.sessions,
        mail.accepted,
        mail.refused,
        mail.aborted,
        mail.recipients_accepted,
        mail.recipients_refused,
        mail.recipients_deferred
    )
}

fn upstream(upstream: &Upstream) -> String {
    let mut text = String::new();
    for server in &upstream.servers {
        let why = server
            .why
            .as_deref()
            .map(|why| format!(" ({})", plain(why)));
        let passed_over = if server.passed_over {
            ", passed over until its next probe"
        } else {
            ""
        };
        put(
            &mut text,
            format_args!(
                "upstream  {} {}: {}{}, {} connections, {} of them idle{passed_over}\n",
                upstream.name,
                server.address,
                server.health,
                why.unwrap_or_default(),
                server.open,
                server.idle
            ),
        );
    }
    if upstream.waiting > 0 {
        put(
            &mut text,
            format_args!(
                "          {} sessions wait for a connection\n",
                upstream.waiting
            ),
        );
    }
    text
}

fn pit(pit: &Pit) -> String {
    let mut text = format!("pit       {} in it now, held or idle", pit.held);
    if let Some(bytes) = pit.bytes.filter(|_| pit.held > 0) {
        put(&mut text, format_args!(", {} KiB", bytes.div_ceil(1024)));
    }
    if pit.keepers > 0 {
        put(&mut text, format_args!(", {} keepers", pit.keepers));
    }
    put(
        &mut text,
        format_args!(
            "; {} holds of {} since the start, {} unseen, {} shed\n",
            pit.holds,
            span(pit.held_seconds),
            pit.unseen,
            pit.shed
        ),
    );
    if pit.observed_holds > 0 {
        put(
            &mut text,
            format_args!(
                "          {} holds of {} there would have been\n",
                pit.observed_holds,
                span(pit.observed_seconds)
            ),
        );
    }
    if let Some(why) = &pit.strained {
        put(
            &mut text,
            format_args!(
                "          STRAINED: over the bound on {why}; the least useful holds are shed\n"
            ),
        );
    }
    text
}

/// `tarpit sources`
pub(super) fn sources(found: &Sources) -> String {
    if found.sources.is_empty() {
        return "no source owes anything\n".to_owned();
    }
    let mut text = format!(
        "{:<44} {:>9} {:>9} {:>8}  {}\n",
        "source", "owes", "at AUTH", "waiting", "known sender"
    );
    for source in &found.sources {
        put(
            &mut text,
            format_args!(
                "{:<44} {:>9} {:>9} {:>8}  {}\n",
                source.source,
                span(source.owed_seconds),
                span(source.owed_auth_seconds),
                source.waiting,
                known(source)
            ),
        );
    }
    text
}

fn known(source: &Source) -> String {
    match source.accepted_ago_seconds {
        Some(ago) => format!("yes, mail accepted {} ago", span(ago)),
        None => "no".to_owned(),
    }
}

/// `tarpit exempt list`
pub(super) fn exemptions(list: &Exemptions) -> String {
    if list.exemptions.is_empty() {
        return "no network is exempt\n".to_owned();
    }
    let lines = list
        .exemptions
        .iter()
        .map(|one| format!("{}\n", exemption(one)));
    lines.collect()
}

fn exemption(exemption: &Exemption) -> String {
    let mut text = format!("{}, {}", exemption.network, plain(&exemption.reason));
    if let Some(until) = exemption.until {
        let word = if exemption.over {
            "over since"
        } else {
            "until"
        };
        put(&mut text, format_args!(", {word} {}", date(until)));
    }
    match &*exemption.set_by {
        "" => {}
        "command" => text.push_str(" (by command)"),
        _ => text.push_str(" (configuration)"),
    }
    text
}

/// What is wrong, for standard error.
pub(super) fn refusal(answer: &Answer) -> anyhow::Result<String> {
    let refusal: Refusal =
        serde_json::from_slice(&answer.body).context("the gateway said what makes no sense")?;
    let mut text = String::new();
    for finding in refusal.findings {
        put(&mut text, format_args!("{}\n", plain(&finding)));
    }
    put(
        &mut text,
        format_args!("tarpit: {}\n", plain(&refusal.error)),
    );
    Ok(text)
}

/// A source's first address, for commands that take one.
fn address(source: &str) -> &str {
    source.split('/').next().unwrap_or(source)
}

/// A span as people say it: `4.2s`, `3m 20s`, `2d 5h`.
pub(super) fn span(seconds: f64) -> String {
    if seconds < 60.0 {
        let text = format!("{seconds:.1}");
        return format!("{}s", text.strip_suffix(".0").unwrap_or(&text));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates"
    )]
    let whole = seconds.round() as u64;
    let (large, small) = match whole {
        0..=3599 => ((whole / 60, "m"), (whole % 60, "s")),
        3600..=86_399 => ((whole / 3600, "h"), (whole % 3600 / 60, "m")),
        _ => ((whole / 86_400, "d"), (whole % 86_400 / 3600, "h")),
    };
    format!("{}{} {}{}", large.0, large.1, small.0, small.1)
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
fn age(later: u64, earlier: u64) -> String {
    span(later.saturating_sub(earlier) as f64)
}

fn date(at: u64) -> String {
    let moment = i64::try_from(at)
        .ok()
        .and_then(|at| jiff::Timestamp::from_second(at).ok());
    moment.map_or_else(|| at.to_string(), |moment| moment.to_string())
}

fn plain(text: &str) -> String {
    escape(text.as_bytes()).to_string()
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string can't fail.
    let _ = text.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        for (seconds, text) in [
            (0.0, "0s"),
            (4.25, "4.2s"),
            (5.0, "5s"),
            (59.0, "59s"),
            (200.4, "3m 20s"),
            (7_260.0, "2h 1m"),
            (190_800.0, "2d 5h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }
}
