mod load;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread::JoinHandle;

use rustix::net::sockopt::set_socket_linger;
use tempfile::TempDir;

use super::*;
use crate::keeper::Flags;
use crate::keeper::link::{Packet, pair};
use crate::keeper::message::tests::small;
use crate::keeper::place;

mod greeting;
mod parting;
mod squeezed;
mod veiled;

const FAREWELL: &[u8] = b"421 4.3.2 come again\r\n";

/// A keeper in a thread, and the front's end of its line.
struct Scene {
    link: Option<Link>,
    keeper: JoinHandle<()>,
    folder: TempDir,
    clock: Clock,
}

impl Scene {
    fn new() -> Self {
        Self::with(100, ORPHAN_WAIT)
    }

    fn with(room: usize, orphan_wait: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ours, theirs) = pair().unwrap();
        let door = Door::open(folder.path(), 1).unwrap();
        let keeper = std::thread::spawn(move || {
            let mut keeper = Keeper::new(theirs, Some(door), room).unwrap();
            keeper.orphan_wait = orphan_wait;
            keeper.run().unwrap();
        });
        let mut scene = Self {
            link: None,
            keeper,
            folder,
            clock: Clock::start(),
        };
        scene.greet(ours, 100);
        scene
    }

    fn greet(&mut self, line: OwnedFd, granted: usize) {
        let mut link = Link::new(line);
        link.grant(granted);
        let farewell = FAREWELL.into();
        assert_eq!(
            link.send(&Message::Hello { farewell }, &[]).unwrap(),
            Sent::Yes
        );
        assert_eq!(link.tell_credit().unwrap(), Sent::Yes);
        self.link = Some(link);
    }

    fn link(&mut self) -> &mut Link {
        self.link.as_mut().unwrap()
    }

    /// The next message that is not about credit.
    fn next(&mut self) -> Packet {
        loop {
            let packet = self.any();
            if !matches!(packet.message, Message::Credit(_) | Message::Load { .. }) {
                return packet;
            }
        }
    }

    fn any(&mut self) -> Packet {
        let link = self.link();
        loop {
            if let Some(packet) = link.receive().unwrap() {
                // As a front does before it goes on with what it has.
                link.tell_credit().unwrap();
                return packet;
            }
            let mut watched = [PollFd::new(&*link, PollFlags::IN)];
            let time = Timespec::try_from(Duration::from_secs(20)).unwrap();
            assert!(poll(&mut watched, Some(&time)).unwrap() > 0, "silence");
        }
    }

    fn back(&mut self) -> (Why, Freight, TcpStream) {
        let mut packet = self.next();
        let Message::Back(mut parcels) = packet.message else {
            panic!("{:?}", packet.message);
        };
        assert_eq!((parcels.len(), packet.sockets.len()), (1, 1));
        let (why, freight) = parcels.remove(0);
        (why, freight, TcpStream::from(packet.sockets.remove(0)))
    }

    /// A client whose session the keeper has.
    fn park(&mut self, freight: Freight) -> TcpStream {
        while self.link().credit() == 0 {
            self.any();
        }
        let (client, server) = connection();
        server.set_nonblocking(true).unwrap();
        let sent = self
            .link()
            .send(&Message::Park(vec![freight]), &[server.as_fd()]);
        assert_eq!(sent.unwrap(), Sent::Yes);
        client
    }

    /// `reply`, due in so many milliseconds.
    fn held(&self, reply: &[u8], millis: u64) -> Freight {
        let now = self.clock.now();
        let until = now + Duration::from_millis(millis);
        let mut paced = Vec::new();
        Paced::whole(now, until, reply.into()).encode(&mut paced);
        Freight {
            until,
            paced: paced.into(),
            ..small()
        }
    }

    /// Nothing to say; due in so many milliseconds.
    fn waiting(&self, millis: u64) -> Freight {
        Freight {
            until: self.clock.now() + Duration::from_millis(millis),
            paced: Box::default(),
            ..small()
        }
    }

    fn lose_front(&mut self) {
        self.link = None;
    }

    /// Another front comes.
    fn knock(&mut self, granted: usize) {
        // The keeper may not have noticed yet that the old one is gone, and then turns us away.
        loop {
            let line = place::knock(self.folder.path(), 1).unwrap().unwrap();
            self.greet(line, granted);
            let mut watched = [PollFd::new(self.link(), PollFlags::IN)];
            poll(&mut watched, None).unwrap();
            if self.link().receive().is_ok() {
                return;
            }
        }
    }

    fn end(mut self) {
        self.lose_front();
        self.keeper.join().unwrap();
        assert_eq!(place::keepers(self.folder.path()), []);
    }
}

fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    (client, listener.accept().unwrap().0)
}

fn hear(client: &mut TcpStream, expected: &[u8]) {
    let mut heard = vec![0; expected.len()];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

fn hear_end(client: &mut TcpStream, expected: &[u8]) {
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, expected);
}

