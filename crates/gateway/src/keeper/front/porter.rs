//! The thread between the desk and the keepers.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::read;
use rustix::process::{Resource, getrlimit};
use tarpit_core::Tick;
use tarpit_core::budget::{Load, Strain, Surplus};

use super::super::link::{self, LinkError, Packet, Sent};
use super::super::message::{Freight, Message, Unreadable, Why};
use super::super::place;
use super::line::Line;
use super::veils::Numbers;
use super::{Cargo, Counter, KEEPERS_MAX, Keepers, Settings, Sheds};
use crate::pit::parcel::Veil;
use crate::pit::shed::Among;
use crate::shared::{Shared, Stop};

/// Sockets of one user that may be in flight at once, to keepers and from them, half for each
/// direction: the kernel's bound is the limit on descriptors, and others may run as the same user.
const IN_FLIGHT_MAX: usize = 2048;

/// The longest sleep: a drain and the end of the gateway are noticed this late at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// As in the keeper.
const CROWDED_SLEEP: Duration = Duration::from_millis(5);

/// After a keeper could not be started.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a keeper that was started may take to give credit before another one is.
const START_MAX: Duration = Duration::from_secs(5);

/// How often keepers without a front are looked for: one that is released or whose front dies waits
/// for 30 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Messages of one keeper in one round.
const MESSAGES: usize = 64;

/// How many a process of ours may have: keepers have the same limit.
pub(super) fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    })
}

/// The thread.
pub(super) struct Porter {
    shared: Weak<Shared>,
    keepers: Arc<Keepers>,
    settings: Settings,
    lines: Vec<Line>,
    numbers: Numbers,
    /// Keepers that speak another version.
    strange: HashSet<u32>,
    /// Those that have ended or will; to be waited for.
    ended: Vec<Child>,
    next_number: u32,
    /// Sockets in flight in one direction.
    flight: usize,
    not_before: Tick,
    look_at: Tick,
    crowded: bool,
    drained: bool,
    released: bool,
}

impl Porter {
    pub(super) fn new(shared: Weak<Shared>, keepers: Arc<Keepers>, settings: Settings) -> Self {
        Self {
            shared,
            keepers,
            settings,
            lines: Vec::new(),
            numbers: Numbers::new(),
            strange: HashSet::new(),
            ended: Vec::new(),
            next_number: 0,
            flight: (IN_FLIGHT_MAX / 2).min(descriptors() / 8).max(1),
            not_before: Tick::ZERO,
            look_at: Tick::ZERO,
            crowded: false,
            drained: false,
            released: false,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            self.wait();
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            let now = shared.clock.now();
            self.look(&shared, now);
            self.hear(&shared);
            self.fetch();
            self.keep_stage(&shared);
            self.start_one(&shared, now);
            self.shed(&shared);
            self.say(&shared);
            self.post();
            self.ended
                .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
        }
    }

    fn wait(&self) {
        let mut watched = vec![PollFd::new(&self.keepers.bell, PollFlags::IN)];
        for line in &self.lines {
            let flags = if line.has_to_send() && !self.crowded {
                PollFlags::IN | PollFlags::OUT
            } else {
                PollFlags::IN
            };
            watched.push(PollFd::from_borrowed_fd(line.link.as_fd(), flags));
        }
        let longest = if self.crowded {
            CROWDED_SLEEP
        } else {
            LONGEST_SLEEP
        };
        let time = Timespec::try_from(longest).ok();
        if poll(&mut watched, time.as_ref()).is_err() {
            return;
        }
        let mut count = [MaybeUninit::uninit(); 8];
        let _ = read(&self.keepers.bell, &mut count);
    }

    /// Keepers whose front is gone.
    fn look(&mut self, shared: &Arc<Shared>, now: Tick) {
        if now < self.look_at || self.released || self.drained {
            return;
        }
        self.look_at = now + LOOK_EVERY;
        let there = place::keepers(&self.settings.directory);
        self.strange.retain(|process| there.contains(process));
        for process in there {
            let is_ours = self.lines.iter().any(|line| line.process == process);
            let is_strange = self.strange.contains(&process);
            if is_ours || is_strange || self.lines.len() >= KEEPERS_MAX {
                continue;
            }
            // One that has a front turns us away, which the line tells.
            if let Ok(Some(socket)) = place::knock(&self.settings.directory, process) {
                self.add(shared, process, socket, None);
            }
        }
    }

    fn add(&mut self, shared: &Shared, process: u32, socket: OwnedFd, child: Option<Child>) {
        let farewell = crate::pit::farewell(shared);
        self.next_number += 1;
        let line = Line::new(self.next_number, process, socket, child, farewell);
        self.lines.push(line);
    }

    /// What keepers have to say.
    fn hear(&mut self, shared: &Arc<Shared>) {
        let mut at = 0;
        while at < self.lines.len() {
            match Self::hear_one(&mut self.lines[at], &self.keepers, shared) {
                Ok(_) => at += 1,
                Err(error) => self.lose(shared, at, &error),
            }
        }
    }

