//! The listener: who may come in, how many, and for how long.
//!
//! Whoever looks at the page stays: such a connection has a place of its own
//! ([`SUBSCRIBERS_MAX`](crate::live::SUBSCRIBERS_MAX)), and ends when it no longer reads.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tarpit_gateway::Handle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use crate::answer::Answerer;
use crate::live::Taken;
use crate::token::Token;

/// Connections at once. Two or three programs look, each with one; who comes over this is closed on.
const CONNECTIONS_MAX: usize = 32;

/// Time for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// Time for a connection in all: one request, and its answer of some kilobytes. Longer than the ten
/// seconds that Prometheus waits for an answer.
const CONNECTION_TIME: Duration = Duration::from_secs(15);

/// Octets of a request that are kept while it comes in; the least that `hyper` takes.
const HEAD_MAX: usize = 8192;

/// Header fields of a request; a browser sends fifteen.
const FIELDS_MAX: usize = 64;

/// Connections that the kernel keeps for us.
const BACKLOG: i32 = 64;

/// Octets that the kernel keeps for a client that does not read. Its usual megabytes would hide for
/// minutes that nobody does.
const SEND_BUFFER: usize = 32 * 1024;

/// After an accept that failed, and between two tries to bind an address that is taken.
const BACK_OFF: Duration = Duration::from_millis(100);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// What is done if the address is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfTaken {
    /// It is an error: somebody asked for this address.
    Refuse,
    /// It is logged, and tried again every second: nobody asked for it, or the gateway that is
    /// being replaced still has it.
    Wait,
}

/// Why the admin listener can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("[admin] address: cannot listen on {address}: {error}")]
pub struct OpenError {
    /// Its address.
    pub address: SocketAddr,
    /// What the system said.
    pub error: std::io::Error,
}

/// An open admin listener; closed when dropped.
#[derive(Debug)]
pub struct Admin {
    asked: SocketAddr,
    bound: Option<SocketAddr>,
    answerer: Arc<Answerer>,
    task: AbortHandle,
}

impl Admin {
    /// Opens the listener, on the runtime that this is called on. With a token, only who knows it may
    /// look; without one, the page is shown on loopback alone.
    ///
    /// # Errors
    /// [`OpenError`] if the address can't be bound, unless `if_taken` says to wait for it.
    pub fn open(
        handle: Handle,
        address: SocketAddr,
        token: Option<Token>,
        if_taken: IfTaken,
    ) -> Result<Self, OpenError> {
        let answerer = Answerer::new(handle, token);
        let ours = Arc::clone(&answerer);
        let (bound, task) = match bind(address) {
            Ok((socket, bound)) => {
                tell(bound);
                (
                    Some(bound),
                    tokio::spawn(accept(socket, bound.ip(), answerer)),
                )
            }
            Err(error) if if_taken == IfTaken::Wait => {
                tracing::info!(
                    target: "tarpit::admin", %address, %error,
                    "no figures yet: the address of [admin] can't be had; it is tried again while we run"
                );
                (None, tokio::spawn(wait(address, answerer)))
            }
            Err(error) => return Err(OpenError { address, error }),
        };
        Ok(Self {
            asked: address,
            bound,
            answerer: ours,
            task: task.abort_handle(),
        })
    }

    /// From now on whoever looks must know this token, or none. Those who look already have to ask
    /// anew.
    pub fn ask_for(&self, token: Option<Token>) {
        self.answerer.ask_for(token);
    }

    /// The address that it was asked to listen on.
    #[must_use]
    pub const fn asked(&self) -> SocketAddr {
        self.asked
    }

    /// The address that it listens on since it was opened; `None` if that was taken then.
    #[must_use]
    pub const fn bound(&self) -> Option<SocketAddr> {
        self.bound
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn tell(bound: SocketAddr) {
    tracing::info!(target: "tarpit::admin", url = %format_args!("http://{bound}/metrics"), "figures are shown");
}

/// The successor of a gateway that was just stopped must get the address at once.
fn bind(address: SocketAddr) -> std::io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into())?;
    let bound = socket.local_addr()?;
    Ok((socket, bound))
}

async fn wait(address: SocketAddr, answerer: Arc<Answerer>) {
    loop {
        sleep(TRY_AGAIN).await;
        if let Ok((socket, bound)) = bind(address) {
            tell(bound);
            return accept(socket, bound.ip(), answerer).await;
        }
    }
}

async fn accept(socket: TcpListener, bound: IpAddr, answerer: Arc<Answerer>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    // They end with the listener.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = match socket.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(target: "tarpit::admin", %error, "accept failed");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        // The system's own size will do if it can't be set.
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER);
        let answerer = Arc::clone(&answerer);
        connections.spawn(async move {
            let (stays, stayed) = oneshot::channel();
            let served = serve(stream, bound, &answerer, stays);
            tokio::pin!(served);
            let taken = tokio::select! {
                () = &mut served => return,
                Ok(taken) = stayed => taken,
                // Whoever comes in is looked after for so long, whatever it does.
                () = sleep(CONNECTION_TIME) => return,
            };
            drop(place);
            tokio::select! {
                () = served => {}
                () = taken.stalled() => {
                    tracing::debug!(target: "tarpit::admin", "who looked at the page no longer reads");
                }
            }
        });
    }
}

/// One request, and its answer. A connection that is kept for more was rejected: a bound on all of
/// it would then be none on each, and an idle one takes a place. `stays` is told if the answer goes on.
async fn serve(
    stream: TcpStream,
    bound: IpAddr,
    answerer: &Answerer,
    stays: oneshot::Sender<Taken>,
) {
    let stays = &Mutex::new(Some(stays));
    let service = service_fn(|request| async move {
        let mut answer = answerer.answer(request, bound).await;
        let taken = answer.extensions_mut().remove::<Taken>();
        let stays = stays.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(taken), Some(stays)) = (taken, stays) {
            // Whoever waits for it may have ended already.
            let _ = stays.send(taken);
        }
        Ok::<_, std::convert::Infallible>(answer)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .max_headers(FIELDS_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(target: "tarpit::admin", %error, "an admin connection ended badly");
    }
}