#[test]
fn a_reply_is_said_when_due_and_the_client_heard_then() {
    let mut scene = Scene::new();
    let freight = scene.held(b"550 no\r\n", 150);
    let mut client = scene.park(freight.clone());
    hear(&mut client, b"550 no\r\n");
    assert!(scene.clock.now() >= freight.until);
    client.write_all(b"QUIT\r\n").unwrap();
    let (why, back, mut socket) = scene.back();
    assert_eq!((why, back.said), (Why::Input, 8));
    assert_eq!(
        (&back.record, back.source),
        (&freight.record, freight.source)
    );
    assert!(!back.flags.listens);
    hear(&mut socket, b"QUIT\r\n");
    scene.end();
}

#[test]
fn what_was_sent_ahead_comes_back_with_the_reply_said() {
    let mut scene = Scene::new();
    let freight = scene.held(b"550 no\r\n", 150);
    let mut client = scene.park(freight);
    client.write_all(b"RSET\r\n").unwrap();
    let (why, back, _) = scene.back();
    assert_eq!((why, back.said), (Why::Input, 8));
    hear(&mut client, b"550 no\r\n");
    let prompt = Flags {
        prompt: true,
        ..Flags::default()
    };
    let freight = Freight {
        flags: prompt,
        ..scene.held(b"550 no\r\n", 50)
    };
    let _client = scene.park(freight);
    let (why, back, _) = scene.back();
    assert_eq!((why, back.said), (Why::Due, 8));
    scene.end();
}

#[test]
fn a_reply_in_pieces() {
    let mut scene = Scene::new();
    let now = scene.clock.now();
    let until = now + Duration::from_millis(400);
    // Two octets every 100 ms, as core writes it down.
    let mut paced = vec![1, 2, 2, 100];
    crate::keeper::message::put_number(now.as_millis(), &mut paced);
    crate::keeper::message::put_number(until.as_millis(), &mut paced);
    paced.push(8);
    paced.extend_from_slice(b"550 no\r\n");
    let freight = Freight {
        until,
        paced: paced.into(),
        ..small()
    };
    let mut client = scene.park(freight);
    hear(&mut client, b"55");
    assert!(scene.clock.now() < until);
    hear(&mut client, b"0 no\r\n");
    assert!(scene.clock.now() >= until);
    drop(client);
    assert_eq!(scene.back().0, Why::Input);
    scene.end();
}

#[test]
fn a_reset_is_told_with_the_record() {
    let mut scene = Scene::new();
    let freight = scene.held(b"550 no\r\n", 60_000);
    let client = scene.park(freight.clone());
    set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
    let packet = scene.next();
    assert_eq!(packet.message, Message::Gone(vec![freight]));
    scene.end();
}

#[test]
fn a_half_closed_client_still_gets_its_reply() {
    let mut scene = Scene::new();
    let freight = scene.held(b"550 no\r\n", 150);
    let mut client = scene.park(freight);
    client.shutdown(Shutdown::Write).unwrap();
    let (why, back, socket) = scene.back();
    assert_eq!(
        (why, back.said, back.flags.half_closed),
        (Why::Input, 8, true)
    );
    drop(socket);
    hear_end(&mut client, b"550 no\r\n");
    scene.end();
}

#[test]
fn who_has_nothing_to_hear_comes_back_when_due_recalled_or_speaking() {
    let mut scene = Scene::new();
    let freight = scene.waiting(100);
    let _due = scene.park(freight);
    assert_eq!(scene.back().0, Why::Due);

    let freight = Freight {
        ticket: Some(77),
        ..scene.waiting(60_000)
    };
    let _recalled = scene.park(freight);
    scene
        .link()
        .send(&Message::Recall(vec![5, 77]), &[])
        .unwrap();
    let (why, back, _) = scene.back();
    assert_eq!((why, back.ticket), (Why::Recalled, Some(77)));

    let listens = Flags {
        listens: true,
        ..Flags::default()
    };
    let freight = Freight {
        flags: listens,
        ..scene.waiting(60_000)
    };
    let mut speaking = scene.park(freight);
    speaking.write_all(b"NOOP\r\n").unwrap();
    let (why, back, _) = scene.back();
    assert_eq!((why, back.flags), (Why::Input, listens));
    scene.end();
}

#[test]
fn a_silent_client_comes_back_when_its_time_is_over() {
    let mut scene = Scene::new();
    let freight = Freight {
        patience: 0,
        ..scene.held(b"550 no\r\n", 50)
    };
    let _client = scene.park(freight);
    let (why, back, _) = scene.back();
    assert_eq!((why, back.said), (Why::Due, 8));
    scene.end();
}

#[test]
fn no_more_come_back_than_the_front_takes() {
    let mut scene = Scene::new();
    let clients: Vec<_> = (0..100)
        .map(|_| {
            let freight = scene.waiting(60_000);
            scene.park(freight)
        })
        .collect();
    scene.link().send(&Message::Drain, &[]).unwrap();
    let mut back = 0;
    while back < clients.len() {
        let packet = scene.next();
        let Message::Back(parcels) = packet.message else {
            panic!("{:?}", packet.message);
        };
        assert!(parcels.iter().all(|(why, _)| *why == Why::Drain));
        assert_eq!((parcels.len(), packet.lost), (packet.sockets.len(), 0));
        back += parcels.len();
        let link = scene.link();
        link.grant(7);
        link.tell_credit().unwrap();
    }
    // Their places are free again.
    while scene.link().credit() < 100 {
        scene.any();
    }
    scene.end();
}

