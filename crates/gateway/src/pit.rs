//! Where sessions wait.
//!
//! A held session is a [`Parcel`] in a [lane](lane): its socket, its deadline and its frozen record,
//! some two hundred octets. The activity that served it *returned*, so no buffer of it can exist;
//! its connection to the upstream was let go of. A few stay in the mail lane as a small task with
//! their [`Conn`] in hand: those tied to an upstream connection (a message in chunks), and for the
//! grace time those who keep theirs ([`keeps_its_upstream`]).
//!
//! Somebody who waits is woken when the time has come, when the ledger has room, when the client
//! leaves, or when the gateway stops.
//!
//! A client that shut down its sending side (FIN) is noted once, and from then on only the clock is
//! waited for. Its due reply is still tried: `printf | nc -N` is a client too. A reset ends the
//! session at once.
//!
//! Rejected: a task of the runtime for each held session (3 KiB each, and its timers share one lock
//! with those of mail); a thread for the whole pit at the priority of mail.

mod away;
mod bug;
pub(crate) mod holder;
mod lane;
pub(crate) mod parcel;
mod quota;
pub(crate) mod shed;
pub(crate) mod slab;
mod survey;

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tarpit_core::budget::{Load, Strain};
use tarpit_core::ledger::{Ledger, Ticket};
use tarpit_core::{Input, Outbox, SessionId, Tick};
use tokio::sync::{Notify, mpsc, watch};

use crate::conn::Conn;
use crate::drive::machine::{self, Scene};
use crate::front;
use crate::keeper::Keepers;
use crate::metrics::State;
use crate::shared::{Shared, Stop};
use crate::stream::Left;
pub(crate) use away::{farewell, note_unreadable, turn_away};
use lane::{Errand, Lane, Mailbox};
use parcel::{Parcel, Veil, Waits};
use quota::Quota;
use slab::Key;
pub use survey::{AGES, Survey};

/// The lanes, and who waits for room in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Pit {
    lanes: OnceLock<Vec<Arc<Mailbox>>>,
    keepers: OnceLock<Arc<Keepers>>,
    waiting: Mutex<HashMap<Ticket, Waiter>>,
    quota: Quota,
}

/// Who waits for room.
#[derive(Debug)]
enum Waiter {
    Task(Arc<Notify>),
    Parcel { lane: usize, key: Key },
}

/// Why a hold in the mail lane ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Its time has come, or the ledger may have room.
    Resume,
    /// It let go of its upstream connection, and may go to the pit.
    Free,
    /// The client reset the connection.
    Gone,
    /// The gateway stops.
    Stopped,
}

