//! Accept, find a place, serve.
//!
//! Sockets are accepted past the runtime, many for each time it wakes us: who is turned away at the
//! [`door`] never becomes known to it.

mod door;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::descriptors::is_short;
use crate::front::{self, Caller};
use crate::live::Live;
use crate::metrics::Counter;
use crate::shared::Shared;
use door::{Door, Guest, Refusal};

/// Connections that the kernel keeps for us while we are busy. The kernel cuts it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Connections that are accepted in one go: about a millisecond, so that a flood delays a session on
/// the same worker by no more.
const BURST: usize = 64;

/// After an accept that failed for want of descriptors or memory: long enough for sessions to end,
/// short enough that no client notices.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A bound socket that is not served yet.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) name: Box<str>,
    pub(crate) asked: SocketAddr,
    pub(crate) address: SocketAddr,
    pub(crate) socket: Arc<AsyncFd<TcpListener>>,
}

/// A socket that is being served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: Box<str>,
    /// The address in the configuration; port 0 stays 0.
    pub(crate) asked: SocketAddr,
    /// The address that clients connect to.
    pub(crate) address: SocketAddr,
    socket: Arc<AsyncFd<TcpListener>>,
    task: JoinHandle<()>,
}

/// Binds a listener. IPv6 sockets take IPv4 clients too, where the address is the wildcard: `[::]`
/// means "everywhere" to an administrator.
pub(crate) fn bind(name: &str, asked: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(asked),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if asked.is_ipv6() {
        socket.set_only_v6(!asked.ip().is_unspecified())?;
    }
    socket.bind(&asked.into())?;
    socket.listen(BACKLOG)?;
    Bound::of(name, asked, socket.into())
}

