//! The old front: gives, and goes on if it is not taken.
//!
//! The listeners are kept until all who wait have gone over. Should the successor end before that, this
//! process accepts again, and goes on with whom it still has; so it stays the main process until then.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::message::{Door, Message, PIECE_MAX};
use super::parcels::{Turn, carry};
use super::wire::{SOCKETS_MAX, Wire};
use super::{HandOverError, READY_MAX, STEP_MAX, WireError};
use crate::listen::{Bound, Served};
use crate::shared::{Shared, Stop};

/// What was handed over, and the line on which the rest goes.
#[derive(Debug)]
pub struct Handed {
    /// Gives the line back when it has nothing more to carry.
    carrier: JoinHandle<Option<Line>>,
    over: oneshot::Sender<()>,
    shared: Arc<Shared>,
}

impl Handed {
    /// The last session has ended here or is on its way: what is still to be carried, and the debts
    /// that were made since.
    pub async fn finish(self) {
        // An error means that the carrier has ended already.
        let _ = self.over.send(());
        let Ok(Some(line)) = self.carrier.await else {
            return;
        };
        for message in ledger(&self.shared).await {
            if !line.say_if_it_can(&message).await {
                return;
            }
        }
    }
}

/// The line with its limits.
#[derive(Debug)]
pub(super) struct Line(pub(super) Wire);

