//! The pit lane: a thread of low priority that keeps held sessions and runs the machine for them.
//!
//! It writes the reply when it is due, hears the next command, and hands it to the same machine that
//! the mail lane drives. A session leaves only when it has paid and needs the upstream, TLS or
//! somebody who waits for it: then it is a task again.
//!
//! A lane never waits for anything but its own sockets and its bell; no lock is held over a system
//! call. What comes from other threads comes as errands through its mailbox.

mod away;
mod ends;
mod step;

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tarpit_core::budget::{Load, Strain};
use tarpit_core::ledger::Ticket;
use tarpit_core::{Input, Outbox, Tick};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Sender, UnboundedSender};

use super::holder::{Bell, Events, Holder, Stir};
use super::parcel::{Parcel, Waits, seconds};
use super::shed::{self, Among};
use super::slab::Key;
use super::survey::Survey;
use crate::conn::Conn;
use crate::drive::First;
use crate::priority::step_behind_mail;
use crate::shared::{Shared, Stop};
use crate::slack::Slack as _;

/// The longest sleep: the budget and the stages of a drain are looked at this often, and a thread
/// whose gateway is gone ends.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Sessions that are ended in one pass when the gateway drains or sheds. Between two passes those
/// that are due get their replies.
const PASS: u32 = 4096;

/// What other threads have for a lane.
#[derive(Debug)]
pub(crate) enum Errand {
    /// Somebody comes to wait.
    Put(Box<Parcel>),
    /// The same, from a keeper that has said its reply: its client had the word since.
    Told(Box<Parcel>),
    /// Somebody is to be let go who waited in a keeper.
    Shed(Box<Parcel>),
    /// The ledger may have room for this one.
    Wake(Key, Ticket),
    /// A mode was left: who is held asks the machine whether it has to be.
    Ease,
    /// Somebody looks from outside.
    Survey(std::sync::mpsc::Sender<Survey>),
    /// Gives out all that a successor can take, and keeps nobody: those who come later follow. The
    /// second sender is dropped when all were looked at that are here.
    HandOver(UnboundedSender<Box<Parcel>>, Sender<Infallible>),
}

/// Where errands are left.
#[derive(Debug)]
pub(crate) struct Mailbox {
    errands: Mutex<Vec<Errand>>,
    bell: Bell,
    load: Published,
    arriving: AtomicUsize,
}

/// What a lane holds, for others to read.
#[derive(Debug, Default)]
struct Published {
    sessions: AtomicU64,
    octets: AtomicU64,
    unread: AtomicU64,
}

impl Mailbox {
    pub(crate) fn leave(&self, errand: Errand) {
        self.leave_all(vec![errand]);
    }

    pub(crate) fn leave_all(&self, mut some: Vec<Errand>) {
        if some.is_empty() {
            return;
        }
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = errands.is_empty();
        self.arriving.fetch_add(some.len(), Ordering::Relaxed);
        errands.append(&mut some);
        drop(errands);
        if was_empty {
            self.bell.ring();
        }
    }

    pub(crate) fn ring(&self) {
        self.bell.ring();
    }

    /// Errands that the load does not tell of yet.
    pub(crate) fn arriving(&self) -> usize {
        self.arriving.load(Ordering::Relaxed)
    }

    /// What the lane held after its last pass.
    pub(crate) fn load(&self) -> Load {
        Load {
            sessions: self.load.sessions.load(Ordering::Relaxed),
            octets: self.load.octets.load(Ordering::Relaxed),
            unread: self.load.unread.load(Ordering::Relaxed),
        }
    }

    fn publish(&self, load: Load) {
        self.load.sessions.store(load.sessions, Ordering::Relaxed);
        self.load.octets.store(load.octets, Ordering::Relaxed);
        self.load.unread.store(load.unread, Ordering::Relaxed);
    }

    fn empty(&self, into: &mut Vec<Errand>) {
        // Not under the lock.
        into.slacken();
        let mut errands = self.errands.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *errands, into);
    }
}

