//! The places and the watch over sockets, each alone; sessions in the pit are tested by the golden
//! dialogues, which the gateway plays over loopback.

mod again;
mod bug;
mod holder;
mod leaving;
mod pieces;
mod said;
mod shed;
mod slab;

use std::io;
use std::net::{TcpListener, TcpStream};

use tarpit_core::Tick;
use tarpit_core::ledger::Ticket;

use super::parcel::{Parcel, Waits};
use super::slab::Key;
use super::{Pit, Waiter};

/// Both ends of a connection: the client's and ours, which does not block.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (ours, _) = listener.accept()?;
    ours.set_nonblocking(true)?;
    Ok((client, ours))
}

fn parcel(socket: TcpStream, until: u64) -> Parcel {
    Parcel {
        socket,
        until: Tick::from_millis(until),
        since: 0,
        paced: None,
        said: 0,
        unread_pages: 0,
        state: Waits::default(),
        record: Box::from(&b"record"[..]),
        veil: None,
    }
}

/// Who went to a keeper may be back, in another lane, before the lane that it left knows that it went.
#[test]
fn who_is_back_in_another_lane_is_not_forgotten_by_the_first() {
    let pit = Pit::default();
    let (here, there) = [1, 2].map(|place| Key { place, filled: 0 }).into();
    let is_there = |ticket| {
        let at =
            |waiter: &Waiter| matches!(waiter, Waiter::Parcel { lane: 1, key } if *key == there);
        pit.lock().get(&ticket).is_some_and(at)
    };
    let ticket = Ticket(7);
    pit.register(ticket, 0, here);
    pit.register(ticket, 1, there);
    pit.deregister_at(ticket, 0, here);
    assert!(is_there(ticket));
    pit.deregister_at(ticket, 1, there);
    assert!(!is_there(ticket));
}
