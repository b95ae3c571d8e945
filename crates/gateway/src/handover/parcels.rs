//! Who waits goes to the successor: batch by batch, each of which it confirms.
//!
//! A session belongs to one process at any time. It is ours until the successor has confirmed its
//! batch, and the next batch goes only then: so what is not confirmed when the line ends is ours
//! still, and waits on here. A limit of time for that was rejected: a successor that is slow would
//! have the same sessions as we.

use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use rustix::net::{SendFlags, send};
use tarpit_core::ledger::Account;
use tarpit_core::{Paced, SessionId, Source, Tick};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;

use super::HandOverError;
use super::giver::{Line, gone_is_ended};
use super::message::{Held, Message};
use super::wire::SOCKETS_MAX;
use crate::conn::Conn;
use crate::keeper::message::{Flags, Freight, fitting};
use crate::pit::farewell;
use crate::pit::parcel::{Parcel, Waits};
use crate::shared::Shared;

/// The debts that go along, in this order.
pub(super) const ACCOUNTS: [Account; 2] = [Account::Rcpt, Account::Auth];

/// A parcel that is packed.
struct Packed {
    id: SessionId,
    held: Held,
    socket: TcpStream,
}

/// Carries what comes from the lanes until it is over. The line, if it is still of use.
pub(super) async fn carry(
    mut line: Line,
    shared: Arc<Shared>,
    mut parcels: UnboundedReceiver<Box<Parcel>>,
    mut over: oneshot::Receiver<()>,
) -> Option<Line> {
    let mut count = 0_u64;
    let mut waiting: Vec<Packed> = Vec::new();
    let mut fresh = Vec::new();
    loop {
        tokio::select! {
            biased;
            some = parcels.recv_many(&mut fresh, SOCKETS_MAX) => if some == 0 {
                break;
            },
            _ = &mut over, if !parcels.is_closed() => parcels.close(),
        }
        waiting.extend(fresh.drain(..).filter_map(|parcel| pack(*parcel, &shared)));
        while !waiting.is_empty() {
            match carry_some(&mut line, &shared, &mut waiting).await {
                Ok(some) => count += some,
                Err(error) => {
                    tracing::error!(target: "tarpit::upgrade", %error, "the successor does not take who waits; they wait on here");
                    keep(&shared, waiting, parcels).await;
                    return None;
                }
            }
        }
    }
    tracing::info!(target: "tarpit::upgrade", sessions = count, "sessions that waited went to the successor");
    Some(line)
}

/// One batch. Whoever is not confirmed is still in `waiting`.
async fn carry_some(
    line: &mut Line,
    shared: &Arc<Shared>,
    waiting: &mut Vec<Packed>,
) -> Result<u64, HandOverError> {
    let freights = waiting.iter().map(|one| &one.held.freight);
    let count = fitting(freights, SOCKETS_MAX);
    if count == 0 {
        // More octets than any message has, by a configuration that lets clients send so much ahead.
        let one = waiting.remove(0);
        turn_away(
            shared,
            &one.socket,
            "a session that waits is too long to be handed over, and ends",
        );
        return Ok(0);
    }
    let some = waiting.get_mut(..count).unwrap_or_default();
    for one in &mut *some {
        // As late as possible: it may have grown since.
        one.held.free_at = debts(shared, one.held.freight.source);
    }
    let message = Message::Parcels(some.iter().map(|one| one.held.clone()).collect());
    let sockets: Vec<_> = some.iter().map(|one| one.socket.as_fd()).collect();
    line.say(&message, &sockets).await?;
    match line.0.receive().await.map_err(gone_is_ended)? {
        Some((Message::Taken, _)) => {}
        Some((other, _)) => return Err(HandOverError::OutOfTurn(format!("{other:?}"))),
        None => return Err(HandOverError::Ended),
    }
    waiting.drain(..count);
    Ok(count as u64)
}

/// The successor is gone: they are ours again.
async fn keep(
    shared: &Arc<Shared>,
    waiting: Vec<Packed>,
    mut parcels: UnboundedReceiver<Box<Parcel>>,
) {
    parcels.close();
    let mut all = waiting;
    while let Some(parcel) = parcels.recv().await {
        all.extend(pack(*parcel, shared));
    }
    for Packed { id, held, socket } in all {
        shared.places.add_held(held.freight.source);
        let parcel = unpack(held.freight, socket.into());
        shared.pit.put(id, Box::new(parcel));
    }
}

/// Takes over a session that waited in the predecessor.
pub(super) fn take(shared: &Arc<Shared>, held: Held, socket: OwnedFd) {
    let Held { freight, free_at } = held;
    let now = shared.clock.now();
    for (account, free_at) in ACCOUNTS.into_iter().zip(free_at) {
        shared.ledger.merge(now, freight.source, account, free_at);
    }
    let conn = match Conn::thaw(&freight.record, shared) {
        Ok(conn) => conn,
        Err(error) => {
            let socket = socket.into();
            return turn_away(shared, &socket, &error.to_string());
        }
    };
    let id = conn.session.id();
    let source = conn.place.into_held();
    shared.places.add_held(source);
    shared.pit.put(id, Box::new(unpack(freight, socket)));
}

/// Nobody can serve it.
fn turn_away(shared: &Shared, socket: &TcpStream, reason: &str) {
    tracing::warn!(target: "tarpit::upgrade", reason, "a session that waited is told to come again");
    // It may be gone, or not read; there is nothing more to do for it.
    let _ = send(socket, &farewell(shared), SendFlags::NOSIGNAL);
}

fn debts(shared: &Shared, source: Source) -> [Tick; 2] {
    let now = shared.clock.now();
    ACCOUNTS.map(|account| now + shared.ledger.owed(now, source, account))
}

/// `None` for a record that can't be read, whose client is told so.
fn pack(parcel: Parcel, shared: &Arc<Shared>) -> Option<Packed> {
    let conn = match Conn::thaw(&parcel.record, shared) {
        Ok(conn) => conn,
        Err(error) => {
            turn_away(shared, &parcel.socket, &error.to_string());
            // The lane could not read it either, so it gave no count back.
            shared.places.end_unknown();
            return None;
        }
    };
    let (id, ticket) = (conn.session.id(), conn.session.ticket().0);
    // The lane has given its count back.
    let source = conn.place.into_held();
    let mut paced = Vec::new();
    if let Some(reply) = &parcel.paced {
        reply.encode(&mut paced);
    }
    let freight = Freight {
        source,
        until: parcel.until,
        since: parcel.since,
        said: parcel.said,
        // For keepers, which do not know the record.
        patience: 0,
        ticket: parcel.state.for_room.then_some(ticket),
        // Those over TLS end here.
        veil: None,
        flags: Flags {
            listens: parcel.state.listens,
            half_closed: parcel.state.half_closed,
            small_window: parcel.state.small_window,
            prompt: false,
        },
        paced: paced.into(),
        record: parcel.record,
    };
    Some(Packed {
        id,
        held: Held {
            freight,
            free_at: [Tick::ZERO; 2],
        },
        socket: parcel.socket,
    })
}

/// A reply in a form that is not known here is said whole when it is due.
fn unpack(freight: Freight, socket: OwnedFd) -> Parcel {
    let paced = Paced::decode(&freight.paced).ok();
    Parcel {
        socket: socket.into(),
        until: freight.until,
        since: freight.since,
        paced: paced.map(|(paced, _)| Box::new(paced)),
        said: freight.said,
        unread_pages: 0,
        state: Waits::of(&freight),
        record: freight.record,
        veil: None,
    }
}
