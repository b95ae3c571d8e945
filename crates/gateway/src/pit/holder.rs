//! Keeps parcels: their sockets, watched for what their clients do, and their deadlines.
//!
//! It knows no session and no reply. Two live on it: the pit lane of the front, and the keeper,
//! which is another process.
//!
//! A socket is watched once, edge by edge, from the moment it comes to stay until it goes: a held
//! session whose client sends meanwhile makes one event for each burst, and no system call changes
//! what is watched when a session comes to listen. The octets stay in the kernel.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::{ioctl_fionread, read, write};
use tarpit_core::Tick;
use tarpit_core::budget::Load;
use tarpit_core::wheel::Wheel;

use super::parcel::Parcel;
use super::slab::{Key, Slab};

/// Events taken at once. More would let those that are due wait for those that speak.
const EVENTS: usize = 1024;

/// The bell's name among the keys; no place has this number.
const BELL: u64 = u64::MAX;

/// What unread input takes in the kernel at least: one page, whatever the receive buffer says.
pub(crate) const PAGE: u64 = 4096;

/// Parcels, and who of them stirs.
#[derive(Debug)]
pub(crate) struct Holder {
    slab: Slab,
    wheel: Wheel,
    epoll: OwnedFd,
    bell: Arc<OwnedFd>,
    octets: usize,
    unread: u64,
}

/// Room for what the system tells at once. It belongs to one thread.
pub(crate) struct Events(Vec<epoll::Event>);

impl Events {
    pub(crate) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }
}

/// What a client did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stir {
    /// It sent something.
    pub(crate) spoke: bool,
    /// It shut down its sending side.
    pub(crate) closed: bool,
    /// The connection is gone.
    pub(crate) reset: bool,
}

/// Rings for a holder that waits, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    pub(crate) fn ring(&self) {
        // It is full only if it rings already.
        let _ = write(&*self.0, &1_u64.to_ne_bytes());
    }
}