/// One thread's part of the pit.
pub(super) struct Lane {
    shared: Weak<Shared>,
    number: usize,
    mailbox: Arc<Mailbox>,
    runtime: Handle,
    holder: Holder,
    out: Outbox,
    /// Where what clients say is read into.
    buffer: Box<[u8]>,
    /// Where sessions are frozen before their record is cut to size.
    frozen: Vec<u8>,
    /// Those that said more than is looked at in one step.
    again: Vec<(Key, Option<First>)>,
    /// There is more to shed than one pass does.
    is_shedding: bool,
    stage: Stop,
    /// The place at which a walk over all goes on, if one is under way.
    walk: Option<u32>,
    /// Until then whoever comes is asked again: it may have come to wait under the mode before.
    eased_until: Tick,
    successor: Option<UnboundedSender<Box<Parcel>>>,
    walks: Option<Sender<Infallible>>,
    /// When some leave for keepers again, and at which place the search for them goes on.
    next_leave: Tick,
    leave_at: u32,
    /// There are too many here, and keepers have room.
    is_surplus: bool,
    /// Those that are not watched yet: they leave next.
    leaving: Vec<Key>,
}

impl Lane {
    /// Starts the thread. Called within a runtime: what leaves the pit goes on there.
    ///
    /// # Errors
    /// There is no descriptor or no thread for it.
    pub(super) fn start(shared: &Arc<Shared>, number: usize) -> std::io::Result<Arc<Mailbox>> {
        let holder = Holder::new(shared.clock.now())?;
        let mailbox = Arc::new(Mailbox {
            errands: Mutex::default(),
            bell: holder.bell(),
            load: Published::default(),
            arriving: AtomicUsize::new(0),
        });
        let lane = Self {
            shared: Arc::downgrade(shared),
            number,
            mailbox: Arc::clone(&mailbox),
            runtime: Handle::current(),
            holder,
            out: Outbox::default(),
            buffer: vec![0; READ_MAX].into_boxed_slice(),
            frozen: Vec::with_capacity(4096),
            again: Vec::new(),
            is_shedding: false,
            stage: Stop::No,
            walk: None,
            eased_until: Tick::ZERO,
            successor: None,
            walks: None,
            next_leave: Tick::ZERO,
            leave_at: 0,
            is_surplus: false,
            leaving: Vec::new(),
        };
        std::thread::Builder::new()
            .name(format!("pit-{number}"))
            .spawn(move || lane.run())?;
        Ok(mailbox)
    }

    fn run(mut self) {
        step_behind_mail();
        let mut errands = Vec::new();
        let mut stirred = Vec::new();
        let mut events = Events::new();
        let mut longest = LONGEST_SLEEP;
        loop {
            let Some(now) = self.shared.upgrade().map(|shared| shared.clock.now()) else {
                return;
            };
            if let Err(error) = self.holder.wait(now, longest, &mut events, &mut stirred) {
                tracing::error!(target: "tarpit::pit", %error, "the pit can't watch its sockets");
                std::thread::sleep(LONGEST_SLEEP);
            }
            let Some(shared) = self.shared.upgrade() else {
                return;
            };
            self.mailbox.empty(&mut errands);
            let arrived = errands.len();
            for errand in errands.drain(..) {
                self.guard(&shared, None, |lane| lane.do_errand(&shared, errand));
            }
            for (key, stir) in stirred.drain(..) {
                self.guard(&shared, Some(key), |lane| lane.stir(&shared, key, stir));
            }
            for (key, first) in std::mem::take(&mut self.again) {
                self.step(&shared, key, first);
            }
            self.turn(&shared);
            self.keep_stage(&shared);
            let sleep = self.make_room(&shared);
            self.keep_budget(&shared);
            self.mailbox.arriving.fetch_sub(arrived, Ordering::Relaxed);
            let is_busy = self.walk.is_some() || self.is_shedding || !self.again.is_empty();
            longest = if is_busy { Duration::ZERO } else { sleep };
        }
    }

