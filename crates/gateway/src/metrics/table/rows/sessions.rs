//! Rows about who comes.

use super::*;

pub(super) const SESSIONS: &[Family] = &[
    Family::new(
        Sessions,
        Counter,
        "tarpit_sessions_opened_total",
        "Connections that were let in, whatever became of them; those turned away at the door are not.",
        &[LISTENER],
        |figures, push| {
            for (name, count) in &figures.counts.sessions_opened {
                push(&[name], Value::Count(*count));
            }
        },
    ),
    Family::new(
        Sessions,
        Gauge,
        "tarpit_sessions",
        "Sessions now, by what they do: wait in the pit (held, or idle there after a hold), wait for the upstream, send \
         message data, shake hands for TLS, pass through untouched, or none of these (open).",
        &[words("state", State::words)],
        |figures, push| {
            for (state, count) in &figures.sessions {
                push(&[state.word()], Value::Count(*count));
            }
        },
    ),
    Family::new(
        Sessions,
        Counter,
        "tarpit_sessions_ended_total",
        "Sessions that ended, by the end in their record; a proxy's own checks have none.",
        &[words("end", SessionEnd::words)],
        |figures, push| tally(push, &figures.counts.session_ends),
    ),
    Family::new(
        Sessions,
        Counter,
        "tarpit_sessions_refused_total",
        "Connections that got no service: no healthy upstream or draining (unavailable), no place in all (full; also on \
         the way out of the pit) or for their source (source_full), turned away at the door, for want of descriptors (door_full) or since their source owes \
         too much (door_debt), from this gateway itself (loop), with a PROXY header that is malformed or that nobody \
         trusts (proxy_header).",
        &[words("reason", refusal_words)],
        |figures, push| {
            let counts = &figures.counts;
            for refusal in REFUSALS {
                each(push, &[refusal(counts)]);
            }
        },
    ),
    Family::new(
        Sessions,
        Counter,
        "tarpit_sessions_over_source_limit_total",
        "Sessions over sessions_per_source_max that were served all the same: enforce would have refused them.",
        &[],
        |figures, push| one(push, figures.counts.sessions_over_source_limit),
    ),
    Family::new(
        Sessions,
        Counter,
        "tarpit_sessions_over_error_limit_total",
        "Sessions over errors_max that were served all the same: enforce would have ended them.",
        &[],
        |figures, push| one(push, figures.counts.sessions_over_error_limit),
    ),
    Family::new(
        Sessions,
        Counter,
        "tarpit_sessions_passthrough_total",
        "Connections that were to be passed through to the upstream untouched.",
        &[],
        |figures, push| one(push, figures.counts.passthrough_sessions),
    ),
    Family::new(
        Sessions,
        Counter,
        "tarpit_accept_errors_total",
        "Accepts that failed for want of descriptors or memory.",
        &[],
        |figures, push| one(push, figures.counts.accept_errors),
    ),
    Family::new(
        Sessions,
        Gauge,
        "tarpit_listener_mode",
        "1 for the mode of the listener, 0 for the others.",
        &[LISTENER, words("mode", Mode::words)],
        |figures, push| {
            for listener in &figures.listeners {
                for mode in <Mode as Closed>::ALL {
                    let holds = u64::from(*mode == listener.mode);
                    push(&[&listener.name, mode.word()], Value::Count(holds));
                }
            }
        },
    ),
    Family::new(
        Sessions,
        Gauge,
        "tarpit_trial",
        "1 while a trial of enforce runs, which undoes itself.",
        &[],
        |figures, push| one(push, u64::from(figures.trial)),
    ),
];
