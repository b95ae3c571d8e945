//! What becomes of sessions when no front is there.

use std::collections::VecDeque;
use std::mem::MaybeUninit;

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tarpit_core::{Paced, Tick};

use super::{Keeper, freight_of, is_veiled};
use crate::pit::parcel::Parcel;
use crate::pit::slab::Key;

/// Reads of what a client has sent before it is closed: a socket that is closed with unread input is
/// reset, and the reset may overtake the last words.
const READS: usize = 16;

impl Keeper {
    /// When the first of those that wait for a front has waited long enough.
    pub(super) fn next_orphan(&self) -> Option<Tick> {
        let alone = self.alone?;
        let first = self.returning.front()?;
        Some(first.since.max(alone) + self.orphan_wait)
    }

    /// Those that have waited long enough for a front hear 421.
    pub(super) fn give_up(&mut self, now: Tick) {
        while self.next_orphan().is_some_and(|end| end <= now) {
            if let Some(returning) = self.returning.pop_front() {
                self.farewell(&returning.parcel);
                // One that has come, and has not greeted yet, counts it already.
                self.forget(&returning.parcel);
            }
        }
    }

    /// Ends a session for which nothing can be done here.
    pub(super) fn part(&mut self, key: Key) {
        if let Some(parcel) = self.take(key) {
            self.farewell(&parcel);
        }
    }

    /// Ends all sessions over TLS: the front that had their keys is gone. How many.
    pub(super) fn end_veiled(&mut self) -> usize {
        let places = 0..self.holder.slab().places();
        let held = places.filter_map(|place| self.holder.slab().at(place));
        let veiled: Vec<Key> = held
            .filter(|(_, parcel)| is_veiled(parcel))
            .map(|(key, _)| key)
            .collect();
        let before = self.held();
        for key in veiled {
            self.part(key);
        }
        let (veiled, others): (VecDeque<_>, _) = std::mem::take(&mut self.returning)
            .into_iter()
            .partition(|returning| is_veiled(&returning.parcel));
        self.returning = others;
        for returning in veiled {
            self.farewell(&returning.parcel);
        }
        before - self.held()
    }

    /// The last words: the rest of a reply that was begun (RFC 5321 §4.2.1), and 421. None over TLS, where
    /// they would be no TLS.
    pub(super) fn farewell(&mut self, parcel: &Parcel) {
        self.counts.ended_alone += 1;
        if !is_veiled(parcel) {
            let mut words = Vec::new();
            if parcel.said > 0
                && let Ok(freight) = freight_of(parcel, self.sample.as_ref())
                && let Ok((paced, _)) = Paced::decode(&freight.paced)
            {
                let rest = paced.text().get(parcel.said as usize..);
                words.extend_from_slice(rest.unwrap_or_default());
            }
            words.extend_from_slice(&self.farewell);
            // Who does not take it, does not want it.
            let _ = send(&parcel.socket, &words, SendFlags::NOSIGNAL);
        }
        let _ = shutdown(&parcel.socket, Shutdown::Write);
        let mut buffer = [MaybeUninit::uninit(); 4096];
        for _ in 0..READS {
            match recv(&parcel.socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, count)) if count > 0 => {}
                _ => return,
            }
        }
    }
}
