//! The rows. A number of [`super::super::Snapshot`] stands in one row, once; a test holds the table
//! to it.

mod mail;
mod pit;
mod process;
mod sessions;

use tarpit_core::policy::{Mode, Way};
use tarpit_core::record::{HoldEnd, HoldReason, SessionEnd};

use super::super::{Closed, Figures, GridValues, Snapshot, Stage, State, Strain, TallyValues};
use super::Kind::{Counter, Gauge, Histogram};
use super::Section::{Ledger, Mail, Pit, Process, Sessions, Tls, Upstreams};
use super::{Family, Kind, Label, Push, Section, Value, Values};
use crate::upstream::{Health, ServerStatus};

const fn words(name: &'static str, of: fn() -> Vec<&'static str>) -> Label {
    Label {
        name,
        values: Values::Words(of),
    }
}

const fn config(name: &'static str, what: &'static str) -> Label {
    Label {
        name,
        values: Values::Config(what),
    }
}

const LISTENER: Label = config("listener", "the name of the listener");
const UPSTREAM: Label = config("upstream", "the name of the upstream");
const SERVER: Label = config("server", "the address of the server");
const REASON: Label = words("reason", HoldReason::words);
const WAY: Label = words("way", Way::words);

impl Family {
    const fn new(
        section: Section,
        kind: Kind,
        name: &'static str,
        help: &'static str,
        labels: &'static [Label],
        read: fn(&Figures, Push<'_>),
    ) -> Self {
        Self {
            name,
            kind,
            help,
            labels,
            section,
            read,
        }
    }
}

fn one(push: Push<'_>, count: u64) {
    push(&[], Value::Count(count));
}

fn maybe(push: Push<'_>, count: Option<u64>) {
    if let Some(count) = count {
        one(push, count);
    }
}

fn each(push: Push<'_>, counts: &[(&str, u64)]) {
    for (word, count) in counts {
        push(&[word], Value::Count(*count));
    }
}

fn tally<A: Closed>(push: Push<'_>, values: &TallyValues<A>) {
    for (word, count) in values.iter() {
        push(&[word.word()], Value::Count(count));
    }
}

fn grid<A: Closed, B: Closed>(push: Push<'_>, values: &GridValues<A, B>) {
    for (row, word, count) in values.iter() {
        push(&[row.word(), word.word()], Value::Count(count));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact for 285,000 years of milliseconds"
)]
fn seconds(millis: u64) -> Value<'static> {
    Value::Real(millis as f64 / 1000.0)
}

fn servers(figures: &Figures, mut of: impl FnMut(&str, &str, &ServerStatus)) {
    for upstream in &figures.upstreams {
        for server in &upstream.servers {
            of(&upstream.name, &server.address.to_string(), server);
        }
    }
}

/// A word, and where its count is.
type Counted = fn(&Snapshot) -> (&'static str, u64);

const REFUSALS: &[Counted] = &[
    |counts| ("unavailable", counts.sessions_refused_unavailable),
    |counts| ("full", counts.sessions_refused_full),
    |counts| ("source_full", counts.sessions_refused_source),
    |counts| ("door_full", counts.refused_at_door_full),
    |counts| ("door_debt", counts.refused_at_door_debt),
    |counts| ("loop", counts.loops_refused),
    |counts| ("proxy_header", counts.proxy_headers_refused),
];

fn refusal_words() -> Vec<&'static str> {
    let none = Snapshot::default();
    REFUSALS.iter().map(|of| of(&none).0).collect()
}

/// Everything that is shown, in the order in which it is.
pub fn families() -> impl Iterator<Item = &'static Family> {
    [sessions::SESSIONS, pit::PIT, mail::MAIL, process::PROCESS]
        .into_iter()
        .flatten()
}
