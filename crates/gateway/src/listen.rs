//! Accept, find a place, serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tarpit_core::Source;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::front::{self, Caller};
use crate::shared::Shared;

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
    let opened = shared.metrics.sessions_opened.of(&name);
    loop {
        match socket.accept().await {
            Ok((stream, peer)) => {
                opened.add(1);
                admit(stream, peer, &name, &shared);
            }
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

fn admit(tcp: TcpStream, peer: SocketAddr, name: &str, shared: &Arc<Shared>) {
    let live = shared.live.load_full();
    let Some(listener) = live
        .config
        .listeners
        .iter()
        .position(|listener| *listener.name == *name)
    else {
        return;
    };
    let Ok(local) = tcp.local_addr() else {
        return;
    };
    // A reply is one small packet; waiting for more to send with it only delays.
    let _ = tcp.set_nodelay(true);
    let source = Source::of(peer.ip(), live.config.prefixes);
    let caller = Caller {
        place: shared.places.take(source),
        via: None,
        is_check: false,
        tcp,
        peer,
        local,
        live,
        listener,
    };
    let shared = Arc::clone(shared);
    tokio::spawn(async move { front::serve(&shared, caller).await });
}
