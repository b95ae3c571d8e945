use tarpit_core::Tick;

use super::super::shed::{Among, choose};
use super::super::slab::Slab;
use super::{pair, parcel};

/// Since when it waits, until when, whether it is idle, pages unread.
type Sort = (u32, u64, bool, u32);

/// Who is shed of these, in order, by number.
fn shed(all: &[Sort], among: Among, count: usize) -> Vec<usize> {
    let mut slab = Slab::new();
    let (_client, ours) = pair().unwrap();
    let keys: Vec<_> = all
        .iter()
        .map(|&(since, until, listens, unread_pages)| {
            let mut one = parcel(ours.try_clone().unwrap(), 0);
            one.since = since;
            one.until = Tick::from_millis(until);
            one.state.listens = listens;
            one.unread_pages = unread_pages;
            slab.insert(one)
        })
        .collect();
    let number = |key| keys.iter().position(|one| *one == key).unwrap();
    choose(&slab, among, count, 1000)
        .into_iter()
        .map(number)
        .collect()
}

#[test]
fn the_longest_held_then_the_largest_debt_then_the_idle() {
    let all = [
        (990, 5_000, false, 0),
        (900, 9_000, true, 0),
        (950, 5_000, false, 0),
        (990, 9_000, false, 0),
        (990, 7_000, false, 0),
    ];
    assert_eq!(shed(&all, Among::All, 0), []);
    assert_eq!(shed(&all, Among::All, 1), [2]);
    assert_eq!(shed(&all, Among::All, 3), [2, 3, 4]);
    let mut everybody = shed(&all, Among::All, 9);
    everybody.sort_unstable();
    assert_eq!(everybody, [0, 1, 2, 3, 4]);
    let four = shed(&all, Among::All, 4);
    assert!(!four.contains(&1), "{four:?}");
}

#[test]
fn of_unread_input_only_those_that_have_some() {
    let all = [(1, 1, false, 0), (990, 1, false, 2), (980, 1, false, 1)];
    assert_eq!(shed(&all, Among::Unread, 1), [2]);
    let mut both = shed(&all, Among::Unread, 5);
    both.sort_unstable();
    assert_eq!(both, [1, 2]);
}
