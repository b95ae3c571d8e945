//! The wheel against a sorted map: whatever is inserted, moved, removed and turned, the same keys
//! come up at the same moments.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tarpit_core::Tick;
use tarpit_core::wheel::{Link, Links, SLOT, SLOTS, Wheel};

const KEYS: u32 = 24;

struct Held(Vec<Link>);

impl Links for Held {
    fn link(&mut self, key: u32) -> &mut Link {
        &mut self.0[key as usize]
    }
}

fn held(count: u32) -> Held {
    Held(vec![Link::default(); count as usize])
}

/// One step of a test. Times in milliseconds.
#[derive(Clone, Debug)]
enum Step {
    /// Due so long after now.
    Insert(u32, u64),
    /// Due so long before now.
    Late(u32, u64),
    Remove(u32),
    /// Turn the wheel so long after now; for each that comes up, perhaps insert it again and remove
    /// another one meanwhile.
    Turn(u64, Option<u64>, Option<u32>),
    /// Go exactly to the moment that the wheel names.
    Next,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    let turn = u64::from(SLOTS) * 50;
    let span = prop_oneof![0..300_u64, 0..10_000_u64, 0..turn, 0..turn * 5];
    prop_oneof![
        4 => (key.clone(), span.clone()).prop_map(|(key, after)| Step::Insert(key, after)),
        1 => (key.clone(), 0..100_000_u64).prop_map(|(key, before)| Step::Late(key, before)),
        1 => key.clone().prop_map(Step::Remove),
        3 => (span.clone(), proptest::option::of(span), proptest::option::of(key))
            .prop_map(|(after, again, other)| Step::Turn(after, again, other)),
        2 => Just(Step::Next),
    ]
}

/// When each is due, and the last moment at which it may come up.
#[derive(Default)]
struct Model(BTreeMap<u32, (u64, u64)>);

/// The end of the slot in which `due` lies; what is over already comes up in the next one.
fn latest(due: u64, now: u64) -> u64 {
    (due.div_ceil(50) * 50).max((now / 50 + 1) * 50)
}

struct Both {
    now: u64,
    held: Held,
    wheel: Wheel,
    model: Model,
}

impl Both {
    fn new(now: u64) -> Self {
        Self {
            now,
            held: held(KEYS),
            wheel: Wheel::new(Tick::from_millis(now)),
            model: Model::default(),
        }
    }

    fn insert(&mut self, key: u32, due: u64) {
        self.wheel
            .insert(&mut self.held, key, Tick::from_millis(due));
        self.model.0.insert(key, (due, latest(due, self.now)));
    }

    fn remove(&mut self, key: u32) {
        let was_in = self.wheel.remove(&mut self.held, key);
        assert_eq!(was_in, self.model.0.remove(&key).is_some());
        assert!(!self.held.link(key).is_linked());
    }

    /// Turns to `now`. `again`: how long after now each that came up is due again. `other`: a key
    /// that is removed once one has come up.
    fn turn(&mut self, now: u64, again: Option<u64>, other: Option<u32>) {
        self.now = now;
        // What was due by now at the start, and was not removed meanwhile, must come up.
        let mut must: BTreeSet<u32> = self
            .model
            .0
            .iter()
            .filter(|(_, (_, latest))| *latest <= now)
            .map(|(key, _)| *key)
            .collect();
        let mut passes = 0;
        while let Some(key) = self.wheel.pop_due(&mut self.held, Tick::from_millis(now)) {
            passes += 1;
            assert!(passes <= 10 * KEYS, "a turn ends");
            let (due, _) = self.model.0.remove(&key).expect("only what is in comes up");
            assert!(due <= now, "{key} came up at {now}, due at {due}");
            assert!(!self.held.link(key).is_linked());
            must.remove(&key);
            if let Some(other) = other {
                self.remove_if_in(other);
                must.remove(&other);
            }
            // Once only: what is due at once forever would never end the test, not the turn.
            if let Some(after) = again.filter(|_| passes <= KEYS) {
                self.insert(key, now + after);
            }
        }
        assert!(must.is_empty(), "{must:?} did not come up at {now}");
    }

