use super::*;
use crate::pit::shed::Among;

#[test]
fn unread_input_is_told_and_who_sent_it_is_given_back_first() {
    let mut scene = Scene::new();
    let held = scene.held(b"550 no\r\n", 60_000);
    let _quiet = scene.park(held.clone());
    let mut talker = scene.park(held);
    talker.write_all(b"NOOP\r\n").unwrap();
    let unread = loop {
        if let Message::Load { load, sheds } = scene.any().message
            && load.unread > 0
        {
            assert_eq!(sheds, 0);
            break load;
        }
    };
    assert_eq!((unread.sessions, unread.unread), (2, 4096));
    assert!(unread.octets > 4096, "{unread:?}");
    let shed = Message::Shed(Among::Unread, 2);
    scene.link().send(&shed, &[]).unwrap();
    let left = loop {
        if let Message::Load { load, sheds: 1 } = scene.any().message {
            break load;
        }
    };
    assert_eq!((left.sessions, left.unread), (1, 0));
    let (why, _, mut socket) = scene.back();
    assert_eq!(why, Why::Shed);
    let mut ahead = [0; 6];
    socket.read_exact(&mut ahead).unwrap();
    assert_eq!(&ahead, b"NOOP\r\n");
    scene
        .link()
        .send(&Message::Shed(Among::All, 9), &[])
        .unwrap();
    assert_eq!(scene.back().0, Why::Shed);
    scene.end();
}
