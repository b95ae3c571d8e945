//! The thread between the desk and the keepers.

mod heed;
mod retire;
mod sheds;

use std::collections::HashSet;
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
use tarpit_core::budget::Load;
use tarpit_core::ledger::{Account, Ticket};
use tarpit_core::{Source, Tick};

use super::super::link::{self, LinkError, Sent};
use super::super::message::{Message, Unreadable, Why};
use super::super::place;
use super::line::Line;
use super::veils::Numbers;
use super::{Cargo, Counter, KEEPERS_MAX, Keepers, Settings};
use crate::priority::step_behind_mail;
use crate::shared::{Shared, Stop};
use crate::slack::Slack as _;

/// Sockets of one user that may be in flight at once, to keepers and from them, half for each
/// direction: the kernel's bound is the limit on descriptors, and others may run as the same user.
const IN_FLIGHT_MAX: usize = 2048;

/// The longest sleep: a drain and the end of the gateway are noticed this late at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// After each turn. A turn looks at all keepers, for one session as for twenty: so many come together
/// in this time when it matters, and nobody who is held notices. Not while some wait to leave.
const REST: Duration = Duration::from_millis(1);

/// As in the keeper.
const CROWDED_SLEEP: Duration = Duration::from_millis(5);

/// After a keeper could not be started.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How long a keeper that was started may take to give credit before another one is.
const START_MAX: Duration = Duration::from_secs(5);

