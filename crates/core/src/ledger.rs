//! The ledger: what each source owes, in time, over all its sessions (DESIGN §3).
//!
//! A virtual-scheduling rate limiter (GCRA). For each source and [`Account`] it keeps the moment
//! at which the source is free of debt, the sum of what is reserved for look-ups in flight, and
//! the queue of those who wait for room.
//!
//! ```text
//! request/poll --Granted--> look-up --> charge   (it was an offence: hold the reply until free_at)
//!      |                           \--> release  (it was none: the price is given back)
//!      +--Wait{until}--> poll again at `until`, or when `take_woken` names the ticket
//!      +--NoRoom-------> 450 / 454, which tell nothing
//! ```
//!
//! # Promises
//!
//! - The price of a look-up is reserved before it is made: debt and reservations together never
//!   exceed `hold_max` plus allowance when a look-up is granted. So in any time *t* a source gets
//!   no more than `t / price` look-ups that are charged, plus the `(hold_max + allowance) / price`
//!   that a source free of debt may make at once. Only known senders go over it, each of their
//!   look-ups after a wait of `hold_max`.
//! - First come, first served, for each source and account. Who waits gets an answer by its
//!   deadline if it polls when it was told to and when it is woken.
//! - A charge stands, whatever the client does then.
//! - Debts and known senders outlive the process ([`Ledger::snapshot`]).
//! - Memory is bounded ([`LedgerConfig`]); what is forgotten first is what matters least. A full
//!   table fails open: nobody waits because of it.
//!
//! # The time of a look-up
//!
//! A charge adds the time that the look-up took to its price. One connection that guesses one
//! name after the other spends that time as well, so that a hundred connections behind an upstream
//! that takes 200 ms get no more answers than one does. Two gains remain, both within the bound of
//! the first promise:
//!
//! - Debt is capped at `hold_max` plus allowance, so that nobody is locked out for longer. A
//!   source that pays all it owes before each new burst gains the look-up times cut off by the
//!   cap: 2 % to 3 % at 200 ms, 15 % at 1 s.
//! - Debt drains while a look-up is in flight. Where a look-up takes longer than the price,
//!   parallel ones gain on a single connection. To freeze debt meanwhile was rejected: one look-up
//!   that hangs would keep all other mail of its source waiting.
//!
//! # Rejected ways
//!
//! - Counters in windows of time: the edge of a window is worth a double portion of guesses.
//! - To charge only when the reply is known: a hundred simultaneous first guesses are all
//!   answered before the first is charged.
//! - One lock over everything, or a task that owns the ledger: a charge is a call under a short
//!   lock of one shard.
//!
//! Hash keys come from clients, so every table is keyed by the [`RandomState`] given.

mod account;
mod grant;
mod known;
mod look;
mod shard;
mod snapshot;
#[cfg(test)]
mod tests;
mod woken;

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Source, Tick};

use account::{Ask, Bounds, Outcome, Verdict};
pub use grant::{Account, Charge, Grant, LedgerConfig, LedgerStats, Reservation, Terms, Ticket};
use known::Known;
pub use look::{Debt, Standing};
use shard::Shard;
use woken::Woken;

/// Sources a shard should hold at least: smaller shards would evict unevenly.
const SHARD_SOURCES_MIN: usize = 256;

/// More shards than this are of no use: it is several times the cores of a large machine.
const SHARDS_MAX: usize = 64;

/// What each source owes. Shared by all sessions; see the [module](self).
pub struct Ledger {
    hasher: RandomState,
    /// There is always one shard.
    first: Mutex<Shard>,
    others: Box<[Mutex<Shard>]>,
    known: Mutex<Known>,
    woken: Woken,
}

