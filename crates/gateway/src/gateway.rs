//! One gateway: start, reload, drain.

mod control;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};

use crate::config::{Config, Listener};
use crate::handover::{self, Estate, HandOverError, Handed, LEAVE_FOR, Steps, WireError};
use crate::keeper::Settings;
use crate::listen::{self, Bound, Served};
use crate::live::{Live, LiveError, Mail};
use crate::log;
use crate::metrics::{self, Figures};
use crate::recipients;
use crate::shared::{Shared, Stop};
use crate::tls;
use crate::upstream::{Health, Upstream, relay_warning};
pub use control::{Adjustment, SourceView};

/// Why a gateway does not start, or does not take a new configuration.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something that the configuration names can't be had.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// A listener can't be bound.
    #[error("listener {name}: cannot listen on {address}: {error}")]
    Bind {
        /// Which listener.
        name: Box<str>,
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The pit has no thread or no descriptors.
    #[error("the pit cannot start: {0}")]
    Pit(std::io::Error),
    /// The predecessor says what makes no sense.
    #[error("taking over: {0}")]
    Predecessor(#[from] WireError),
    /// The upstream relays for us, and there is no listener on loopback that could be served.
    #[error("{}", relay_warning(.reply))]
    Relays {
        /// What the upstream said to a recipient that is none of its business.
        reply: String,
    },
}

/// Why a new client would not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// It stops: sessions that are there end, none is added.
    #[error("draining")]
    Draining,
    /// No listener has an upstream that is well.
    #[error("no upstream is healthy")]
    NoUpstream,
}

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    handle: Handle,
}

/// The only door into a running gateway.
#[derive(Clone, Debug)]
pub struct Handle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    served: Mutex<Vec<Served>>,
    /// One change of the configuration at a time.
    changing: tokio::sync::Mutex<Vec<Watch>>,
}

/// An upstream, and the task that keeps an eye on it.
#[derive(Debug)]
struct Watch {
    upstream: Arc<Upstream>,
    task: AbortHandle,
}

impl Gateway {
    /// Asks the upstream whether it relays for us, binds, and serves.
    ///
    /// # Errors
    /// [`StartError`] if the recipients file or the maildir can't be had, an address can't be bound,
    /// or the upstream relays for us and every listener is for clients from elsewhere.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let (gateway, bound) = Self::prepare(config, None).await?;
        gateway.open(bound);
        Ok(gateway)
    }

    /// As [`Gateway::start`], in the place of a predecessor: with its listeners, once it has stopped
    /// to accept. One that the configuration no longer names is closed.
    ///
    /// # Errors
    /// As [`Gateway::start`], or the predecessor says what makes no sense. Then it still serves, if it
    /// is told ([`Estate::refuse`](crate::handover::Estate::refuse)) or the process ends.
    pub async fn succeed(config: Config, estate: &mut Estate) -> Result<Self, StartError> {
        let (gateway, bound) = Self::prepare(config, Some(estate)).await?;
        estate.wait_for_turn(&gateway.handle.inner.shared).await?;
        gateway.open(bound);
        estate.begin().await;
        Ok(gateway)
    }

    /// All that has to be there before anyone is served.
    async fn prepare(
        config: Config,
        estate: Option<&mut Estate>,
    ) -> Result<(Self, Vec<Bound>), StartError> {
        let live = Live::new(config, None)?;
        let watches = begin(upstreams(&live)).await;
        let shared = Shared::new(live);
        let inner = Inner {
            served: Mutex::new(Vec::new()),
            changing: tokio::sync::Mutex::new(watches),
            shared: Arc::clone(&shared),
        };
        let handle = Handle {
            inner: Arc::new(inner),
        };
        let live = shared.live.load_full();
        shared.pit.start(&shared).map_err(StartError::Pit)?;
        let bound = handle.bind_missing(&live, estate)?;
        Ok((Self { handle }, bound))
    }

    /// Serves.
    fn open(&self, bound: Vec<Bound>) {
        let shared = &self.handle.inner.shared;
        let live = shared.live.load_full();
        self.handle.swap_listeners(&live.config, bound);
        tokio::spawn(recipients::watch(Arc::clone(shared)));
        tokio::spawn(tls::watch(Arc::clone(shared)));
        tokio::spawn(report(Arc::clone(shared)));
    }

    /// The door to it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Names of listeners and the addresses that clients connect to.
    #[must_use]
    pub fn addresses(&self) -> Vec<(Box<str>, SocketAddr)> {
        let served = self.handle.served();
        served
            .iter()
            .map(|served| (served.name.clone(), served.address))
            .collect()
    }

    /// After a successor has taken over: lets sessions go on as they are for a while, then drains.
    pub async fn leave(&self) {
        let shared = &self.handle.inner.shared;
        let sessions = shared.places.all();
        tracing::info!(target: "tarpit::upgrade", sessions, "a successor serves; leaving");
        // Whether they are all gone or the time is over: what is left hears that it is.
        let _ = tokio::time::timeout(LEAVE_FOR, shared.places.empty()).await;
        self.handle.drain();
    }

    /// Ends when the gateway was told to drain and the last session has ended, or the time for that
    /// is over.
    pub async fn wait(&self) {
        let shared = &self.handle.inner.shared;
        let mut stop = shared.stop.subscribe();
        // The sender lives in `shared`, so this can't fail.
        let _ = stop.wait_for(|stop| *stop >= Stop::Draining).await;
        let limit = shared.live.load().config.limits.drain_timeout;
        if tokio::time::timeout(limit, shared.places.empty())
            .await
            .is_err()
        {
            tracing::warn!(target: "tarpit::drain", sessions = shared.places.all(), "the time to drain is over");
            shared.stop.send_replace(Stop::Now);
            shared.pit.ring();
            // Sessions that wait for the reply to end-of-data go on waiting: their outcome is not
            // known yet, and the client would send the message twice.
            shared.places.empty().await;
        }
        log::totals(shared);
        tracing::info!(target: "tarpit::drain", "drained");
    }
}