#[test]
fn without_a_front_due_replies_are_said_and_the_rest_waits_for_another() {
    let mut scene = Scene::new();
    // Long enough that the front is gone before, on a busy machine too: with one, who waits for room
    // goes back to it when its time is over.
    let freight = scene.held(b"550 no\r\n", 2_200);
    let mut due = scene.park(freight);
    let freight = scene.held(b"550 no\r\n", 2_000);
    let mut spoke = scene.park(freight);
    let freight = scene.waiting(2_100);
    let mut undecided = scene.park(freight);
    scene.lose_front();
    hear(&mut spoke, b"550 no\r\n");
    spoke.write_all(b"RSET\r\n").unwrap();
    hear_end(&mut undecided, FAREWELL);
    hear(&mut due, b"550 no\r\n");

    scene.knock(100);
    let (why, back, mut socket) = scene.back();
    assert_eq!((why, back.said), (Why::Input, 8));
    hear(&mut socket, b"RSET\r\n");
    due.write_all(b"QUIT\r\n").unwrap();
    assert_eq!(scene.back().0, Why::Input);
    scene.end();
}

#[test]
fn without_any_front_clients_that_speak_hear_421_in_the_end() {
    let mut scene = Scene::with(100, Duration::from_millis(200));
    let freight = scene.held(b"550 no\r\n", 50);
    let mut client = scene.park(freight);
    scene.lose_front();
    hear(&mut client, b"550 no\r\n");
    client.write_all(b"RSET\r\n").unwrap();
    hear_end(&mut client, FAREWELL);
    scene.end();
}

#[test]
fn a_new_front_hears_whose_sessions_there_are_before_any_comes_back() {
    let mut scene = Scene::new();
    let one = Freight {
        ticket: Some(1),
        ..scene.waiting(60_000)
    };
    let other = Freight {
        source: Source::V6(1 << 64, 64),
        ..scene.held(b"550 no\r\n", 60_000)
    };
    let _clients = [scene.park(one.clone()), scene.park(other.clone())];
    let freight = scene.waiting(0);
    let _taken = scene.park(freight);
    scene.back();
    scene.lose_front();
    let line = loop {
        let line = place::knock(scene.folder.path(), 1).unwrap().unwrap();
        scene.greet(line, 100);
        let mut watched = [PollFd::new(scene.link(), PollFlags::IN)];
        poll(&mut watched, None).unwrap();
        if let Ok(Some(packet)) = scene.link().receive() {
            break packet;
        }
    };
    let Message::Holds(mut sources) = line.message else {
        panic!("{:?}", line.message);
    };
    sources.sort();
    assert_eq!(sources, [one.source, other.source]);
    // Its ledger does not know who waits for room.
    let (why, back, _) = scene.back();
    assert_eq!((why, back.ticket), (Why::Recalled, Some(1)));
    scene.link().send(&Message::Drain, &[]).unwrap();
    assert_eq!(scene.back().0, Why::Drain);
    scene.end();
}

#[test]
fn a_front_that_parts_hears_the_last_word() {
    let mut scene = Scene::new();
    let freight = scene.held(b"550 no\r\n", 60_000);
    let mut client = scene.park(freight);
    scene.link().send(&Message::Release, &[]).unwrap();
    client.write_all(b"NOOP\r\n").unwrap();
    assert_eq!(scene.next().message, Message::Released);
    scene.knock_after_parting();
    scene.link().send(&Message::Drain, &[]).unwrap();
    assert_eq!(scene.back().0, Why::Drain);
    scene.end();
}

#[test]
fn there_is_one_front_at_a_time() {
    let mut scene = Scene::new();
    let freight = scene.waiting(60_000);
    let _client = scene.park(freight);
    let line = place::knock(scene.folder.path(), 1).unwrap().unwrap();
    let mut second = Link::new(line);
    let mut watched = [PollFd::new(&second, PollFlags::IN)];
    poll(&mut watched, None).unwrap();
    assert!(matches!(second.receive(), Err(LinkError::Closed)));
    scene.link().send(&Message::Drain, &[]).unwrap();
    assert_eq!(scene.back().0, Why::Drain);
    scene.end();
}

#[test]
fn nonsense_from_the_front_costs_no_session() {
    let mut scene = Scene::new();
    let freight = scene.held(b"550 no\r\n", 300);
    let mut client = scene.park(freight);
    scene.link().send(&Message::Released, &[]).unwrap();
    hear(&mut client, b"550 no\r\n");
    scene.knock_after_parting();
    client.write_all(b"NOOP\r\n").unwrap();
    assert_eq!(scene.back().0, Why::Input);
    scene.end();
}

impl Scene {
    fn knock_after_parting(&mut self) {
        self.lose_front();
        self.knock(100);
    }
}