impl Pit {
    /// Starts the lanes: one for two cores, since mail needs them too.
    ///
    /// # Errors
    /// There are no descriptors or threads for them.
    pub(crate) fn start(&self, shared: &Arc<Shared>) -> std::io::Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let lanes = (0..cores.div_ceil(2)).map(|number| Lane::start(shared, number));
        let lanes = lanes.collect::<Result<Vec<_>, _>>()?;
        // It is started once.
        let _ = self.lanes.set(lanes);
        Ok(())
    }

    /// Lets a session wait here; or gives it back if something ties it to the mail lane.
    pub(crate) fn cross(
        &self,
        shared: &Arc<Shared>,
        mut conn: Box<Conn>,
        until: Tick,
    ) -> Result<(), Box<Conn>> {
        let Some(lane) = self.lane_of(&conn) else {
            return Err(conn);
        };
        if conn.link.is_lettable() {
            if keeps_its_upstream(shared, &conn) {
                return Err(conn);
            }
            conn.link.let_go();
        }
        if !conn.link.is_free() || conn.inflow.is_some() {
            return Err(conn);
        }
        let (mut conn, stream) = conn.with_stream(());
        let mut record = Vec::new();
        if conn.freeze(&mut record).is_err() {
            let (conn, ()) = conn.with_stream(stream);
            return Err(Box::new(conn));
        }
        let (socket, secure) = match stream.into_parts() {
            Ok(parts) => parts,
            Err(error) => {
                tracing::warn!(target: "tarpit::pit", %error, "a held session was lost on its way to the pit");
                let (scene, out) = (Scene::of(&conn), &mut Outbox::default());
                machine::handle(shared, &mut conn, &scene, out, Input::Gone);
                front::finish(shared, &mut conn);
                return Ok(());
            }
        };
        parcel::hear_in_order(&socket);
        let small_window = conn.live.config.listeners[conn.listener].small_window;
        if small_window {
            parcel::shrink_window(&socket);
        }
        let veil = secure.zip(conn.tls.take()).map(|(mut secure, info)| {
            secure.rest();
            Box::new(Veil { secure, info })
        });
        let parcel = Parcel {
            socket,
            until,
            since: parcel::seconds(shared.clock.now()),
            paced: conn.paced(),
            said: conn.session.said(),
            unread_pages: 0,
            state: Waits {
                for_room: conn.session.waits_for_room(),
                half_closed: conn.half_closed,
                small_window,
                ..Waits::default()
            },
            record: record.into_boxed_slice(),
            veil,
        };
        conn.place.into_held();
        lane.leave(Errand::Put(Box::new(parcel)));
        Ok(())
    }

    /// Gives all plain sessions that wait here to a successor, and those that come to wait later.
    /// Who has no more of the former drops its `walks`.
    pub(crate) fn hand_over(
        &self,
        successor: &mpsc::UnboundedSender<Box<Parcel>>,
        walks: &mpsc::Sender<Infallible>,
    ) {
        for lane in self.lanes.get().into_iter().flatten() {
            lane.leave(Errand::HandOver(successor.clone(), walks.clone()));
        }
    }

    /// Somebody comes to wait who waited elsewhere. The session is counted already.
    pub(crate) fn put(&self, id: SessionId, parcel: Box<Parcel>) {
        let lanes = self.lanes.get().map_or(&[][..], Vec::as_slice);
        let number = usize::try_from(id.0).unwrap_or(0);
        if let Some(lane) = number.checked_rem(lanes.len()).and_then(|at| lanes.get(at)) {
            lane.leave(Errand::Put(parcel));
        }
    }

    fn lane_of(&self, conn: &Conn) -> Option<&Arc<Mailbox>> {
        let lanes = self.lanes.get()?;
        let number = usize::try_from(conn.session.id().0).unwrap_or(0);
        lanes.get(number.checked_rem(lanes.len())?)
    }

    /// Makes a parcel known to [`Pit::wake`]. The ledger must be asked once more after this: a wake
    /// that came earlier went nowhere.
    fn register(&self, ticket: Ticket, lane: usize, key: Key) {
        self.lock().insert(ticket, Waiter::Parcel { lane, key });
    }

    fn deregister(&self, ticket: Ticket) {
        self.lock().remove(&ticket);
    }

    /// The same for a parcel that left this place of a lane. It may be back already, and be known at
    /// another one.
    fn deregister_at(&self, ticket: Ticket, lane: usize, key: Key) {
        let mut waiting = self.lock();
        let is_there = |waiter: &Waiter| matches!(waiter, Waiter::Parcel { lane: at, key: of } if (*at, *of) == (lane, key));
        if waiting.get(&ticket).is_some_and(is_there) {
            waiting.remove(&ticket);
        }
    }

    /// Lets those ask the ledger again for whom there may be room now.
    pub(crate) fn wake_woken(&self, ledger: &Ledger) {
        let mut woken = Vec::new();
        ledger.take_woken(&mut woken);
        if !woken.is_empty() {
            self.wake(&woken);
        }
    }

    /// Lets these ask the ledger again.
    pub(crate) fn wake(&self, tickets: &[Ticket]) {
        let mut parcels = Vec::new();
        let mut away = Vec::new();
        let waiting = self.lock();
        for ticket in tickets {
            match waiting.get(ticket) {
                Some(Waiter::Task(notify)) => notify.notify_one(),
                Some(Waiter::Parcel { lane, key }) => parcels.push((*lane, *key, *ticket)),
                None => away.push(*ticket),
            }
        }
        drop(waiting);
        for (lane, key, ticket) in parcels {
            if let Some(mailbox) = self.lanes.get().and_then(|lanes| lanes.get(lane)) {
                mailbox.leave(Errand::Wake(key, ticket));
            }
        }
        if let Some(keepers) = self.keepers.get().filter(|_| !away.is_empty()) {
            keepers.recall(away);
        }
    }

    /// Lets the lanes look at what has changed: the gateway stops.
    pub(crate) fn ring(&self) {
        for mailbox in self.lanes.get().into_iter().flatten() {
            mailbox.ring();
        }
    }

    /// A mode was left: whoever need not wait any more is let go, here and in keepers.
    pub(crate) fn ease(&self) {
        for mailbox in self.lanes.get().into_iter().flatten() {
            mailbox.leave(Errand::Ease);
        }
        if let Some(keepers) = self.keepers.get() {
            keepers.ease();
        }
    }

    /// What all held sessions take, those in keepers included.
    pub(crate) fn load(&self) -> Load {
        let away = self.keepers.get().map(|keepers| keepers.load());
        let lanes = self.lanes.get().into_iter().flatten();
        let here = lanes.map(|lane| lane.load());
        here.chain(away).fold(Load::default(), |sum, load| Load {
            sessions: sum.sessions + load.sessions,
            octets: sum.octets + load.octets,
            unread: sum.unread + load.unread,
        })
    }

    /// Sessions in keepers.
    fn away(&self) -> u64 {
        self.keepers
            .get()
            .map_or(0, |keepers| keepers.held() as u64)
    }

    /// Why sessions are being shed, while they are.
    pub(crate) fn strained(&self) -> Option<Strain> {
        self.quota.strained()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Ticket, Waiter>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a held session keeps its connection to the upstream for the grace time: that of a known
/// sender, and where accepted recipients would have to be said again, which is done twice for a
/// transaction at most. All others are most likely guessing, and the upstream has better to do.
fn keeps_its_upstream(shared: &Shared, conn: &Conn) -> bool {
    let envelope = conn.session.envelope();
    envelope.is_some_and(|envelope| !envelope.accepted.is_empty())
        || shared
            .ledger
            .is_known(shared.clock.now(), conn.session.source())
}

/// The lanes end with the gateway.
impl Drop for Pit {
    fn drop(&mut self) {
        self.ring();
    }
}

/// A task's place in the pit's list; left when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    pit: Arc<Pit>,
    ticket: Ticket,
    notify: Arc<Notify>,
}