impl Ledger {
    /// An empty ledger. `hasher` keys every table, and so should come from the system's randomness.
    #[must_use]
    pub fn new(config: LedgerConfig, hasher: RandomState) -> Self {
        let shards = (config.sources_max / SHARD_SOURCES_MIN).clamp(1, SHARDS_MAX);
        let share = config.sources_max / shards;
        let shard = |max| Mutex::new(Shard::new(max, hasher.clone()));
        Self {
            first: shard(share + config.sources_max % shards),
            others: (1..shards).map(|_| shard(share)).collect(),
            known: Mutex::new(Known::new(
                config.known_max,
                config.known_for,
                hasher.clone(),
            )),
            woken: Woken::default(),
            hasher,
        }
    }

    /// Asks for room for one look-up. If there is none, the ticket joins the queue of the
    /// source's account; its deadline is `hold_max` from now.
    pub fn request(
        &self,
        now: Tick,
        ticket: Ticket,
        source: Source,
        account: Account,
        terms: &Terms,
    ) -> Grant {
        self.ask(
            now,
            source,
            account,
            &Ask {
                ticket,
                bounds: Bounds::of(terms),
                join: true,
                known: false,
            },
        )
    }

    /// For a ticket that waits: granted now, still waiting (with a new time to ask), or
    /// [`Grant::NoRoom`] when its deadline has passed. A known sender is granted at its deadline
    /// all the same, over the bound.
    ///
    /// A ticket that isn't in the queue joins it, as by [`Ledger::request`]: nobody is forgotten.
    pub fn poll(
        &self,
        now: Tick,
        ticket: Ticket,
        source: Source,
        account: Account,
        terms: &Terms,
    ) -> Grant {
        let known = self.is_known(now, source);
        self.ask(
            now,
            source,
            account,
            &Ask {
                ticket,
                bounds: Bounds::of(terms),
                join: true,
                known,
            },
        )
    }

    /// Like [`Ledger::request`], but never joins the queue: without room (or with others
    /// waiting for it) the answer is [`Grant::NoRoom`], for known senders too. For the later
    /// recipients of a transaction that waited once already.
    pub fn try_request(
        &self,
        now: Tick,
        ticket: Ticket,
        source: Source,
        account: Account,
        terms: &Terms,
    ) -> Grant {
        self.ask(
            now,
            source,
            account,
            &Ask {
                ticket,
                bounds: Bounds::of(terms),
                join: false,
                known: false,
            },
        )
    }

    fn ask(&self, now: Tick, source: Source, account: Account, ask: &Ask) -> Grant {
        let outcome = self
            .shard(source)
            .book(now, source, |entry| entry.of_mut(account).ask(now, ask));
        let granted = |booked| {
            let price_ms = ask.bounds.price_ms;
            Grant::Granted(Reservation {
                source,
                account,
                price_ms,
                granted_at: now,
                booked,
            })
        };
        let Some(Outcome { value, wake }) = outcome else {
            return granted(false);
        };
        self.woken.push(wake);
        match value {
            Verdict::Granted => granted(true),
            Verdict::Wait(until) => Grant::Wait { until },
            Verdict::NoRoom => Grant::NoRoom,
        }
    }

    /// The client left while its ticket waited. Does nothing for a ticket that doesn't wait.
    pub fn cancel(&self, now: Tick, ticket: Ticket, source: Source, account: Account) {
        let wake = self.shard(source).edit(now, source, |entry| {
            entry.of_mut(account).cancel(now, ticket)
        });
        self.woken.push(wake.flatten());
    }

    /// The look-up was an offence. `free_at` moves on from the later of itself and the moment of
    /// the grant, by the time of the look-up (`hold_max` of it at most) and the price; it ends up
    /// no earlier than the price from now, and debt never grows above `hold_max` plus allowance.
    pub fn charge(&self, now: Tick, reservation: Reservation, terms: &Terms) -> Charge {
        let Reservation {
            source,
            account,
            price_ms,
            granted_at,
            booked,
        } = reservation;
        let bounds = Bounds {
            price_ms,
            ..Bounds::of(terms)
        };
        let reserved = booked.then_some(price_ms);
        let outcome = self.shard(source).book(now, source, |entry| {
            entry
                .of_mut(account)
                .charge(now, granted_at, reserved, &bounds)
        });
        let Some(Outcome {
            value: free_at,
            wake,
        }) = outcome
        else {
            return Charge::new(now, now + Duration::from_millis(price_ms));
        };
        self.woken.push(wake);
        Charge::new(now, free_at)
    }