/// How often the totals are logged: often enough to see an attack begin in them, too seldom to
/// matter in a log.
const TOTALS_EVERY: Duration = Duration::from_secs(300);

/// What is counted reaches the administrator without a record of its own.
async fn report(shared: Arc<Shared>) {
    let mut tick = tokio::time::interval(TOTALS_EVERY);
    tick.tick().await;
    loop {
        tick.tick().await;
        log::totals(&shared);
    }
}

/// How long the start waits for the upstream. If it takes longer, the gateway starts all the same
/// and answers 421 until the probe has run.
const FIRST_PROBE_MAX: Duration = Duration::from_secs(15);

fn upstreams(live: &Live) -> Vec<Arc<Upstream>> {
    live.mails.iter().filter_map(Mail::upstream).collect()
}

/// Learns who the upstreams are before anyone is served.
async fn begin(upstreams: Vec<Arc<Upstream>>) -> Vec<Watch> {
    let mut probes = JoinSet::new();
    for upstream in &upstreams {
        let upstream = Arc::clone(upstream);
        probes.spawn(async move { upstream.probe_all().await });
    }
    // What came of it is kept by the upstream.
    let _ = tokio::time::timeout(FIRST_PROBE_MAX, probes.join_all()).await;
    upstreams
        .into_iter()
        .map(|upstream| {
            let task = tokio::spawn(Arc::clone(&upstream).watch()).abort_handle();
            Watch { upstream, task }
        })
        .collect()
}

impl Handle {
    /// Stops to accept, cuts holds short with 421, lets running transactions finish.
    pub fn drain(&self) {
        self.inner.shared.stop.send_replace(Stop::Draining);
        tracing::info!(target: "tarpit::drain", sessions = self.inner.shared.places.all(), "draining");
        self.inner.shared.pit.ring();
        for served in self.served().drain(..) {
            served.close();
        }
    }

    /// Lets held sessions wait in keepers, where this process has no descriptors for them; those of
    /// an earlier front are taken over.
    ///
    /// # Errors
    /// There is no descriptor or no thread for it.
    pub fn start_keepers(&self, settings: Settings) -> std::io::Result<()> {
        let shared = &self.inner.shared;
        shared.pit.start_keepers(shared, settings)
    }

