use std::io::Write as _;
use std::time::Duration;

use socket2::SockRef;
use tarpit_core::budget::Load;
use tarpit_core::{Paced, Tick};

use super::super::holder::{Events, Holder, Stir};
use super::super::parcel::{Parcel, hear_in_order};
use super::super::slab::Key;
use super::{pair, parcel};

fn take_in(holder: &mut Holder, parcel: Parcel) -> Key {
    let key = holder.put(parcel);
    holder.watch(key).unwrap();
    key
}

/// What happens next, at the time zero.
fn next(holder: &Holder) -> Vec<(Key, Stir)> {
    let mut stirred = Vec::new();
    let mut events = Events::new();
    let patience = Duration::from_secs(10);
    holder
        .wait(Tick::ZERO, patience, &mut events, &mut stirred)
        .unwrap();
    stirred
}

#[test]
fn tells_words_a_farewell_and_a_reset_apart() {
    let mut holder = Holder::new(Tick::ZERO).unwrap();
    let (mut speaker, ours) = pair().unwrap();
    let speaks = take_in(&mut holder, parcel(ours, 60_000));
    speaker.write_all(b"NOOP\r\n").unwrap();
    let spoke = Stir {
        spoke: true,
        ..Stir::default()
    };
    assert_eq!(next(&holder), [(speaks, spoke)]);
    holder.note_unread(speaks, true);
    assert_eq!(holder.load().unread, 4096);
    speaker.shutdown(std::net::Shutdown::Write).unwrap();
    let stirred = next(&holder);
    assert!(matches!(&stirred[..], [(key, stir)] if *key == speaks && stir.closed && !stir.reset));
    SockRef::from(&speaker)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(speaker);
    let stirred = next(&holder);
    assert!(matches!(&stirred[..], [(key, stir)] if *key == speaks && stir.reset));
    assert!(holder.close(speaks).is_some());
    assert_eq!((holder.load().sessions, holder.load().unread), (0, 0));
}

#[test]
fn what_came_before_is_told_too() {
    let mut holder = Holder::new(Tick::ZERO).unwrap();
    let (mut client, ours) = pair().unwrap();
    client.write_all(b"x").unwrap();
    let key = take_in(&mut holder, parcel(ours, 60_000));
    assert!(matches!(&next(&holder)[..], [(told, stir)] if *told == key && stir.spoke));
}

/// Who is about to leave for a keeper is not watched until then: its end is told by the watch that comes.
#[test]
fn who_left_before_it_was_watched_is_told_too() {
    for is_reset in [false, true] {
        let mut holder = Holder::new(Tick::ZERO).unwrap();
        let (client, ours) = pair().unwrap();
        let linger = is_reset.then_some(Duration::ZERO);
        SockRef::from(&client).set_linger(linger).unwrap();
        drop(client);
        let key = take_in(&mut holder, parcel(ours, 60_000));
        let stirred = next(&holder);
        let [(told, stir)] = stirred[..] else {
            panic!("{stirred:?}");
        };
        assert_eq!((told, stir.closed, stir.reset), (key, true, is_reset));
    }
}

#[test]
fn due_in_order_and_counted_in_octets() {
    let mut holder = Holder::new(Tick::ZERO).unwrap();
    let empty = holder.load().octets;
    let (_a, one) = pair().unwrap();
    let (_b, two) = pair().unwrap();
    let late = take_in(&mut holder, parcel(one, 500));
    let soon = take_in(&mut holder, parcel(two, 100));
    assert!(holder.load().octets > empty);
    assert_eq!(holder.pop_due(Tick::from_millis(99)), None);
    assert_eq!(holder.pop_due(Tick::from_millis(200)), Some(soon));
    holder.change(soon, |parcel| parcel.until = Tick::from_millis(1_000));
    assert_eq!(holder.pop_due(Tick::from_millis(600)), Some(late));
    assert!(holder.take(late).is_some());
    assert_eq!(holder.pop_due(Tick::from_millis(2_000)), Some(soon));
    assert!(holder.take(soon).is_some());
    assert_eq!(holder.load().sessions, 0);
}

#[test]
fn a_bell_from_another_thread_wakes_it() {
    let holder = Holder::new(Tick::ZERO).unwrap();
    let bell = holder.bell();
    let ringer = std::thread::spawn(move || bell.ring());
    assert_eq!(next(&holder), []);
    ringer.join().unwrap();
}

#[test]
fn urgent_octets_hide_nothing() {
    let mut holder = Holder::new(Tick::ZERO).unwrap();
    let (mut client, ours) = pair().unwrap();
    hear_in_order(&ours);
    let key = take_in(&mut holder, parcel(ours, 60_000));
    SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(&[b'x'; 3 * 4096]).unwrap();
    while holder.load().unread < 4 * 4096 {
        assert_eq!(next(&holder).len(), 1);
        holder.note_unread(key, true);
    }
}

#[test]
fn what_it_says_and_hears_is_counted() {
    let mut holder = Holder::new(Tick::ZERO).unwrap();
    let (_client, ours) = pair().unwrap();
    let mut talker = parcel(ours, 60_000);
    let text = Box::from(&b"550 no\r\n"[..]);
    let paced = Paced::whole(Tick::ZERO, Tick::from_millis(60_000), text);
    talker.paced = Some(Box::new(paced));
    let key = take_in(&mut holder, talker);
    // Who does not read hears no more pieces.
    holder.work(key, |parcel| parcel.paced = None);
    holder.change(key, |parcel| parcel.until = Tick::from_millis(70_000));
    assert!(holder.take(key).is_some());
    assert_eq!(holder.load(), Load::default());
}
