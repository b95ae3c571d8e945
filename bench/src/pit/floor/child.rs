//! One process of the floor; its standard input is the listener.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{SendFlags, SocketFlags};

use crate::pit::machine;

/// The key of the listener in the epoll set.
const LISTENER: u64 = u64::MAX;

const EVENTS: usize = 1024;

/// Lower than what serves mail, as the pit's threads are.
const NICE: i32 = 10;

const GREETING: &[u8] = b"220 floor.example.org\r\n";
const OK: &[u8] = b"250 Ok\r\n";
const REFUSED: &[u8] = b"550 5.1.1 No such user\r\n";

struct Held {
    socket: OwnedFd,
    /// Tells a session from the next one in the same place.
    generation: u32,
    is_held: bool,
    /// Something came while it was held.
    is_unread: bool,
}

struct Due {
    at: u32,
    generation: u32,
    when: Instant,
}

struct Child {
    set: OwnedFd,
    hold: Duration,
    room: usize,
    accepts: bool,
    sessions: Vec<Option<Held>>,
    free: Vec<u32>,
    /// All are held equally long, so that they come due in their order.
    due: VecDeque<Due>,
    generation: u32,
}

/// Serves until it is killed.
pub(crate) fn run(room: u64, hold: Duration) -> Result<()> {
    machine::raise_descriptors()?;
    // Its standard input has no end that would tell it that nobody needs it any more.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    rustix::process::nice(NICE).context("lower priority")?;
    let mut child = Child {
        set: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        hold,
        room: usize::try_from(room)?,
        accepts: false,
        sessions: Vec::new(),
        free: Vec::new(),
        due: VecDeque::new(),
        generation: 0,
    };
    child.listen()?;
    let mut events = Vec::with_capacity(EVENTS);
    loop {
        let timeout = child.timeout();
        match epoll::wait(&child.set, spare_capacity(&mut events), timeout.as_ref()) {
            Err(Errno::INTR) => continue,
            waited => waited.context("waiting for events")?,
        };
        for event in events.drain(..) {
            let (data, flags) = (event.data, event.flags);
            if data.u64() == LISTENER {
                child.accept()?;
            } else {
                child.event(data.u64(), flags);
            }
        }
        child.turn();
        child.listen()?;
    }
}

impl Child {
    /// Watches the listener while there is room.
    fn listen(&mut self) -> Result<()> {
        let has_room = self.sessions.len() - self.free.len() < self.room;
        if has_room == self.accepts {
            return Ok(());
        }
        self.accepts = has_room;
        if has_room {
            let data = epoll::EventData::new_u64(LISTENER);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::EXCLUSIVE;
            epoll::add(&self.set, io::stdin(), data, flags).context("the listener")
        } else {
            epoll::delete(&self.set, io::stdin()).context("the listener")
        }
    }

    fn accept(&mut self) -> Result<()> {
        // As many as one turn of events; the others of us want some too.
        for _ in 0..64 {
            if self.sessions.len() - self.free.len() >= self.room {
                return Ok(());
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match rustix::net::accept_with(io::stdin(), flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(()),
                Err(error) => return Err(error).context("accepting"),
            };
            let free = self.free.pop();
            let at = free.map_or(self.sessions.len(), |at| at as usize);
            let data = epoll::EventData::new_u64(at as u64);
            let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
            epoll::add(&self.set, &socket, data, flags).context("a session")?;
            say(&socket, GREETING);
            self.generation = self.generation.wrapping_add(1);
            let held = Some(Held {
                socket,
                generation: self.generation,
                is_held: false,
                is_unread: false,
            });
            match self.sessions.get_mut(at) {
                Some(place) => *place = held,
                None => self.sessions.push(held),
            }
        }
        Ok(())
    }

    fn event(&mut self, number: u64, flags: epoll::EventFlags) {
        let Ok(at) = usize::try_from(number) else {
            return;
        };
        let Some(Some(held)) = self.sessions.get_mut(at) else {
            return;
        };
        let gone = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(gone) {
            self.remove(at);
        } else if held.is_held {
            held.is_unread = true;
        } else {
            self.read(at);
        }
    }

    fn remove(&mut self, at: usize) {
        if self.sessions.get_mut(at).and_then(Option::take).is_some() {
            self.free.push(u32::try_from(at).unwrap_or(u32::MAX));
        }
    }

    /// Answers all lines that are here, each by its first letter.
    fn read(&mut self, at: usize) {
        let Some(Some(held)) = self.sessions.get_mut(at) else {
            return;
        };
        let mut buffer = [0; 4096];
        held.is_unread = false;
        let read = match rustix::io::read(&held.socket, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return,
            Ok(read) if read > 0 => read,
            _ => return self.remove(at),
        };
        for line in buffer[..read].split_inclusive(|octet| *octet == b'\n') {
            match line.first() {
                // What was sent ahead of a line and passed over lacks its first letter.
                Some(b'R' | b'C') => {
                    held.is_held = true;
                    self.due.push_back(Due {
                        at: u32::try_from(at).unwrap_or(u32::MAX),
                        generation: held.generation,
                        when: Instant::now() + self.hold,
                    });
                    return;
                }
                Some(b'Q') => return self.remove(at),
                _ => say(&held.socket, OK),
            }
        }
    }

    /// Says what is due.
    fn turn(&mut self) {
        let now = Instant::now();
        while self.due.front().is_some_and(|due| due.when <= now) {
            let Some(due) = self.due.pop_front() else {
                return;
            };
            let at = due.at as usize;
            let Some(Some(held)) = self.sessions.get_mut(at) else {
                continue;
            };
            if held.generation != due.generation {
                continue;
            }
            held.is_held = false;
            say(&held.socket, REFUSED);
            if held.is_unread {
                self.read(at);
            }
        }
    }

    fn timeout(&self) -> Option<Timespec> {
        let due = self.due.front()?;
        let left = due.when.saturating_duration_since(Instant::now());
        Some(Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        })
    }
}

/// A client that is gone shows by its event.
fn say(socket: &OwnedFd, text: &[u8]) {
    let _gone = rustix::net::send(socket, text, SendFlags::NOSIGNAL);
}
