//! What the sessions do now. Those that are in none of the states that are entered and left are
//! between two commands.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Closed, State};

/// How many sessions are in each state.
#[derive(Debug, Default)]
pub(crate) struct States([AtomicU64; State::ALL.len()]);

/// A session in a state; left when dropped.
#[derive(Debug)]
pub(crate) struct Inside<'a>(&'a AtomicU64);

impl States {
    /// One more is in `state`, until what is returned is dropped.
    pub(crate) fn enter(&self, state: State) -> Inside<'_> {
        let count = &self.0[state.place().unwrap_or(0)];
        count.fetch_add(1, Ordering::Relaxed);
        Inside(count)
    }

    /// How many are in `state`.
    pub(crate) fn count(&self, state: State) -> u64 {
        self.0[state.place().unwrap_or(0)].load(Ordering::Relaxed)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_is_not_counted() {
        let states = States::default();
        let first = states.enter(State::Held);
        let second = states.enter(State::Held);
        let other = states.enter(State::Message);
        assert_eq!(
            (states.count(State::Held), states.count(State::Message)),
            (2, 1)
        );
        drop((first, other));
        assert_eq!(
            (states.count(State::Held), states.count(State::Message)),
            (1, 0)
        );
        drop(second);
        assert_eq!(states.count(State::Held), 0);
    }
}
