//! A front ends or parts while sessions are on their way to it, or to the keeper.

use super::*;

/// A keeper that takes a step when a test wants it to, and its front.
fn keeper() -> (Keeper, Link) {
    let (ours, theirs) = pair().unwrap();
    let mut front = Link::new(ours);
    front.grant(1000);
    front.tell_credit().unwrap();
    let mut keeper = Keeper::new(theirs, None, 1000).unwrap();
    keeper.hear_front();
    (keeper, front)
}

impl Keeper {
    fn has(&mut self, freight: Freight) {
        self.heed(Message::Park(vec![freight]), vec![pair().unwrap().0]);
    }
}

#[test]
fn who_was_on_the_way_to_a_front_that_died_waits_for_the_next() {
    let mut scene = Scene::new();
    let freight = scene.held(b"550 no\r\n", 50);
    let mut client = scene.park(freight);
    hear(&mut client, b"550 no\r\n");
    client.write_all(b"QUIT\r\n").unwrap();
    // It is in the hands of the front, which dies before it says so.
    loop {
        if let Some(packet) = scene.link().receive().unwrap() {
            if matches!(packet.message, Message::Back(_)) {
                break;
            }
        } else {
            let mut watched = [PollFd::new(scene.link(), PollFlags::IN)];
            poll(&mut watched, None).unwrap();
        }
    }
    scene.lose_front();
    scene.knock(100);
    let (why, back, mut socket) = scene.back();
    assert_eq!((why, back.said), (Why::Input, 8));
    hear(&mut socket, b"QUIT\r\n");
    // Now it is the front's, and ends with it.
    scene.lose_front();
    drop(socket);
    hear_end(&mut client, b"");
    scene.end();
}

#[test]
fn what_a_front_says_last_counts() {
    let (mut keeper, mut front) = keeper();
    keeper.has(small());
    keeper.has(small());
    keeper.heed(Message::Drain, Vec::new());
    keeper.walk_on();
    keeper.tell_front();
    assert_eq!(keeper.sent.len(), 2);
    assert_eq!(keeper.held(), 2);
    // More than is heard in one round, and the word that counts behind it.
    for _ in 0..2 * MESSAGES {
        front.send(&Message::Recall(vec![1]), &[]).unwrap();
    }
    while front.receive().unwrap().is_some() {}
    front.tell_credit().unwrap();
    drop(front);
    keeper.tell_load_now();
    keeper.tell_front();
    assert!(keeper.link.is_none());
    assert_eq!((keeper.held(), keeper.counts.returned), (0, 2));
}

#[test]
fn from_a_front_that_speaks_nonsense_nothing_is_taken_back() {
    let (mut keeper, mut front) = keeper();
    keeper.has(small());
    keeper.heed(Message::Drain, Vec::new());
    keeper.walk_on();
    keeper.tell_front();
    assert_eq!(keeper.sent.len(), 1);
    front.send(&Message::Released, &[]).unwrap();
    keeper.hear_front();
    assert_eq!((keeper.held(), keeper.counts.lost), (0, 1));
}

#[test]
fn the_last_word_comes_when_all_have_arrived() {
    let (mut keeper, mut front) = keeper();
    keeper.has(small());
    keeper.heed(Message::Drain, Vec::new());
    keeper.walk_on();
    keeper.tell_front();
    front.send(&Message::Release, &[]).unwrap();
    keeper.hear_front();
    keeper.tell_front();
    let link = keeper.link.take().unwrap();
    assert!(!keeper.has_to_send(&link));
    keeper.link = Some(link);
    assert!(matches!(front.heard()[..], [Message::Back(_)]));
    front.tell_credit().unwrap();
    keeper.hear_front();
    keeper.tell_front();
    assert_eq!(front.heard(), [Message::Released]);
}

/// Nobody else could write their records.
#[test]
fn who_hung_up_is_told_before_the_last_word() {
    let (mut keeper, mut front) = keeper();
    keeper.has(small());
    let (key, _) = keeper.holder.slab().at(0).unwrap();
    keeper.lose(key);
    front.send(&Message::Release, &[]).unwrap();
    keeper.hear_front();
    keeper.tell_front();
    assert!(matches!(
        front.heard()[..],
        [Message::Gone(_), Message::Released]
    ));
}

#[test]
fn a_walk_begins_anew_for_those_that_came_behind_it() {
    let (mut keeper, _front) = keeper();
    let count = u32::try_from(READY).unwrap() + 50;
    for _ in 0..count {
        keeper.has(small());
    }
    keeper.heed(Message::Drain, Vec::new());
    keeper.walk_on();
    assert_eq!(keeper.returning.len(), READY);
    let veiled = Freight {
        veil: Some(1),
        ..small()
    };
    keeper.has(veiled);
    keeper.heed(Message::Unveil, Vec::new());
    while keeper.walk.is_some() {
        keeper.returning.clear();
        keeper.walk_on();
    }
    assert_eq!(keeper.holder.len(), 0);
}
