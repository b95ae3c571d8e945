//! The pit's quota: how much it may hold, and the mode that follows from it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tarpit_core::budget::{Budget, Change, Load, Strain, Surplus};

use crate::live::Live;
use crate::shared::Shared;

/// Where the system does not say how much memory TCP may use (a hardened service sees no
/// `/proc/sys`): a quarter of what the kernel takes for its pressure mark on a machine with 2 GiB.
const UNREAD_MAX: u64 = 24 * 1024 * 1024;

/// A page of the kernel's, in which `tcp_mem` counts.
const PAGE: u64 = 4096;

/// The budget, and what was shed since it is strained.
#[derive(Debug)]
pub(super) struct Quota(Mutex<State>);

#[derive(Debug)]
struct State {
    budget: Budget,
    /// The most unread input that there may be.
    unread_max: u64,
    /// What sessions were shed for last, and how many since that began.
    reason: Strain,
    shed: u64,
}

impl Default for Quota {
    fn default() -> Self {
        let nothing_yet = Load {
            sessions: u64::MAX,
            octets: u64::MAX,
            unread: u64::MAX,
        };
        Self(Mutex::new(State {
            budget: Budget::new(nothing_yet),
            unread_max: unread_max().unwrap_or(UNREAD_MAX),
            reason: Strain::Sessions,
            shed: 0,
        }))
    }
}

impl Quota {
    /// Looks at what is held in all, of which `away` sessions are in keepers: what there is too much of.
    /// The mode, its reason and its end are logged here, once.
    pub(super) fn judge(&self, shared: &Shared, all: Load, away: u64) -> Option<Surplus> {
        let mut state = self.lock();
        let quota = quota(shared, &shared.live.load(), away, state.unread_max);
        state.budget.set_quota(quota);
        let load = Load {
            sessions: all.sessions.saturating_sub(away),
            ..all
        };
        match state.budget.judge(load) {
            Some(Change::Began(strain)) => {
                state.shed = 0;
                state.reason = strain;
                shared.metrics.strains.add(strain, 1);
                tracing::warn!(
                    target: "tarpit::pit",
                    reason = strain.as_str(),
                    sessions = load.sessions,
                    sessions_max = quota.sessions,
                    octets = load.octets,
                    octets_max = quota.octets,
                    unread = load.unread,
                    unread_max = quota.unread,
                    "the pit is strained: sessions are shed, the longest held first; their debt stays"
                );
            }
            Some(Change::Ended(strain)) => tracing::warn!(
                target: "tarpit::pit",
                reason = strain.as_str(),
                sessions = load.sessions,
                shed = state.shed,
                "the pit is no longer strained"
            ),
            None => {}
        }
        state.budget.surplus(load)
    }

    /// One more was shed. One that comes back from a keeper for it may be late: then it counts for what
    /// was the reason.
    pub(super) fn note_shed(&self, shared: &Shared) {
        let mut state = self.lock();
        state.shed += 1;
        shared.metrics.sheds.add(state.reason, 1);
    }

    pub(super) fn strained(&self) -> Option<Strain> {
        self.lock().budget.strained()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the configuration allows beside `away` sessions in keepers, as far as there are descriptors.
fn quota(shared: &Shared, live: &Live, away: u64, unread_max: u64) -> Load {
    let limits = &live.config.limits;
    let room = room(live, shared.pit.keepers.get().is_some());
    Load {
        sessions: u64::from(limits.pit_sessions_max)
            .saturating_sub(away)
            .min(room),
        octets: limits.pit_octets_max,
        unread: unread_max,
    }
}

/// Sessions that the lanes may hold: the descriptors of all sessions outside the pit are left to
/// them, so that the pit is never in the way of who comes with mail. Where there are few, half; or
/// three quarters if most leave for keepers after a moment.
pub(super) fn room(live: &Live, has_keepers: bool) -> u64 {
    let strangers = live.descriptors.strangers;
    let left = strangers.saturating_sub(live.config.limits.sessions_max.into());
    let share = if has_keepers {
        strangers - strangers / 4
    } else {
        strangers / 2
    };
    left.max(share)
}

/// A quarter of the mark above which the kernel saves memory on all connections, those of mail too
/// (tcp(7), `tcp_mem`).
fn unread_max() -> Option<u64> {
    let marks = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
    let pressure: u64 = marks.split_whitespace().nth(1)?.parse().ok()?;
    Some(pressure.saturating_mul(PAGE) / 4)
}
