//! Accept, find a place, serve.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tarpit_core::{Admission, Input, Session, Source};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::unix_now;
use crate::config::Limits;
use crate::conn::Conn;
use crate::live::Live;
use crate::places::Place;
use crate::shared::{Shared, Stop};
use crate::stream::Stream;
use crate::{drive, log};

/// Connections that the kernel keeps for us while we are busy. The kernel cuts it to
/// `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// After an accept that failed for want of descriptors or memory: long enough for sessions to end,
/// short enough that no client notices.
const BACK_OFF: Duration = Duration::from_millis(50);

/// A bound socket that is not served yet.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) name: Box<str>,
    pub(crate) asked: SocketAddr,
    pub(crate) address: SocketAddr,
    socket: TcpListener,
}

/// A socket that is being served.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) name: Box<str>,
    /// The address in the configuration; port 0 stays 0.
    pub(crate) asked: SocketAddr,
    /// The address that clients connect to.
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

/// Binds a listener. IPv6 sockets take IPv4 clients too, where the address is the wildcard: `[::]`
/// means "everywhere" to an administrator.
pub(crate) fn bind(name: &str, asked: SocketAddr) -> std::io::Result<Bound> {
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
    let socket = TcpListener::from_std(socket.into())?;
    let address = socket.local_addr()?;
    Ok(Bound {
        name: name.into(),
        asked,
        address,
        socket,
    })
}

impl Bound {
    /// Starts to accept.
    pub(crate) fn serve(self, shared: Arc<Shared>) -> Served {
        let Self {
            name,
            asked,
            address,
            socket,
        } = self;
        tracing::info!(target: "tarpit::listen", listener = %name, address = %address, "listening");
        let task = tokio::spawn(accept(socket, name.clone(), shared));
        Served {
            name,
            asked,
            address,
            task,
        }
    }
}

impl Served {
    /// Stops to accept.
    pub(crate) fn close(self) {
        self.task.abort();
    }
}

async fn accept(socket: TcpListener, name: Box<str>, shared: Arc<Shared>) {
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => admit(stream, peer, &name, &shared),
            Err(error) if is_clients_fault(&error) => {}
            Err(error) => {
                shared.metrics.accept_errors.add(1);
                tracing::warn!(target: "tarpit::listen", listener = %name, %error, "accept failed");
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// The client was gone before we came to it.
fn is_clients_fault(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

fn admit(stream: TcpStream, peer: SocketAddr, name: &str, shared: &Arc<Shared>) {
    let live = shared.live.load_full();
    let Some(listener) = live
        .config
        .listeners
        .iter()
        .position(|listener| *listener.name == *name)
    else {
        return;
    };
    let Ok(local) = stream.local_addr() else {
        return;
    };
    // A reply is one small packet; waiting for more to send with it only delays.
    let _ = stream.set_nodelay(true);
    shared.metrics.sessions_opened.add(1);

    let source = Source::of(peer.ip(), live.config.prefixes);
    let place = shared.places.take(source);
    let exempt = exemption(&live, peer.ip());
    let admission = admission(shared, &live, listener, &place, exempt.is_some());
    let limit = live.config.limits.sessions_per_source_max;
    let conn = Box::new(Conn {
        session: Session::new(shared.next_id(), source, exempt.is_some()),
        link: live.mail(listener).link(),
        opened: shared.clock.now(),
        answered: Instant::now(),
        exempt,
        over_source_limit: place.of_source > limit && exempt.is_none(),
        unread: Vec::new(),
        half_closed: false,
        _place: place,
        stream: Stream::plain(stream),
        peer,
        local,
        live,
        listener,
    });
    let shared = Arc::clone(shared);
    tokio::spawn(async move { run(&shared, conn, admission).await });
}

/// One session. A panic in it is a bug of ours: it ends this session and is counted; it never ends
/// the process.
async fn run(shared: &Arc<Shared>, conn: Box<Conn>, admission: Admission) {
    let id = conn.session.id();
    let guard = PanicGuard { shared, id };
    let conn = drive::serve(shared, conn, Input::Opened(admission)).await;
    log::session(&conn, shared.clock.now(), &shared.metrics);
    drop(guard);
}

struct PanicGuard<'a> {
    shared: &'a Shared,
    id: tarpit_core::SessionId,
}

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.metrics.panics.add(1);
            tracing::error!(target: "tarpit::session", session = %format_args!("tp-{}", self.id), "a bug ended this session");
        }
    }
}

/// Which exemption covers the client.
fn exemption(live: &Live, client: IpAddr) -> Option<usize> {
    let now = unix_now();
    live.config
        .exempt
        .iter()
        .position(|exemption| exemption.covers(client, now))
}

/// Whether there is a place. Capacity is always 421; the bound by source is applied in `enforce`
/// only, and never to exempt networks.
fn admission(
    shared: &Shared,
    live: &Live,
    listener: usize,
    place: &Place,
    exempt: bool,
) -> Admission {
    let is_loopback = live.config.listeners[listener].is_loopback();
    let Limits {
        sessions_max,
        sessions_per_source_max,
        ..
    } = live.config.limits;
    let metrics = &shared.metrics;
    if *shared.stop.borrow() != Stop::No {
        metrics.sessions_refused_unavailable.add(1);
        return Admission::Draining;
    }
    if place.all > sessions_max {
        metrics.sessions_refused_full.add(1);
        return Admission::Full;
    }
    if place.of_source > sessions_per_source_max && !exempt {
        if live.config.listeners[listener].policy.enforces() {
            metrics.sessions_refused_source.add(1);
            return Admission::SourceFull;
        }
        metrics.sessions_over_source_limit.add(1);
    }
    let mail = live.mail(listener);
    if mail.capabilities().is_none() || !mail.serves(is_loopback) {
        metrics.sessions_refused_unavailable.add(1);
        return Admission::Unavailable;
    }
    Admission::Open
}