    /// Whether there may be more.
    fn hear_one(
        line: &mut Line,
        keepers: &Keepers,
        shared: &Arc<Shared>,
    ) -> Result<bool, LinkError> {
        for _ in 0..MESSAGES {
            let Some(packet) = line.link.receive()? else {
                return Ok(false);
            };
            heed(line, packet, keepers, shared)?;
        }
        Ok(true)
    }

    /// A keeper is gone, and all that it held.
    fn lose(&mut self, shared: &Arc<Shared>, at: usize, error: &LinkError) {
        let mut line = self.lines.swap_remove(at);
        let mut cargo: Vec<Cargo> = line.queue.drain(..).collect();
        let mut desk = self.keepers.lock();
        if let Some(at) = desk.counters.iter().position(|one| one.line == line.number) {
            cargo.append(&mut desk.counters.swap_remove(at).cargo);
        }
        desk.waiting.retain(|_, number| *number != line.number);
        drop(desk);
        if matches!(error, LinkError::Unreadable(Unreadable::Version(_))) {
            // To knock again would only keep it from giving up.
            self.strange.insert(line.process);
            tracing::warn!(
                target: "tarpit::keeper",
                process = line.process,
                %error,
                "a keeper is of another version: what is due is said by it, and then its sessions end"
            );
        }
        let is_new = line.link.credit() == 0 && line.sources.all == 0;
        if line.sources.all > 0 {
            tracing::error!(
                target: "tarpit::keeper",
                process = line.process,
                %error,
                sessions = line.sources.all,
                "a keeper is gone, and its sessions with it"
            );
        } else if !is_new || line.child.is_some() {
            tracing::info!(target: "tarpit::keeper", process = line.process, %error, "a keeper has ended");
        }
        line.sources
            .each()
            .for_each(|source| shared.places.end_held(source));
        self.ended.extend(line.child.take());
        for cargo in cargo {
            shared.pit.take_back(shared, Why::Due, cargo);
        }
    }

    /// What lanes have left at the desk.
    fn fetch(&mut self) {
        let mut desk = self.keepers.lock();
        for line in &mut self.lines {
            let counter = desk.counters.iter_mut().find(|one| one.line == line.number);
            if let Some(counter) = counter {
                for cargo in counter.cargo.drain(..) {
                    line.queue(cargo, &mut self.numbers);
                }
                line.recalls.append(&mut counter.recalls);
            }
        }
    }

    /// A drain calls everything back; a release lets it go.
    fn keep_stage(&mut self, shared: &Arc<Shared>) {
        if self.released || self.keepers.lock().is_closed {
            let is_first = !std::mem::replace(&mut self.released, true);
            for line in &mut self.lines {
                for cargo in line.part(is_first) {
                    shared.pit.take_back(shared, Why::Recalled, cargo);
                }
            }
        }
        if !self.drained && !self.released && *shared.stop.borrow() >= Stop::Draining {
            self.drained = true;
            for line in &mut self.lines {
                line.order(Message::Drain);
            }
        }
        let is_eased = std::mem::take(&mut self.keepers.lock().is_eased);
        if is_eased && !self.drained && !self.released {
            for line in &mut self.lines {
                line.order(Message::Drain);
            }
        }
    }

    /// Another keeper, if those that there are will soon be full. One at a time.
    fn start_one(&mut self, shared: &Shared, now: Tick) {
        let is_stopping = self.drained || self.released;
        if is_stopping || self.lines.len() >= KEEPERS_MAX || now < self.not_before {
            return;
        }
        if !std::mem::take(&mut self.keepers.lock().is_short) {
            return;
        }
        match self.spawn() {
            Ok((child, socket)) => {
                self.not_before = now + START_MAX;
                let process = child.id();
                tracing::info!(target: "tarpit::keeper", process, "keeper started");
                self.add(shared, process, socket, Some(child));
            }
            Err(error) => {
                self.not_before = now + RETRY_AFTER;
                tracing::error!(
                    target: "tarpit::keeper",
                    %error,
                    program = %self.settings.program.display(),
                    "can't start a keeper: no more sessions are held than this process has descriptors for"
                );
            }
        }
    }

    fn spawn(&self) -> io::Result<(Child, OwnedFd)> {
        let (ours, theirs) = link::pair()?;
        let child = Command::new(&self.settings.program)
            .args(&self.settings.arguments)
            .arg("--directory")
            .arg(&self.settings.directory)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            // Who interrupts the front from a terminal does not mean those that outlive it.
            .process_group(0)
            // It is not the service's main process, and says nothing to its manager.
            .env_remove("NOTIFY_SOCKET")
            .spawn()?;
        Ok((child, ours))
    }

