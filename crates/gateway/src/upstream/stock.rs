//! The upstream's connections, counted: by server, by source, with a reserve for known senders; and
//! the idle ones that wait for their next use.
//!
//! What it promises: never more open connections to a server than `connections_max`, idle ones
//! included; a place is given back when its [`Permit`] is dropped, wherever that happens. Whoever
//! finds none waits in one queue, first come first served among those who could take what is free:
//! a source at its own bound, or a stranger at the reserve, holds up nobody behind it.
//!
//! A semaphore for each bound was rejected: taking two of them in turn either holds one idle while
//! it waits for the other, or loses the order. So was a queue for each server: who waits would have
//! to guess which of them is free first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tarpit_core::Source;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use super::connection::Connection;
use super::identity::Told;
use super::leave::quit;
use super::server::ServerSet;
use crate::config::{self, Balance};

mod choice;

use choice::Pick;

/// Idle connections that are kept for [`IDLE_TIME`]. Each is a process of the upstream (Postfix has
/// 100 of them), and a handful is enough to save the connect for mail that comes in a row.
pub(super) const IDLE_LONG_MAX: u32 = 8;

/// How long these may be idle.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// How long others may: in a flood of wanted mail each is taken again at once, and after it the
/// upstream has its processes back. Postfix keeps its own cached connections for as long.
const IDLE_TIME_BRIEF: Duration = Duration::from_secs(2);

/// Sessions that wait for a connection, of known senders and of others each. Behind so many,
/// nobody's turn comes within the time to wait.
const WAITING_MAX: usize = 1024;

/// Whose upstream connections are counted together, and whether the reserve is open to them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Who is counted.
    pub source: Source,
    /// Whether it is a known sender (DESIGN §3).
    pub known: bool,
}

/// What came of asking for a connection.
#[derive(Debug)]
pub(super) enum Slot {
    /// An idle one, told the same.
    Idle(Box<Connection>),
    /// A place for a new one, and perhaps an idle one that must be closed first.
    Vacant {
        permit: Permit,
        closing: Option<Box<Connection>>,
    },
    /// No server is left that could be asked.
    Nowhere,
}

/// What a connection is asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// An idle connection told this will do; with `None` only a new one will.
    pub(super) told: Option<Told>,
    /// Servers that were tried in vain.
    pub(super) tried: ServerSet,
    /// Where the transaction stood before: it goes back there if it can.
    pub(super) preferred: Option<u8>,
}

/// A place among the upstream's connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    stock: Arc<Stock>,
    /// Whose place it is.
    server: usize,
    /// `None` while the connection is idle.
    holder: Option<Claim>,
}

#[derive(Debug)]
pub(super) struct Stock {
    balance: Balance,
    /// Connections to one server.
    max: u32,
    /// Connections to all servers on behalf of one source.
    per_source_max: u32,
    /// Connections to one server of claims that are not known.
    strangers_max: u32,
    /// Idle connections to one server: half of all, or a handful. Whoever needs a place takes that
    /// of an idle one.
    idle_max: u32,
    /// Messages on one connection before it serves nobody else.
    pub(super) messages_max: u32,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    servers: Box<[Places]>,
    /// Who may be asked now.
    usable: ServerSet,
    /// Which server comes first among equals.
    turn: usize,
    by_source: HashMap<Source, u32>,
    idle: VecDeque<Idle>,
    waiting: VecDeque<Waiter>,
    /// A task looks after the idle ones.
    sweeping: bool,
}

/// The connections of one server.
#[derive(Clone, Debug, Default)]
struct Places {
    /// Idle ones included.
    open: u32,
    idle: u32,
    strangers: u32,
}

#[derive(Debug)]
struct Idle {
    server: usize,
    connection: Box<Connection>,
    /// Until then it waits for its next use.
    until: Instant,
}

#[derive(Debug)]
struct Waiter {
    claim: Claim,
    wish: Wish,
    granted: oneshot::Sender<Slot>,
}

type Granted = Vec<(oneshot::Sender<Slot>, Slot)>;

