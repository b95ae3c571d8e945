use std::io::{ErrorKind, Read as _};
use std::time::Duration;

use tarpit_core::{Paced, Tick};

use super::{pair, parcel};

const TEXT: &[u8] = b"550 5.1.1 No such user\r\n";

fn paced() -> Box<Paced> {
    let (since, until) = (Tick::ZERO, Tick::from_millis(5_000));
    Box::new(Paced::whole(since, until, TEXT.into()))
}

#[test]
fn nothing_is_said_twice() {
    let (mut client, ours) = pair().unwrap();
    let mut held = parcel(ours, 5_000);
    held.paced = Some(paced());
    assert!(held.say_piece(Tick::from_millis(4_999)));
    assert_eq!(held.said, 0);
    for _ in 0..2 {
        assert!(held.say_piece(Tick::from_millis(5_000)));
        assert_eq!(held.said as usize, TEXT.len());
    }
    drop(held);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, TEXT);
}

/// A client that does not read hears the rest at the end: what did not go is not counted as said,
/// and nobody is woken for more pieces.
#[test]
fn a_full_socket_is_left_alone_until_the_end() {
    let (_client, ours) = pair().unwrap();
    let mut held = parcel(ours, 6_000);
    loop {
        match held.write(&[b'x'; 65_536]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    held.paced = Some(paced());
    assert_eq!(held.due(), Tick::from_millis(5_000));
    assert!(held.say_piece(Tick::from_millis(5_000)));
    assert_eq!((held.said, held.paced.is_none()), (0, true));
    assert_eq!(held.due(), Tick::from_millis(6_000));
}

#[test]
fn a_reset_is_noticed() {
    let (client, ours) = pair().unwrap();
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    let mut held = parcel(ours, 5_000);
    held.paced = Some(paced());
    assert!(!held.say_piece(Tick::from_millis(5_000)));
}
