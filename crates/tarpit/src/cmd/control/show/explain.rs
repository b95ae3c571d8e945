//! What is known of a source, and of a session of it.

use tarpit_admin::api::{Ended, Explanation, Hold, Next, Session};

use super::{address, date, exemption as shown, known, plain, put, span};

/// `tarpit explain`
pub(in crate::cmd::control) fn explanation(found: &Explanation) -> String {
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
            format_args!("  exempt, so it never waits: {}\n", shown(exemption)),
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
        put(&mut text, format_args!("  exempt: {}\n", plain(reason)));
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

#[cfg(test)]
mod tests {
    use super::*;

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
