//! The front's side: who of the keepers takes what, and what comes back.
//!
//! Lanes leave parcels at the [`Keepers`] desk, against the credits that keepers gave; a thread of its
//! own carries them, so that no lane waits and no lock is held over a system call. What comes back
//! goes to the pit; a keeper's end is noticed by its line, and the places of its sessions are free.
//!
//! Of a session over TLS only the socket goes. Its keys stay here ([`veils`]), and the two are put
//! together again when it comes back.

mod line;
mod porter;
mod veils;
mod waiting;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::write;
use tarpit_core::budget::{Load, Surplus};
use tarpit_core::ledger::Ticket;

use super::message::Freight;
use crate::pit::parcel::Veil;
use crate::shared::Shared;
use porter::Porter;
use waiting::Waiting;

/// Keepers at most. With 20,000 descriptors each, a common hard limit in containers, they hold 1.2
/// million sessions.
const KEEPERS_MAX: usize = 64;

/// A keeper is started when the others have less room than this part of its descriptors: when the
/// last of them begins to fill. It takes a second to come where the processor is busy, and ten
/// thousand clients may come meanwhile.
const AHEAD: (usize, usize) = (3, 4);

/// How keepers are started, and where they are found.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of their sockets.
    pub directory: PathBuf,
    /// The program.
    pub program: PathBuf,
    /// What comes before `--directory`.
    pub arguments: Vec<OsString>,
}

/// The desk.
#[derive(Debug)]
pub(crate) struct Keepers {
    desk: Mutex<Desk>,
    bell: OwnedFd,
    held: AtomicUsize,
    veil_octets: AtomicU64,
    octets: AtomicU64,
    unread: AtomicU64,
    /// Credit that is to be there always.
    ahead: usize,
    /// Sessions that the lanes hold themselves before they look for keepers.
    pub(crate) spared: usize,
}

/// A parcel with its socket.
#[derive(Debug)]
pub(crate) struct Cargo {
    pub(crate) freight: Freight,
    pub(crate) socket: OwnedFd,
    /// TLS, where it is spoken. It does not go to the keeper.
    pub(crate) veil: Option<Box<Veil>>,
}

impl Cargo {
    /// TLS is spoken on its socket, and the keys are not here: nothing can be said to it.
    pub(crate) const fn is_mute(&self) -> bool {
        self.freight.veil.is_some() && self.veil.is_none()
    }
}

#[derive(Debug, Default)]
struct Desk {
    counters: Vec<Counter>,
    /// Those that may be recalled.
    waiting: Waiting,
    /// There was a parcel that nobody had room for, or will be soon.
    is_short: bool,
    /// The bell was rung for what lies here.
    is_rung: bool,
    is_closed: bool,
    /// The gateway drains: all come back, and nobody is taken any more.
    is_draining: bool,
    /// All are to come back: a mode was left.
    is_eased: bool,
    /// How often that was so.
    eases: u64,
    sheds: Sheds,
}

/// How far the keepers are in shedding their part.
#[derive(Clone, Copy, Debug, Default)]
enum Sheds {
    #[default]
    No,
    Wanted(Surplus),
    /// They were asked, and have not told yet what is left.
    Asked(Surplus),
}

/// What the desk knows of a keeper.
#[derive(Debug, Default)]
struct Counter {
    line: u32,
    free: usize,
    cargo: Vec<Cargo>,
    recalls: Vec<u64>,
}

impl Keepers {
    /// Opens the desk. The first keeper is started at once if one `is_needed` for all that may be
    /// held, so that it is there when many come at once; more when they are needed. Those that an
    /// earlier front left are taken over.
    ///
    /// # Errors
    /// There is no descriptor or no thread for it.
    pub(crate) fn start(
        shared: &Arc<Shared>,
        settings: Settings,
        spared: usize,
        is_needed: bool,
    ) -> std::io::Result<Arc<Self>> {
        let keepers = Arc::new(Self::open(spared, is_needed)?);
        let porter = Porter::new(Arc::downgrade(shared), Arc::clone(&keepers), settings);
        std::thread::Builder::new()
            .name("keepers".to_owned())
            .spawn(move || porter.run())?;
        Ok(keepers)
    }

