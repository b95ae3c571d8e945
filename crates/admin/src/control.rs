//! The control socket: a Unix socket over which commands ask, and change something. docs/control.md
//! describes each path.
//!
//! Who may connect to the socket may do all of it: its permissions are the authentication, as the
//! kernel enforces them. A request that looks like a browser's is refused all the same, should
//! somebody put a proxy in front.
//!
//! What it promises: mail does not notice, whoever connects. Connections, their time, and what is read
//! of each are bounded; what walks over tables runs on threads that serve no mail. Questions are
//! answered from the [`Handle`]. Changes go to one desk ([`Order`]), one after the other: two
//! administrators at once each hear what came of their own.
//!
//! A protocol of our own in lines was rejected: every language has a client for HTTP and JSON, and
//! `curl --unix-socket` is on every machine.

mod answer;
mod socket;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tarpit_gateway::Handle;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::api::{Done, NewExemption, Refusal, Rule, SetMode};
use answer::Clerk;
pub(crate) use answer::{Wrong, explain, parameter};
pub use socket::{ControlError, PREFIX, SUFFIX};

/// Connections at once. Some people and programs; who comes over this is closed on.
const CONNECTIONS_MAX: usize = 32;

/// Time for the head of a request, and then for its body.
const READ_TIME: Duration = Duration::from_secs(5);

/// Time for a connection in all: a reload asks upstreams first, and may wait for another change.
const CONNECTION_TIME: Duration = Duration::from_secs(120);

/// Octets of a request's head that are kept while it comes in; the least that `hyper` takes.
const HEAD_MAX: usize = 8192;

/// Octets of a request's body: an exemption with a long reason.
const BODY_MAX: usize = 4096;

/// After an accept that failed.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Changes that wait for their turn.
pub const ORDERS_MAX: usize = 16;

/// A change that somebody asks for.
#[derive(Debug)]
pub struct Order {
    /// Which.
    pub what: Change,
    /// Who asks: the user's number.
    pub user: Option<u32>,
    /// Where the outcome goes.
    pub answer: oneshot::Sender<Result<Done, Refused>>,
}

/// What is to be changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The mode, or a trial.
    Mode(SetMode),
    /// The trial that runs is to stay.
    Confirm,
    /// The configuration is to be read again.
    Reload,
    /// A network is to be exempt.
    Exempt(NewExemption),
    /// A network that was exempt by command is to be so no more.
    Unexempt(String),
}

/// Why a change was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// What was asked for can't be.
    Wrong(Refusal),
    /// It does not fit to what is there: no trial runs, no such exemption.
    Conflict(Refusal),
    /// The gateway could not do it.
    Failed(Refusal),
}

/// Who answers what.
#[derive(Clone, Debug)]
pub struct Office {
    /// The gateway.
    pub handle: Handle,
    /// The desk for changes.
    pub orders: mpsc::Sender<Order>,
    /// What holds.
    pub rule: watch::Receiver<Rule>,
    /// The configuration file.
    pub config: PathBuf,
    /// Of the program.
    pub version: &'static str,
}

/// Where the socket is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its path.
    pub path: PathBuf,
    /// The group that may connect, beside our user.
    pub group: Option<u32>,
}

/// An open control socket; closed when dropped.
#[derive(Debug)]
pub struct Control {
    task: AbortHandle,
    path: socket::Name,
}

impl Control {
    /// Opens it, on the runtime that this is called on. With `takes_over`, another gateway that answers
    /// there is our predecessor, and loses the name.
    ///
    /// # Errors
    /// [`ControlError`]: there can't be a socket, or somebody answers there.
    pub fn open(office: Office, place: &Place, takes_over: bool) -> Result<Self, ControlError> {
        let (listener, path) = socket::bind(place, takes_over)?;
        let listener = UnixListener::from_std(listener).map_err(|error| ControlError {
            path: place.path.clone(),
            why: error.to_string(),
        })?;
        tracing::info!(target: "tarpit::control", socket = %place.path.display(), "commands are answered");
        let task = tokio::spawn(accept(listener, Arc::new(Clerk::new(office)))).abort_handle();
        Ok(Self { task, path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.path.path()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: UnixListener, clerk: Arc<Clerk>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(target: "tarpit::control", %error, "accept failed");
                sleep(BACK_OFF).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            continue;
        };
        let clerk = Arc::clone(&clerk);
        tokio::spawn(async move {
            // Whoever comes in is looked after for so long, whatever it does.
            let _ = timeout(CONNECTION_TIME, serve(stream, &clerk)).await;
            drop(place);
        });
    }
}

/// One request, and its answer.
async fn serve(stream: UnixStream, clerk: &Clerk) {
    let user = stream.peer_cred().ok().map(|peer| peer.uid());
    let service =
        service_fn(|request| async move { Ok::<_, Infallible>(clerk.answer(request, user).await) });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIME)
        .max_buf_size(HEAD_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(target: "tarpit::control", %error, "a control connection ended badly");
    }
}
