//! How a connection to the upstream is made: from where, and known as our own.

use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tarpit_core::Trouble;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::descriptors::is_short;

/// After an attempt that failed for want of descriptors or memory: long enough for sessions to end,
/// short enough to go unnoticed beside a connect.
const BACK_OFF: Duration = Duration::from_millis(50);

/// The near ends of our connections to the upstream. A client that comes from one of them is
/// ourselves: mail would go round in circles.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses(Mutex<HashSet<SocketAddr>>);

impl OwnAddresses {
    pub(super) fn contains(&self, peer: SocketAddr) -> bool {
        self.lock().contains(&canonical(peer))
    }

    fn add(self: &Arc<Self>, address: SocketAddr) -> OwnAddress {
        let address = canonical(address);
        self.lock().insert(address);
        OwnAddress {
            all: Arc::clone(self),
            address,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ours for as long as the connection lives.
#[derive(Debug)]
pub(super) struct OwnAddress {
    all: Arc<OwnAddresses>,
    address: SocketAddr,
}

#[cfg(test)]
impl OwnAddress {
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for OwnAddress {
    fn drop(&mut self) {
        self.all.lock().remove(&self.address);
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) struct NoConnection {
    pub(super) trouble: Trouble,
    /// What the system said, if it did.
    pub(super) error: Option<io::Error>,
}

/// Connects to `address` within `limit`; from `source`, which is not ours but a client's, if there
/// is one.
pub(super) async fn dial(
    address: SocketAddr,
    source: Option<IpAddr>,
    limit: Duration,
    own: &Arc<OwnAddresses>,
) -> Result<(TcpStream, Option<OwnAddress>), NoConnection> {
    let failed = |trouble| {
        move |error| NoConnection {
            trouble,
            error: Some(error),
        }
    };
    let connecting = async {
        loop {
            let connected = connect(address, source).await;
            let is_short = |no: &NoConnection| no.error.as_ref().is_some_and(is_short);
            if !connected.as_ref().is_err_and(is_short) {
                return connected;
            }
            // It says nothing about the server; what is missing comes back when sessions end.
            tokio::time::sleep(BACK_OFF).await;
        }
    };
    let stream = timeout(limit, connecting)
        .await
        .map_err(|_| NoConnection {
            trouble: Trouble::Unreachable,
            error: None,
        })??;
    // Commands are written whole, so there is nothing to gather; waiting would only add 40 ms.
    stream
        .set_nodelay(true)
        .map_err(failed(Trouble::Unreachable))?;
    let near = stream.local_addr().map_err(failed(Trouble::Unreachable))?;
    // A client's address is no sign of us: a port of its own may be the same.
    let near = source.is_none().then(|| own.add(near));
    Ok((stream, near))
}

async fn connect(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, NoConnection> {
    let (socket, trouble) = match source {
        None => (unbound(address), Trouble::Unreachable),
        Some(source) => (bound(source, address), Trouble::Identity),
    };
    let failed = |trouble, error| NoConnection {
        trouble,
        error: Some(error),
    };
    let connecting = socket
        .map_err(|error| failed(trouble, error))?
        .connect(address);
    connecting
        .await
        .map_err(|error| failed(Trouble::Unreachable, error))
}

fn unbound(address: SocketAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }
}

/// A socket whose near end is `source`, an address that no interface of ours has.
fn bound(source: IpAddr, address: SocketAddr) -> io::Result<TcpSocket> {
    let source = match (source.to_canonical(), address.ip()) {
        (IpAddr::V4(v4), IpAddr::V4(_)) => IpAddr::V4(v4),
        (IpAddr::V6(v6), IpAddr::V6(to)) if to.to_ipv4_mapped().is_none() => IpAddr::V6(v6),
        (IpAddr::V4(v4), IpAddr::V6(to)) if to.to_ipv4_mapped().is_some() => {
            IpAddr::V6(v4.to_ipv6_mapped())
        }
        (source, to) => {
            let text = format!("{source} and {to} are of two families");
            return Err(io::Error::new(io::ErrorKind::AddrNotAvailable, text));
        }
    };
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    make_transparent(&socket)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

/// Linux takes this option on IPv6 sockets too, where it means the same (ip(7), `IP_TRANSPARENT`).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn make_transparent(socket: &Socket) -> io::Result<()> {
    socket.set_ip_transparent_v4(true)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn make_transparent(_: &Socket) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether this process may take clients' addresses as the near end at all.
///
/// # Errors
/// What the system said: it takes CAP_NET_ADMIN or CAP_NET_RAW.
pub fn may_be_transparent() -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    make_transparent(&socket)
}
