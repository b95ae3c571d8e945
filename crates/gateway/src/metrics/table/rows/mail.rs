//! Rows about what is delivered, and the servers that take it.

use super::*;

pub(super) const MAIL: &[Family] = &[
    Family::new(
        Mail,
        Counter,
        "tarpit_messages_total",
        "Messages by their end: the upstream accepted it (accepted), it was refused or the upstream was lost (refused), \
         the client broke it off (aborted).",
        &[words("outcome", || vec!["accepted", "refused", "aborted"])],
        |figures, push| {
            let counts = &figures.counts;
            each(
                push,
                &[
                    ("accepted", counts.messages_accepted),
                    ("refused", counts.messages_refused),
                    ("aborted", counts.messages_aborted),
                ],
            );
        },
    ),
    Family::new(
        Mail,
        Counter,
        "tarpit_recipients_total",
        "RCPTs by their reply: 2yz (accepted), 5yz or about an address that does not exist (refused), other 4yz (deferred).",
        &[words("outcome", || vec!["accepted", "refused", "deferred"])],
        |figures, push| {
            let counts = &figures.counts;
            each(
                push,
                &[
                    ("accepted", counts.recipients_accepted),
                    ("refused", counts.recipients_refused),
                    ("deferred", counts.recipients_deferred),
                ],
            );
        },
    ),
    Family::new(
        Mail,
        Counter,
        "tarpit_recipients_over_limit_total",
        "Of the deferred, those over recipients_max of one transaction.",
        &[],
        |figures, push| one(push, figures.counts.recipients_over_limit),
    ),
    Family::new(
        Mail,
        Counter,
        "tarpit_recipients_would_refuse_total",
        "RCPTs that domains or the recipients file would have refused in enforce.",
        &[],
        |figures, push| one(push, figures.counts.recipients_would_refuse),
    ),
    Family::new(
        Mail,
        Counter,
        "tarpit_auth_failures_total",
        "AUTHs that failed.",
        &[],
        |figures, push| one(push, figures.counts.auth_failed),
    ),
    Family::new(
        Mail,
        Histogram,
        "tarpit_stage_duration_seconds",
        "How long each part of the way of mail took: from RCPT being let through to the upstream's answer (lookup), from \
         AUTH or a line of it to the upstream's answer (auth), from the first octet of message data to the last (data), \
         from end of data to the upstream's last word (end_of_data), a TLS handshake that succeeded (tls_handshake), and \
         from the look-up of the first recipient to the upstream's last word (message), holds in between included.",
        &[words("stage", Stage::words)],
        |figures, push| {
            for (stage, values) in Stage::ALL.iter().zip(&figures.counts.latency) {
                push(&[stage.word()], Value::Histogram(values));
            }
        },
    ),
    Family::new(
        Upstreams,
        Gauge,
        "tarpit_upstream_up",
        "1 if the server's last probe found it well and traffic has found nothing else since.",
        &[UPSTREAM, SERVER],
        |figures, push| {
            servers(figures, |upstream, address, server| {
                let is_up = server.health == Health::Up && !server.is_passed_over;
                push(&[upstream, address], Value::Count(is_up.into()));
            });
        },
    ),
    Family::new(
        Upstreams,
        Gauge,
        "tarpit_upstream_connections",
        "Connections to the server: those that sessions hold (busy), and those that wait for their next use (idle).",
        &[UPSTREAM, SERVER, words("state", || vec!["busy", "idle"])],
        |figures, push| {
            servers(figures, |upstream, address, server| {
                let busy = server.open.saturating_sub(server.idle);
                push(&[upstream, address, "busy"], Value::Count(busy.into()));
                push(
                    &[upstream, address, "idle"],
                    Value::Count(server.idle.into()),
                );
            });
        },
    ),
    Family::new(
        Upstreams,
        Gauge,
        "tarpit_upstream_waiting",
        "Sessions that wait for a connection to become free.",
        &[UPSTREAM],
        |figures, push| {
            for upstream in &figures.upstreams {
                push(&[&upstream.name], Value::Count(upstream.waiting));
            }
        },
    ),
    Family::new(
        Upstreams,
        Counter,
        "tarpit_upstream_failures_total",
        "Questions to an upstream that got no answer: no connection was free (busy), or anything else (trouble).",
        &[words("reason", || vec!["busy", "trouble"])],
        |figures, push| {
            let counts = &figures.counts;
            each(
                push,
                &[
                    ("busy", counts.upstream_busy),
                    ("trouble", counts.upstream_trouble),
                ],
            );
        },
    ),
];
