//! Where sessions wait.
//!
//! A held session is a small task with its [`Conn`] in hand and nothing else: the activity that
//! served it *returned*, so no buffer of it can exist. The pit wakes it when its time has come,
//! when the ledger has room for it, when its client leaves, or when the gateway stops.
//!
//! A client that shut down its sending side (FIN) is noted once, and from then on only the clock is
//! waited for. Its due reply is still tried: `printf | nc -N` is a client too. A reset ends the
//! session at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tarpit_core::Tick;
use tarpit_core::ledger::Ticket;
use tokio::sync::{Notify, watch};

use crate::conn::Conn;
use crate::metrics::State;
use crate::shared::{Shared, Stop};
use crate::stream::Left;

/// Sessions that wait for room in the ledger, by ticket.
#[derive(Debug, Default)]
pub(crate) struct Pit {
    waiting: Mutex<HashMap<Ticket, Arc<Notify>>>,
}

/// Why a hold ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Its time has come, or the ledger may have room.
    Resume,
    /// The client reset the connection.
    Gone,
    /// The gateway stops.
    Stopped,
}

impl Pit {
    /// Makes a session known to [`Pit::wake`]. It must ask the ledger once more after this: a wake
    /// that came earlier went nowhere.
    pub(crate) fn register(self: &Arc<Self>, ticket: Ticket) -> Registration {
        let notify = Arc::new(Notify::new());
        self.lock().insert(ticket, Arc::clone(&notify));
        Registration {
            pit: Arc::clone(self),
            ticket,
            notify,
        }
    }

    /// Lets these ask the ledger again.
    pub(crate) fn wake(&self, tickets: &[Ticket]) {
        let waiting = self.lock();
        for ticket in tickets {
            if let Some(notify) = waiting.get(ticket) {
                notify.notify_one();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Ticket, Arc<Notify>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the pit's list; left when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    pit: Arc<Pit>,
    ticket: Ticket,
    notify: Arc<Notify>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.pit.lock().remove(&self.ticket);
    }
}

/// Waits until `until` or whatever comes first. After the grace time the session holds no upstream
/// connection (DESIGN promise 2).
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
    loop {
        let lettable = conn.link.is_lettable();
        tokio::select! {
            biased;
            () = reached(&mut stop, Stop::Draining) => return Woken::Stopped,
            () = woken(room) => return Woken::Resume,
            () = tokio::time::sleep_until(due) => return Woken::Resume,
            () = tokio::time::sleep_until(grace), if lettable => conn.link.let_go(),
            left = conn.stream.left(), if !conn.half_closed => {
                if left == Left::Reset {
                    return Woken::Gone;
                }
                note_half_closed(conn);
            }
        }
    }
}

fn note_half_closed(conn: &mut Conn) {
    conn.half_closed = true;
    conn.session.note_half_closed();
    conn.link.let_go();
    tracing::info!(
        target: "tarpit::hold",
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
