//! To keepers and back: parcels that this process has no descriptors for.

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use rustix::net::SendFlags;
use tarpit_core::answer::Finding;
use tarpit_core::{Input, Outbox, Paced};

use super::Pit;
use super::lane::Errand;
use super::parcel::{Parcel, Waits};
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

    /// Keepers now.
    pub(crate) fn keepers_count(&self) -> usize {
        self.keepers.get().map_or(0, |keepers| keepers.count())
    }

    /// A keeper gives a parcel back, or could not take it.
    pub(crate) fn take_back(
        &self,
        shared: &Arc<Shared>,
        why: Why,
        freight: &Freight,
        socket: OwnedFd,
    ) {
        // It may have been written by another version of this program.
        match Conn::thaw(&freight.record, shared) {
            Ok(conn) => {
                conn.place.into_held();
            }
            Err(error) => {
                tracing::warn!(target: "tarpit::keeper", %error, "a session that a keeper held can't be read, and ends");
                shared.places.end_held(freight.source);
                let _ = rustix::net::send(&socket, &farewell(shared), SendFlags::NOSIGNAL);
                let _ = TcpStream::from(socket).shutdown(std::net::Shutdown::Write);
                return;
            }
        }
        tracing::debug!(target: "tarpit::keeper", ?why, said = freight.said, "a session is back from a keeper");
        let number = usize::try_from(socket.as_raw_fd()).unwrap_or(0);
        let parcel = unpack(shared, freight, socket);
        let lanes = self.lanes.get().map_or(&[][..], Vec::as_slice);
        if let Some(lane) = number.checked_rem(lanes.len()).and_then(|at| lanes.get(at)) {
            lane.leave(Errand::Put(Box::new(parcel)));
        }
    }

    /// A session whose client is gone from a keeper: what it was doing is charged, and its record
    /// written.
    pub(crate) fn bury(&self, shared: &Arc<Shared>, freight: &Freight) {
        let Ok(mut conn) = Conn::thaw(&freight.record, shared) else {
            shared.places.end_held(freight.source);
            return;
        };
        conn.session.note_said(freight.said);
        if freight.flags.half_closed {
            conn.session.note_half_closed();
        }
        let scene = Scene::of(&conn);
        machine::handle(
            shared,
            &mut conn,
            &scene,
            &mut Outbox::default(),
            Input::Gone,
        );
        front::finish(shared, &mut conn);
    }
}

/// What clients of a keeper hear that nobody can serve any more.
pub(crate) fn farewell(_: &Shared) -> Box<[u8]> {
    let mut text = Vec::new();
    Finding::Unavailable.brief().write_to(&mut text);
    text.into()
}

/// For a keeper: with the reply that is due, which here is made only when it is.
pub(super) fn pack(parcel: Parcel, shared: &Arc<Shared>) -> Result<Cargo, Box<Parcel>> {
    let Ok(conn) = Conn::thaw(&parcel.record, shared) else {
        return Err(Box::new(parcel));
    };
    let mut paced = Vec::new();
    if let Some(reply) = conn.session.paced().filter(|_| !parcel.state.listens) {
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
        flags,
        paced: paced.into(),
        record: parcel.record,
    };
    // Its count stays.
    conn.place.into_held();
    let socket = parcel.socket.into();
    Ok(Cargo { freight, socket })
}

/// From a keeper. What was said there is told to the machine in the lane, at once: then the client
/// is heard.
pub(super) fn unpack(shared: &Shared, freight: &Freight, socket: OwnedFd) -> Parcel {
    let paced = Paced::decode(&freight.paced).ok().map(|(paced, _)| paced);
    let is_said = !freight.flags.listens && freight.said > 0 && {
        let rest = paced.as_ref().map_or(0, |paced| paced.text().len());
        rest <= freight.said as usize
    };
    let until = if is_said {
        shared.clock.now()
    } else {
        freight.until
    };
    Parcel {
        socket: socket.into(),
        until,
        since: freight.since,
        paced: paced
            .filter(|paced| !is_said && paced.is_in_pieces())
            .map(Box::new),
        said: freight.said,
        unread_pages: 0,
        state: Waits::of(freight),
        record: freight.record.clone(),
        veil: None,
    }
}
