use tarpit_core::Tick;
use tarpit_core::budget::{Load, Strain, Surplus};

use super::super::shed::{Among, choose, share};
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

/// It is pages that there are too many of: who has sent nothing, or few, is not counted for more.
#[test]
fn of_unread_input_no_more_than_is_too_much() {
    let all = [
        (900, 1, false, 0),
        (980, 1, false, 1),
        (990, 9, false, 5),
        (990, 7, false, 5),
    ];
    for (pages, expected) in [(1, &[1][..]), (2, &[1, 2]), (6, &[1, 2]), (7, &[1, 2, 3])] {
        assert_eq!(shed(&all, Among::Unread, pages), expected, "{pages}");
    }
}

/// Many that came in one second: those with the largest debts, however many are wanted.
#[test]
fn a_part_of_one_second_is_chosen_by_the_debts() {
    // Each debt once, in no order.
    let debt = |number: u64| 1 + number * 37 % 101;
    let all: Vec<Sort> = (0..101).map(|n| (990, debt(n), false, 0)).collect();
    let mut by_debt: Vec<usize> = (0..101).collect();
    by_debt.sort_by_key(|number| std::cmp::Reverse(all[*number].1));
    for count in [1, 2, 50, 100, 101] {
        assert_eq!(shed(&all, Among::All, count), by_debt[..count]);
    }
}

#[test]
fn who_has_no_unread_input_has_no_share_of_it() {
    let surplus = |strain| Surplus {
        strain,
        over: 10,
        whole: 100,
    };
    let mine = |unread| Load {
        sessions: 50,
        octets: 50,
        unread,
    };
    assert_eq!(share(surplus(Strain::Unread), mine(0)), 0);
    assert_eq!(share(surplus(Strain::Unread), mine(4096)), 1);
    assert_eq!(share(surplus(Strain::Unread), mine(100 * 4096)), 10);
    assert_eq!(share(surplus(Strain::Sessions), mine(0)), 5);
}