impl Stock {
    /// All servers may be asked until [`Self::set_usable`] says which.
    pub(super) fn new(config: &config::Upstream) -> Arc<Self> {
        let servers = vec![Places::default(); config.addresses.len()].into_boxed_slice();
        Arc::new(Self {
            balance: config.balance,
            max: config.connections_max,
            per_source_max: config.connections_per_source_max,
            strangers_max: config
                .connections_max
                .saturating_sub(config.connections_reserved),
            inner: Mutex::new(Inner {
                usable: ServerSet::first(servers.len()),
                servers,
                turn: 0,
                by_source: HashMap::new(),
                idle: VecDeque::new(),
                waiting: VecDeque::new(),
                sweeping: false,
            }),
            messages_max: config.messages_per_connection_max,
            idle_max: (config.connections_max / 2).max(IDLE_LONG_MAX),
        })
    }

    /// Open and idle connections.
    pub(super) fn counts(&self) -> (u32, u32) {
        let inner = self.lock();
        let sum = |of: fn(&Places) -> u32| inner.servers.iter().map(of).sum();
        (sum(|places| places.open), sum(|places| places.idle))
    }

    /// The same for one server.
    pub(super) fn counts_of(&self, server: usize) -> (u32, u32) {
        let places = &self.lock().servers[server];
        (places.open, places.idle)
    }

    /// Sessions that wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        let inner = self.lock();
        let is_there = |waiter: &&Waiter| !waiter.granted.is_closed();
        inner.waiting.iter().filter(is_there).count()
    }

    /// From now on these servers may be asked. Idle connections to others are closed.
    pub(super) fn set_usable(self: &Arc<Self>, usable: ServerSet) {
        let (closing, granted) = {
            let mut inner = self.lock();
            if inner.usable == usable {
                return;
            }
            inner.usable = usable;
            let mut closing = Vec::new();
            while let Some(at) = inner
                .idle
                .iter()
                .position(|idle| !usable.contains(idle.server))
            {
                closing.extend(inner.remove_idle(at));
            }
            (closing, self.grant(&mut inner))
        };
        for idle in closing {
            idle.connection.wire.hang_up();
        }
        deliver(granted);
    }

    /// Whether there is a server besides these that may be asked.
    pub(super) fn has_other(&self, tried: ServerSet) -> bool {
        !self.lock().usable.without(tried).is_empty()
    }

    /// A connection for `claim` as wished. Waits for its turn. `None`: too many wait already.
    pub(super) async fn take(self: &Arc<Self>, claim: Claim, wish: Wish) -> Option<Slot> {
        let turn = {
            let mut inner = self.lock();
            if let Some(slot) = self.try_take(&mut inner, claim, &wish) {
                return Some(slot);
            }
            inner.waiting.retain(|waiter| !waiter.granted.is_closed());
            let is_alike = |waiter: &&Waiter| waiter.claim.known == claim.known;
            if inner.waiting.iter().filter(is_alike).count() >= WAITING_MAX {
                return None;
            }
            let (granted, turn) = oneshot::channel();
            inner.waiting.push_back(Waiter {
                claim,
                wish,
                granted,
            });
            turn
        };
        turn.await.ok()
    }

    /// Keeps a connection for its next use; gives it back if enough are kept, or if its server may
    /// not be asked any more.
    pub(super) fn keep(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
    ) -> Result<(), Box<Connection>> {
        let Some(server) = connection.permit.as_ref().map(|permit| permit.server) else {
            return Err(connection);
        };
        let now = Instant::now();
        let (granted, unswept) = {
            let mut inner = self.lock();
            let may_stay =
                inner.servers[server].idle < self.idle_max && inner.usable.contains(server);
            let Some(permit) = connection.permit.as_mut().filter(|_| may_stay) else {
                return Err(connection);
            };
            if let Some(claim) = permit.holder.take() {
                inner.uncount(claim, server);
            }
            let time = if inner.servers[server].idle < IDLE_LONG_MAX {
                IDLE_TIME
            } else {
                IDLE_TIME_BRIEF
            };
            inner.servers[server].idle += 1;
            inner.idle.push_back(Idle {
                server,
                connection,
                until: now + time,
            });
            let granted = self.grant(&mut inner);
            (granted, !std::mem::replace(&mut inner.sweeping, true))
        };
        deliver(granted);
        if unswept {
            tokio::spawn(sweep(Arc::downgrade(self)));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(self: &Arc<Self>, inner: &mut Inner, claim: Claim, wish: &Wish) -> Option<Slot> {
        if inner.usable.without(wish.tried).is_empty() {
            return Some(Slot::Nowhere);
        }
        match self.pick(inner, claim, wish)? {
            Pick::Idle(at) => {
                let Idle {
                    mut connection,
                    server,
                    ..
                } = inner.remove_idle(at)?;
                inner.count(claim, server);
                if let Some(permit) = &mut connection.permit {
                    permit.holder = Some(claim);
                }
                Some(Slot::Idle(connection))
            }
            Pick::Server(server) if inner.servers[server].open < self.max => {
                inner.servers[server].open += 1;
                inner.count(claim, server);
                let permit = Permit {
                    stock: Arc::clone(self),
                    server,
                    holder: Some(claim),
                };
                Some(Slot::Vacant {
                    permit,
                    closing: None,
                })
            }
            Pick::Server(server) => {
                let at = inner.idle.iter().position(|idle| idle.server == server)?;
                let Idle { mut connection, .. } = inner.remove_idle(at)?;
                let mut permit = connection.permit.take()?;
                inner.count(claim, server);
                permit.holder = Some(claim);
                Some(Slot::Vacant {
                    permit,
                    closing: Some(connection),
                })
            }
        }
    }

    /// Gives what is free to those who wait. The caller delivers it after the lock is released.
    #[must_use]
    fn grant(self: &Arc<Self>, inner: &mut Inner) -> Granted {
        let mut granted = Granted::new();
        let mut rest = VecDeque::new();
        for waiter in std::mem::take(&mut inner.waiting) {
            if waiter.granted.is_closed() {
                continue;
            }
            // A long queue is not asked one by one for what is not there.
            if !inner.has_room(self.max) {
                rest.push_back(waiter);
                continue;
            }
            match self.try_take(inner, waiter.claim, &waiter.wish) {
                Some(slot) => granted.push((waiter.granted, slot)),
                None => rest.push_back(waiter),
            }
        }
        inner.waiting = rest;
        granted
    }

    /// Idle connections whose time is over, and when to look again: `None` once there is nothing to
    /// look after.
    #[expect(
        clippy::vec_box,
        reason = "they are boxed where they come from and where they go"
    )]
    fn take_expired(&self) -> (Vec<Box<Connection>>, Option<Instant>) {
        let now = Instant::now();
        let mut inner = self.lock();
        let mut expired = Vec::new();
        while let Some(at) = inner.idle.iter().position(|idle| idle.until <= now) {
            expired.extend(inner.remove_idle(at).map(|idle| idle.connection));
        }
        // Whatever is kept from now on stays at least so long.
        let next = inner.idle.iter().map(|idle| idle.until).min();
        let next = next.map(|next| next.min(now + IDLE_TIME_BRIEF));
        inner.sweeping = next.is_some();
        (expired, next)
    }
}

