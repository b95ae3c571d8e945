//! One account of one source: its debt, its reservations and its queue. Pure arithmetic, in whole
//! milliseconds; it knows neither the table around it nor any other account.
//!
//! What most accounts need is one moment, so everything that is pending stands in a box of its
//! own, which is there only while it is needed.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Terms, Ticket};
use crate::Tick;

/// A ticket whose deadline passed this long ago without a poll belongs to a session that is no
/// more: the driver polls in time. It would block its queue for ever.
const ABANDONED: Duration = Duration::from_secs(60);

/// After this long without a grant, reservations that are not settled are lost with their
/// sessions. Longer than any look-up or AUTH exchange may take.
const LOST: Duration = Duration::from_secs(3600);

/// Terms in whole milliseconds, rounded up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Never above the cap.
    pub(super) price_ms: u64,
    pub(super) hold_max: Duration,
    /// Debt and reservations together: `hold_max` plus allowance.
    pub(super) cap_ms: u64,
}

impl Bounds {
    pub(super) fn of(terms: &Terms) -> Self {
        let cap_ms = millis(terms.hold_max.saturating_add(terms.allowance));
        Self {
            price_ms: millis(terms.price).min(cap_ms),
            hold_max: terms.hold_max,
            cap_ms,
        }
    }
}

/// Whole milliseconds, rounded up.
fn millis(span: Duration) -> u64 {
    (Tick::ZERO + span).as_millis()
}

fn later(moment: Tick, millis: u64) -> Tick {
    Tick::from_millis(moment.as_millis().saturating_add(millis))
}

/// A request for room.
pub(super) struct Ask {
    pub(super) ticket: Ticket,
    pub(super) bounds: Bounds,
    /// Whether it waits if there is no room.
    pub(super) join: bool,
    /// Whether it is granted at its deadline all the same.
    pub(super) known: bool,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Granted,
    Wait(Tick),
    NoRoom,
}

/// A result, and the ticket that should poll because of it.
#[derive(Debug)]
pub(super) struct Outcome<T> {
    pub(super) value: T,
    pub(super) wake: Option<Ticket>,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    deadline: Tick,
    bounds: Bounds,
    /// When it was told to poll.
    told: Tick,
    /// It was woken and has not polled since: it need not be woken twice.
    woken: bool,
}

#[derive(Debug, Default)]
struct Pending {
    reserved_ms: u64,
    in_flight: u32,
    last_grant: Tick,
    queue: VecDeque<Waiter>,
}

/// One account of one source.
#[derive(Debug, Default)]
pub(super) struct Account {
    free_at: Tick,
    pending: Option<Box<Pending>>,
}

impl Account {
    pub(super) const fn free_at(&self) -> Tick {
        self.free_at
    }

    /// What is reserved and not settled.
    pub(super) fn reserved(&self) -> Duration {
        let pending = self.pending.as_ref();
        Duration::from_millis(pending.map_or(0, |pending| pending.reserved_ms))
    }

    /// Tickets that wait for room.
    pub(super) fn waiting(&self) -> usize {
        let pending = self.pending.as_ref();
        pending.map_or(0, |pending| pending.queue.len())
    }

    /// Whether there are reservations or waiters: such an account is never forgotten.
    pub(super) const fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// A request, or the poll of one that waits.
    pub(super) fn ask(&mut self, now: Tick, ask: &Ask) -> Outcome<Verdict> {
        self.tidy(now);
        let value = self.decide(now, ask);
        // Whoever is first now may have room too, so that a release that makes room for several
        // lets several go, one after the other.
        Outcome {
            value,
            wake: self.settle(now),
        }
    }

    /// Looks for the ticket from the front of the queue, where those are that are due. Queues are
    /// as short as the number of sessions that one source may have.
    fn decide(&mut self, now: Tick, ask: &Ask) -> Verdict {
        let free_at = self.free_at;
        let pending = self.pending.get_or_insert_default();
        let place = pending
            .queue
            .iter()
            .position(|waiter| waiter.ticket == ask.ticket);
        let is_first = place.map_or(pending.queue.is_empty(), |place| place == 0);
        let room_at = pending.room_at(now, free_at, &ask.bounds);
        if is_first && room_at == Some(now) {
            pending.leave(place);
            pending.reserve(now, ask.bounds.price_ms);
            return Verdict::Granted;
        }
        if place.is_none() && !ask.join {
            return Verdict::NoRoom;
        }
        let place = place.unwrap_or_else(|| pending.join(now, ask));
        let Some(waiter) = pending.queue.get_mut(place) else {
            return Verdict::NoRoom;
        };
        if waiter.deadline <= now {
            pending.leave(Some(place));
            if !ask.known {
                return Verdict::NoRoom;
            }
            pending.reserve(now, ask.bounds.price_ms);
            return Verdict::Granted;
        }
        waiter.bounds = ask.bounds;
        waiter.woken = false;
        waiter.told = room_at
            .filter(|_| is_first)
            .map_or(waiter.deadline, |room_at| room_at.min(waiter.deadline));
        Verdict::Wait(waiter.told)
    }

