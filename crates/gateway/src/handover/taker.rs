//! The successor: takes what it is given, and says so.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::message::{Door, Held, Message};
use super::parcels;
use super::wire::Wire;
use super::{STEP_MAX, WireError};
use crate::listen::Bound;
use crate::runtime::is_own_user;
use crate::shared::Shared;

/// Octets of a ledger at most: far more than the largest takes (10 million sources), so that a
/// predecessor without measure does not take our memory.
const LEDGER_MAX: usize = 1 << 30;

/// Listeners at most; a configuration has a few.
const LISTENERS_MAX: usize = 4096;

/// What a predecessor gave, and the line to it.
#[derive(Debug)]
pub struct Estate {
    wire: Wire,
    listeners: Vec<(Door, OwnedFd)>,
    ledger: Vec<u8>,
}

/// Tells a predecessor that it can't be done.
pub async fn refuse(socket: OwnedFd, reason: &str) {
    if let Ok(wire) = Wire::new(socket) {
        tell_why(wire, reason).await;
    }
}

/// Says why, and waits until it is heard: a socket that is closed with something unread in it is
/// reset, and the reset overtakes what was said.
async fn tell_why(mut wire: Wire, reason: &str) {
    let failed = Message::Failed(reason.to_owned());
    let told = async {
        wire.send(&failed, &[]).await?;
        while wire.receive().await?.is_some() {}
        Ok::<(), WireError>(())
    };
    // If it can't hear it, it sees that we end.
    let _ = tokio::time::timeout(STEP_MAX, told).await;
}

impl Estate {
    /// Takes over what the predecessor at the other end of `socket` listens on. It still accepts.
    ///
    /// # Errors
    /// There is no predecessor of our own user, or it speaks another language.
    pub async fn receive(socket: OwnedFd) -> Result<Self, WireError> {
        if !is_own_user(&socket)? {
            let why = "the predecessor belongs to another user";
            return Err(std::io::Error::other(why).into());
        }
        let mut estate = Self {
            wire: Wire::new(socket)?,
            listeners: Vec::new(),
            ledger: Vec::new(),
        };
        loop {
            let heard = tokio::time::timeout(STEP_MAX, estate.wire.receive());
            let heard = heard.await.map_err(|_| unexpected("nothing"))??;
            let Some((Message::Listeners { more, list }, sockets)) = heard else {
                return Err(unexpected("something else"));
            };
            estate.listeners.extend(list.into_iter().zip(sockets));
            if estate.listeners.len() > LISTENERS_MAX {
                return Err(unexpected("too many listeners"));
            }
            if !more {
                return Ok(estate);
            }
        }
    }

    /// Tells the predecessor that we can't.
    pub async fn refuse(self, reason: &str) {
        tell_why(self.wire, reason).await;
    }

    /// The listener of this name and address; failing that, the one with this address, if it is not
    /// a free port: a listener may have got another name.
    pub(crate) fn take(
        &mut self,
        name: &str,
        asked: std::net::SocketAddr,
    ) -> std::io::Result<Option<Bound>> {
        let find = |fits: &dyn Fn(&Door) -> bool| {
            let mut doors = self.listeners.iter();
            doors.position(|(door, _)| door.asked == asked && fits(door))
        };
        let found = find(&|door| *door.name == *name).or_else(|| find(&|_| asked.port() != 0));
        let Some(at) = found else { return Ok(None) };
        let (_, socket) = self.listeners.swap_remove(at);
        Bound::of(name, asked, socket).map(Some)
    }

    /// Says that everything is at hand, and waits until the predecessor has stopped to accept. One
    /// that is gone accepts nobody.
    pub(crate) async fn wait_for_turn(&mut self, shared: &Arc<Shared>) -> Result<(), WireError> {
        // What the configuration no longer names: closed in the predecessor with its own copy.
        self.listeners.clear();
        self.wire.send(&Message::Ready, &[]).await?;
        loop {
            match self.wire.receive().await? {
                Some((Message::Serve, _)) => return Ok(()),
                Some((message, _)) => self.note(message, shared).await?,
                None => {
                    tracing::warn!(target: "tarpit::upgrade", "the predecessor is gone");
                    return Ok(());
                }
            }
        }
    }

    /// Says that clients are served.
    pub(crate) async fn begin(&self) {
        // If it is gone, we serve all the same.
        let _ = self.wire.send(&Message::Serving, &[]).await;
    }

    /// Takes what comes until the predecessor's last session has ended. `known` is told when the
    /// service manager knows us; dropped, if the predecessor is gone before.
    ///
    /// # Errors
    /// The line broke before that: the predecessor goes on, and ends us. `known` is neither told nor
    /// dropped.
    pub(crate) async fn attend(
        mut self,
        shared: Arc<Shared>,
        known: oneshot::Sender<()>,
    ) -> Result<(), oneshot::Sender<()>> {
        let mut known = Some(known);
        loop {
            let noted = match self.wire.receive().await {
                Ok(Some((Message::Parcels(list), sockets))) => {
                    self.take_parcels(list, sockets, &shared).await
                }
                Ok(Some((Message::Main, _))) => {
                    // An error: we are ending.
                    let _ = known.take().map(|known| known.send(()));
                    Ok(())
                }
                Ok(Some((message, _))) => self.note(message, &shared).await,
                Ok(None) => break,
                Err(error) => Err(error),
            };
            if let Err(error) = noted {
                tracing::warn!(target: "tarpit::upgrade", %error, "what the predecessor says can't be read");
                return known.map_or(Ok(()), Err);
            }
        }
        tracing::info!(target: "tarpit::upgrade", "the predecessor has ended");
        Ok(())
    }

    /// They are the predecessor's until it hears that they are ours; if it can't, it keeps them.
    async fn take_parcels(
        &self,
        list: Vec<Held>,
        sockets: Vec<OwnedFd>,
        shared: &Arc<Shared>,
    ) -> Result<(), WireError> {
        self.wire.send(&Message::Taken, &[]).await?;
        for (held, socket) in list.into_iter().zip(sockets) {
            parcels::take(shared, held, socket);
        }
        Ok(())
    }

    async fn note(&mut self, message: Message, shared: &Arc<Shared>) -> Result<(), WireError> {
        let Message::Ledger { last, piece } = message else {
            return Ok(());
        };
        if self.ledger.len() + piece.len() > LEDGER_MAX {
            return Err(unexpected("a ledger without end"));
        }
        self.ledger.extend(piece);
        if last {
            let (ledger, shared) = (std::mem::take(&mut self.ledger), Arc::clone(shared));
            // A panic in it is a bug of ours, which the log has by then: mail goes before debts.
            let _ = tokio::task::spawn_blocking(move || shared.restore_ledger(&ledger)).await;
            // After the last one nobody may be there to hear it.
            let _ = self.wire.send(&Message::Noted, &[]).await;
        }
        Ok(())
    }
}

fn unexpected(what: &str) -> WireError {
    WireError::Unreadable(format!("the predecessor said {what}"))
}
