//! Looks at the ledger from outside, and the one change that an administrator makes in it: for
//! those who ask why a source waits. Nothing here is on the way of mail.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use super::shard::Entry;
use super::{Account, Ledger, lock};
use crate::{Source, Tick};

/// What the ledger knows of a source now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What is owed, reserved and waited for at RCPT and everything else that is not AUTH.
    pub rcpt: Debt,
    /// The same for AUTH.
    pub auth: Debt,
    /// How long ago the upstream accepted mail of it last, if that makes it a known sender.
    pub accepted_ago: Option<Duration>,
}

/// One account of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Debt {
    /// How long until it is free of debt.
    pub owed: Duration,
    /// What is reserved for look-ups that are under way.
    pub reserved: Duration,
    /// Sessions that wait for room in it.
    pub waiting: usize,
}

impl Debt {
    /// What leaves a request without room.
    #[must_use]
    pub fn claimed(&self) -> Duration {
        self.owed.saturating_add(self.reserved)
    }
}

impl Standing {
    fn of(entry: &Entry, now: Tick) -> Self {
        let debt = |account| {
            let account = entry.of(account);
            Debt {
                owed: account.free_at().since(now),
                reserved: account.reserved(),
                waiting: account.waiting(),
            }
        };
        Self {
            rcpt: debt(Account::Rcpt),
            auth: debt(Account::Auth),
            accepted_ago: None,
        }
    }

    /// What is owed on both accounts.
    #[must_use]
    pub fn owed(&self) -> Duration {
        self.rcpt.owed.saturating_add(self.auth.owed)
    }
}

impl Ledger {
    /// What is known of a source now.
    #[must_use]
    pub fn standing(&self, now: Tick, source: Source) -> Standing {
        let found = self
            .shard(source)
            .get(source)
            .map(|entry| Standing::of(entry, now));
        Standing {
            accepted_ago: lock(&self.known).accepted_ago(now, source),
            ..found.unwrap_or_default()
        }
    }

    /// The sources that owe most, most owing first, `count` at most. Locks one shard after the other,
    /// each for a walk over its entries: some milliseconds with a million sources.
    #[must_use]
    pub fn owing_most(&self, now: Tick, count: usize) -> Vec<(Source, Standing)> {
        let mut least_first = BinaryHeap::new();
        for shard in self.shards() {
            let shard = lock(shard);
            for (source, entry) in shard.entries() {
                let owed = Standing::of(entry, now).owed();
                if owed.is_zero() {
                    continue;
                }
                least_first.push(Reverse((owed, source)));
                if least_first.len() > count {
                    least_first.pop();
                }
            }
        }
        let sorted = least_first.into_sorted_vec().into_iter();
        sorted
            .map(|Reverse((_, source))| (source, self.standing(now, source)))
            .collect()
    }

    /// Forgets what a source owes, on both accounts; whoever waits for room may have it now
    /// ([`Ledger::take_woken`]). What is reserved stays reserved, since it belongs to look-ups that are
    /// under way. Returns what was owed.
    pub fn forgive(&self, now: Tick, source: Source) -> Duration {
        let mut forgiven = Duration::ZERO;
        for account in [Account::Rcpt, Account::Auth] {
            let done = self.shard(source).edit(now, source, |entry| {
                let owed = entry.of(account).free_at().since(now);
                (owed, entry.of_mut(account).forgive(now))
            });
            let (owed, woken) = done.unwrap_or_default();
            forgiven = forgiven.saturating_add(owed);
            self.woken.push(woken);
        }
        forgiven
    }
}
