//! The upstream's connections, counted: in all, by source, with a reserve for known senders; and
//! the idle ones that wait for their next use.
//!
//! What it promises: never more open connections than `connections_max`, idle ones included; a
//! place is given back when its [`Permit`] is dropped, wherever that happens. Whoever finds none
//! waits in one queue, first come first served among those who could take what is free: a source at
//! its own bound, or a stranger at the reserve, holds up nobody behind it.
//!
//! A semaphore for each bound was rejected: taking two of them in turn either holds one idle while
//! it waits for the other, or loses the order.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tarpit_core::Source;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::connection::Connection;
use super::identity::Told;
use super::leave::quit;
use crate::config;

/// Idle connections that are kept for [`IDLE_TIME`]. Each is a process of the upstream (Postfix has
/// 100 of them), and a handful is enough to save the connect for mail that comes in a row.
pub(super) const IDLE_LONG_MAX: usize = 8;

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
}

/// A place among the upstream's connections; given back when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    stock: Arc<Stock>,
    /// `None` while the connection is idle.
    holder: Option<Claim>,
}

#[derive(Debug)]
pub(super) struct Stock {
    max: u32,
    per_source_max: u32,
    /// Connections of claims that are not known.
    strangers_max: u32,
    /// Idle connections: half of all, or a handful. Whoever needs a place takes that of an idle one.
    idle_max: usize,
    inner: Mutex<Inner>,
    last_serial: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// Idle ones included.
    open: u32,
    strangers: u32,
    by_source: HashMap<Source, u32>,
    idle: VecDeque<Idle>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Idle {
    serial: u64,
    connection: Box<Connection>,
    expiry: AbortHandle,
}

#[derive(Debug)]
struct Waiter {
    claim: Claim,
    /// An idle connection told this will do.
    wanted: Option<Told>,
    granted: oneshot::Sender<Slot>,
}

type Granted = Vec<(oneshot::Sender<Slot>, Slot)>;

impl Stock {
    pub(super) fn new(config: &config::Upstream) -> Arc<Self> {
        Arc::new(Self {
            max: config.connections_max,
            per_source_max: config.connections_per_source_max,
            strangers_max: config
                .connections_max
                .saturating_sub(config.connections_reserved),
            inner: Mutex::default(),
            idle_max: usize::try_from(config.connections_max / 2)
                .unwrap_or(usize::MAX)
                .max(IDLE_LONG_MAX),
            last_serial: AtomicU64::new(0),
        })
    }

    /// Open and idle connections.
    pub(super) fn counts(&self) -> (u32, u32) {
        let inner = self.lock();
        (
            inner.open,
            u32::try_from(inner.idle.len()).unwrap_or(u32::MAX),
        )
    }

    /// A connection for `claim`, an idle one that was told `wanted` if there is one. Waits for its
    /// turn. `None`: too many wait already.
    pub(super) async fn take(self: &Arc<Self>, claim: Claim, wanted: Option<Told>) -> Option<Slot> {
        let turn = {
            let mut inner = self.lock();
            if let Some(slot) = self.try_take(&mut inner, claim, wanted.as_ref()) {
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
                wanted,
                granted,
            });
            turn
        };
        turn.await.ok()
    }

