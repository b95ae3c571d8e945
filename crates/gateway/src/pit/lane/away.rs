//! Who leaves the lane for a keeper.

use std::sync::Arc;
use std::time::Duration;

use tarpit_core::{Input, Tick};

use super::{LONGEST_SLEEP, Lane};
use crate::keeper::Keepers;
use crate::pit::away::{pack, unpack};
use crate::pit::parcel::{Parcel, Waits, seconds};
use crate::pit::slab::Key;
use crate::shared::{Shared, Stop};

/// Places looked at in one round.
const PLACES: u32 = 4096;

/// How often, while there are too many.
const EVERY: Duration = Duration::from_millis(10);

/// How long somebody over TLS who may speak is silent before it leaves, in seconds.
const SETTLED: u32 = 1;

/// Who is due earlier stays: the way there and back costs more than a wait here.
const WORTH: Duration = Duration::from_secs(1);

impl Lane {
    /// Some leave for keepers, if there are too many here. How long the lane may sleep then.
    pub(super) fn make_room(&mut self, shared: &Arc<Shared>) -> Duration {
        let held = self.holder.len();
        let Some(keepers) = shared.pit.keepers.get() else {
            return LONGEST_SLEEP;
        };
        let lanes = shared.pit.lanes.get().map_or(1, Vec::len).max(1);
        let spared = keepers.spared / lanes;
        let most = shared.live.load().config.limits.pit_sessions_max as usize;
        let is_full = keepers.held() + keepers.spared >= most.max(keepers.spared + 1);
        self.is_surplus =
            self.stage == Stop::No && self.successor.is_none() && held > spared && !is_full;
        if !self.is_surplus {
            self.watch_all();
            return LONGEST_SLEEP;
        }
        let now = shared.clock.now();
        if now >= self.next_leave {
            self.next_leave = now + EVERY;
            self.send_away(shared, keepers, spared);
        }
        self.next_leave.since(now)
    }

    /// Watches who waits here from now on; or not yet, if it leaves within a moment: a keeper that gets
    /// it sees at once what it did meanwhile.
    pub(super) fn watch_or_leave(&mut self, key: Key, now: Tick) {
        let leaves = |parcel: &Parcel| {
            let Waits {
                listens,
                for_room,
                watched,
                ..
            } = parcel.state;
            self.is_surplus && !listens && !for_room && !watched && is_worth(parcel, now)
        };
        if self.holder.get(key).is_some_and(leaves) {
            self.leaving.push(key);
        } else {
            self.watch(key);
        }
    }

    pub(super) fn watch(&mut self, key: Key) {
        if let Err(error) = self.holder.watch(key) {
            tracing::warn!(target: "tarpit::pit", %error, "a held session can't be watched, and ends");
            self.again.push((key, Some(Input::Shed)));
        }
    }

    /// Nobody leaves now.
    fn watch_all(&mut self) {
        for key in std::mem::take(&mut self.leaving) {
            self.watch(key);
        }
    }

    /// First those that came last; then those that are found first among those for whom it is worth it.
    fn send_away(&mut self, shared: &Arc<Shared>, keepers: &Keepers, spared: usize) {
        let now = shared.clock.now();
        let mut has_room = true;
        // Who comes to wait meanwhile leaves the next time.
        for key in std::mem::take(&mut self.leaving) {
            has_room =
                has_room && (self.holder.len() <= spared || self.send(shared, keepers, key, now));
            self.watch(key);
        }
        if !has_room {
            return;
        }
        let places = self.holder.slab().places();
        for _ in 0..PLACES.min(places) {
            if self.holder.len() <= spared {
                return;
            }
            self.leave_at = (self.leave_at + 1) % places.max(1);
            let Some((key, _)) = self.holder.slab().at(self.leave_at) else {
                continue;
            };
            if !self.send(shared, keepers, key, now) {
                return;
            }
        }
    }

    /// Sends one away, if it is worth it. `false` if there is no room for it anywhere.
    fn send(&mut self, shared: &Arc<Shared>, keepers: &Keepers, key: Key, now: Tick) -> bool {
        // Who has more to say than one step looks at is heard here first.
        let is_next = self.again.iter().any(|(again, _)| *again == key);
        let may_leave = |parcel: &Parcel| !is_next && is_worth(parcel, now);
        let mut has_room = true;
        if self.holder.get(key).is_some_and(may_leave) {
            self.guard(shared, Some(key), |lane| {
                has_room = lane.part_with(shared, keepers, key);
            });
        }
        has_room
    }

    /// `false` if there is no room for it anywhere.
    fn part_with(&mut self, shared: &Arc<Shared>, keepers: &Keepers, key: Key) -> bool {
        let Some(parcel) = self.holder.take(key) else {
            return true;
        };
        // Before the policy is looked at: if a mode is left after that, they are not taken.
        let eases = keepers.eases();
        let cargo = match pack(parcel, shared) {
            Ok(cargo) => cargo,
            Err(parcel) => {
                self.put(shared, *parcel);
                return true;
            }
        };
        let ticket = cargo.freight.ticket;
        match keepers.put(cargo, eases) {
            Ok(()) => {
                // From here on the keepers' desk is asked for it.
                if let Some(ticket) = ticket {
                    let ticket = tarpit_core::ledger::Ticket(ticket);
                    shared.pit.deregister_at(ticket, self.number, key);
                }
                true
            }
            Err(cargo) => {
                let parcel = unpack(shared, *cargo);
                let key = self.holder.put(parcel);
                if self.holder.watch(key).is_err() {
                    self.step(shared, key, Some(Input::Gone));
                } else if let Some(ticket) = ticket {
                    let ticket = tarpit_core::ledger::Ticket(ticket);
                    shared.pit.register(ticket, self.number, key);
                    self.again.push((key, Some(Input::Resume)));
                }
                false
            }
        }
    }
}

fn is_worth(parcel: &Parcel, now: Tick) -> bool {
    !parcel.is_over() && parcel.until >= now + WORTH && !is_deaf(parcel) && is_fit(parcel, now)
}

/// It does not read the pieces of its reply. A keeper would only find that too, and give it back.
fn is_deaf(parcel: &Parcel) -> bool {
    !parcel.state.listens && parcel.said > 0 && parcel.paced.is_none()
}

/// Over TLS a keeper can say nothing and hear nothing: so only who waits in silence is fit for it.
/// Who has just got a reply most likely goes on at once, and would only come back.
fn is_fit(parcel: &Parcel, now: Tick) -> bool {
    let Some(veil) = &parcel.veil else {
        return true;
    };
    let is_settled = !parcel.state.listens || parcel.since + SETTLED < seconds(now);
    veil.secure.is_still() && parcel.paced.is_none() && parcel.said == 0 && is_settled
}