    /// A desk with nobody behind it.
    fn open(spared: usize, is_needed: bool) -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            desk: Mutex::new(Desk {
                is_short: is_needed,
                ..Desk::default()
            }),
            bell,
            held: AtomicUsize::new(0),
            veil_octets: AtomicU64::new(0),
            octets: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            ahead: porter::descriptors() / AHEAD.1 * AHEAD.0,
            spared,
        })
    }

    /// How often a mode was left.
    pub(crate) fn eases(&self) -> u64 {
        self.lock().eases
    }

    /// Leaves a parcel here; or gives it back if no keeper has room for it now, or if a mode was left
    /// since `eases` was asked for: it may not have to wait any more, and would come too late to be
    /// called back with the others.
    ///
    /// # Errors
    /// The parcel.
    pub(crate) fn put(&self, cargo: Cargo, eases: u64) -> Result<(), Box<Cargo>> {
        if !cargo.freight.fits() {
            return Err(Box::new(cargo));
        }
        let mut desk = self.lock();
        if desk.is_closed || desk.is_draining || desk.eases != eases {
            return Err(Box::new(cargo));
        }
        let was_rung = std::mem::replace(&mut desk.is_rung, true);
        let left: usize = desk.counters.iter().map(|counter| counter.free).sum();
        desk.is_short |= left < self.ahead;
        let Some(counter) = desk.counters.iter_mut().find(|counter| counter.free > 0) else {
            drop(desk);
            self.ring_unless(was_rung);
            return Err(Box::new(cargo));
        };
        let (line, source) = (counter.line, cargo.freight.source);
        let ticket = cargo.freight.ticket;
        counter.free -= 1;
        counter.cargo.push(cargo);
        if let Some(ticket) = ticket {
            desk.waiting.add(ticket, line, source);
        }
        drop(desk);
        self.ring_unless(was_rung);
        Ok(())
    }

    /// The ledger may have room for these, if they wait at a keeper.
    pub(crate) fn recall(&self, tickets: impl IntoIterator<Item = Ticket>) {
        let mut desk = self.lock();
        let mut is_any = false;
        for Ticket(ticket) in tickets {
            let Some(line) = desk.waiting.line_of(ticket) else {
                continue;
            };
            if let Some(counter) = desk.counters.iter_mut().find(|one| one.line == line) {
                counter.recalls.push(ticket);
                is_any = true;
            }
        }
        drop(desk);
        if is_any {
            self.ring();
        }
    }

    /// Calls all back: a mode was left, and the front has the word.
    pub(crate) fn ease(&self) {
        let mut desk = self.lock();
        desk.is_eased = true;
        desk.eases += 1;
        drop(desk);
        self.ring();
    }

    /// Sessions that they hold.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Octets of memory that TLS of the sessions there takes here.
    pub(crate) fn veil_octets(&self) -> u64 {
        self.veil_octets.load(Ordering::Relaxed)
    }

    /// What their sessions take, as far as they have told, and with what stays of them here. What they
    /// shed is gone from it as soon as it is wanted: else those who share the surplus would shed it
    /// again and again until it is told.
    pub(crate) fn load(&self) -> Load {
        let sheds = self.lock().sheds;
        let left = |count: u64| match sheds {
            Sheds::No => count,
            Sheds::Wanted(surplus) | Sheds::Asked(surplus) => count - surplus.of(count),
        };
        Load {
            sessions: self.held() as u64,
            octets: left(self.octets.load(Ordering::Relaxed) + self.veil_octets()),
            unread: left(self.unread.load(Ordering::Relaxed)),
        }
    }

    /// Lets them shed their part of a surplus, if they are not at it already.
    pub(crate) fn shed(&self, surplus: Surplus) {
        let mut desk = self.lock();
        if matches!(desk.sheds, Sheds::No) && !desk.counters.is_empty() {
            desk.sheds = Sheds::Wanted(surplus);
            drop(desk);
            self.ring();
        }
    }

    /// Keepers now.
    pub(crate) fn count(&self) -> usize {
        self.lock().counters.len()
    }

    /// Parts from all keepers, so that another front may have them: their sessions are its from now
    /// on. Those over TLS, whose keys it does not have, come back here first.
    pub(crate) fn release(&self) {
        self.lock().is_closed = true;
        self.ring();
    }

    fn ring_unless(&self, was_rung: bool) {
        if !was_rung {
            self.ring();
        }
    }

    fn ring(&self) {
        // It is full only if it rings already.
        let _ = write(&self.bell, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