    /// If there is too much of something, lets keepers give back their part; and what they hold more
    /// than a new configuration allows.
    fn shed(&mut self, shared: &Shared) {
        let is_told = |line: &Line| line.sheds_told == line.sheds_asked;
        let held = self.keepers.held() as u64;
        let most = u64::from(shared.live.load().config.limits.pit_sessions_max);
        let mut desk = self.keepers.lock();
        let surplus = match desk.sheds {
            Sheds::Asked(_) if !self.lines.iter().all(is_told) => return,
            Sheds::Wanted(surplus) => surplus,
            Sheds::Asked(_) | Sheds::No if held > most => Surplus {
                strain: Strain::Sessions,
                over: held - most,
                whole: held,
            },
            Sheds::Asked(_) | Sheds::No => {
                desk.sheds = Sheds::No;
                return;
            }
        };
        desk.sheds = Sheds::Asked(surplus);
        drop(desk);
        for line in &mut self.lines {
            line.sheds_asked += 1;
            let count = surplus.of(line.sources.all as u64);
            line.order(Message::Shed(Among::of(surplus.strain), count));
        }
    }

    /// Sends what is to be sent, and grants what there is room for.
    fn say(&mut self, shared: &Arc<Shared>) {
        let share = (self.flight / self.lines.len().max(1)).max(1);
        let left = shared.pit.room_for_returning(shared, self.drained);
        let granted = share.min(left.div_ceil(self.lines.len().max(1)));
        self.crowded = false;
        let mut at = 0;
        while at < self.lines.len() {
            let line = &mut self.lines[at];
            line.link.grant(granted);
            match line.send(share) {
                Ok(sent) => {
                    self.crowded |= sent == Sent::Crowded;
                    at += 1;
                }
                Err(error) => {
                    // What it had sent is still there.
                    let last = loop {
                        match Self::hear_one(line, &self.keepers, shared) {
                            Ok(true) => {}
                            Ok(false) | Err(LinkError::Closed) => break error,
                            Err(other) => break other,
                        }
                    };
                    self.lose(shared, at, &last);
                }
            }
        }
    }

    /// Tells the desk what keepers take.
    fn post(&mut self) {
        let held = self
            .lines
            .iter()
            .map(|line| line.sources.all + line.queue.len());
        self.keepers.held.store(held.sum(), Ordering::Relaxed);
        let octets: usize = self.lines.iter().map(|line| line.veils.octets()).sum();
        self.keepers
            .veil_octets
            .store(octets as u64, Ordering::Relaxed);
        let sum = |of: fn(&Load) -> u64| self.lines.iter().map(|line| of(&line.load)).sum();
        let (octets, unread) = (sum(|load| load.octets), sum(|load| load.unread));
        self.keepers.octets.store(octets, Ordering::Relaxed);
        self.keepers.unread.store(unread, Ordering::Relaxed);
        let mut desk = self.keepers.lock();
        for line in &self.lines {
            let found = desk.counters.iter_mut().find(|one| one.line == line.number);
            match found {
                Some(counter) => {
                    counter.free = line.free().saturating_sub(counter.cargo.len());
                }
                None if line.link.credit() > 0 => {
                    self.not_before = Tick::ZERO;
                    desk.counters.push(Counter {
                        line: line.number,
                        free: line.free(),
                        ..Counter::default()
                    });
                }
                None => {}
            }
        }
    }
}

fn heed(
    line: &mut Line,
    packet: Packet,
    keepers: &Keepers,
    shared: &Arc<Shared>,
) -> Result<(), LinkError> {
    match packet.message {
        Message::Credit(_) => {}
        Message::Load { load, sheds } => {
            line.load = load;
            line.sheds_told = sheds;
        }
        Message::Back(parcels) => {
            let mut sockets: VecDeque<OwnedFd> = packet.sockets.into();
            for (why, freight) in parcels {
                let veil = forget(line, keepers, &freight);
                let Some(socket) = sockets.pop_front() else {
                    shared.places.end_held(freight.source);
                    continue;
                };
                let cargo = Cargo {
                    freight,
                    socket,
                    veil,
                };
                shared.pit.take_back(shared, why, cargo);
            }
            if packet.lost > 0 {
                tracing::error!(
                    target: "tarpit::keeper",
                    lost = packet.lost,
                    "no descriptors left for sockets that were granted: their sessions are lost"
                );
            }
        }
        Message::Gone(parcels) => {
            for freight in parcels {
                let veil = forget(line, keepers, &freight);
                shared.pit.bury(shared, &freight, veil);
            }
        }
        Message::Holds(sources) => {
            if line.sources.all == 0 {
                tracing::info!(target: "tarpit::keeper", process = line.process, "a keeper without a front is taken over");
            }
            for source in sources {
                line.sources.add(source);
                shared.places.add_held(source);
            }
        }
        Message::Released => {
            line.sources
                .each()
                .for_each(|source| shared.places.end_held(source));
            line.sources = super::line::Sources::default();
            line.load = Load::default();
            return Err(LinkError::Closed);
        }
        Message::Hello { .. }
        | Message::Park(_)
        | Message::Recall(_)
        | Message::Shed(..)
        | Message::Drain
        | Message::Unveil
        | Message::Release => return Err(LinkError::WrongWay),
    }
    Ok(())
}

/// It is no longer there. What is here of its TLS.
fn forget(line: &mut Line, keepers: &Keepers, freight: &Freight) -> Option<Box<Veil>> {
    line.sources.remove(freight.source);
    if let Some(ticket) = freight.ticket {
        keepers.lock().waiting.remove(&ticket);
    }
    line.veils.take(freight.veil?)
}