    /// Sessions now.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.inner.shared.places.all()
    }

    /// What there is to be known in numbers. Reads `/proc`: not on a thread that serves mail.
    #[must_use]
    pub fn figures(&self) -> Figures {
        metrics::figures(&self.inner.shared)
    }

    /// Whether a new client would be served by one listener at least.
    ///
    /// # Errors
    /// [`Unready`]: why not.
    pub fn ready(&self) -> Result<(), Unready> {
        let shared = &self.inner.shared;
        if *shared.stop.borrow() != Stop::No {
            return Err(Unready::Draining);
        }
        let live = shared.live.load();
        let is_served = |(at, listener): (usize, &Listener)| {
            let mail = live.mail(at);
            mail.capabilities().is_some() && mail.serves(listener.is_private())
        };
        if live.config.listeners.iter().enumerate().any(is_served) {
            Ok(())
        } else {
            Err(Unready::NoUpstream)
        }
    }

    /// A change of the configuration failed before it got to [`Self::reload`].
    pub fn note_reload_failed(&self) {
        self.inner.shared.reloads.note(false);
    }

    /// Puts a new configuration in force, whole or not at all. Sessions that are there keep the old
    /// one. The sizes of the ledger change with the next start only.
    ///
    /// # Errors
    /// As [`Gateway::start`]; then nothing has changed.
    pub async fn reload(&self, config: Config) -> Result<(), StartError> {
        let outcome = self.change(config).await;
        self.inner.shared.reloads.note(outcome.is_ok());
        outcome
    }

    async fn change(&self, config: Config) -> Result<(), StartError> {
        let mut watches = self.inner.changing.lock().await;
        let shared = &self.inner.shared;
        let before = shared.live.load_full();
        let live = Live::new(config, Some(&before))?;
        let wanted = upstreams(&live);
        let is_watched = |upstream: &Arc<Upstream>| {
            watches
                .iter()
                .any(|old| Arc::ptr_eq(&old.upstream, upstream))
        };
        let added = begin(
            wanted
                .iter()
                .filter(|one| !is_watched(one))
                .cloned()
                .collect(),
        )
        .await;
        let bound = match self.bind_missing(&live, None) {
            Ok(bound) => bound,
            Err(error) => {
                added.iter().for_each(|watch| watch.task.abort());
                return Err(error);
            }
        };
        let is_wanted = |watch: &Watch| wanted.iter().any(|one| Arc::ptr_eq(one, &watch.upstream));
        let (stay, go): (Vec<_>, Vec<_>) = watches.drain(..).partition(is_wanted);
        go.iter().for_each(|watch| watch.task.abort());
        *watches = stay;
        watches.extend(added);
        let live = Arc::new(live);
        shared.live_before.store(Some(Arc::clone(&before)));
        self.put_in_force(&before, Arc::clone(&live));
        self.swap_listeners(&live.config, bound);
        tracing::info!(target: "tarpit::reload", "new configuration in force");
        Ok(())
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.inner.shared)
    }

    /// Shows among the figures how many lines were lost on their way to a record file. Once for a
    /// gateway.
    pub fn show_dropped_records(&self, dropped: Arc<AtomicU64>) {
        // A second one would be a mistake of the caller, and shows nothing.
        let _ = self.inner.shared.records_dropped.set(dropped);
    }

    /// Takes what else comes from a predecessor, until it has ended. `known` is told when the service
    /// manager knows us; it is dropped if the predecessor is gone before. If what it says can't be read
    /// before that, it goes on as the main process and ends us: we drain, and nobody is told otherwise.
    pub async fn attend(&self, estate: Estate, known: oneshot::Sender<()>) {
        let attended = estate.attend(Arc::clone(&self.inner.shared), known);
        if let Err(mut known) = attended.await {
            self.drain();
            known.closed().await;
        }
    }

    /// Gives what is listened on, what is owed and who waits to the successor at the other end of
    /// `socket`, and accepts nobody any more. Other sessions go on; see [`Gateway::leave`].
    ///
    /// # Errors
    /// It does not take over, or ends before it has everything; then this one serves as before, but
    /// for those who had gone over.
    pub async fn hand_over(
        &self,
        socket: OwnedFd,
        steps: Steps<impl FnOnce(), impl FnOnce()>,
    ) -> Result<Handed, HandOverError> {
        let _changing = self.inner.changing.lock().await;
        handover::give(&self.inner.shared, &self.inner.served, socket, steps).await
    }

    /// Binds what the configuration names and is not served yet, unless a predecessor left it. All
    /// or nothing.
    fn bind_missing(
        &self,
        live: &Live,
        mut estate: Option<&mut Estate>,
    ) -> Result<Vec<Bound>, StartError> {
        let allowed = allowed_listeners(live)?;
        let served = self.served();
        let is_served = |listener: &Listener| {
            served
                .iter()
                .any(|served| *served.name == *listener.name && served.asked == listener.address)
        };
        allowed
            .into_iter()
            .filter(|listener| !is_served(listener))
            .map(|listener| {
                let (name, address) = (&listener.name, listener.address);
                let left = estate.as_mut().map(|estate| estate.take(name, address));
                let bound = match left.transpose().map(Option::flatten) {
                    Ok(Some(left)) => Ok(left),
                    Ok(None) => listen::bind(name, address),
                    Err(error) => Err(error),
                };
                bound.map_err(|error| StartError::Bind {
                    name: name.clone(),
                    address,
                    error,
                })
            })
            .collect()
    }

    /// Serves what was bound, and closes what the configuration no longer names.
    fn swap_listeners(&self, config: &Config, bound: Vec<Bound>) {
        let mut served = self.served();
        let is_named = |served: &Served| {
            config
                .listeners
                .iter()
                .any(|listener| *listener.name == *served.name && listener.address == served.asked)
        };
        let (stay, go): (Vec<_>, Vec<_>) = served.drain(..).partition(is_named);
        go.into_iter().for_each(Served::close);
        *served = stay;
        served.extend(
            bound
                .into_iter()
                .map(|bound| bound.serve(Arc::clone(&self.inner.shared))),
        );
    }

    fn served(&self) -> std::sync::MutexGuard<'_, Vec<Served>> {
        self.inner
            .served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// All listeners but those for clients from elsewhere whose upstream relays for us (DESIGN promise 7).
fn allowed_listeners(live: &Live) -> Result<Vec<&Listener>, StartError> {
    let mut allowed = Vec::new();
    let mut relaying = None;
    for (at, listener) in live.config.listeners.iter().enumerate() {
        let health = live.mail(at).upstream().map(|upstream| upstream.health());
        let Some(Health::Relays { reply }) = health.filter(|_| !listener.is_private()) else {
            allowed.push(listener);
            continue;
        };
        tracing::error!(
            target: "tarpit::listen",
            listener = %listener.name,
            address = %listener.address,
            reason = relay_warning(&reply),
            "not listening"
        );
        relaying = Some(reply);
    }
    match relaying {
        Some(reply) if allowed.is_empty() => Err(StartError::Relays { reply }),
        _ => Ok(allowed),
    }
}
