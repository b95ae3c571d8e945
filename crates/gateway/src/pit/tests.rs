//! The places and the watch over sockets, each alone; sessions in the pit are tested by the golden
//! dialogues, which the gateway plays over loopback.

mod bug;
mod holder;
mod pieces;
mod shed;
mod slab;

use std::io;
use std::net::{TcpListener, TcpStream};

use tarpit_core::Tick;

use super::parcel::{Parcel, Waits};

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