impl Line {
    pub(super) async fn say(
        &self,
        message: &Message,
        sockets: &[BorrowedFd<'_>],
    ) -> Result<(), HandOverError> {
        match tokio::time::timeout(STEP_MAX, self.0.send(message, sockets)).await {
            Ok(sent) => sent.map_err(gone_is_ended),
            Err(_) => Err(HandOverError::Slow {
                what: "reading",
                limit: STEP_MAX,
            }),
        }
    }

    /// Whether it was said. Whoever is not there to hear it serves already, and loses little.
    pub(super) async fn say_if_it_can(&self, message: &Message) -> bool {
        let said = self.say(message, &[]).await;
        if let Err(error) = &said {
            tracing::warn!(target: "tarpit::upgrade", %error, "the successor did not hear everything");
        }
        said.is_ok()
    }

    async fn hear(
        &mut self,
        wanted: &Message,
        what: &'static str,
        limit: Duration,
    ) -> Result<(), HandOverError> {
        let heard = tokio::time::timeout(limit, self.0.receive()).await;
        match heard.map_err(|_| HandOverError::Slow { what, limit })? {
            Ok(Some((message, _))) if message == *wanted => Ok(()),
            Ok(Some((Message::Failed(reason), _))) => Err(HandOverError::Failed(reason)),
            Ok(Some((other, _))) => Err(HandOverError::OutOfTurn(format!("{other:?}"))),
            Ok(None) => Err(HandOverError::Ended),
            Err(error) => Err(gone_is_ended(error)),
        }
    }
}

pub(super) fn gone_is_ended(error: WireError) -> HandOverError {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    match error {
        WireError::System(error)
            if matches!(error.kind(), BrokenPipe | ConnectionReset | NotConnected) =>
        {
            HandOverError::Ended
        }
        error => HandOverError::Wire(error),
    }
}

/// What the process around the gateway does about its successor.
pub struct Steps<S, M> {
    /// It accepts: it is no longer to be killed without a word.
    pub serves: S,
    /// It has everything: the service manager is told that it is the main process now.
    pub make_main: M,
}

/// Gives the successor at the other end of `socket` what is listened on, what is owed and who waits.
/// If it does not take it, all that is left goes on here.
pub(crate) async fn give(
    shared: &Arc<Shared>,
    served: &std::sync::Mutex<Vec<Served>>,
    socket: OwnedFd,
    steps: Steps<impl FnOnce(), impl FnOnce()>,
) -> Result<Handed, HandOverError> {
    let mut line = Line(Wire::new(socket).map_err(WireError::from)?);
    offer(&line, served).await?;
    line.hear(&Message::Ready, "ready", READY_MAX).await?;
    // Before the pause: with a million sources it takes a second. What is owed from here on comes
    // with the last snapshot, when the last session has ended.
    for message in ledger(shared).await {
        line.say(&message, &[]).await?;
    }
    line.hear(&Message::Noted, "done with the ledger", READY_MAX)
        .await?;
    if *shared.stop.borrow() != Stop::No {
        return Err(HandOverError::Draining);
    }
    // From here to its `Serving` nobody accepts.
    let paused = pause(served).await;
    let taken = async {
        line.say(&Message::Serve, &[]).await?;
        line.hear(&Message::Serving, "serving", STEP_MAX).await
    };
    if let Err(error) = taken.await {
        resume(shared, served, paused);
        return Err(error);
    }
    (steps.serves)();
    // Unless we were told to drain meanwhile.
    change_stop(shared, Stop::No, Stop::Leaving);
    let (handed, through, known) = hand_over_pit(shared, line);
    // The sender is gone without a word only with the runtime.
    if let Err(error) = through.await.unwrap_or(Err(HandOverError::Ended)) {
        change_stop(shared, Stop::Leaving, Stop::No);
        resume(shared, served, paused);
        return Err(error);
    }
    drop(paused);
    // It looks for them, and takes those that nobody has.
    shared.pit.release_keepers();
    (steps.make_main)();
    // An error: the line has ended, and the carrier with it.
    let _ = known.send(());
    Ok(handed)
}

fn change_stop(shared: &Shared, from: Stop, to: Stop) {
    shared.stop.send_if_modified(|stop| {
        let is_so = *stop == from;
        if is_so {
            *stop = to;
        }
        is_so
    });
}

/// Accepts again, unless we were told to drain meanwhile.
fn resume(shared: &Arc<Shared>, served: &std::sync::Mutex<Vec<Served>>, paused: Vec<Bound>) {
    if *shared.stop.borrow() == Stop::No {
        let again = paused
            .into_iter()
            .map(|bound| bound.serve(Arc::clone(shared)));
        lock(served).extend(again);
    }
}

type Through = oneshot::Receiver<Result<(), HandOverError>>;

/// Those who wait go too, and those who will. It is told when the former have gone, or why not; and
/// is to be told when the manager knows the successor.
fn hand_over_pit(shared: &Arc<Shared>, line: Line) -> (Handed, Through, oneshot::Sender<()>) {
    let (sender, parcels) = mpsc::unbounded_channel();
    let (over, is_over) = oneshot::channel();
    let (through, is_through) = oneshot::channel();
    let (known, is_known) = oneshot::channel();
    let (walks, walking) = mpsc::channel(1);
    shared.pit.hand_over(&sender, &walks);
    let turn = Turn {
        walking,
        through,
        is_known,
    };
    let handed = Handed {
        carrier: tokio::spawn(carry(line, Arc::clone(shared), parcels, turn, is_over)),
        over,
        shared: Arc::clone(shared),
    };
    (handed, is_through, known)
}

/// Sends copies of the sockets; ours go on.
async fn offer(line: &Line, served: &std::sync::Mutex<Vec<Served>>) -> Result<(), HandOverError> {
    let listeners: Vec<_> = lock(served).iter().map(Served::share).collect();
    let mut left = listeners.len();
    for some in listeners.chunks(SOCKETS_MAX) {
        left -= some.len();
        let list = some
            .iter()
            .map(|bound| Door {
                name: bound.name.clone(),
                asked: bound.asked,
            })
            .collect();
        let sockets: Vec<_> = some.iter().map(|bound| bound.socket.as_fd()).collect();
        let more = left > 0;
        line.say(&Message::Listeners { more, list }, &sockets)
            .await?;
    }
    if listeners.is_empty() {
        let (more, list) = (false, Vec::new());
        line.say(&Message::Listeners { more, list }, &[]).await?;
    }
    Ok(())
}

/// Stops to accept, and keeps the sockets.
async fn pause(served: &std::sync::Mutex<Vec<Served>>) -> Vec<Bound> {
    let all = std::mem::take(&mut *lock(served));
    let mut paused = Vec::with_capacity(all.len());
    for one in all {
        paused.push(one.pause().await);
    }
    paused
}

fn lock(served: &std::sync::Mutex<Vec<Served>>) -> std::sync::MutexGuard<'_, Vec<Served>> {
    served
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A snapshot of the ledger in pieces.
async fn ledger(shared: &Arc<Shared>) -> Vec<Message> {
    let shared = Arc::clone(shared);
    let taken = tokio::task::spawn_blocking(move || shared.ledger_snapshot()).await;
    // A panic in it is a bug of ours, which the log has by then: mail goes before debts.
    let snapshot = taken.unwrap_or_default();
    let count = snapshot.len().div_ceil(PIECE_MAX).max(1);
    let mut pieces = snapshot.chunks(PIECE_MAX);
    (1..=count)
        .map(|at| Message::Ledger {
            last: at == count,
            piece: pieces.next().unwrap_or_default().to_vec(),
        })
        .collect()
}