/// How often keepers without a front are looked for: one that is released or whose front dies waits
/// for 30 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// Keepers that speak another version, or were let go.
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
        step_behind_mail();
        loop {
            self.wait();
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            self.turn(&shared);
            drop(shared);
            let spare = self.spare();
            let leave =
                |line: &Line| !line.queue.is_empty() && line.has_to_send(self.most(line, spare));
            if !self.lines.iter().any(leave) {
                std::thread::sleep(REST);
            }
        }
    }

    /// All that there is to do now.
    fn turn(&mut self, shared: &Arc<Shared>) {
        let now = shared.clock.now();
        self.look(shared, now);
        self.hear(shared);
        self.fetch();
        self.keep_stage(shared);
        self.start_one(shared, now);
        self.shed(shared);
        self.retire(now);
        self.say(shared);
        self.post();
        self.ended
            .retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }

    /// Until there is something to do.
    fn wait(&mut self) {
        let mut watched = vec![PollFd::new(&self.keepers.bell, PollFlags::IN)];
        let spare = self.spare();
        for line in &self.lines {
            let flags = if line.has_to_send(self.most(line, spare)) && !self.crowded {
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
        let found = poll(&mut watched, time.as_ref());
        // What can't be told from it is looked at.
        let stirs =
            |one: &PollFd<'_>| found.is_err() || !(one.revents() - PollFlags::OUT).is_empty();
        let stirs: Vec<bool> = watched.iter().map(stirs).collect();
        if stirs.first() == Some(&true) {
            let mut count = [MaybeUninit::uninit(); 8];
            let _ = read(&self.keepers.bell, &mut count);
        }
        for (line, stirs) in self.lines.iter_mut().zip(stirs.into_iter().skip(1)) {
            line.stirs = stirs;
        }
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

    /// What keepers have to say. Of fifty, most have nothing at a time.
    fn hear(&mut self, shared: &Arc<Shared>) {
        // From the last: one that is lost leaves its place to one that was heard already.
        for at in (0..self.lines.len()).rev() {
            let line = &mut self.lines[at];
            if !line.stirs {
                continue;
            }
            let heard = line.hear(&self.keepers, shared);
            let welcomed = heard.and_then(|_| line.welcome(&self.keepers, shared));
            if let Err(error) = welcomed {
                self.lose(shared, at, &error);
            }
        }
    }

    /// A keeper is gone, and all that it held.
    fn lose(&mut self, shared: &Arc<Shared>, at: usize, error: &LinkError) {
        let mut line = self.lines.swap_remove(at);
        let mut cargo: Vec<Cargo> = line.queue.drain(..).collect();
        let mut desk = self.keepers.lock();
        if let Some(at) = desk.counters.iter().position(|one| one.line == line.number) {
            cargo.append(&mut desk.counters.swap_remove(at).cargo);
        }
        // They go on to wait here, and keep their place.
        for ticket in cargo.iter().filter_map(|cargo| cargo.freight.ticket) {
            desk.waiting.remove(ticket);
        }
        let waited = desk.waiting.lose(line.number);
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
        leave_queues(shared, &waited);
    }

    /// What lanes have left at the desk.
    fn fetch(&mut self) {
        let mut desk = self.keepers.lock();
        desk.is_rung = false;
        for line in &mut self.lines {
            let counter = desk.counters.iter_mut().find(|one| one.line == line.number);
            if let Some(counter) = counter {
                for cargo in counter.cargo.drain(..) {
                    line.queue(cargo, &mut self.numbers);
                }
                line.recalls.append(&mut counter.recalls);
                counter.cargo.slacken();
                counter.recalls.slacken();
            }
        }
    }

    /// A drain calls everything back; a release lets it go.
    fn keep_stage(&mut self, shared: &Arc<Shared>) {
        if self.released || self.keepers.lock().is_closed {
            let is_first = !std::mem::replace(&mut self.released, true);
            for line in &mut self.lines {
                for cargo in line.part(is_first) {
                    if let Some(ticket) = cargo.freight.ticket {
                        self.keepers.lock().waiting.remove(ticket);
                    }
                    shared.pit.take_back(shared, Why::Recalled, cargo);
                }
            }
        }
        if !self.drained && !self.released && *shared.stop.borrow() >= Stop::Draining {
            self.drained = true;
            self.call_back(shared);
        }
        let is_eased = std::mem::take(&mut self.keepers.lock().is_eased);
        if is_eased && !self.drained && !self.released {
            self.call_back(shared);
        }
    }

    /// Calls everything back, and what is here and at the desk does not leave: it would come to a
    /// keeper behind the order, which it does not see again.
    fn call_back(&mut self, shared: &Arc<Shared>) {
        let mut desk = self.keepers.lock();
        desk.is_draining |= self.drained;
        let at_desk = desk.counters.iter_mut();
        let mut left: Vec<Cargo> = at_desk.flat_map(|one| one.cargo.drain(..)).collect();
        for line in &mut self.lines {
            line.order(Message::Drain);
            left.extend(line.queue.drain(..));
        }
        for ticket in left.iter().filter_map(|cargo| cargo.freight.ticket) {
            desk.waiting.remove(ticket);
        }
        drop(desk);
        for cargo in left {
            shared.pit.take_back(shared, Why::Drain, cargo);
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

    /// `sockets` in equal parts for each line.
    fn share(&self, sockets: usize) -> usize {
        (sockets / self.lines.len().max(1)).max(1)
    }

    /// Sockets that may be in flight to some line beyond what each has for itself. In a rush one
    /// keeper gets them all; and one that stands still takes nothing that others have for themselves.
    fn spare(&self) -> usize {
        let own = self.share(self.flight / 2);
        let beyond = |line: &Line| line.link.in_flight().saturating_sub(own);
        let taken: usize = self.lines.iter().map(beyond).sum();
        (self.flight / 2).saturating_sub(taken)
    }

    /// Sockets that may be in flight to this one, if so many are to spare: one takes a half of them at
    /// most.
    fn most(&self, line: &Line, spare: usize) -> usize {
        let own = self.share(self.flight / 2);
        let flying = line.link.in_flight();
        let beyond = (self.flight / 4).saturating_sub(flying.saturating_sub(own));
        own.max(flying) + spare.min(beyond)
    }

    /// Sends what is to be sent, and grants what there is room for.
    fn say(&mut self, shared: &Arc<Shared>) {
        let share = self.share(self.flight);
        // The sockets of those that are on the way there are here until they are sent: in a rush, thousands.
        let leaving: usize = self.lines.iter().map(|line| line.queue.len()).sum();
        let left = shared.pit.room_for_returning(shared, self.drained);
        let left = left.saturating_sub(leaving);
        let granted = share.min(left.div_ceil(self.lines.len().max(1)));
        self.crowded = false;
        let mut at = 0;
        while at < self.lines.len() {
            let most = self.most(&self.lines[at], self.spare());
            let line = &mut self.lines[at];
            line.link.grant(granted);
            let sent = line.send(most);
            let welcomed = |sent| line.welcome(&self.keepers, shared).map(|()| sent);
            match sent.and_then(welcomed) {
                Ok(sent) => {
                    self.crowded |= sent == Sent::Crowded;
                    at += 1;
                }
                Err(error) => {
                    // What it had sent is still there.
                    let last = loop {
                        match line.hear(&self.keepers, shared) {
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
                None if line.link.credit() > 0 && !line.is_parting() => {
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

/// Sessions that waited for room are gone without a word, or to another front: whoever waits behind
/// them has its turn. In which of its source's two queues each stood only its record says.
fn leave_queues(shared: &Shared, waited: &[(Ticket, Source)]) {
    let now = shared.clock.now();
    for (ticket, source) in waited {
        for account in [Account::Rcpt, Account::Auth] {
            shared.ledger.cancel(now, *ticket, *source, account);
        }
    }
    shared.pit.wake_woken(&shared.ledger);
}

#[cfg(test)]
mod tests;
