//! Counters in rows: one for each word of a closed set, for each pair of two, or for each name of
//! the configuration.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Closed, Counter, Read};

/// A counter for each word of a closed set.
#[derive(Debug)]
pub struct Tally<A> {
    cells: Box<[Counter]>,
    words: PhantomData<A>,
}

/// What a [`Tally`] has counted, in the order of [`Closed::ALL`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TallyValues<A> {
    cells: Box<[u64]>,
    words: PhantomData<A>,
}

impl<A: Closed> Default for Tally<A> {
    fn default() -> Self {
        Self {
            cells: A::ALL.iter().map(|_| Counter::default()).collect(),
            words: PhantomData,
        }
    }
}

impl<A: Closed> Tally<A> {
    /// Adds to the counter of `word`; to none if the set leaves it out.
    pub fn add(&self, word: A, count: u64) {
        if let Some(cell) = word.place().and_then(|place| self.cells.get(place)) {
            cell.add(count);
        }
    }
}

impl<A: Closed> Read for Tally<A> {
    type Values = TallyValues<A>;

    fn read(&self) -> TallyValues<A> {
        TallyValues {
            cells: self.cells.iter().map(Counter::get).collect(),
            words: PhantomData,
        }
    }

    #[cfg(test)]
    fn fill(&self, next: &mut dyn FnMut() -> u64) {
        self.cells.iter().for_each(|cell| cell.fill(next));
    }
}

impl<A: Closed> Default for TallyValues<A> {
    fn default() -> Self {
        Tally::default().read()
    }
}

impl<A: Closed> TallyValues<A> {
    /// Each word with its count.
    pub fn iter(&self) -> impl Iterator<Item = (A, u64)> {
        A::ALL.iter().copied().zip(self.cells.iter().copied())
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.cells.iter().sum()
    }

    /// The count of one word.
    #[must_use]
    pub fn get(&self, word: A) -> u64 {
        let cell = word.place().and_then(|place| self.cells.get(place));
        cell.copied().unwrap_or(0)
    }
}

/// A counter for each pair of words of two closed sets.
#[derive(Debug)]
pub struct Grid<A, B> {
    rows: Box<[Tally<B>]>,
    words: PhantomData<A>,
}

/// What a [`Grid`] has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GridValues<A, B> {
    rows: Box<[TallyValues<B>]>,
    words: PhantomData<A>,
}

impl<A: Closed, B: Closed> Default for Grid<A, B> {
    fn default() -> Self {
        Self {
            rows: A::ALL.iter().map(|_| Tally::default()).collect(),
            words: PhantomData,
        }
    }
}

impl<A: Closed, B: Closed> Grid<A, B> {
    /// Adds to the counter of a pair.
    pub fn add(&self, row: A, word: B, count: u64) {
        if let Some(row) = row.place().and_then(|place| self.rows.get(place)) {
            row.add(word, count);
        }
    }
}

impl<A: Closed, B: Closed> Read for Grid<A, B> {
    type Values = GridValues<A, B>;

    fn read(&self) -> GridValues<A, B> {
        GridValues {
            rows: self.rows.iter().map(Read::read).collect(),
            words: PhantomData,
        }
    }

    #[cfg(test)]
    fn fill(&self, next: &mut dyn FnMut() -> u64) {
        self.rows.iter().for_each(|row| row.fill(next));
    }
}

impl<A: Closed, B: Closed> Default for GridValues<A, B> {
    fn default() -> Self {
        Grid::default().read()
    }
}

impl<A: Closed, B: Closed> GridValues<A, B> {
    /// Each pair with its count.
    pub fn iter(&self) -> impl Iterator<Item = (A, B, u64)> {
        let rows = A::ALL.iter().copied().zip(&self.rows);
        rows.flat_map(|(row, counts)| counts.iter().map(move |(word, count)| (row, word, count)))
    }

    /// All of them together.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.rows.iter().map(TallyValues::sum).sum()
    }
}

/// A counter for each name of the configuration. A name that is gone after a reload keeps what it
/// has counted: counters never go down.
#[derive(Debug, Default)]
pub struct Named(Mutex<BTreeMap<Box<str>, Arc<Counter>>>);

impl Named {
    /// The counter of `name`. Takes a lock: ask once, and keep it.
    #[must_use]
    pub fn of(&self, name: &str) -> Arc<Counter> {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(names.entry(name.into()).or_default())
    }
}

impl Read for Named {
    type Values = Vec<(Box<str>, u64)>;

    fn read(&self) -> Vec<(Box<str>, u64)> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names
            .iter()
            .map(|(name, counter)| (name.clone(), counter.get()))
            .collect()
    }

    #[cfg(test)]
    fn fill(&self, next: &mut dyn FnMut() -> u64) {
        self.of("mx").add(next());
        self.of("lan").add(next());
    }
}

#[cfg(test)]
mod tests {
    use tarpit_core::policy::Offence;
    use tarpit_core::record::{HoldEnd, HoldReason, SessionEnd};

    use super::super::{State, Strain};
    use super::*;
    use tarpit_core::policy::Way;

    fn each_has_its_own<A: Closed>() {
        let tally = Tally::<A>::default();
        for (count, word) in (1..).zip(A::ALL) {
            tally.add(*word, count);
        }
        let values = tally.read();
        for (count, word) in (1..).zip(A::ALL) {
            assert_eq!(values.get(*word), count, "{}", word.word());
        }
        let mut words: Vec<_> = A::ALL.iter().map(|word| word.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), A::ALL.len());
    }

    #[test]
    fn words_are_told_apart() {
        each_has_its_own::<HoldReason>();
        each_has_its_own::<HoldEnd>();
        each_has_its_own::<SessionEnd>();
        each_has_its_own::<Way>();
        each_has_its_own::<Strain>();
        each_has_its_own::<State>();
    }

    #[test]
    fn what_is_left_out_is_not_counted() {
        let tally = Tally::<HoldEnd>::default();
        tally.add(HoldEnd::Observed, 1);
        assert_eq!(tally.read().sum(), 0);
    }

    #[test]
    fn a_grid_keeps_pairs_apart() {
        let grid = Grid::<HoldReason, Way>::default();
        grid.add(HoldReason::Debt, Way::Stutter, 2);
        grid.add(
            HoldReason::Offence(Offence::FailedAuth),
            Way::Continuation,
            3,
        );
        let counted: Vec<_> = grid.read().iter().filter(|cell| cell.2 > 0).collect();
        let auth = HoldReason::Offence(Offence::FailedAuth);
        assert_eq!(
            counted,
            [
                (auth, Way::Continuation, 3),
                (HoldReason::Debt, Way::Stutter, 2)
            ]
        );
        assert_eq!(grid.read().sum(), 5);
    }

    #[test]
    fn names_keep_their_counts() {
        let named = Named::default();
        named.of("mx").add(2);
        named.of("mx").add(1);
        named.of("lan").add(5);
        assert_eq!(named.read(), [("lan".into(), 5), ("mx".into(), 3)]);
    }
}