    /// The look-up was no offence: its price is given back.
    pub fn release(&self, now: Tick, reservation: Reservation) {
        let Reservation {
            source,
            account,
            price_ms,
            booked,
            ..
        } = reservation;
        if booked {
            let wake = self.shard(source).edit(now, source, |entry| {
                entry.of_mut(account).release(now, price_ms)
            });
            self.woken.push(wake.flatten());
        }
    }

    /// An offence that needed no look-up, and so was not reserved:
    /// `free_at = max(now, free_at) + price`, with the cap of [`Ledger::charge`].
    pub fn offence(&self, now: Tick, source: Source, account: Account, terms: &Terms) -> Charge {
        let bounds = Bounds::of(terms);
        let free_at = self.shard(source).book(now, source, |entry| {
            entry.of_mut(account).offence(now, &bounds)
        });
        Charge::new(
            now,
            free_at.unwrap_or_else(|| now + Duration::from_millis(bounds.price_ms)),
        )
    }

    /// The debt of a source now. What is reserved is not owed yet.
    #[must_use]
    pub fn owed(&self, now: Tick, source: Source, account: Account) -> Duration {
        self.shard(source)
            .get(source)
            .map_or(Duration::ZERO, |entry| {
                entry.of(account).free_at().since(now)
            })
    }

    /// The debt of a source now, and what is reserved for its look-ups beside it: what leaves a
    /// request without room.
    #[must_use]
    pub fn claimed(&self, now: Tick, source: Source, account: Account) -> Duration {
        self.shard(source)
            .get(source)
            .map_or(Duration::ZERO, |entry| {
                let account = entry.of(account);
                account.free_at().since(now) + account.reserved()
            })
    }

    /// The upstream accepted mail of this source: it is a known sender from now on.
    pub fn accepted(&self, now: Tick, source: Source) {
        lock(&self.known).accepted(now, source);
    }

    /// Whether the upstream accepted mail of this source within `known_for`.
    #[must_use]
    pub fn is_known(&self, now: Tick, source: Source) -> bool {
        lock(&self.known).is_known(now, source)
    }

    /// Appends the tickets that should be polled now: room came back, or they became the first of
    /// their queue. The driver drains this after each call of the machine; one atomic load when
    /// there is nothing.
    ///
    /// A ticket may belong to a session of another thread that is just about to rest: its driver
    /// must not lose the wake. It may also be stale, its session granted or gone meanwhile.
    pub fn take_woken(&self, into: &mut Vec<Ticket>) {
        self.woken.take(into);
    }

    /// Sources in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards().map(|shard| lock(shard).len()).sum()
    }

    /// Whether no source owes or waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Figures for metrics. Locks one shard after the other: the sums are not of one moment.
    #[must_use]
    pub fn stats(&self) -> LedgerStats {
        let mut stats = LedgerStats {
            known: lock(&self.known).len(),
            ..LedgerStats::default()
        };
        for shard in self.shards() {
            lock(shard).add_to(&mut stats);
        }
        stats
    }

    fn shards(&self) -> impl Iterator<Item = &Mutex<Shard>> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The shard of a source, chosen by bits of the hash that the table inside doesn't use for
    /// its places: else most of them would stay empty.
    fn shard(&self, source: Source) -> MutexGuard<'_, Shard> {
        let bits = (self.hasher.hash_one(source) >> 32) & u64::from(u16::MAX);
        let count = self.others.len().saturating_add(1);
        let index = usize::try_from(bits)
            .unwrap_or(0)
            .checked_rem(count)
            .unwrap_or(0);
        lock(self.others.get(index).unwrap_or(&self.first))
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("shards", &self.shards().count())
            .finish_non_exhaustive()
    }
}

/// A lock whose holder panicked is taken all the same: every change under it is small, and a
/// ledger that is slightly wrong is better than a gateway that stands still.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