    /// Takes a waiting ticket out of the queue.
    pub(super) fn cancel(&mut self, now: Tick, ticket: Ticket) -> Option<Ticket> {
        if let Some(pending) = &mut self.pending {
            let place = pending
                .queue
                .iter()
                .position(|waiter| waiter.ticket == ticket);
            pending.leave(place);
        }
        self.tidy(now);
        self.settle(now)
    }

    /// Books the price and the time of a look-up, and settles what was reserved for it.
    pub(super) fn charge(
        &mut self,
        now: Tick,
        granted_at: Tick,
        reserved_ms: Option<u64>,
        bounds: &Bounds,
    ) -> Outcome<Tick> {
        let spent = now.since(granted_at).min(bounds.hold_max);
        let paid_until = self.free_at.max(granted_at) + spent;
        self.add(now, paid_until, bounds);
        let wake = reserved_ms.and_then(|price_ms| self.release(now, price_ms));
        Outcome {
            value: self.free_at,
            wake,
        }
    }

    /// Books an offence that was not reserved. Room only gets less, so nobody is woken.
    pub(super) fn offence(&mut self, now: Tick, bounds: &Bounds) -> Tick {
        self.add(now, self.free_at, bounds);
        self.free_at
    }

    /// A debt that was booked elsewhere. Room only gets less, so nobody is woken.
    pub(super) fn merge(&mut self, free_at: Tick) {
        self.free_at = self.free_at.max(free_at);
    }

    /// Forgets the debt. Whoever is first in the queue may have room now.
    pub(super) fn forgive(&mut self, now: Tick) -> Option<Ticket> {
        self.free_at = self.free_at.min(now);
        self.tidy(now);
        self.settle(now)
    }

    /// Gives back what was reserved for one look-up.
    pub(super) fn release(&mut self, now: Tick, price_ms: u64) -> Option<Ticket> {
        if let Some(pending) = &mut self.pending {
            // Saturating, since what was taken for lost may be settled after all.
            pending.reserved_ms = pending.reserved_ms.saturating_sub(price_ms);
            pending.in_flight = pending.in_flight.saturating_sub(1);
        }
        self.tidy(now);
        self.settle(now)
    }

    /// Moves `free_at` on to a price after `paid_until`, or after now if that is later. The cap
    /// never takes back what was owed before, perhaps by the terms of another listener.
    fn add(&mut self, now: Tick, paid_until: Tick, bounds: &Bounds) {
        let free_at = later(paid_until.max(now), bounds.price_ms);
        self.free_at = free_at.min(later(now, bounds.cap_ms)).max(self.free_at);
    }

    /// Drops what was left behind by sessions that are no more.
    fn tidy(&mut self, now: Tick) {
        let Some(pending) = &mut self.pending else {
            return;
        };
        while pending
            .queue
            .front()
            .is_some_and(|first| first.deadline + ABANDONED < now)
        {
            pending.queue.pop_front();
        }
        if pending.in_flight > 0 && now.since(pending.last_grant) > LOST {
            pending.in_flight = 0;
            pending.reserved_ms = 0;
        }
    }

    /// The end of each change: drops the box if nothing is pending, and says whether the first
    /// of the queue should poll earlier than it was told.
    fn settle(&mut self, now: Tick) -> Option<Ticket> {
        let pending = self.pending.as_mut()?;
        let room_at = match pending.queue.front() {
            None => {
                if pending.in_flight == 0 {
                    self.pending = None;
                }
                return None;
            }
            Some(first) => pending.room_at(now, self.free_at, &first.bounds)?,
        };
        let first = pending.queue.front_mut()?;
        if first.woken || room_at >= first.told {
            return None;
        }
        first.woken = true;
        Some(first.ticket)
    }
}

impl Pending {
    /// When the first of the queue has room if nothing is settled meanwhile: at the latest
    /// moment of now and when enough debt has drained. `None` if reservations alone fill it.
    fn room_at(&self, now: Tick, free_at: Tick, bounds: &Bounds) -> Option<Tick> {
        let booked = self.reserved_ms.saturating_add(bounds.price_ms);
        let debt_max = bounds.cap_ms.checked_sub(booked)?;
        Some(now.max(Tick::from_millis(
            free_at.as_millis().saturating_sub(debt_max),
        )))
    }

    fn reserve(&mut self, now: Tick, price_ms: u64) {
        self.reserved_ms = self.reserved_ms.saturating_add(price_ms);
        self.in_flight = self.in_flight.saturating_add(1);
        self.last_grant = now;
    }

    /// Joins the queue; returns the place in it.
    fn join(&mut self, now: Tick, ask: &Ask) -> usize {
        let deadline = now + ask.bounds.hold_max;
        let waiter = Waiter {
            ticket: ask.ticket,
            deadline,
            bounds: ask.bounds,
            told: deadline,
            woken: false,
        };
        self.queue.push_back(waiter);
        self.queue.len().saturating_sub(1)
    }

    fn leave(&mut self, place: Option<usize>) {
        if let Some(place) = place {
            self.queue.remove(place);
        }
    }
}