    fn do_errand(&mut self, shared: &Arc<Shared>, errand: Errand) {
        match errand {
            Errand::Put(parcel) => {
                self.put(shared, *parcel);
            }
            Errand::Told(parcel) => self.put_told(shared, *parcel),
            Errand::Shed(parcel) => {
                let key = self.holder.put(*parcel);
                self.shed(shared, key);
            }
            Errand::Wake(key, ticket) => match (self.holder.get(key), shared.pit.keepers.get()) {
                // It went to a keeper meanwhile.
                (None, Some(keepers)) => keepers.recall([ticket]),
                _ => self.step(shared, key, Some(Input::Resume)),
            },
            Errand::Ease => {
                self.eased_until = shared.clock.now() + LONGEST_SLEEP;
                self.walk = Some(0);
            }
            Errand::Survey(answer) => {
                // Whoever asked may have lost patience.
                let _ = answer.send(Survey::of(self.holder.slab(), shared.clock.now()));
            }
            Errand::HandOver(successor, walks) => {
                self.successor = Some(successor);
                self.walks = Some(walks);
                self.walk = Some(0);
            }
        }
    }

    /// Whoever was silent in a keeper has not the whole time for its next command again.
    fn put_told(&mut self, shared: &Arc<Shared>, parcel: Parcel) {
        // In whole seconds: it may be one less.
        let since = Tick::from_millis((u64::from(parcel.since) + 1) * 1000);
        let key = self.put(shared, parcel);
        let limit = since + shared.live.load().config.limits.command_timeout;
        if let Some(Parcel { until, state, .. }) = self.holder.get(key)
            && state.listens
            // It has said no whole command since.
            && state.row == 0
            && limit < *until
        {
            self.holder.change(key, |parcel| parcel.until = limit);
        }
    }

    /// Somebody comes to wait.
    fn put(&mut self, shared: &Arc<Shared>, parcel: Parcel) -> Key {
        let Waits {
            listens, for_room, ..
        } = parcel.state;
        let is_due = !listens && parcel.until <= shared.clock.now();
        let key = self.holder.put(parcel);
        if self.stage != Stop::No || self.successor.is_some() {
            self.watch(key);
            if is_due {
                // A keeper may have said its reply: then it is in no hold that a drain could cut
                // short, but perhaps in a transaction, which it may finish.
                self.step(shared, key, Some(Input::Resume));
            }
            self.guard(shared, Some(key), |lane| lane.visit(shared, key));
        } else if listens {
            // It may have commands at hand that were read elsewhere: no event tells of them. It is
            // watched when it waits again.
            self.again.push((key, None));
        } else if is_due
            || for_room
            || shared.clock.now() < self.eased_until
            || !shared.holds_anybody()
        {
            // A wake that came before this went nowhere, so the ledger is asked once more. And a
            // predecessor may have held under a mode that ended with it. Watched as well when it waits again.
            self.step(shared, key, Some(Input::Resume));
        } else {
            self.watch_or_leave(key, shared.clock.now());
        }
        key
    }

    /// A client did something.
    fn stir(&mut self, shared: &Arc<Shared>, key: Key, stir: Stir) {
        let Some(parcel) = self.holder.get(key) else {
            return;
        };
        let state = parcel.state;
        if parcel.is_over() {
            if stir.reset || !parcel.throw_away(&mut self.buffer) {
                self.holder.close(key);
            }
        } else if stir.reset {
            self.step(shared, key, Some(Input::Gone));
        } else if state.listens {
            if stir.closed {
                self.holder.change(key, |parcel| parcel.state.closed = true);
            }
            self.step(shared, key, None);
        } else {
            if stir.spoke {
                self.holder.note_unread(key, true);
            }
            if stir.closed && !state.half_closed {
                self.note_half_closed(shared, key);
            }
        }
    }

    /// All whose time has come.
    fn turn(&mut self, shared: &Arc<Shared>) {
        let now = shared.clock.now();
        while let Some(key) = self.holder.pop_due(now) {
            self.guard(shared, Some(key), |lane| lane.due(shared, key, now));
        }
    }

