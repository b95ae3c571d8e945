//! What the page shows at one moment. Counts are those of the metrics, read once for all of it; the
//! page makes rates of the differences of two snapshots.

use std::time::Duration;

use serde::Serialize;
use tarpit_gateway::metrics::{Closed as _, Figures, HistogramValues, Stage};
use tarpit_gateway::{AGES, Handle, Survey};

use crate::api::{Harm, ListenerMode, Mail, Pit, Session, Source, Upstream, seconds};

/// Sources that are listed, and sessions.
const SOURCES: usize = 10;
const SESSIONS: usize = 25;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Snapshot<'a> {
    /// Seconds since 1970.
    now: u64,
    /// Seconds of a clock that is never set.
    clock: f64,
    started: u64,
    unready: Option<String>,
    listeners: Vec<ListenerMode>,
    trial: bool,
    mail: Mail,
    latency: Latency,
    upstreams: Vec<Upstream>,
    upstream_failures: Failures,
    pit: Pit,
    held: Held,
    effect: Effect,
    harm: Harm,
    sources_owing: u64,
    known_senders: u64,
    sources: &'a [Guilty],
    sessions: Vec<Session>,
    watchers: usize,
}

/// How long the way of mail took: for each bound in seconds, how many took as long at most. The last
/// bound is all of them.
#[derive(Debug, Serialize)]
struct Latency {
    lookup: Vec<(Option<f64>, u64)>,
    message: Vec<(Option<f64>, u64)>,
}

#[derive(Debug, Serialize)]
struct Failures {
    busy: u64,
    trouble: u64,
}

/// Who waits now.
#[derive(Debug, Serialize)]
struct Held {
    reasons: Vec<(&'static str, u64)>,
    /// Each age up to so many seconds.
    ages: Vec<(u32, u64)>,
    /// Of those in this process's pit, so many were looked at for the two lists.
    looked_at: u64,
}

/// What the pit was good for, since the start.
#[derive(Debug, Serialize)]
struct Effect {
    guesses: u64,
    names_learnt: u64,
    unseen: u64,
    stolen_seconds: f64,
    would_steal_seconds: f64,
    auth_failures: u64,
}

/// A source that owes, and what for.
#[derive(Debug, Serialize)]
pub(super) struct Guilty {
    #[serde(flatten)]
    source: Source,
    /// What its last hold was for, if that is known.
    reason: Option<&'static str>,
    sessions: u32,
}

/// What takes a walk over a whole table.
#[derive(Debug, Default)]
pub(super) struct Slow {
    sources: Vec<Guilty>,
}

impl Slow {
    pub(super) fn of(handle: &Handle) -> Self {
        let most = handle.owing_most(SOURCES);
        let sources = most.iter().map(|(source, standing)| {
            let view = handle.explain(source.address());
            let mut holds = view.recent.iter().flat_map(|session| session.holds.back());
            Guilty {
                source: Source::of(*source, standing),
                reason: holds.next().map(|hold| hold.reason.as_str()),
                sessions: view.sessions,
            }
        });
        Self {
            sources: sources.collect(),
        }
    }
}

impl<'a> Snapshot<'a> {
    pub(super) fn of(handle: &Handle, slow: &'a Slow, clock: Duration, watchers: usize) -> Self {
        let survey = handle.survey();
        let figures = handle.figures();
        let counts = &figures.counts;
        let newest = handle.newest_sessions(SESSIONS);
        Self {
            now: handle.unix_now(),
            clock: seconds(clock),
            started: figures.process.started,
            unready: handle.ready().err().map(|why| why.to_string()),
            listeners: ListenerMode::all(&figures),
            trial: figures.trial,
            mail: Mail::of(&figures),
            latency: Latency::of(&figures),
            upstreams: Upstream::all(&figures),
            upstream_failures: Failures {
                busy: counts.upstream_busy,
                trouble: counts.upstream_trouble,
            },
            pit: Pit::of(&figures),
            held: Held::of(&survey),
            effect: Effect::of(&figures),
            harm: Harm::from(handle.harm()),
            sources_owing: figures.ledger.sources as u64,
            known_senders: figures.ledger.known as u64,
            sources: &slow.sources,
            sessions: newest.iter().map(Session::from).collect(),
            watchers,
        }
    }
}

impl Latency {
    fn of(figures: &Figures) -> Self {
        let of = |stage: Stage| {
            let values = stage.place().and_then(|at| figures.counts.latency.get(at));
            values.map(bounds).unwrap_or_default()
        };
        Self {
            lookup: of(Stage::Lookup),
            message: of(Stage::Message),
        }
    }
}

fn bounds(values: &HistogramValues) -> Vec<(Option<f64>, u64)> {
    let all = values.cumulative();
    all.map(|(bound, count)| {
        (
            bound.parse().ok().filter(|bound: &f64| bound.is_finite()),
            count,
        )
    })
    .collect()
}

impl Held {
    fn of(survey: &Survey) -> Self {
        let reasons = survey.reasons.iter().filter(|(_, count)| *count > 0);
        Self {
            reasons: reasons
                .map(|(reason, count)| (reason.as_str(), *count))
                .collect(),
            ages: AGES.into_iter().zip(survey.ages).collect(),
            looked_at: survey.looked_at(),
        }
    }
}

impl Effect {
    fn of(figures: &Figures) -> Self {
        let counts = &figures.counts;
        let span = |millis: u64| seconds(Duration::from_millis(millis));
        let observed: u64 = counts
            .observed_millis
            .iter()
            .map(|(_, millis)| millis)
            .sum();
        Self {
            guesses: counts.guesses,
            names_learnt: counts.names_learnt,
            unseen: counts.unseen,
            // What wanted senders waited was taken from them, not from harvesters.
            stolen_seconds: span(counts.held_millis.sum().saturating_sub(counts.harm_millis)),
            would_steal_seconds: span(observed.saturating_sub(counts.harm_observed_millis)),
            auth_failures: counts.auth_failed,
        }
    }
}
