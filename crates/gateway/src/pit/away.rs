//! To keepers and back: parcels that this process has no descriptors for.

use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use tarpit_core::answer::Finding;
use tarpit_core::octets::Unreadable;
use tarpit_core::{Input, Outbox, Paced, Then};

use super::lane::Errand;
use super::parcel::{Parcel, Veil, Waits};
use super::{Pit, bug};
use crate::conn::Conn;
use crate::drive::machine::{self, Scene};
use crate::front;
use crate::keeper::{Cargo, Flags, Freight, Keepers, Settings, Why};
use crate::shared::Shared;

impl Pit {
    /// Lets sessions wait in keepers from now on, when the lanes hold three quarters of what they may.
    ///
    /// # Errors
    /// There is no descriptor or no thread for it.
    pub(crate) fn start_keepers(&self, shared: &Arc<Shared>, settings: Settings) -> io::Result<()> {
        let live = shared.live.load();
        let room = super::quota::room(&live, false);
        let is_needed = u64::from(live.config.limits.pit_sessions_max) > room;
        let spared = usize::try_from(room - room / 4).unwrap_or(usize::MAX);
        let keepers = Keepers::start(shared, settings, spared, is_needed)?;
        // They are started once.
        let _ = self.keepers.set(keepers);
        Ok(())
    }

    /// Parts from the keepers, so that a successor may have them.
    pub(crate) fn release_keepers(&self) {
        if let Some(keepers) = self.keepers.get() {
            keepers.release();
        }
    }

    /// How many may come back from keepers now: a pit that is nearly full waits until somebody has
    /// left it. While all are let go, only those that no lane has seen yet are in the way. More would
    /// be shed, or find no descriptor.
    pub(crate) fn room_for_returning(&self, shared: &Shared, is_draining: bool) -> usize {
        let room = super::quota::room(&shared.live.load(), true);
        let here = if is_draining {
            0
        } else {
            self.load().sessions.saturating_sub(self.away())
        };
        let lanes = self.lanes.get().into_iter().flatten();
        let arriving: usize = lanes.map(|lane| lane.arriving()).sum();
        // An eighth is for those who come from outside.
        let left = (room - room / 8).saturating_sub(here);
        usize::try_from(left)
            .unwrap_or(usize::MAX)
            .saturating_sub(arriving)
    }

    /// Keepers now.
    pub(crate) fn keepers_count(&self) -> usize {
        self.keepers.get().map_or(0, |keepers| keepers.count())
    }

    /// A keeper gives a parcel back, or could not take it.
    pub(crate) fn take_back(&self, shared: &Arc<Shared>, why: Why, cargo: Cargo) {
        self.take_all_back(shared, vec![(why, cargo)]);
    }

    /// The same for many: each lane is woken once.
    pub(crate) fn take_all_back(&self, shared: &Arc<Shared>, cargos: Vec<(Why, Cargo)>) {
        let lanes = self.lanes.get().map_or(&[][..], Vec::as_slice);
        let mut errands: Vec<Vec<Errand>> = lanes.iter().map(|_| Vec::new()).collect();
        for (why, cargo) in cargos {
            let number = usize::try_from(cargo.socket.as_raw_fd()).unwrap_or(0);
            let at = number.checked_rem(lanes.len()).unwrap_or(0);
            if let (Some(errand), Some(of_lane)) =
                (self.errand(shared, why, cargo), errands.get_mut(at))
            {
                of_lane.push(errand);
            }
        }
        for (lane, errands) in lanes.iter().zip(errands) {
            lane.leave_all(errands);
        }
    }

    /// What a lane is to do with it, if it can still be served.
    fn errand(&self, shared: &Arc<Shared>, why: Why, cargo: Cargo) -> Option<Errand> {
        if cargo.is_mute() {
            tracing::error!(target: "tarpit::keeper", "a keeper gave back a session over TLS whose keys are not here, and it ends");
            self.bury(shared, &cargo.freight, None);
            return None;
        }
        let is_let_go = match bug::caught(shared, || is_let_go(shared, &cargo.freight)) {
            Some(Ok(is_let_go)) => is_let_go,
            Some(Err(error)) => {
                note_unreadable(shared, &error);
                shared.places.end_held(cargo.freight.source);
                turn_away_cargo(shared, cargo);
                return None;
            }
            None => {
                turn_away_cargo(shared, cargo);
                return None;
            }
        };
        tracing::debug!(target: "tarpit::keeper", ?why, said = cargo.freight.said, "a session is back from a keeper");
        let is_told = is_told(&cargo);
        let mut parcel = unpack(shared, cargo);
        if is_let_go {
            parcel.until = shared.clock.now();
        }
        let parcel = Box::new(parcel);
        Some(match why {
            Why::Shed => Errand::Shed(parcel),
            _ if is_told => Errand::Told(parcel),
            Why::Input | Why::Due | Why::Recalled | Why::Drain => Errand::Put(parcel),
        })
    }

    /// A session whose client is gone from a keeper: what it was doing is charged, and its record
    /// written.
    pub(crate) fn bury(&self, shared: &Arc<Shared>, freight: &Freight, veil: Option<Box<Veil>>) {
        // There is nobody left to be told of a bug.
        bug::caught(shared, || bury(shared, freight, veil));
    }
}

/// Whether who comes back from a keeper is no longer to be held.
///
/// # Errors
/// Another version of this program wrote its record.
fn is_let_go(shared: &Arc<Shared>, freight: &Freight) -> Result<bool, Unreadable> {
    let conn = Conn::thaw(&freight.record, shared)?;
    let policy = shared.policy(&conn.live, conn.listener);
    let is_let_go = !freight.flags.listens && !policy.enforces();
    conn.place.into_held();
    Ok(is_let_go)
}