    /// Keeps a connection for its next use; gives it back if enough are kept.
    pub(super) fn keep(
        self: &Arc<Self>,
        mut connection: Box<Connection>,
    ) -> Result<(), Box<Connection>> {
        let serial = self.last_serial.fetch_add(1, Ordering::Relaxed);
        let time = if self.lock().idle.len() < IDLE_LONG_MAX {
            IDLE_TIME
        } else {
            IDLE_TIME_BRIEF
        };
        let expiry = tokio::spawn(expire(Arc::downgrade(self), serial, time)).abort_handle();
        let granted = {
            let mut inner = self.lock();
            let is_full = inner.idle.len() >= self.idle_max;
            let Some(permit) = connection.permit.as_mut().filter(|_| !is_full) else {
                expiry.abort();
                return Err(connection);
            };
            if let Some(claim) = permit.holder.take() {
                inner.uncount(claim);
            }
            inner.idle.push_back(Idle {
                serial,
                connection,
                expiry,
            });
            self.grant(&mut inner)
        };
        deliver(granted);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_take(
        self: &Arc<Self>,
        inner: &mut Inner,
        claim: Claim,
        wanted: Option<&Told>,
    ) -> Option<Slot> {
        let of_source = inner.by_source.get(&claim.source).copied().unwrap_or(0);
        if of_source >= self.per_source_max
            || (!claim.known && inner.strangers >= self.strangers_max)
        {
            return None;
        }
        // Wanted mail shares a connection with nobody who is not known.
        if claim.known
            && let Some(wanted) = wanted
            && let Some(at) = inner
                .idle
                .iter()
                .rposition(|idle| idle.connection.told == *wanted)
            && let Some(Idle {
                mut connection,
                expiry,
                ..
            }) = inner.idle.remove(at)
        {
            expiry.abort();
            inner.count(claim);
            if let Some(permit) = &mut connection.permit {
                permit.holder = Some(claim);
            }
            return Some(Slot::Idle(connection));
        }
        if inner.open < self.max {
            inner.open += 1;
            inner.count(claim);
            let permit = Permit {
                stock: Arc::clone(self),
                holder: Some(claim),
            };
            return Some(Slot::Vacant {
                permit,
                closing: None,
            });
        }
        let Idle {
            mut connection,
            expiry,
            ..
        } = inner.idle.pop_front()?;
        expiry.abort();
        let mut permit = connection.permit.take()?;
        inner.count(claim);
        permit.holder = Some(claim);
        Some(Slot::Vacant {
            permit,
            closing: Some(connection),
        })
    }

    /// Gives what is free to those who wait. The caller delivers it after the lock is released.
    #[must_use]
    fn grant(self: &Arc<Self>, inner: &mut Inner) -> Granted {
        let mut granted = Granted::new();
        let mut rest = VecDeque::new();
        for waiter in std::mem::take(&mut inner.waiting) {
            let is_gone = waiter.granted.is_closed();
            let is_full = inner.open >= self.max && inner.idle.is_empty();
            if is_gone {
                continue;
            }
            let slot = if is_full {
                None
            } else {
                self.try_take(inner, waiter.claim, waiter.wanted.as_ref())
            };
            match slot {
                Some(slot) => granted.push((waiter.granted, slot)),
                None => rest.push_back(waiter),
            }
        }
        inner.waiting = rest;
        granted
    }

    fn remove_idle(&self, serial: u64) -> Option<Box<Connection>> {
        let mut inner = self.lock();
        let at = inner.idle.iter().position(|idle| idle.serial == serial)?;
        inner.idle.remove(at).map(|idle| idle.connection)
    }
}

/// Must run without the lock: what nobody takes any more comes back at once, by its permit's drop.
fn deliver(granted: Granted) {
    for (waiter, slot) in granted {
        drop(waiter.send(slot));
    }
}

async fn expire(stock: Weak<Stock>, serial: u64, time: Duration) {
    tokio::time::sleep(time).await;
    if let Some(connection) = stock.upgrade().and_then(|stock| stock.remove_idle(serial)) {
        quit(connection).await;
    }
}

impl Inner {
    fn count(&mut self, claim: Claim) {
        *self.by_source.entry(claim.source).or_default() += 1;
        self.strangers += u32::from(!claim.known);
    }

    fn uncount(&mut self, claim: Claim) {
        if let Some(count) = self.by_source.get_mut(&claim.source) {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&claim.source);
            }
        }
        self.strangers -= u32::from(!claim.known);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let granted = {
            let mut inner = self.stock.lock();
            inner.open -= 1;
            if let Some(claim) = self.holder {
                inner.uncount(claim);
            }
            self.stock.grant(&mut inner)
        };
        deliver(granted);
    }
}