    fn remove_if_in(&mut self, key: u32) {
        if self.model.0.contains_key(&key) {
            self.remove(key);
        }
    }

    /// The moment that the wheel names is never too late, and is exact within one turn.
    fn check_next(&self) {
        assert_eq!(self.wheel.len(), self.model.0.len());
        assert_eq!(self.wheel.is_empty(), self.model.0.is_empty());
        let next = self.wheel.next_due().map(Tick::as_millis);
        let Some(latest) = self.model.0.values().map(|(_, latest)| *latest).min() else {
            assert_eq!(next, None);
            return;
        };
        let next = next.expect("there is an entry");
        assert!(next <= latest, "next at {next}, but one is due at {latest}");
        let turn = self.now + u64::from(SLOTS - 1) * 50;
        if self.model.0.values().all(|(due, _)| *due < turn) {
            assert_eq!(next, latest);
        }
    }
}

proptest! {
    #[test]
    fn is_a_sorted_map(
        start in prop_oneof![Just(0_u64), 0..10_000_000_u64, (u64::from(u32::MAX) * 50 - 200_000)..(u64::from(u32::MAX) * 50 + 200_000)],
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let mut both = Both::new(start);
        for step in steps {
            match step {
                Step::Insert(key, after) => both.insert(key, both.now + after),
                Step::Late(key, before) => both.insert(key, both.now.saturating_sub(before)),
                Step::Remove(key) => both.remove(key),
                Step::Turn(after, again, other) => both.turn(both.now + after, again, other),
                Step::Next => {
                    if let Some(next) = both.wheel.next_due() {
                        both.turn(next.as_millis().max(both.now), None, None);
                    }
                }
            }
            both.check_next();
        }
        // In the end everything has come up.
        for _ in 0..7 {
            both.turn(both.now + u64::from(SLOTS) * 50, None, None);
        }
        prop_assert!(both.model.0.is_empty());
        prop_assert!(both.wheel.is_empty());
        prop_assert_eq!(both.wheel.next_due(), None);
    }
}

#[test]
fn a_hundred_thousand_in_one_slot_come_up_in_one_pass() {
    let count = 100_000;
    let mut held = held(count);
    let mut wheel = Wheel::new(Tick::ZERO);
    let due = Tick::from_millis(5_000);
    for key in 0..count {
        wheel.insert(&mut held, key, due);
    }
    assert_eq!(wheel.pop_due(&mut held, Tick::from_millis(4_999)), None);
    let mut seen = BTreeSet::new();
    while let Some(key) = wheel.pop_due(&mut held, due) {
        seen.insert(key);
    }
    assert_eq!(seen.len(), count as usize);
}

#[test]
fn what_is_inserted_late_while_turning_comes_up_in_the_next_pass() {
    let mut held = held(1);
    let mut wheel = Wheel::new(Tick::ZERO);
    let now = Tick::from_millis(1_000);
    wheel.insert(&mut held, 0, now);
    assert_eq!(wheel.pop_due(&mut held, now), Some(0));
    wheel.insert(&mut held, 0, now);
    assert_eq!(wheel.pop_due(&mut held, now), None, "the pass ends");
    assert_eq!(wheel.next_due(), Some(now + SLOT));
    assert_eq!(wheel.pop_due(&mut held, now + SLOT), Some(0));
}

#[test]
fn nobody_comes_up_a_turn_early() {
    let mut held = held(1);
    let mut wheel = Wheel::new(Tick::ZERO);
    let due = Tick::from_millis(u64::from(SLOTS) * 50 * 3 + 50);
    wheel.insert(&mut held, 0, due);
    for turn in 1..=3 {
        let now = Tick::from_millis(u64::from(SLOTS) * 50 * turn + 49);
        assert_eq!(wheel.pop_due(&mut held, now), None, "turn {turn}");
        assert_eq!(wheel.len(), 1);
    }
    assert_eq!(wheel.pop_due(&mut held, due), Some(0));
}
