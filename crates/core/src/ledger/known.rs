//! Known senders: sources whose mail the upstream accepted not long ago. A bounded table; the
//! longest silent go first.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::{Source, Tick};

/// Senders that are silent for too long go two at a time with each mail accepted, so that the
/// table shrinks and no single call takes long.
const SWEPT_AT_ONCE: usize = 2;

#[derive(Debug)]
pub(super) struct Known {
    /// When mail of the source was accepted last.
    last: HashMap<Source, Tick, RandomState>,
    /// The same, longest silent first.
    order: BTreeSet<(Tick, Source)>,
    max: usize,
    lasts: Duration,
}

impl Known {
    pub(super) fn new(max: usize, lasts: Duration, hasher: RandomState) -> Self {
        Self {
            last: HashMap::with_hasher(hasher),
            order: BTreeSet::new(),
            max,
            lasts,
        }
    }

    pub(super) fn accepted(&mut self, now: Tick, source: Source) {
        self.heard(now, source, now);
    }

    fn heard(&mut self, now: Tick, source: Source, last: Tick) {
        if let Some(before) = self.last.insert(source, last) {
            self.order.remove(&(before, source));
        }
        self.order.insert((last, source));
        for _ in 0..SWEPT_AT_ONCE {
            match self.order.first() {
                Some(&(last, silent))
                    if self.last.len() > self.max || !self.is_fresh(now, last) =>
                {
                    self.order.pop_first();
                    self.last.remove(&silent);
                }
                _ => break,
            }
        }
    }

    /// Takes in when mail of a source was accepted last as another process knows it. Nobody who was
    /// heard of later is forgotten for it.
    pub(super) fn merge(&mut self, now: Tick, source: Source, last: Tick) {
        let last = last.min(now);
        let before = self.last.get(&source).copied();
        let is_least = |&(oldest, _): &(Tick, Source)| oldest >= last;
        let is_full = before.is_none() && self.last.len() >= self.max;
        if before.is_some_and(|before| before >= last)
            || !self.is_fresh(now, last)
            || (is_full && self.order.first().is_none_or(is_least))
        {
            return;
        }
        self.heard(now, source, last);
    }

    /// All of them, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Source, Tick)> {
        self.last.iter().map(|(source, last)| (*source, *last))
    }

    pub(super) fn is_known(&self, now: Tick, source: Source) -> bool {
        self.last
            .get(&source)
            .is_some_and(|&last| self.is_fresh(now, last))
    }

    /// How long ago mail of a known sender was accepted last.
    pub(super) fn accepted_ago(&self, now: Tick, source: Source) -> Option<Duration> {
        let last = self.last.get(&source).copied();
        last.filter(|last| self.is_fresh(now, *last))
            .map(|last| now.since(last))
    }

    fn is_fresh(&self, now: Tick, last: Tick) -> bool {
        now.since(last) <= self.lasts
    }

    pub(super) fn len(&self) -> usize {
        self.last.len()
    }
}
