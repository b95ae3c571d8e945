//! What was answered, as text for people.
//!
//! Names that clients chose are escaped: a terminal must not obey them.

use std::fmt::Write as _;

use anyhow::Context as _;
use tarpit_admin::api::{
    Ended, Exemption, Exemptions, Explanation, Hold, Mail, Next, Pit, Refusal, Rule, Session,
    Source, Sources, Status, Upstream,
};
use tarpit_smtp::escape;

use super::Answer;

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

/// `tarpit explain`
pub(super) fn explanation(found: &Explanation) -> String {
    let mut text = String::new();
    if let Some(asked) = &found.session {
        text.push_str(&session(asked, true));
        text.push('\n');
    }
    let source = &found.source;
    put(&mut text, format_args!("source {}\n", source.source));
    put(
        &mut text,
        format_args!("  known sender: {}\n", known(source)),
    );
    put(
        &mut text,
        format_args!(
            "  owes {} ({} at AUTH), {} reserved for look-ups under way; {} sessions now, {} wait for room\n",
            span(source.owed_seconds),
            span(source.owed_auth_seconds),
            span(source.reserved_seconds),
            found.sessions,
            source.waiting
        ),
    );
    let owed = source.owed_seconds.max(source.owed_auth_seconds);
    if owed > 0.0 {
        put(
            &mut text,
            format_args!(
                "  free of debt in {}, or at once: tarpit forgive {}\n",
                span(owed),
                address(&source.source)
            ),
        );
    }
    match &found.exemption {
        Some(exemption) => put(
            &mut text,
            format_args!(
                "  exempt, so it never waits: {}\n",
                self::exemption(exemption)
            ),
        ),
        None => put(
            &mut text,
            format_args!(
                "  no exemption covers it; to exempt it: tarpit exempt add {} --reason 'WHY'\n",
                source.source
            ),
        ),
    }
    for next in &found.next {
        text.push_str(&self::next(next));
    }
    if !found.recent.is_empty() {
        text.push_str("newest sessions\n");
    }
    for recent in &found.recent {
        text.push_str(&session(recent, false));
    }
    text
}

fn next(next: &Next) -> String {
    let (listener, mode) = (&next.listener, &next.mode);
    if next.wrong_seconds == 0.0 && next.right_seconds == 0.0 {
        return format!("  at {listener} ({mode}): no reply of it would wait\n");
    }
    let would = if mode == "enforce" {
        ""
    } else {
        "; in enforce"
    };
    if next.unseen {
        return format!(
            "  at {listener} ({mode}{would}): its next guess would get 450 4.7.1 unseen, after {}\n",
            span(next.right_seconds)
        );
    }
    format!(
        "  at {listener} ({mode}{would}): the next wrong name would wait {}, a right one {}; after a wrong one it would be free in {} (price {}, account of the {})\n",
        span(next.wrong_seconds),
        span(next.right_seconds),
        span(next.free_after_seconds),
        span(next.price_seconds),
        next.scope
    )
}

fn session(session: &Session, whole: bool) -> String {
    let mut text = match &session.ended {
        Some(ended) => format!(
            "session {} of {}, {}: {}",
            session.id,
            session.source,
            date(session.at),
            self::ended(ended, whole)
        ),
        None => format!(
            "session {} of {}: it still runs, or its record is not known any more\n",
            session.id, session.source
        ),
    };
    let shown = if whole { session.holds.len() } else { 1 };
    for hold in session.holds.iter().rev().take(shown) {
        text.push_str(&self::hold(hold));
    }
    text
}

fn ended(ended: &Ended, whole: bool) -> String {
    let mut text = format!(
        "{} after {}; names: {} accepted, {} refused, {} deferred; messages accepted: {}; waited {} in {}\n",
        ended.end,
        span(ended.seconds),
        ended.accepted,
        ended.refused,
        ended.deferred,
        ended.messages_accepted,
        span(ended.held_seconds),
        match ended.holds {
            1 => "1 hold".to_owned(),
            holds => format!("{holds} holds"),
        }
    );
    if !whole {
        return text;
    }
    put(
        &mut text,
        format_args!("  client {}, listener {}", ended.client, ended.listener),
    );
    if let Some(helo) = &ended.helo {
        put(&mut text, format_args!(", EHLO {}", plain(helo)));
    }
    if let Some(sender) = &ended.sender {
        put(&mut text, format_args!(", MAIL FROM <{}>", plain(sender)));
    }
    text.push('\n');
    if let Some(reason) = &ended.exempt {
        put(&mut text, format_args!("  exempt: {reason}\n"));
    }
    if ended.unseen > 0 {
        put(
            &mut text,
            format_args!(
                "  450 or 454 unseen {}: its source owed too much\n",
                times(ended.unseen)
            ),
        );
    }
    if ended.auth_failed > 0 {
        put(
            &mut text,
            format_args!("  AUTH failed {}\n", times(ended.auth_failed)),
        );
    }
    if !ended.refused_paths.is_empty() {
        let paths: Vec<_> = ended
            .refused_paths
            .iter()
            .map(|path| format!("<{}>", plain(path)))
            .collect();
        put(&mut text, format_args!("  refused: {}\n", paths.join(" ")));
    }
    text
}

fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        _ => format!("{count} times"),
    }
}

fn hold(hold: &Hold) -> String {
    let what = match hold.code {
        Some(code) => format!("the reply {code}"),
        None => "the command, before it was looked at,".to_owned(),
    };
    format!(
        "  {}: {what} waited {} for {} (owed {}), end: {}\n",
        date(hold.at),
        span(hold.held_seconds),
        hold.reason,
        span(hold.owed_seconds),
        hold.end
    )
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

    #[test]
    fn what_clients_chose_can_do_nothing_to_a_terminal() {
        let ended = Ended {
            helo: Some("\u{1b}[31mred".to_owned()),
            sender: Some("a\nb@example.org".to_owned()),
            refused_paths: vec!["\u{7}".to_owned()],
            ..Ended::default()
        };
        let text = self::ended(&ended, true);
        assert!(!text.contains(['\u{1b}', '\u{7}']), "{text:?}");
        assert!(!text.contains("a\nb"), "{text:?}");
    }
}