fn bury(shared: &Arc<Shared>, freight: &Freight, veil: Option<Box<Veil>>) {
    let mut conn = match Conn::thaw(&freight.record, shared) {
        Ok(conn) => conn,
        Err(error) => {
            note_unreadable(shared, &error);
            shared.places.end_held(freight.source);
            return;
        }
    };
    conn.session.note_said(freight.said);
    if freight.flags.half_closed {
        conn.session.note_half_closed();
    }
    let scene = Scene::of(&conn);
    let mut tell =
        |input| machine::handle(shared, &mut conn, &scene, &mut Outbox::default(), input);
    // Who has heard its reply did not hang up while it was held.
    let is_over = is_said(freight) && matches!(tell(Input::Resume), Then::Close);
    if !is_over {
        tell(Input::Gone);
    }
    conn.tls = veil.map(|veil| veil.info);
    front::finish(shared, &mut conn);
}

/// Another process wrote a record that this one can't read: it is of another version.
pub(crate) fn note_unreadable(shared: &Shared, error: &Unreadable) {
    shared.metrics.sessions_unreadable.add(1);
    tracing::warn!(target: "tarpit::pit", %error, "a session that waited in another process can't be read, and ends");
}

fn turn_away_cargo(shared: &Shared, cargo: Cargo) {
    let is_amid = cargo.freight.is_amid() && !is_told(&cargo);
    turn_away(shared, unpack(shared, cargo), is_amid);
}

/// Nobody can serve it: it is told so. Whoever `is_amid` a reply hears the rest of it first; if that is
/// not known, nothing, for 421 would stand in the middle of a line.
pub(crate) fn turn_away(shared: &Shared, mut parcel: Parcel, is_amid: bool) {
    let rest = match &parcel.paced {
        _ if !is_amid => Some(&[][..]),
        Some(paced) => paced.text().get(parcel.said as usize..),
        None => None,
    };
    if let Some(rest) = rest {
        let words = [rest, &farewell(shared)].concat();
        // It may be gone, or not read; there is nothing more to do for it.
        let _ = parcel.write(&words);
    }
    let _ = parcel.say_farewell();
    parcel.shut_down();
    // Octets that nobody has read would reset the connection, and overtake what was said.
    parcel.throw_away(&mut [0; 4096]);
}

/// What clients of a keeper hear that nobody can serve any more.
pub(crate) fn farewell(_: &Shared) -> Box<[u8]> {
    let mut text = Vec::new();
    Finding::Unavailable.brief().write_to(&mut text);
    text.into()
}

/// For a keeper: with the reply that is due, which here is made only when it is. Who need not wait any
/// more stays, and is due.
pub(super) fn pack(mut parcel: Parcel, shared: &Arc<Shared>) -> Result<Cargo, Box<Parcel>> {
    let Ok(conn) = Conn::thaw(&parcel.record, shared) else {
        return Err(Box::new(parcel));
    };
    let is_enforced = shared.policy(&conn.live, conn.listener).enforces();
    if !parcel.state.listens && !is_enforced {
        parcel.until = shared.clock.now();
        conn.place.into_held();
        return Err(Box::new(parcel));
    }
    let mut paced = Vec::new();
    // Over TLS there is nothing that a keeper could say.
    let is_sayable = !parcel.state.listens && parcel.veil.is_none();
    if let Some(reply) = conn.session.paced().filter(|_| is_sayable) {
        reply.encode(&mut paced);
    }
    let limits = &conn.live.config.limits;
    let flags = Flags {
        listens: parcel.state.listens,
        half_closed: parcel.state.half_closed,
        small_window: parcel.state.small_window,
        prompt: !conn.unread.is_empty() && !parcel.state.listens,
    };
    let freight = Freight {
        source: conn.session.source(),
        until: parcel.until,
        since: parcel.since,
        said: parcel.said,
        patience: u32::try_from(limits.command_timeout.as_secs()).unwrap_or(u32::MAX),
        ticket: conn
            .session
            .waits_for_room()
            .then(|| conn.session.ticket().0),
        // Its number comes with its keeper.
        veil: None,
        flags,
        paced: paced.into(),
        record: parcel.record,
    };
    // Its count stays.
    conn.place.into_held();
    let socket = parcel.socket.into();
    Ok(Cargo {
        freight,
        socket,
        veil: parcel.veil,
    })
}

/// Whether a keeper has said all of the reply that it was held for: since then its client had the word.
fn is_said(freight: &Freight) -> bool {
    // A keeper keeps nothing of a reply that it has said.
    let whole = match Paced::decode(&freight.paced) {
        _ if freight.paced.is_empty() => 0,
        Ok((paced, _)) => paced.text().len(),
        Err(_) => return false,
    };
    freight.is_amid() && whole <= freight.said as usize
}

/// Whether its client had the word in a keeper. Over TLS nothing is said there.
fn is_told(cargo: &Cargo) -> bool {
    cargo.veil.is_none() && is_said(&cargo.freight)
}

/// From a keeper. What was said there is told to the machine in the lane, at once: then the client
/// is heard.
pub(super) fn unpack(shared: &Shared, cargo: Cargo) -> Parcel {
    let is_told = is_told(&cargo);
    let Cargo {
        freight,
        socket,
        veil,
    } = cargo;
    let paced = Paced::decode(&freight.paced).ok().map(|(paced, _)| paced);
    let until = if is_told {
        shared.clock.now()
    } else {
        freight.until
    };
    Parcel {
        socket: socket.into(),
        until,
        since: freight.since,
        paced: paced
            .filter(|paced| !is_told && paced.is_in_pieces())
            .map(Box::new),
        said: freight.said,
        unread_pages: 0,
        state: Waits::of(&freight),
        record: freight.record,
        veil,
    }
}