/// Must run without the lock: what nobody takes any more comes back at once, by its permit's drop.
fn deliver(granted: Granted) {
    for (waiter, slot) in granted {
        drop(waiter.send(slot));
    }
}

/// Leaves idle connections when their time is over, until there are none. One task for all: a task
/// and a timer for each would cost every session the making and the unmaking of both.
async fn sweep(stock: Weak<Stock>) {
    loop {
        let (expired, next) = match stock.upgrade() {
            Some(stock) => stock.take_expired(),
            None => return,
        };
        for connection in expired {
            tokio::spawn(quit(connection));
        }
        match next {
            Some(next) => sleep_until(next).await,
            None => return,
        }
    }
}

impl Inner {
    fn count(&mut self, claim: Claim, server: usize) {
        *self.by_source.entry(claim.source).or_default() += 1;
        self.servers[server].strangers += u32::from(!claim.known);
    }

    fn uncount(&mut self, claim: Claim, server: usize) {
        if let Some(count) = self.by_source.get_mut(&claim.source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&claim.source);
            }
        }
        self.servers[server].strangers -= u32::from(!claim.known);
    }

    /// Whether anybody could get something; where nobody may be asked, that is the news.
    fn has_room(&self, max: u32) -> bool {
        let is_free = |server: usize| {
            let places = &self.servers[server];
            places.open < max || places.idle > 0
        };
        self.usable.is_empty() || self.usable.iter().any(is_free)
    }

    fn remove_idle(&mut self, at: usize) -> Option<Idle> {
        let idle = self.idle.remove(at)?;
        self.servers[idle.server].idle -= 1;
        Some(idle)
    }
}

impl Permit {
    /// To which server.
    pub(super) const fn server(&self) -> usize {
        self.server
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let granted = {
            let mut inner = self.stock.lock();
            inner.servers[self.server].open -= 1;
            if let Some(claim) = self.holder {
                inner.uncount(claim, self.server);
            }
            self.stock.grant(&mut inner)
        };
        deliver(granted);
    }
}
