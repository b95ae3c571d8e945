//! What keepers say.

use std::sync::Arc;

use tarpit_core::budget::Load;

use super::super::super::link::{LinkError, Packet, Sent};
use super::super::super::message::{Freight, Message};
use super::super::line::{Line, Sources};
use super::super::{Cargo, Keepers};
use crate::pit::parcel::Veil;
use crate::shared::Shared;

/// Messages of one keeper in one round.
const MESSAGES: usize = 64;

impl Line {
    /// Hears what is there, within bounds. Whether there may be more.
    pub(super) fn hear(
        &mut self,
        keepers: &Keepers,
        shared: &Arc<Shared>,
    ) -> Result<bool, LinkError> {
        for _ in 0..MESSAGES {
            let Some(packet) = self.link.receive()? else {
                return Ok(false);
            };
            heed(self, packet, keepers, shared)?;
        }
        Ok(true)
    }

    /// Lets those go on that came back, once the keeper is told that they are here. Until then it has
    /// them too, and takes them for its own if we end: not an octet may be said to their clients before.
    /// If the line is lost meanwhile, they are the keeper's.
    pub(super) fn welcome(
        &mut self,
        keepers: &Keepers,
        shared: &Arc<Shared>,
    ) -> Result<(), LinkError> {
        if !self.arrived.is_empty() && self.link.tell_credit()? == Sent::Yes {
            self.let_in(keepers, shared);
        }
        Ok(())
    }

    fn let_in(&mut self, keepers: &Keepers, shared: &Arc<Shared>) {
        let mut back = Vec::with_capacity(self.arrived.len());
        for (why, freight, socket) in std::mem::take(&mut self.arrived) {
            let veil = forget(self, keepers, &freight);
            match socket {
                Some(socket) => {
                    let cargo = Cargo {
                        freight,
                        socket,
                        veil,
                    };
                    back.push((why, cargo));
                }
                // It was lost on its way, and its session ends as if its client had left.
                None => shared.pit.bury(shared, &freight, veil),
            }
        }
        shared.pit.take_all_back(shared, back);
    }
}

fn heed(
    line: &mut Line,
    packet: Packet,
    keepers: &Keepers,
    shared: &Arc<Shared>,
) -> Result<(), LinkError> {
    match packet.message {
        Message::Credit(_) => {}
        Message::Load { load, sheds } => {
            line.load = load;
            line.sheds_told = sheds;
        }
        Message::Back(parcels) => {
            let mut sockets = packet.sockets.into_iter();
            let arrived = parcels.into_iter();
            line.arrived
                .extend(arrived.map(|(why, freight)| (why, freight, sockets.next())));
            if packet.lost > 0 {
                tracing::error!(
                    target: "tarpit::keeper",
                    lost = packet.lost,
                    "no descriptors left for sockets that were granted: their sessions are lost"
                );
            }
        }
        Message::Gone(parcels) => {
            for freight in parcels {
                let veil = forget(line, keepers, &freight);
                shared.pit.bury(shared, &freight, veil);
            }
        }
        Message::Holds(sources) => {
            if line.sources.all == 0 {
                tracing::info!(target: "tarpit::keeper", process = line.process, "a keeper without a front is taken over");
                if !shared.holds_anybody() {
                    // Its front held them under a mode that ended with it.
                    keepers.ease();
                }
            }
            for source in sources {
                line.sources.add(source);
                shared.places.add_held(source);
            }
        }
        Message::Released => {
            // One that waits for our word has sent nothing more; any other keeps nothing of it.
            line.let_in(keepers, shared);
            line.sources
                .each()
                .for_each(|source| shared.places.end_held(source));
            line.sources = Sources::default();
            line.load = Load::default();
            return Err(LinkError::Closed);
        }
        Message::Hello { .. }
        | Message::Park(_)
        | Message::Recall(_)
        | Message::Shed(..)
        | Message::Drain
        | Message::Unveil
        | Message::Release => return Err(LinkError::WrongWay),
    }
    Ok(())
}

/// It is no longer there. What is here of its TLS.
fn forget(line: &mut Line, keepers: &Keepers, freight: &Freight) -> Option<Box<Veil>> {
    line.sources.remove(freight.source);
    if let Some(ticket) = freight.ticket {
        keepers.lock().waiting.remove(ticket);
    }
    line.veils.take(freight.veil?)
}
