//! Sessions over TLS: whatever happens, not an octet of ours is on their sockets.

use super::*;

impl Scene {
    /// A session over TLS, with a reply that only a front without sense would send along.
    fn veiled(&self, veil: u64, millis: u64) -> Freight {
        Freight {
            veil: Some(veil),
            ..self.held(b"550 no\r\n", millis)
        }
    }
}

#[test]
fn who_is_due_or_speaks_comes_back_under_its_number_and_heard_nothing() {
    let mut scene = Scene::new();
    let freight = scene.veiled(7, 100);
    let mut due = scene.park(freight.clone());
    let (why, back, socket) = scene.back();
    assert_eq!((why, back.veil, back.said), (Why::Due, Some(7), 0));
    assert_eq!(back.record, freight.record);
    assert!(scene.clock.now() >= freight.until);
    drop(socket);
    hear_end(&mut due, b"");

    let listens = Flags {
        listens: true,
        ..Flags::default()
    };
    let freight = Freight {
        flags: listens,
        ..scene.veiled(u64::MAX, 60_000)
    };
    let mut speaking = scene.park(freight);
    speaking.write_all(b"a record").unwrap();
    let (why, back, mut socket) = scene.back();
    assert_eq!((why, back.veil), (Why::Input, Some(u64::MAX)));
    hear(&mut socket, b"a record");
    drop(socket);
    hear_end(&mut speaking, b"");
    scene.end();
}

#[test]
fn who_speaks_while_it_is_held_waits_for_its_time() {
    let mut scene = Scene::new();
    let freight = scene.veiled(8, 200);
    let mut client = scene.park(freight.clone());
    client.write_all(b"a record").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (why, back, mut socket) = scene.back();
    assert!(scene.clock.now() >= freight.until);
    assert_eq!((why, back.veil), (Why::Due, Some(8)));
    assert!(back.flags.half_closed);
    hear(&mut socket, b"a record");
    drop(socket);
    hear_end(&mut client, b"");
    scene.end();
}

#[test]
fn a_reset_is_told_with_the_number() {
    let mut scene = Scene::new();
    let freight = scene.veiled(9, 60_000);
    let client = scene.park(freight);
    set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    let Message::Gone(gone) = scene.next().message else {
        panic!("it is not gone");
    };
    let numbers: Vec<_> = gone.iter().map(|freight| freight.veil).collect();
    assert_eq!(numbers, [Some(9)]);
    scene.end();
}

#[test]
fn they_end_with_their_front_and_without_a_word() {
    let mut scene = Scene::new();
    let freight = scene.veiled(1, 60_000);
    let mut held = scene.park(freight);
    let freight = scene.held(b"550 no\r\n", 400);
    let mut plain = scene.park(freight);
    scene.lose_front();
    hear_end(&mut held, b"");
    // Whoever is not over TLS waits on, and is all that a new front hears of.
    hear(&mut plain, b"550 no\r\n");
    scene.knock(100);
    plain.write_all(b"NOOP\r\n").unwrap();
    let (why, back, _) = scene.back();
    assert_eq!((why, back.veil), (Why::Input, None));
    scene.end();
}

#[test]
fn those_on_their_way_back_end_as_well() {
    let mut scene = Scene::new();
    // A front that takes nothing back.
    let (ours, theirs) = pair().unwrap();
    let mut keeper = Keeper::new(theirs, None, 100).unwrap();
    let thread = std::thread::spawn(move || keeper.run().unwrap());
    scene.greet(ours, 0);
    let freight = scene.veiled(1, 0);
    let mut due = scene.park(freight);
    let freight = Freight {
        ticket: Some(5),
        ..scene.veiled(2, 60_000)
    };
    let mut recalled = scene.park(freight);
    scene.link().send(&Message::Recall(vec![5]), &[]).unwrap();
    scene.lose_front();
    for client in [&mut due, &mut recalled] {
        hear_end(client, b"");
    }
    thread.join().unwrap();
    scene.end();
}

#[test]
fn they_are_called_back_before_a_front_parts() {
    let mut scene = Scene::new();
    let mut plain = Vec::new();
    let mut veiled = Vec::new();
    for number in 0..20 {
        let freight = scene.veiled(number, 60_000);
        veiled.push(scene.park(freight));
        let freight = scene.waiting(60_000);
        plain.push(scene.park(freight));
    }
    scene.link().send(&Message::Unveil, &[]).unwrap();
    let mut numbers = Vec::new();
    while numbers.len() < veiled.len() {
        let packet = scene.next();
        let Message::Back(parcels) = packet.message else {
            panic!("{:?}", packet.message);
        };
        numbers.extend(parcels.iter().filter_map(|(_, freight)| freight.veil));
        assert!(parcels.iter().all(|(why, _)| *why == Why::Drain));
        assert!(parcels.iter().all(|(_, freight)| freight.veil.is_some()));
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..20));
    scene.link().send(&Message::Release, &[]).unwrap();
    assert_eq!(scene.next().message, Message::Released);
    scene.knock_after_parting();
    scene.link().send(&Message::Drain, &[]).unwrap();
    let mut back = 0;
    while back < plain.len() {
        let packet = scene.next();
        let Message::Back(parcels) = packet.message else {
            panic!("{:?}", packet.message);
        };
        assert!(parcels.iter().all(|(_, freight)| freight.veil.is_none()));
        back += parcels.len();
    }
    scene.end();
}

#[test]
fn a_front_of_another_version_does_not_keep_sessions_from_their_end() {
    let mut scene = Scene::with(100, Duration::from_millis(300));
    let freight = scene.held(b"550 no\r\n", 0);
    let mut client = scene.park(freight);
    hear(&mut client, b"550 no\r\n");
    scene.lose_front();
    client.write_all(b"RSET\r\n").unwrap();
    let knocking = scene.folder.path().to_owned();
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stranger = std::thread::spawn({
        let over = std::sync::Arc::clone(&over);
        move || {
            let mut hello = Message::Drain.encode();
            hello[0] += 1;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                let Ok(Some(line)) = place::knock(&knocking, 1) else {
                    return;
                };
                let _ = rustix::net::send(&line, &hello, rustix::net::SendFlags::NOSIGNAL);
                // Until it has refused us.
                let mut buffer = [0; 64];
                let mut watched = [PollFd::new(&line, PollFlags::IN)];
                let _ = poll(&mut watched, None);
                while rustix::io::read(&line, &mut buffer).is_ok_and(|count| count > 0) {
                    let mut watched = [PollFd::new(&line, PollFlags::IN)];
                    let _ = poll(&mut watched, None);
                }
            }
        }
    });
    hear_end(&mut client, FAREWELL);
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    stranger.join().unwrap();
    scene.end();
}
