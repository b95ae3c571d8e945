//! A client's connection between two activities: what stays when the buffers are gone.

use std::net::SocketAddr;
use std::sync::Arc;

use tarpit_core::{Session, Tick};
use tokio::net::TcpStream;

use crate::link::Link;
use crate::live::Live;
use crate::places::Place;

/// One client. A held one is this, its session and nothing else.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) session: Session,
    /// Bytes that were read and not consumed yet: pipelined commands. At most `held_unread_max`,
    /// or one line of an AUTH exchange.
    pub(crate) unread: Vec<u8>,
    pub(crate) link: Link,
    /// The configuration that was in force when the client came; it stays for the session.
    pub(crate) live: Arc<Live>,
    /// Which of its listeners.
    pub(crate) listener: usize,
    pub(crate) opened: Tick,
    /// The client shut down its sending side; what is due is still tried.
    pub(crate) half_closed: bool,
    pub(crate) _place: Place,
}
