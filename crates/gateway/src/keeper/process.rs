//! The keeper's own process: one thread, one epoll set for its parcels, one line to the front.
//!
//! It says what is due, and gives back what it can't go on with. Who can't be given back, since no
//! front is there, hears 421 after [`ORPHAN_WAIT`]; who has nothing due but a decision of the front,
//! at once.
//!
//! Of a session over TLS only the socket is here; the keys stay in the front. Nothing is ever
//! written to such a socket or read from it: it goes back when it is due or its client stirs. A front
//! that dies takes the keys with it, so that these sessions end with it, without a word. To let them
//! wait as others do was rejected: nobody could ever say anything to them.

mod alone;
mod parcels;
mod serve;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use tarpit_core::budget::Load;
use tarpit_core::{Paced, Source, Tick};

use super::link::{Link, LinkError, Sent};
use super::message::{Freight, Message, Why, fitting};
use super::place::Door;
use super::squeeze::Sample;
use super::tail::{Body, Tail};
use crate::clock::Clock;
use crate::pit::holder::{Events, Holder, Stir};
use crate::pit::parcel::{Parcel, seconds};
use crate::pit::slab::Key;
use crate::priority::NICE;
use crate::slack::Slack as _;
use parcels::{freight_of, is_veiled, parcel_of, sample_of};

/// How long a client that spoke waits for a new front, when the old one is dead: a restart takes a
/// few seconds. Clients wait for a reply for five minutes (RFC 5321 §4.5.3.2).
pub(crate) const ORPHAN_WAIT: Duration = Duration::from_secs(30);

/// Descriptors that are not for sockets of clients: the standard three, the line, the door, who knocks
/// there, the set and its bell, and some for what a library may open.
const OWN_DESCRIPTORS: usize = 32;

/// The longest sleep. Nothing depends on it: it bounds what a mistake in a deadline could do.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// After each turn. To be woken for each client, and for each word of the front about it, costs more
/// than to hear them: so those of this time are heard at once. Nobody who is held notices. Not while some
/// wait to go back.
const REST: Duration = Duration::from_millis(10);

/// While the kernel counts too many sockets in flight, sending is tried again this often.
const CROWDED_SLEEP: Duration = Duration::from_millis(5);

/// Messages read in one round. More would let those that are due wait.
const MESSAGES: usize = 64;

/// How often the front is told what the sessions take, while that changes. What it does about it is
/// a matter of seconds.
const LOAD_EVERY: Duration = Duration::from_millis(500);

/// Parcels that are made ready to leave ahead of the credit, when all are to go.
const READY: usize = 512;

/// The keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    clock: Clock,
    holder: Holder,
    door: Option<Door>,
    link: Option<Link>,
    /// What clients hear that nobody can serve.
    farewell: Box<[u8]>,
    /// Sockets that it may hold.
    room: usize,
    /// The first session that came: what others look like. It can't be changed while one of them is
    /// kept.
    sample: Option<Sample>,
    /// Those that may be recalled.
    tickets: HashMap<u64, Key>,
    returning: VecDeque<Returning>,
    /// Those that were sent back and that the front has not said it has. If it ends before, they are
    /// still here.
    sent: VecDeque<Returning>,
    gone: VecDeque<Freight>,
    /// Whose sessions there are, for a front that is new.
    tell: VecDeque<Source>,
    /// What the front knows of the load, and when it may hear of it again.
    told: Load,
    tell_at: Tick,
    /// How often this front has asked to shed some.
    sheds: u64,
    /// The walk over those that go back, if one is under way.
    walk: Option<Walk>,
    releasing: Releasing,
    /// Since when there is no front.
    alone: Option<Tick>,
    /// How long clients wait for one.
    orphan_wait: Duration,
    crowded: bool,
    counts: Counts,
}

/// A parcel on its way back.
#[derive(Debug)]
struct Returning {
    parcel: Parcel,
    why: Why,
    since: Tick,
}

/// Where a walk goes on, and whom it gives back.
#[derive(Clone, Copy, Debug)]
struct Walk {
    place: u32,
    whom: Whom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    All,
    /// Those over TLS.
    Veiled,
}

/// How far the parting from a front is that makes way for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Releasing {
    No,
    Asked,
    Done,
}

/// What is told in the log at the end.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    kept: u64,
    said: u64,
    returned: u64,
    gone: u64,
    lost: u64,
    ended_alone: u64,
}

/// What came of saying something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    All,
    /// The client does not take it now.
    Part,
    Gone,
}

