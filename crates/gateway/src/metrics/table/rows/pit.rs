//! Rows about who waits.

use super::*;

pub(super) const PIT: &[Family] = &[
    Family::new(
        Pit,
        Counter,
        "tarpit_holds_total",
        "Holds that ended, by what the session waited for and in which way the reply was held.",
        &[REASON, WAY],
        |figures, push| grid(push, &figures.counts.holds),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_held_seconds_total",
        "How long those holds were, together.",
        &[REASON, WAY],
        |figures, push| {
            for (reason, way, millis) in figures.counts.held_millis.iter() {
                push(&[reason.word(), way.word()], seconds(millis));
            }
        },
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_holds_ended_total",
        "The same holds, by the end in their record.",
        &[words("end", HoldEnd::words)],
        |figures, push| tally(push, &figures.counts.hold_ends),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_observed_holds_total",
        "Holds that there would have been: mode observe.",
        &[REASON],
        |figures, push| tally(push, &figures.counts.holds_observed),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_observed_seconds_total",
        "How long those would have been, together.",
        &[REASON],
        |figures, push| {
            for (reason, millis) in figures.counts.observed_millis.iter() {
                push(&[reason.word()], seconds(millis));
            }
        },
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_guesses_total",
        "RCPTs that were refused for good in sessions that brought no mail: what harvesters asked and got an answer to.",
        &[],
        |figures, push| one(push, figures.counts.guesses),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_names_learnt_total",
        "RCPTs that were accepted in such sessions, beside those that were refused: names that harvesters have learnt.",
        &[],
        |figures, push| one(push, figures.counts.names_learnt),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_harm_seconds_total",
        "The harm: how long sources waited whose mail the upstream accepted. Counted when a hold of a known sender \
         ends, and when mail of a source is accepted that had waited before.",
        &[],
        |figures, push| push(&[], seconds(figures.counts.harm_millis)),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_harm_hang_ups_total",
        "Holds in which such a source hung up.",
        &[],
        |figures, push| one(push, figures.counts.harm_hang_ups),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_observed_harm_seconds_total",
        "How long such sources would have waited: mode observe.",
        &[],
        |figures, push| push(&[], seconds(figures.counts.harm_observed_millis)),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_unseen_total",
        "RCPTs and AUTHs that got 450 or 454 without being looked at, since their source owed too much.",
        &[],
        |figures, push| one(push, figures.counts.unseen),
    ),
    Family::new(
        Pit,
        Gauge,
        "tarpit_pit_sessions",
        "Sessions in the pit now, those of keepers included: held, or idle there after a hold.",
        &[],
        |figures, push| one(push, figures.pit.sessions),
    ),
    Family::new(
        Pit,
        Gauge,
        "tarpit_pit_bytes",
        "Memory that sessions in the pit take now.",
        &[],
        |figures, push| maybe(push, figures.pit.octets),
    ),
    Family::new(
        Pit,
        Gauge,
        "tarpit_pit_session_bytes",
        "Memory that a session in the pit takes now, on average; absent while there is none.",
        &[],
        |figures, push| {
            let pit = &figures.pit;
            maybe(
                push,
                pit.octets
                    .and_then(|octets| octets.checked_div(pit.sessions)),
            );
        },
    ),
    Family::new(
        Pit,
        Gauge,
        "tarpit_pit_unread_bytes",
        "Input of held sessions that waits in the system, in order: one page of kernel memory for each of them at least. \
         Segments out of order are not in it, and small ones take more: `mem` in `/proc/net/sockstat` has all.",
        &[],
        |figures, push| maybe(push, figures.pit.unread_octets),
    ),
    Family::new(
        Pit,
        Gauge,
        "tarpit_pit_keepers",
        "Keeper processes that hold sessions for this one.",
        &[],
        |figures, push| one(push, figures.pit.keepers),
    ),
    Family::new(
        Pit,
        Gauge,
        "tarpit_pit_strained",
        "1 while the pit is over this bound, and sheds until it is below its lower mark.",
        &[words("reason", Strain::words)],
        |figures, push| {
            for strain in <Strain as Closed>::ALL {
                let is_strained = u64::from(figures.pit.strained == Some(*strain));
                push(&[strain.word()], Value::Count(is_strained));
            }
        },
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_pit_strains_total",
        "Times that the pit came over this bound.",
        &[words("reason", Strain::words)],
        |figures, push| tally(push, &figures.counts.strains),
    ),
    Family::new(
        Pit,
        Counter,
        "tarpit_sheds_total",
        "Sessions let go to get below a bound, by which.",
        &[words("reason", Strain::words)],
        |figures, push| tally(push, &figures.counts.sheds),
    ),
];
