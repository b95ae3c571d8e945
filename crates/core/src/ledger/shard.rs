//! A bounded table of sources, one of several. The least owing go first.
//!
//! An entry is in one of three states, and changes between them only at the end of
//! [`Shard::edit`]: *pinned* while something is pending in it (these are bounded by the sessions),
//! *ranked* by the end of its debt, or gone, when it owes nothing. To scan or to sample for the
//! least owing was rejected: who can choose among sources would choose what is forgotten.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};

use super::LedgerStats;
use super::account::Account;
use crate::{Source, Tick};

/// Entries whose debt has ended go two at a time with each new one, so that the table shrinks
/// and no single call takes long.
const SWEPT_AT_ONCE: usize = 2;

/// Both accounts of a source.
#[derive(Debug, Default)]
pub(super) struct Entry {
    rcpt: Account,
    auth: Account,
}

impl Entry {
    pub(super) const fn of(&self, account: super::Account) -> &Account {
        match account {
            super::Account::Rcpt => &self.rcpt,
            super::Account::Auth => &self.auth,
        }
    }

    pub(super) const fn of_mut(&mut self, account: super::Account) -> &mut Account {
        match account {
            super::Account::Rcpt => &mut self.rcpt,
            super::Account::Auth => &mut self.auth,
        }
    }

    /// The end of its debt; `None` while it is pinned.
    fn rank(&self) -> Option<Tick> {
        let pinned = self.rcpt.is_pending() || self.auth.is_pending();
        (!pinned).then(|| self.rcpt.free_at().max(self.auth.free_at()))
    }
}

/// A shard.
#[derive(Debug)]
pub(super) struct Shard {
    entries: HashMap<Source, Entry, RandomState>,
    /// The entries that are not pinned, least owing first.
    ranks: BTreeSet<(Tick, Source)>,
    max: usize,
    evicted: u64,
    unbooked: u64,
}

impl Shard {
    /// A shard for `max` sources.
    pub(super) fn new(max: usize, hasher: RandomState) -> Self {
        Self {
            entries: HashMap::with_hasher(hasher),
            ranks: BTreeSet::new(),
            max,
            evicted: 0,
            unbooked: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn add_to(&self, stats: &mut LedgerStats) {
        stats.sources = stats.sources.saturating_add(self.len());
        stats.evicted = stats.evicted.saturating_add(self.evicted);
        stats.unbooked = stats.unbooked.saturating_add(self.unbooked);
    }

    pub(super) fn get(&self, source: Source) -> Option<&Entry> {
        self.entries.get(&source)
    }

    /// Changes the entry of a source, made if there is none; `None` if there is no place for it.
    pub(super) fn book<T>(
        &mut self,
        now: Tick,
        source: Source,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        if !self.entries.contains_key(&source) {
            if !self.make_place(now) {
                self.unbooked = self.unbooked.saturating_add(1);
                return None;
            }
            self.entries.insert(source, Entry::default());
        }
        self.edit(now, source, change)
    }

    /// Changes the entry of a source, if there is one.
    pub(super) fn edit<T>(
        &mut self,
        now: Tick,
        source: Source,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let entry = self.entries.get_mut(&source)?;
        let before = entry.rank();
        let value = change(entry);
        let after = entry.rank();
        if before != after
            && let Some(rank) = before
        {
            self.ranks.remove(&(rank, source));
        }
        match after {
            Some(rank) if rank <= now => {
                self.ranks.remove(&(rank, source));
                self.entries.remove(&source);
            }
            Some(rank) if before != after => {
                self.ranks.insert((rank, source));
            }
            _ => {}
        }
        Some(value)
    }

    /// Takes in a debt that was booked elsewhere. Nothing that owes more is forgotten for it.
    pub(super) fn merge(
        &mut self,
        now: Tick,
        source: Source,
        account: super::Account,
        free_at: Tick,
    ) {
        let is_full = self.len() >= self.max && !self.entries.contains_key(&source);
        let is_least = |&(rank, _): &(Tick, Source)| rank >= free_at;
        if is_full && self.ranks.first().is_none_or(is_least) {
            self.evicted = self.evicted.saturating_add(1);
            return;
        }
        self.book(now, source, |entry| entry.of_mut(account).merge(free_at));
    }

    /// All entries, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Source, &Entry)> {
        self.entries.iter().map(|(source, entry)| (*source, entry))
    }

    /// Lets go of entries that owe nothing any more, and of the least owing one if the table is
    /// full. False if it is full of pinned ones.
    fn make_place(&mut self, now: Tick) -> bool {
        for _ in 0..SWEPT_AT_ONCE {
            match self.ranks.first() {
                Some(&(rank, _)) if rank <= now => self.drop_first(),
                _ => break,
            }
        }
        if self.len() >= self.max && !self.ranks.is_empty() {
            self.drop_first();
            self.evicted = self.evicted.saturating_add(1);
        }
        self.len() < self.max
    }

    fn drop_first(&mut self) {
        if let Some((_, source)) = self.ranks.pop_first() {
            self.entries.remove(&source);
        }
    }
}