#[expect(
    deprecated,
    reason = "its successor is unsafe, for types that may change their descriptor; this one never does"
)]
fn watched(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

impl Bound {
    /// A socket that listens already.
    pub(crate) fn of(name: &str, asked: SocketAddr, socket: OwnedFd) -> io::Result<Self> {
        let socket = TcpListener::from(socket);
        socket.set_nonblocking(true)?;
        // A reply is one small packet; waiting for more to send with it only delays. Linux gives this on
        // to the sockets that are accepted, and each is spared a call.
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        Ok(Self {
            name: name.into(),
            asked,
            address: socket.local_addr()?,
            socket: Arc::new(watched(socket)?),
        })
    }

    /// Starts to accept.
    pub(crate) fn serve(self, shared: Arc<Shared>) -> Served {
        let Self {
            name,
            asked,
            address,
            socket,
        } = self;
        tracing::info!(target: "tarpit::listen", listener = %name, address = %address, "listening");
        let task = tokio::spawn(accept(Arc::clone(&socket), name.clone(), shared));
        Served {
            name,
            asked,
            address,
            socket,
            task,
        }
    }
}

impl Served {
    /// Stops to accept.
    pub(crate) fn close(self) {
        self.task.abort();
    }

    /// The socket, which is accepted from as before.
    pub(crate) fn share(&self) -> Bound {
        Bound {
            name: self.name.clone(),
            asked: self.asked,
            address: self.address,
            socket: Arc::clone(&self.socket),
        }
    }

    /// Stops to accept, and keeps the socket: whoever connects waits in its queue.
    pub(crate) async fn pause(self) -> Bound {
        let bound = self.share();
        self.task.abort();
        // It ends at its next wait: whoever was accepted is served.
        let _ = self.task.await;
        bound
    }
}

async fn accept(socket: Arc<AsyncFd<TcpListener>>, name: Box<str>, shared: Arc<Shared>) {
    let mut porter = Porter {
        opened: shared.metrics.sessions_opened.of(&name),
        door: Door::new(),
        spare: spare(),
        name,
        shared,
    };
    // An error: the runtime ends.
    while let Ok(mut ready) = socket.readable().await {
        match porter.burst(socket.get_ref()) {
            Rest::More => tokio::task::yield_now().await,
            Rest::Nobody => ready.clear_ready(),
            Rest::Short(error) => {
                porter.shared.metrics.accept_errors.add(1);
                tracing::warn!(target: "tarpit::listen", listener = %porter.name, %error, "accept failed");
                porter.drain(socket.get_ref(), &error);
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// How a burst of accepts ended.
enum Rest {
    /// There may be more.
    More,
    /// Nobody waits.
    Nobody,
    /// The system has nothing left to serve anybody with.
    Short(io::Error),
}

/// Who stands at one listener and lets clients in.
#[derive(Debug)]
struct Porter {
    name: Box<str>,
    shared: Arc<Shared>,
    door: Door,
    opened: Arc<Counter>,
    /// A descriptor to give up when there is none left: with it, who waits can be told to come
    /// again.
    spare: Option<File>,
}

impl Porter {
    /// Lets in those who wait, a burst at most, so that sessions on this worker have their turn.
    fn burst(&mut self, socket: &TcpListener) -> Rest {
        let live = self.shared.live.load_full();
        for _ in 0..BURST {
            match take(socket) {
                Ok((stream, peer)) => self.receive(stream, peer, &live),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Rest::Nobody,
                Err(error) if is_clients_fault(&error) => {}
                Err(error) => return Rest::Short(error),
            }
        }
        Rest::More
    }

    /// No descriptor is left, of this process or of the system. Who waits in the queue would wait
    /// for a session to end, and behind a full queue the next ones get no answer at all; told to
    /// come again, a mail server turns to another MX at once.
    fn drain(&mut self, socket: &TcpListener, error: &io::Error) {
        if !is_short(error) {
            return;
        }
        let live = self.shared.live.load_full();
        for _ in 0..BURST {
            // In between another thread may take it; then there is no spare until one comes back.
            drop(self.spare.take());
            let accepted = take(socket);
            if let Ok((stream, peer)) = accepted
                && let Some(listener) = find(&live, &self.name)
            {
                let listener = &live.config.listeners[listener];
                let guest = Guest::new(&self.shared, &live, listener, peer);
                self.door.turn_away(stream, Refusal::Full, &guest);
            } else {
                break;
            }
            self.spare = spare();
        }
        self.spare = self.spare.take().or_else(spare);
    }

    fn receive(&mut self, socket: TcpStream, peer: SocketAddr, live: &Arc<Live>) {
        let Some(listener) = find(live, &self.name) else {
            return;
        };
        let guest = Guest::new(&self.shared, live, &live.config.listeners[listener], peer);
        if let Some(why) = guest.refusal(&socket) {
            self.door.turn_away(socket, why, &guest);
            return;
        }
        // What fails here fails for want of memory, or because the client is gone.
        let source = guest.source;
        let Ok((tcp, local)) = register(socket) else {
            self.shared.metrics.accept_errors.add(1);
            return;
        };
        self.opened.add(1);
        let caller = Caller {
            place: self.shared.places.take(source),
            via: None,
            is_check: false,
            tcp,
            peer,
            local,
            live: Arc::clone(live),
            listener,
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { front::serve(&shared, caller).await });
    }
}

/// The next of those who wait. Its socket does not block, which the system sees to in the same call.
fn take(socket: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    let (accepted, peer) = acceptfrom_with(socket, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    let peer = peer.ok_or(ErrorKind::ConnectionAborted)?;
    Ok((accepted.into(), peer))
}

/// Which of the listeners has this name; a reload may have taken it away.
fn find(live: &Live, name: &str) -> Option<usize> {
    let mut listeners = live.config.listeners.iter();
    listeners.position(|listener| *listener.name == *name)
}

fn register(socket: TcpStream) -> io::Result<(tokio::net::TcpStream, SocketAddr)> {
    let local = socket.local_addr()?;
    Ok((tokio::net::TcpStream::from_std(socket)?, local))
}

/// Any file will do that is always there.
fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The client was gone before we came to it.
fn is_clients_fault(error: &io::Error) -> bool {
    use ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}
