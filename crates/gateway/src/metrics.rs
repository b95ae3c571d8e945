//! Every number that the gateway counts, in one place.
//!
//! Counters only go up. Who shows them asks for [`Figures`], through [`Handle::figures`]; the table
//! [`families`] says under which names, and everything outward is derived from it: the text for
//! Prometheus, `docs/monitoring.md`, the totals in the log.
//!
//! What it promises: each thing is counted once. What a record holds is counted where the record is
//! written, so that both agree; what has no record is counted where it happens. Counting takes no
//! lock and no memory: it is done on the way of wanted mail. No label has values that a client
//! chooses: they are words of the code, or names of the configuration.
//!
//! A library for metrics was rejected: its registries look names up under a lock, and make a series
//! of any label that they are given.
//!
//! [`Handle::figures`]: crate::Handle::figures

mod collect;
mod figures;
mod histogram;
mod labels;
mod process;
mod states;
mod table;
mod tally;

use std::sync::atomic::{AtomicU64, Ordering};

use tarpit_core::policy::Way;
use tarpit_core::record::{HoldEnd, HoldReason, SessionEnd};

pub(crate) use collect::{Reloads, figures};
pub use figures::{
    CertificateFigures, Figures, ListenerFigures, PitFigures, ProcessFigures, ReloadFigures,
    UpstreamFigures,
};
pub use histogram::{BOUNDS, Histogram, HistogramValues, Stages, StagesValues};
pub use labels::{Closed, Stage, State};
pub(crate) use states::States;
pub use table::{Family, Kind, Label, Push, Section, Value, Values, families};
pub use tally::{Grid, GridValues, Named, Tally, TallyValues};
pub use tarpit_core::budget::Strain;

/// Something that counts, and can be read while it does.
pub trait Read {
    /// What it is at one moment.
    type Values;

    /// Reads it.
    fn read(&self) -> Self::Values;

    /// Makes each number in it another one, that `next` gives.
    #[cfg(test)]
    fn fill(&self, next: &mut dyn FnMut() -> u64);
}

macro_rules! metrics {
    (@kind) => { Counter };
    (@kind $kind:ty) => { $kind };
    ($($(#[doc = $doc:literal])+ $name:ident $(: $kind:ty)?,)+) => {
        /// The live counters.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: metrics!(@kind $($kind)?),)+
            /// Sessions by what they do now.
            pub(crate) states: States,
        }

        /// The counters at one moment.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[doc = $doc])+ pub $name: <metrics!(@kind $($kind)?) as Read>::Values,)+
        }

        impl Metrics {
            /// Reads all counters, one after the other.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.read(),)+ }
            }

            #[cfg(test)]
            fn fill(&self, next: &mut dyn FnMut() -> u64) {
                $(self.$name.fill(next);)+
            }
        }
    };
}

// A name alone is a counter. Each has its place in the table (`table.rs`), in one row; a test
// misses those that have none.
metrics! {
    /// Connections accepted, by listener.
    sessions_opened: Named,
    /// Sessions that ended, by how they did.
    session_ends: Tally<SessionEnd>,
    /// Sessions refused with 421: no upstream, or draining.
    sessions_refused_unavailable,
    /// Sessions refused with 421: all places taken.
    sessions_refused_full,
    /// Sessions refused with 421: all places of their source taken.
    sessions_refused_source,
    /// Connections turned away with 421 at the door: no descriptor for strangers.
    refused_at_door_full,
    /// Connections turned away with 421 at the door: their source owes too much.
    refused_at_door_debt,
    /// Sessions over the bound of their source that were served all the same (mode off, observe).
    sessions_over_source_limit,
    /// Sessions with more errors than `errors_max` that were served all the same (off, observe).
    sessions_over_error_limit,
    /// Holds that ended, by what for and in which way.
    holds: Grid<HoldReason, Way>,
    /// Milliseconds of those holds.
    held_millis: Grid<HoldReason, Way>,
    /// The same holds, by how they ended.
    hold_ends: Tally<HoldEnd>,
    /// Holds that would have been (mode observe), by what for.
    holds_observed: Tally<HoldReason>,
    /// Milliseconds of those.
    observed_millis: Tally<HoldReason>,
    /// Milliseconds that sources waited whose mail the upstream accepted.
    harm_millis,
    /// Holds in which such a source hung up.
    harm_hang_ups,
    /// Milliseconds that such sources would have waited (mode observe).
    harm_observed_millis,
    /// RCPTs refused for good in sessions that brought no mail.
    guesses,
    /// RCPTs that got 2yz in such sessions, if another was refused there.
    names_learnt,
    /// Times that the pit came over a bound, by which.
    strains: Tally<Strain>,
    /// Sessions that were let go to get below a bound, by which.
    sheds: Tally<Strain>,
    /// RCPTs that got 2yz.
    recipients_accepted,
    /// RCPTs refused for good.
    recipients_refused,
    /// RCPTs refused for now.
    recipients_deferred,
    /// Of these, over the bound of one transaction.
    recipients_over_limit,
    /// RCPTs that enforce would have refused by the filter.
    recipients_would_refuse,
    /// Questions to the upstream that found no free connection.
    upstream_busy,
    /// Questions to the upstream that got no reply for another reason.
    upstream_trouble,
    /// RCPTs and AUTHs that got 450 or 454 unseen.
    unseen,
    /// AUTHs that failed.
    auth_failed,
    /// Messages that the upstream accepted.
    messages_accepted,
    /// Messages that reached their end and were refused, or whose upstream was lost.
    messages_refused,
    /// Messages that the client broke off.
    messages_aborted,
    /// How long each part of the way of wanted mail took.
    latency: Stages,
    /// Connections of this gateway to itself, refused with 554.
    loops_refused,
    /// PROXY headers that were refused: from networks that are not trusted, or malformed.
    proxy_headers_refused,
    /// Connections passed through to the upstream untouched.
    passthrough_sessions,
    /// TLS handshakes with clients that succeeded.
    tls_handshakes,
    /// Of these, those that resumed an earlier session.
    tls_resumed,
    /// TLS handshakes with clients that failed.
    tls_handshakes_failed,
    /// Accepts that failed for want of descriptors or memory.
    accept_errors,
    /// Sessions whose record another process wrote and this one can't read.
    sessions_unreadable,
    /// Sessions that ended by a bug of ours.
    panics,
}

/// A count that many threads add to.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Reads.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Read for Counter {
    type Values = u64;

    fn read(&self) -> u64 {
        self.get()
    }

    #[cfg(test)]
    fn fill(&self, next: &mut dyn FnMut() -> u64) {
        self.add(next());
    }
}