impl Holder {
    /// An empty one.
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub(crate) fn new(now: Tick) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(
            &epoll,
            &bell,
            EventData::new_u64(BELL),
            EventFlags::IN | EventFlags::ET,
        )?;
        Ok(Self {
            slab: Slab::new(),
            wheel: Wheel::new(now),
            epoll,
            bell: Arc::new(bell),
            octets: 0,
            unread: 0,
        })
    }

    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.bell))
    }

    /// Parcels now.
    pub(crate) const fn len(&self) -> usize {
        self.slab.len()
    }

    /// What all parcels take: their places, what hangs on them, and in pages what they have sent and
    /// nobody has read.
    pub(crate) fn load(&self) -> Load {
        Load {
            sessions: self.slab.len() as u64,
            octets: (self.slab.len() * Slab::PLACE_OCTETS + self.octets) as u64 + self.unread,
            unread: self.unread,
        }
    }

    /// For a walk over all: see [`Slab::at`].
    pub(crate) const fn slab(&self) -> &Slab {
        &self.slab
    }

    /// For reading from it and writing to it, by which it may grow or shrink. What changes its
    /// deadline goes through [`Holder::change`].
    pub(crate) fn work<T>(&mut self, key: Key, work: impl FnOnce(&mut Parcel) -> T) -> Option<T> {
        let parcel = self.slab.get_mut(key)?;
        self.octets -= parcel.octets();
        let done = work(parcel);
        self.octets += parcel.octets();
        Some(done)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Parcel> {
        self.slab.get(key)
    }

    /// Takes a parcel in. Its socket is not watched yet: some only pass through here.
    pub(crate) fn put(&mut self, mut parcel: Parcel) -> Key {
        parcel.state.watched = false;
        // What it has not read is told when it is watched.
        parcel.unread_pages = 0;
        let due = parcel.due();
        self.octets += parcel.octets();
        let key = self.slab.insert(parcel);
        self.wheel.insert(&mut self.slab, key.place, due);
        key
    }

    /// Watches a parcel's socket from now on. What its client has done already is told by the next
    /// [`Holder::wait`].
    ///
    /// # Errors
    /// The system can't watch it.
    pub(crate) fn watch(&mut self, key: Key) -> io::Result<()> {
        let Some(parcel) = self
            .slab
            .get_mut(key)
            .filter(|parcel| !parcel.state.watched)
        else {
            return Ok(());
        };
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        let data = EventData::new_u64(key.to_u64());
        epoll::add(&self.epoll, &parcel.socket, data, flags)?;
        parcel.state.watched = true;
        Ok(())
    }

    /// Gives a parcel out. Its socket is watched no more.
    pub(crate) fn take(&mut self, key: Key) -> Option<Parcel> {
        let parcel = self.close(key)?;
        if parcel.state.watched {
            // An error would mean that it was not watched.
            let _ = epoll::delete(&self.epoll, &parcel.socket);
        }
        Some(parcel)
    }

    /// The same for a parcel whose socket is closed: closing ends the watch by itself.
    pub(crate) fn close(&mut self, key: Key) -> Option<Parcel> {
        self.wheel_remove(key)?;
        let parcel = self.slab.remove(key)?;
        self.octets -= parcel.octets();
        self.forget_unread(&parcel);
        Some(parcel)
    }

    /// Changes a parcel; its deadline may be another one then.
    pub(crate) fn change(&mut self, key: Key, change: impl FnOnce(&mut Parcel)) {
        if self.wheel_remove(key).is_none() {
            return;
        }
        let Some(parcel) = self.slab.get_mut(key) else {
            return;
        };
        self.octets -= parcel.octets();
        change(parcel);
        self.octets += parcel.octets();
        let due = parcel.due();
        self.wheel.insert(&mut self.slab, key.place, due);
    }

    /// Notes how much a held client has sent: more than before, or nothing any more.
    pub(crate) fn note_unread(&mut self, key: Key, is_unread: bool) {
        let Some(parcel) = self.slab.get_mut(key) else {
            return;
        };
        let pages = if is_unread {
            let octets = ioctl_fionread(&parcel.socket).unwrap_or(0);
            u32::try_from(octets.div_ceil(PAGE)).unwrap_or(u32::MAX)
        } else {
            0
        };
        self.unread -= u64::from(parcel.unread_pages) * PAGE;
        self.unread += u64::from(pages) * PAGE;
        parcel.unread_pages = pages;
    }

    /// Waits until somebody stirs, somebody is due, or the bell rings; appends who stirred.
    ///
    /// # Errors
    /// The system refuses to watch at all.
    pub(crate) fn wait(
        &self,
        now: Tick,
        longest: Duration,
        Events(events): &mut Events,
        stirred: &mut Vec<(Key, Stir)>,
    ) -> io::Result<()> {
        let due = self.wheel.next_due();
        let time = due.map_or(longest, |due| due.since(now).min(longest));
        let time = Timespec::try_from(time).ok();
        events.clear();
        match epoll::wait(&self.epoll, spare_capacity(events), time.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &*events {
            let name = event.data.u64();
            if name == BELL {
                let mut count = [MaybeUninit::uninit(); 8];
                let _ = read(&*self.bell, &mut count);
                continue;
            }
            let flags = event.flags;
            let stir = Stir {
                spoke: flags.contains(EventFlags::IN),
                closed: flags.contains(EventFlags::RDHUP),
                reset: flags.intersects(EventFlags::ERR | EventFlags::HUP),
            };
            stirred.push((Key::of_u64(name), stir));
        }
        Ok(())
    }

    /// When to look who is due: nobody is before.
    pub(crate) fn next_due(&self) -> Option<Tick> {
        self.wheel.next_due()
    }

    /// Somebody who is due now; the caller changes or takes it. It is in no slot of the wheel until
    /// then.
    pub(crate) fn pop_due(&mut self, now: Tick) -> Option<Key> {
        let place = self.wheel.pop_due(&mut self.slab, now)?;
        self.slab.at(place).map(|(key, _)| key)
    }

    /// `None` if there is no such parcel. One that was popped as due is in no slot, which is fine.
    fn wheel_remove(&mut self, key: Key) -> Option<()> {
        self.slab.get(key)?;
        self.wheel.remove(&mut self.slab, key.place);
        Some(())
    }

    fn forget_unread(&mut self, parcel: &Parcel) {
        self.unread -= u64::from(parcel.unread_pages) * PAGE;
    }
}

/// Readable when somebody has stirred: for who waits for something else too.
impl AsFd for Holder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}
