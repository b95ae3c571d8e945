use super::super::slab::{Key, Slab};
use super::{pair, parcel};

#[test]
fn a_late_event_does_not_meet_the_next_one() {
    let mut slab = Slab::new();
    let (_a, one) = pair().unwrap();
    let (_b, two) = pair().unwrap();
    let first = slab.insert(parcel(one, 1));
    assert!(slab.remove(first).is_some());
    let second = slab.insert(parcel(two, 2));
    assert_eq!(first.place, second.place);
    assert!(slab.get(first).is_none() && slab.remove(first).is_none());
    assert!(slab.get(second).is_some());
    assert_eq!(slab.len(), 1);
    assert_eq!(Key::of_u64(second.to_u64()), second);
}

#[test]
fn places_do_not_move_when_there_are_more() {
    let mut slab = Slab::new();
    let (_client, ours) = pair().unwrap();
    let key = slab.insert(parcel(ours.try_clone().unwrap(), 1));
    let before = std::ptr::from_ref(slab.get(key).unwrap());
    let others: Vec<_> = (0..100)
        .map(|until| slab.insert(parcel(ours.try_clone().unwrap(), until)))
        .collect();
    assert_eq!(before, std::ptr::from_ref(slab.get(key).unwrap()));
    assert_eq!(slab.len(), 101);
    let met = (0..slab.places()).filter(|place| slab.at(*place).is_some());
    assert_eq!(met.count(), 101);
    for key in others {
        assert!(slab.remove(key).is_some());
    }
    assert_eq!(slab.len(), 1);
}
