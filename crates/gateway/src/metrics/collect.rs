//! All figures of a running gateway, read one after the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::{
    CertificateFigures, Closed, Figures, ListenerFigures, PitFigures, ReloadFigures, State,
    UpstreamFigures, process,
};
use crate::clock::unix_now;
use crate::live::Live;
use crate::shared::{Shared, Stop};
use crate::upstream::Upstream;

/// When the gateway started, and what came of the last change of the configuration.
#[derive(Debug)]
pub(crate) struct Reloads {
    started: u64,
    failed: AtomicBool,
    at: AtomicU64,
}

impl Reloads {
    /// The start puts the first configuration in force.
    pub(crate) fn start() -> Self {
        let now = unix_now();
        Self {
            started: now,
            failed: AtomicBool::new(false),
            at: AtomicU64::new(now),
        }
    }

    /// A change was put in force, or not.
    pub(crate) fn note(&self, in_force: bool) {
        if in_force {
            self.at.store(unix_now(), Ordering::Relaxed);
        }
        self.failed.store(!in_force, Ordering::Relaxed);
    }
}

/// Reads everything. Takes the locks of the ledger's shards, of the stocks of connections and of
/// the count of places one after the other, each for a few additions; reads three files of `/proc`.
pub(crate) fn figures(shared: &Shared) -> Figures {
    let live = shared.live.load();
    let pit = pit(shared);
    Figures {
        counts: shared.metrics.snapshot(),
        sessions: sessions(shared, &pit),
        pit,
        listeners: listeners(&live),
        upstreams: live
            .mails
            .iter()
            .filter_map(|mail| mail.upstream())
            .map(|upstream| of_upstream(&upstream))
            .collect(),
        ledger: shared.ledger.stats(),
        certificates: certificates(&live),
        reload: ReloadFigures {
            successful: !shared.reloads.failed.load(Ordering::Relaxed),
            at: shared.reloads.at.load(Ordering::Relaxed),
        },
        records_dropped: shared
            .records_dropped
            .get()
            .map_or(0, |dropped| dropped.load(Ordering::Relaxed)),
        trial: shared.trial.load(Ordering::Relaxed),
        draining: *shared.stop.borrow() != Stop::No,
        process: process::read(shared.reloads.started),
    }
}

/// A session in the pit has given its task away; one that is held for a known sender still is one,
/// with its upstream connection, for the grace time.
fn pit(shared: &Shared) -> PitFigures {
    let load = shared.pit.load();
    PitFigures {
        sessions: u64::from(shared.places.held()) + shared.metrics.states.count(State::Held),
        // The lanes publish them one after the other.
        octets: Some(load.octets.saturating_sub(load.unread)),
        unread_octets: Some(load.unread),
        keepers: shared.pit.keepers_count() as u64,
        strained: shared.pit.strained(),
    }
}

fn sessions(shared: &Shared, pit: &PitFigures) -> Vec<(State, u64)> {
    let states = &shared.metrics.states;
    let busy: u64 = State::ALL.iter().map(|state| states.count(*state)).sum();
    let count = |state| match state {
        State::Held => pit.sessions,
        // Sessions change their state while they are counted.
        State::Open => u64::from(shared.places.active()).saturating_sub(busy),
        state => states.count(state),
    };
    State::ALL
        .iter()
        .map(|state| (*state, count(*state)))
        .collect()
}

fn listeners(live: &Live) -> Vec<ListenerFigures> {
    live.config
        .listeners
        .iter()
        .map(|listener| ListenerFigures {
            name: listener.name.clone(),
            mode: listener.policy.mode,
        })
        .collect()
}

fn of_upstream(upstream: &Upstream) -> UpstreamFigures {
    UpstreamFigures {
        name: upstream.name().into(),
        servers: upstream.servers(),
        waiting: upstream.waiting() as u64,
    }
}

fn certificates(live: &Live) -> Vec<CertificateFigures> {
    let Some(tls) = &live.tls else {
        return Vec::new();
    };
    tls.certificates()
        .into_iter()
        .map(|(files, info)| CertificateFigures {
            file: files.chain.display().to_string().into(),
            names: info.name_list().into(),
            not_after: info.not_after,
        })
        .collect()
}
