//! Who waits goes to the successor: batch by batch, each of which it confirms.
//!
//! A session belongs to one process at any time. It is ours until the successor has confirmed its
//! batch, and the next batch goes only then: so what is not confirmed when the line ends is ours
//! still, and waits on here. A limit of time for that was rejected: a successor that is slow would
//! have the same sessions as we.

use std::convert::Infallible;
use std::net::TcpStream;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;

use tarpit_core::ledger::Account;
use tarpit_core::{Paced, SessionId, Source, Tick};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};
use tokio::sync::oneshot;

use super::HandOverError;
use super::giver::{Line, gone_is_ended};
use super::message::{Held, Message};
use super::wire::SOCKETS_MAX;
use crate::conn::Conn;
use crate::keeper::message::{Flags, Freight, fitting};
use crate::pit::parcel::{Parcel, Waits};
use crate::pit::{note_unreadable, turn_away};
use crate::shared::Shared;

/// The debts that go along, in this order.
pub(super) const ACCOUNTS: [Account; 2] = [Account::Rcpt, Account::Auth];

/// A parcel that is packed.
struct Packed {
    id: SessionId,
    held: Held,
    socket: TcpStream,
}

/// The point at which the successor is on its own: all who waited have gone over.
pub(super) struct Turn {
    /// Each lane keeps a sender until it has looked at all that it holds.
    pub(super) walking: Receiver<Infallible>,
    /// Told then, or why it does not come to that.
    pub(super) through: oneshot::Sender<Result<(), HandOverError>>,
    /// The service manager knows it.
    pub(super) is_known: oneshot::Receiver<()>,
}

/// What is on its way to the successor.
struct Carrier {
    line: Line,
    shared: Arc<Shared>,
    parcels: UnboundedReceiver<Box<Parcel>>,
    waiting: Vec<Packed>,
    count: u64,
}

/// Carries what comes from the lanes until it is over. The line, if it is still of use.
pub(super) async fn carry(
    line: Line,
    shared: Arc<Shared>,
    parcels: UnboundedReceiver<Box<Parcel>>,
    turn: Turn,
    over: oneshot::Receiver<()>,
) -> Option<Line> {
    let mut carrier = Carrier {
        line,
        shared,
        parcels,
        waiting: Vec::new(),
        count: 0,
    };
    let Turn {
        mut walking,
        through,
        is_known,
    } = turn;
    // It says nothing, and ends with the last walk.
    let walked = async { while walking.recv().await.is_some() {} };
    let carried = carrier.until(walked, false).await;
    if let Err(error) = carried {
        carrier.keep().await;
        // An error: who waits for it was told to end.
        let _ = through.send(Err(error));
        return None;
    }
    // As above; then nobody is made known either.
    let _ = through.send(Ok(()));
    if is_known.await.is_ok() {
        carrier.line.say_if_it_can(&Message::Main).await;
    }
    if let Err(error) = carrier.until(async { drop(over.await) }, true).await {
        tracing::error!(target: "tarpit::upgrade", %error, "the successor does not take who waits; they wait on here");
        carrier.keep().await;
        return None;
    }
    let sessions = carrier.count;
    tracing::info!(target: "tarpit::upgrade", sessions, "sessions that waited went to the successor");
    Some(carrier.line)
}

impl Carrier {
    /// Carries until `end`, and all that was left before it. `closes`: then lanes keep whom they have.
    async fn until(
        &mut self,
        end: impl Future<Output = ()>,
        closes: bool,
    ) -> Result<(), HandOverError> {
        let mut end = std::pin::pin!(end);
        let mut fresh = Vec::new();
        let mut is_over = false;
        while !is_over {
            tokio::select! {
                biased;
                // None: there are no lanes any more.
                some = self.parcels.recv_many(&mut fresh, SOCKETS_MAX) => is_over = some == 0,
                () = &mut end => {
                    is_over = true;
                    self.take_rest(closes).await;
                }
            }
            let packed = fresh
                .drain(..)
                .filter_map(|parcel| pack(*parcel, &self.shared));
            self.waiting.extend(packed);
            while !self.waiting.is_empty() {
                self.count += carry_some(&mut self.line, &self.shared, &mut self.waiting).await?;
            }
        }
        Ok(())
    }

    /// Whoever was left by now. `closes`: nobody is left any more.
    async fn take_rest(&mut self, closes: bool) {
        if closes {
            self.parcels.close();
        }
        loop {
            let parcel = if closes {
                self.parcels.recv().await
            } else {
                self.parcels.try_recv().ok()
            };
            let Some(parcel) = parcel else { return };
            self.waiting.extend(pack(*parcel, &self.shared));
        }
    }

    /// The successor is gone: who is not confirmed is ours again.
    async fn keep(&mut self) {
        self.take_rest(true).await;
        for Packed { id, held, socket } in self.waiting.drain(..) {
            self.shared.places.add_held(held.freight.source);
            let parcel = unpack(held.freight, socket.into());
            self.shared.pit.put(id, Box::new(parcel));
        }
    }
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
        let Packed { held, socket, .. } = waiting.remove(0);
        tracing::warn!(target: "tarpit::upgrade", "a session that waits is too long to be handed over, and ends");
        let is_amid = held.freight.is_amid();
        turn_away(shared, unpack(held.freight, socket.into()), is_amid);
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
            note_unreadable(shared, &error);
            let is_amid = freight.is_amid();
            return turn_away(shared, unpack(freight, socket), is_amid);
        }
    };
    let id = conn.session.id();
    let source = conn.place.into_held();
    shared.places.add_held(source);
    shared.pit.put(id, Box::new(unpack(freight, socket)));
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
            note_unreadable(shared, &error);
            let is_amid = parcel.said > 0 && !parcel.state.listens;
            turn_away(shared, parcel, is_amid);
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