impl Registration {
    /// Makes a task known to [`Pit::wake`]. It must ask the ledger once more after this: a wake that
    /// came earlier went nowhere.
    pub(crate) fn of(pit: &Arc<Pit>, ticket: Ticket) -> Self {
        let notify = Arc::new(Notify::new());
        let waiter = Waiter::Task(Arc::clone(&notify));
        pit.lock().insert(ticket, waiter);
        Self {
            pit: Arc::clone(pit),
            ticket,
            notify,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut waiting = self.pit.lock();
        // It may have crossed to a lane meanwhile and be known there, or to another task from there.
        let is_own = |waiter: &Waiter| matches!(waiter, Waiter::Task(notify) if Arc::ptr_eq(notify, &self.notify));
        if waiting.get(&self.ticket).is_some_and(is_own) {
            waiting.remove(&self.ticket);
        }
    }
}

/// Waits in the mail lane until `until` or whatever comes first. After the grace time the session
/// holds no upstream connection (DESIGN promise 2).
pub(crate) async fn hold(
    shared: &Shared,
    conn: &mut Conn,
    room: Option<&Registration>,
    until: Tick,
) -> Woken {
    let _held = shared.metrics.states.enter(State::Held);
    let due = shared.clock.instant(until);
    let grace = conn.grace_end();
    let mut stop = shared.stop.subscribe();
    let mut eased = shared.eased.subscribe();
    if !shared.policy(&conn.live, conn.listener).enforces() {
        return Woken::Resume;
    }
    let mut paced = conn.paced();
    // It may have been held here before, and asked the machine in between.
    let mut said = conn.session.said() as usize;
    loop {
        let piece = paced
            .as_ref()
            .map_or(due, |paced| shared.clock.instant(paced.next_at(said)));
        let lettable = conn.link.is_lettable();
        tokio::select! {
            biased;
            () = reached(&mut stop, Stop::Draining) => return Woken::Stopped,
            () = woken(room) => return Woken::Resume,
            // If it still has to wait, the machine says so.
            Ok(()) = eased.changed() => return Woken::Resume,
            () = tokio::time::sleep_until(due) => return Woken::Resume,
            () = tokio::time::sleep_until(piece), if paced.is_some() => {
                let paced_text = paced.as_ref().map(|paced| paced.piece(shared.clock.now(), said));
                match conn.stream.try_write(paced_text.unwrap_or_default()) {
                    Ok(count) => said += count,
                    // It does not read. Then there is no sense in more pieces.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => paced = None,
                    Err(_) => return Woken::Gone,
                }
                conn.session.note_said(u32::try_from(said).unwrap_or(u32::MAX));
            }
            () = tokio::time::sleep_until(grace), if lettable => {
                conn.link.let_go();
                return Woken::Free;
            }
            left = conn.stream.left(), if !conn.half_closed => {
                if left == Left::Reset {
                    return Woken::Gone;
                }
                conn.half_closed = true;
                conn.session.note_half_closed();
                conn.link.let_go();
                log_half_closed(conn);
            }
        }
    }
}

/// No record: its hold goes on, and has one when it ends.
fn log_half_closed<S>(conn: &Conn<S>) {
    // Not `tarpit::hold`: those are records, one for each hold.
    tracing::info!(
        target: "tarpit::pit",
        session = %format_args!("tp-{}", conn.session.id()),
        source = %conn.session.source(),
        "client closed its side while held"
    );
}

/// Resolves once the gateway is at least that far in stopping.
pub(crate) async fn reached(stop: &mut watch::Receiver<Stop>, stage: Stop) {
    if stop.wait_for(|stop| *stop >= stage).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn woken(room: Option<&Registration>) {
    match room {
        Some(registration) => registration.notify.notified().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