/// Runs a keeper whose front is at the other end of standard input, until it has no front and holds
/// nothing. `directory` is where a new front may look for it.
///
/// # Errors
/// Standard input is no line to a front, or there are no descriptors.
pub fn run(directory: &Path) -> io::Result<()> {
    let stdin = rustix::stdio::stdin();
    let line = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    // A second copy would keep the line open.
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    // Not to be refused where it is already so.
    let _ = setpriority_process(None, NICE);
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    let _ = setrlimit(Resource::Nofile, limit);
    let limit = getrlimit(Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    let pid = std::process::id();
    let door = Door::open(directory, pid).inspect_err(|error| {
        tracing::warn!(
            target: "tarpit::keeper",
            %error,
            directory = %directory.display(),
            "no new front will find this keeper"
        );
    });
    let mut keeper = Keeper::new(line, door.ok(), limit.saturating_sub(OWN_DESCRIPTORS))?;
    tracing::info!(target: "tarpit::keeper", pid, room = keeper.room, "keeper ready");
    keeper.run()
}

impl Keeper {
    /// A keeper with this line to its front, for `room` sockets.
    ///
    /// # Errors
    /// There are no descriptors for it.
    pub(crate) fn new(line: OwnedFd, door: Option<Door>, room: usize) -> io::Result<Self> {
        let clock = Clock::start();
        Ok(Self {
            holder: Holder::new(clock.now())?,
            clock,
            door,
            link: Some(Link::new(line)),
            farewell: Box::default(),
            room,
            sample: None,
            tickets: HashMap::new(),
            returning: VecDeque::new(),
            sent: VecDeque::new(),
            gone: VecDeque::new(),
            tell: VecDeque::new(),
            told: Load::default(),
            tell_at: Tick::ZERO,
            sheds: 0,
            walk: None,
            releasing: Releasing::No,
            alone: None,
            orphan_wait: ORPHAN_WAIT,
            crowded: false,
            counts: Counts::default(),
        })
    }

    /// Until it has no front and holds nothing.
    ///
    /// # Errors
    /// The system refuses to wait.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        let mut events = Events::new();
        let mut stirred = Vec::new();
        while self.link.is_some() || self.held() > 0 {
            let is_knocked_at = self.wait()?;
            let now = self.clock.now();
            self.holder
                .wait(now, Duration::ZERO, &mut events, &mut stirred)?;
            self.hear_front();
            if is_knocked_at {
                self.open_door();
            }
            for (key, stir) in stirred.drain(..) {
                self.stir(key, stir);
            }
            let now = self.clock.now();
            while let Some(key) = self.holder.pop_due(now) {
                self.due(key, now);
            }
            self.walk_on();
            self.tell_front();
            self.give_up(now);
            self.slacken();
            if self.returning.is_empty() {
                std::thread::sleep(REST);
            }
        }
        let counts = self.counts;
        tracing::info!(
            target: "tarpit::keeper",
            pid = std::process::id(),
            kept = counts.kept,
            said = counts.said,
            returned = counts.returned,
            gone = counts.gone,
            lost = counts.lost,
            ended_alone = counts.ended_alone,
            "keeper ends"
        );
        Ok(())
    }

    /// All that came within a second is due within one.
    fn slacken(&mut self) {
        self.returning.slacken();
        self.sent.slacken();
        self.gone.slacken();
        self.tell.slacken();
    }

    /// Sockets that it holds.
    fn held(&self) -> usize {
        self.holder.len() + self.returning.len() + self.sent.len()
    }

    /// Waits for a client, the front, a new front, or the time. Whether somebody knocks.
    fn wait(&self) -> io::Result<bool> {
        let mut watched = vec![PollFd::new(&self.holder, PollFlags::IN)];
        if let Some(link) = &self.link {
            let wants_out = !self.crowded && self.has_to_send(link);
            let flags = if wants_out {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            };
            watched.push(PollFd::from_borrowed_fd(link.as_fd(), flags));
        }
        if let Some(door) = &self.door {
            watched.push(PollFd::new(&door.socket, PollFlags::IN));
        }
        let time = Timespec::try_from(self.sleep()).ok();
        match poll(&mut watched, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let door = watched.last().filter(|_| self.door.is_some());
        Ok(door.is_some_and(|door| !door.revents().is_empty()))
    }

    fn sleep(&self) -> Duration {
        let now = self.clock.now();
        let due = self.holder.next_due().map(|due| due.since(now));
        let orphan = self.next_orphan().map(|end| end.since(now));
        let crowded = self.crowded.then_some(CROWDED_SLEEP);
        let is_told = self.link.is_none() || self.told == self.holder.load();
        // When it is due already, the line has no room for it, and wakes us when it has.
        let load = (!is_told).then(|| self.tell_at.since(now).max(CROWDED_SLEEP));
        let soonest = [due, orphan, crowded, load].into_iter().flatten().min();
        soonest.map_or(LONGEST_SLEEP, |soonest| soonest.min(LONGEST_SLEEP))
    }

    /// A client did something.
    fn stir(&mut self, key: Key, stir: Stir) {
        let Some(state) = self.holder.get(key).map(|parcel| parcel.state) else {
            return;
        };
        if stir.reset {
            self.lose(key);
        } else if state.listens {
            if stir.spoke || stir.closed {
                self.give_back(key, Why::Input);
            }
        } else {
            if stir.spoke {
                self.holder.note_unread(key, true);
            }
            if stir.closed && !state.half_closed {
                // Its due reply is still tried.
                self.holder
                    .change(key, |parcel| parcel.state.half_closed = true);
            }
        }
    }

    /// Its time has come: a piece of its reply, all of it, or the end of our patience.
    fn due(&mut self, key: Key, now: Tick) {
        self.unfold(key);
        let Some(parcel) = self.holder.get(key) else {
            return;
        };
        let is_over = parcel.until <= now;
        if parcel.paced.is_none() {
            // There is nothing that it could say, and nothing to wait for without a front.
            return match self.link {
                Some(_) => self.give_back(key, Why::Due),
                None => self.part(key),
            };
        }
        match self.say(key, now) {
            Said::Gone => self.lose(key),
            // It does not read: the front has its own time for that.
            Said::Part => self.give_back(key, Why::Due),
            Said::All if is_over => self.go_on(key, now),
            Said::All => {}
        }
    }

    /// Takes the reply out of what is squeezed: it is going to be said. One in a form that is not
    /// known here is not.
    fn unfold(&mut self, key: Key) {
        let Some(sample) = &self.sample else {
            return;
        };
        self.holder.change(key, |parcel| {
            if parcel.paced.is_some() {
                return;
            }
            let Ok((tail, octets)) = Tail::unpack_all(&parcel.record, sample) else {
                return;
            };
            let Body { record, reply } = octets.body();
            if !reply.is_empty() {
                let paced = Paced::decode(reply).ok();
                parcel.paced = paced.map(|(paced, _)| Box::new(paced));
                parcel.record = tail.pack(Body { record, reply: &[] }, sample);
            }
        });
    }

    fn say(&mut self, key: Key, now: Tick) -> Said {
        let mut said = Said::All;
        self.holder.change(key, |parcel| {
            let Some(paced) = parcel.paced.take() else {
                return;
            };
            loop {
                let piece = paced.piece(now, parcel.said as usize);
                if piece.is_empty() {
                    break;
                }
                match rustix::net::send(&parcel.socket, piece, rustix::net::SendFlags::NOSIGNAL) {
                    Ok(count) => parcel.said += u32::try_from(count).unwrap_or(0),
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => {
                        said = Said::Part;
                        break;
                    }
                    Err(_) => {
                        said = Said::Gone;
                        break;
                    }
                }
            }
            parcel.paced = Some(paced);
        });
        said
    }

    /// The reply is said. Now the client has the word.
    fn go_on(&mut self, key: Key, now: Tick) {
        self.counts.said += 1;
        self.holder
            .change(key, |parcel| parcel.since = seconds(now));
        let Some(parcel) = self.holder.get(key) else {
            return;
        };
        let Ok(tail) = Tail::unpack(&parcel.record) else {
            return self.part(key);
        };
        if tail.prompt {
            return self.give_back(key, Why::Due);
        }
        if parcel.unread_pages > 0 || parcel.state.half_closed {
            return self.give_back(key, Why::Input);
        }
        let patience = Duration::from_secs(tail.patience.into());
        self.holder.change(key, |parcel| {
            parcel.paced = None;
            parcel.state.listens = true;
            parcel.until = now + patience;
        });
    }

    /// Takes a parcel out of the pit; its ticket is known no more.
    fn take(&mut self, key: Key) -> Option<Parcel> {
        let parcel = self.holder.take(key)?;
        if let Ok(Tail {
            ticket: Some(ticket),
            ..
        }) = Tail::unpack(&parcel.record)
        {
            self.tickets.remove(&ticket);
            self.tickets.slacken();
        }
        Some(parcel)
    }

    fn give_back(&mut self, key: Key, why: Why) {
        if let Some(parcel) = self.take(key) {
            let since = self.clock.now();
            self.returning.push_back(Returning { parcel, why, since });
        }
    }

    /// Its client is gone.
    fn lose(&mut self, key: Key) {
        if let Some(parcel) = self.take(key) {
            self.counts.gone += 1;
            self.forget(&parcel);
        }
    }

    /// It is here no more. A front that is not there does not count it; a new one is not told of it.
    fn forget(&mut self, parcel: &Parcel) {
        if self.link.is_some()
            && let Ok(freight) = freight_of(parcel, self.sample.as_ref())
        {
            self.gone.push_back(freight);
        }
    }
}

#[cfg(test)]
mod tests;
