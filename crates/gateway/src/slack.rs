//! Queues and tables that give back what they took while they were long.
//!
//! A queue that once had thousands in it keeps their room for good. A pit of a million sessions has a
//! hundred queues, in its front and in its keepers, and each is long for a second now and then: what
//! they keep for nothing is a third of what the sessions themselves take.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};

/// Room that is never given back: to take it again and again would cost more than it is worth.
const KEPT: usize = 64;

/// A queue or a table with room for more than it has.
pub(crate) trait Slack {
    /// Gives most of its room back if it has far more than it needs. To be called when it has been
    /// emptied as far as it can be.
    fn slacken(&mut self);
}

/// Entries to have room for, if there is to be less room than now. A queue that fills again
/// doubles a few times, which is less work than what it holds.
const fn less(entries: usize, room: usize) -> Option<usize> {
    if room > 2 * KEPT && entries < room / 8 {
        let twice = 2 * entries;
        Some(if twice < KEPT { KEPT } else { twice })
    } else {
        None
    }
}

impl<T> Slack for Vec<T> {
    fn slacken(&mut self) {
        if let Some(room) = less(self.len(), self.capacity()) {
            self.shrink_to(room);
        }
    }
}

impl<T> Slack for VecDeque<T> {
    fn slacken(&mut self) {
        if let Some(room) = less(self.len(), self.capacity()) {
            self.shrink_to(room);
        }
    }
}

impl<K: Eq + Hash, V, S: BuildHasher> Slack for HashMap<K, V, S> {
    fn slacken(&mut self) {
        if let Some(room) = less(self.len(), self.capacity()) {
            self.shrink_to(room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_long_is_short_again() {
        let mut queue: VecDeque<u64> = (0..10_000).collect();
        queue.slacken();
        assert!(queue.capacity() >= 10_000);
        queue.drain(..9_900);
        queue.slacken();
        assert!((200..1000).contains(&queue.capacity()));
        assert!(queue.iter().copied().eq(9_900..10_000));
        queue.clear();
        queue.slacken();
        assert!((KEPT..=2 * KEPT).contains(&queue.capacity()));
    }

    #[test]
    fn a_table_that_was_large_is_small_again() {
        let mut table: HashMap<u64, u64> = (0..10_000).map(|number| (number, number)).collect();
        for number in 100..10_000 {
            table.remove(&number);
            table.slacken();
        }
        assert!((100..1000).contains(&table.capacity()));
        assert!((0..100).all(|number| table[&number] == number));
    }

    #[test]
    fn what_is_short_is_left_alone() {
        let mut queue: Vec<u64> = Vec::with_capacity(2 * KEPT);
        queue.slacken();
        assert!(queue.capacity() >= 2 * KEPT);
    }
}