    /// Sheds this lane's share of what is too much.
    fn keep_budget(&mut self, shared: &Arc<Shared>) {
        let mine = self.holder.load();
        self.mailbox.publish(mine);
        let load = shared.pit.load();
        let away = shared.pit.away();
        let Some(surplus) = shared.pit.quota.judge(shared, load, away) else {
            self.is_shedding = false;
            return;
        };
        let among = Among::of(surplus.strain);
        if let Some(keepers) = shared.pit.keepers.get()
            && surplus.strain != Strain::Sessions
        {
            keepers.shed(surplus);
        }
        let excess = shed::share(surplus, mine);
        self.is_shedding = excess > u64::from(PASS);
        let now = seconds(shared.clock.now());
        let count = usize::try_from(excess.min(u64::from(PASS))).unwrap_or(usize::MAX);
        let chosen = shed::choose(self.holder.slab(), among, count, now);
        // There may be none of this kind.
        self.is_shedding &= !chosen.is_empty();
        for key in chosen {
            self.shed(shared, key);
        }
        self.mailbox.publish(self.holder.load());
    }

    fn shed(&mut self, shared: &Arc<Shared>, key: Key) {
        if self.holder.get(key).is_some_and(|parcel| !parcel.is_over()) {
            shared.pit.quota.note_shed(shared);
        }
        self.step(shared, key, Some(Input::Shed));
    }

    /// Draining comes in stages; each is told to everybody once.
    fn keep_stage(&mut self, shared: &Arc<Shared>) {
        let stage = *shared.stop.borrow();
        // While a successor serves and we are leaving, nothing changes for who is held.
        if stage >= Stop::Draining && stage > self.stage {
            self.stage = stage;
            self.walk = Some(0);
        }
        let Some(from) = self.walk else {
            return;
        };
        let end = from.saturating_add(PASS).min(self.holder.slab().places());
        for place in from..end {
            if let Some((key, _)) = self.holder.slab().at(place) {
                self.guard(shared, Some(key), |lane| lane.visit(shared, key));
            }
        }
        self.walk = (end < self.holder.slab().places()).then_some(end);
        if self.walk.is_none() {
            self.walks = None;
        }
    }

    /// Somebody is met on a walk over all.
    fn visit(&mut self, shared: &Arc<Shared>, key: Key) {
        match &self.successor {
            Some(successor) => {
                let successor = successor.clone();
                self.hand_over(shared, key, &successor);
            }
            None => match self.stage {
                // The successor they were to go to is gone, or a mode was left.
                Stop::No | Stop::Leaving => self.let_go(shared, key),
                Stop::Draining => self.step(shared, key, Some(Input::Drain)),
                Stop::Now => self.step(shared, key, Some(Input::Expired)),
            },
        }
    }

    /// Lets somebody go whom the policy no longer holds. Who has to wait on does not notice.
    fn let_go(&mut self, shared: &Arc<Shared>, key: Key) {
        let is_held = |parcel: &Parcel| !parcel.state.listens && !parcel.is_over();
        if self.holder.get(key).is_some_and(is_held) {
            self.step(shared, key, Some(Input::Resume));
        }
    }

    fn hand_over(
        &mut self,
        shared: &Arc<Shared>,
        key: Key,
        successor: &UnboundedSender<Box<Parcel>>,
    ) {
        let Some(parcel) = self.holder.get(key) else {
            return;
        };
        if parcel.is_over() {
            // It only waits for what it was told to arrive.
            return;
        }
        if parcel.veil.is_some() {
            self.step(shared, key, Some(Input::Drain));
            return;
        }
        let conn = Conn::thaw(&parcel.record, shared).ok();
        let Some(parcel) = self.holder.take(key) else {
            return;
        };
        match successor.send(Box::new(parcel)) {
            // Its count goes with it, and its place in the queue for room to whoever is behind it.
            Ok(()) => {
                if let Some(conn) = conn {
                    shared.pit.deregister(conn.session.ticket());
                    conn.session.leave_queue(shared.clock.now(), &shared.ledger);
                    shared.pit.wake_woken(&shared.ledger);
                }
            }
            // The successor is gone; they stay.
            Err(back) => {
                if let Some(conn) = conn {
                    conn.place.into_held();
                }
                self.successor = None;
                self.put(shared, *back.0);
            }
        }
    }
}

/// Most octets that are read in one step. The configuration bounds what a held session may keep of
/// them.
const READ_MAX: usize = 16 * 1024;
