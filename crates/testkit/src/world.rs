//! The driver of the machine without sockets and without a clock: sessions, their clients' bytes
//! and one moment that moves on when it is told to.
//!
//! It does what `gateway/src/drive.rs` does, in the same order: one input, then the sessions that
//! the ledger woke, then what the machine asked for. What it can't know (the upstream's answers)
//! it stops at, and waits for [`World::answer`].
//!
//! Rejected: to run the real driver on a paused runtime. Time in such a runtime jumps whenever
//! nothing else can run, so a test can't stand still at a moment and look.

mod drive;
mod peer;
mod successor;

use std::collections::VecDeque;
use std::collections::hash_map::RandomState;
use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::{Ledger, LedgerConfig, Ticket};
use tarpit_core::policy::Policy;
use tarpit_core::{
    Admission, Answer, Ask, DataEnd, Door, Env, Input, Prefixes, SessionId, Source, Then, Tick,
};
use tarpit_smtp::{Capabilities, Offer};

pub use peer::{Peer, Rest, Take};

/// Time for one line of an AUTH exchange, as the gateway has it.
const AUTH_LINE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is fixed for the life of a world.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The gateway's name.
    pub hostname: String,
    /// The listener's policy.
    pub policy: Policy,
    /// What EHLO announces.
    pub capabilities: Capabilities,
    /// Domains and names that mail is accepted for.
    pub filter: Filter,
    /// What the listener allows.
    pub door: Door,
    /// Clients come by TLS.
    pub implicit_tls: bool,
    /// Time for one whole command line.
    pub command_timeout: Duration,
    /// Time for one session in all.
    pub session_timeout: Duration,
    /// Octets behind message data that a session may have read ahead when it is held.
    pub held_unread_max: usize,
    /// How long the upstream's answer is awaited for a client that has left.
    pub grace: Duration,
    /// The bounds of the ledger.
    pub ledger: LedgerConfig,
}

impl Rules {
    /// What a client that has just come is announced: worked out here once more, so that dialogues
    /// can say `hello`.
    #[must_use]
    pub fn offer(&self) -> Capabilities {
        self.capabilities.restricted(&Offer {
            starttls: self.door.starttls && !self.implicit_tls,
            auth: self.door.auth_plain || self.implicit_tls,
            require_tls: self.implicit_tls && self.door.upstream_secure,
            size_max: self.door.size_max,
            recipients_max: self.policy.recipients_max,
            xclient: self.door.xclient,
            secured: self.implicit_tls,
        })
    }
}

/// Sessions and their ledger at one moment.
#[derive(Debug)]
pub struct World {
    rules: Rules,
    /// One for each process, the present one last. Those before it have sessions that could not be
    /// handed over yet.
    ledgers: Vec<Ledger>,
    now: Tick,
    peers: Vec<Peer>,
    /// Sessions that are not over: most of thousands are.
    live: Vec<usize>,
    draining: bool,
    woken: VecDeque<Ticket>,
    freezes: bool,
}

impl World {
    /// An empty world. Its time starts a day after the epoch, so that nothing is taken for zero.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let ledgers = vec![Ledger::new(rules.ledger, RandomState::new())];
        let now = Tick::ZERO + Duration::from_secs(86_400);
        Self {
            rules,
            ledgers,
            now,
            peers: Vec::new(),
            live: Vec::new(),
            draining: false,
            woken: VecDeque::new(),
            freezes: false,
        }
    }

    /// From now on every session that comes is frozen and thawed whenever it rests, as if another
    /// process had kept it meanwhile. Nothing else may change by that.
    pub const fn freeze_at_rest(&mut self) {
        self.freezes = true;
    }

    /// The moment.
    #[must_use]
    pub const fn now(&self) -> Tick {
        self.now
    }

    /// The accounts of all sources, as the present process knows them.
    ///
    /// # Panics
    /// Never: there is one.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        self.ledgers.last().expect("a ledger")
    }

    /// The ledgers of all processes that there were, the present one last.
    #[must_use]
    pub fn ledgers(&self) -> &[Ledger] {
        &self.ledgers
    }

    /// What is fixed.
    #[must_use]
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// All sessions, in the order in which they came; number 0 has the id 1.
    #[must_use]
    pub fn peers(&self) -> &[Peer] {
        &self.peers
    }

    /// One session.
    ///
    /// # Panics
    /// If there is none of this number: the test is wrong.
    #[must_use]
    pub fn peer(&self, number: usize) -> &Peer {
        self.peers.get(number).expect("a session of this number")
    }

    /// One session, to take what it said.
    ///
    /// # Panics
    /// As [`World::peer`].
    pub fn peer_mut(&mut self, number: usize) -> &mut Peer {
        self.peers
            .get_mut(number)
            .expect("a session of this number")
    }

    /// A client connects. Returns the session's number.
    pub fn open(&mut self, source: Source, exempt: bool, admission: Admission) -> usize {
        let number = self.peers.len();
        let id = SessionId(number as u64 + 1);
        let mut peer = Peer::new(id, source, exempt, self.now);
        peer.freezes = self.freezes;
        peer.home = self.ledgers.len() - 1;
        if self.rules.implicit_tls {
            peer.session.note_secured();
        }
        self.peers.push(peer);
        self.live.push(number);
        let admission = if self.draining {
            Admission::Draining
        } else {
            admission
        };
        self.input(number, Input::Opened(admission));
        number
    }

    /// The client sends. Ignored once the session is over, as the kernel would.
    pub fn send(&mut self, number: usize, bytes: &[u8]) {
        let peer = self.peer_mut(number);
        if peer.is_gone() {
            return;
        }
        peer.unread.extend_from_slice(bytes);
        match peer.rest {
            Rest::Read => self.read(number),
            Rest::Relay(_) => self.relay(number),
            Rest::Take(_) => self.take(number),
            Rest::Hold { .. } | Rest::Ask(_) | Rest::Handshake | Rest::Closed => self.settle(),
        }
    }

    /// How the client's TLS handshake ended.
    ///
    /// # Panics
    /// If none is awaited.
    pub fn handshake(&mut self, number: usize, succeeded: bool) {
        let peer = self.peer_mut(number);
        assert!(
            matches!(peer.rest, Rest::Handshake),
            "session {} awaits no handshake",
            number + 1
        );
        // What came meanwhile was the handshake.
        peer.unread.clear();
        self.input(
            number,
            if succeeded {
                Input::Secured
            } else {
                Input::Gone
            },
        );
    }

    /// The upstream answers what the session asked.
    ///
    /// # Panics
    /// If it asked nothing.
    pub fn answer(&mut self, number: usize, answer: Answer) {
        let peer = self.peer_mut(number);
        assert!(
            matches!(peer.rest, Rest::Ask(_)),
            "session {} asked nothing",
            number + 1
        );
        self.input(number, Input::Answer(answer));
    }

    /// What became of the message. If the client has gone meanwhile, only a reply counts.
    ///
    /// # Panics
    /// If no message is in progress.
    pub fn end_data(&mut self, number: usize, end: DataEnd) {
        let peer = self.peer_mut(number);
        let client_gone = match &peer.rest {
            Rest::Relay(relay) => relay.client_gone,
            Rest::Take(take) => take.client_gone,
            _ => panic!("session {} passes no data on", number + 1),
        };
        let is_last = !matches!(&peer.rest, Rest::Take(take) if !take.chunk.last);
        let end = match end {
            DataEnd::Reply(reply) if client_gone && is_last => {
                DataEnd::ClientGone { reply: Some(reply) }
            }
            _ if client_gone => DataEnd::ClientGone { reply: None },
            end => end,
        };
        self.input(number, Input::DataEnd(end));
    }

    /// What the client's end of data will be answered with, whatever the upstream says later: the
    /// upstream was lost or refused in the middle of the message.
    ///
    /// # Panics
    /// If no message is in progress.
    pub fn fail_data(&mut self, number: usize, end: DataEnd) {
        match &mut self.peer_mut(number).rest {
            Rest::Relay(relay) => {
                relay.fate = Some(end);
                self.relay(number);
            }
            Rest::Take(take) => {
                take.fate = Some(end);
                self.take(number);
            }
            _ => panic!("session {} passes no data on", number + 1),
        }
    }

    /// The client resets its connection. Noticed at once, but while the upstream is being asked.
    pub fn hang_up(&mut self, number: usize) {
        let now = self.now;
        let peer = self.peer_mut(number);
        peer.reset = Some(now);
        peer.unread.clear();
        match &mut peer.rest {
            Rest::Read | Rest::Hold { .. } => self.input(number, Input::Gone),
            Rest::Relay(relay) if !relay.at_end => {
                self.input(number, Input::DataEnd(DataEnd::ClientGone { reply: None }));
            }
            Rest::Relay(relay) => relay.client_gone = true,
            Rest::Take(take) if !take.is_asked() => {
                self.input(number, Input::DataEnd(DataEnd::ClientGone { reply: None }));
            }
            Rest::Take(take) => take.client_gone = true,
            Rest::Handshake => self.input(number, Input::Gone),
            Rest::Ask(_) | Rest::Closed => {}
        }
    }

    /// The client shuts down its sending side: what is due is still said to it.
    pub fn half_close(&mut self, number: usize) {
        let peer = self.peer_mut(number);
        peer.half_closed = true;
        match peer.rest {
            Rest::Read => self.read(number),
            Rest::Relay(_) => self.relay(number),
            Rest::Take(_) => self.take(number),
            Rest::Hold { .. } => peer.session.note_half_closed(),
            Rest::Handshake => self.input(number, Input::Gone),
            Rest::Ask(_) | Rest::Closed => {}
        }
    }

    /// The gateway drains: every session hears of it as soon as it rests.
    pub fn drain(&mut self) {
        self.draining = true;
        for number in 0..self.peers.len() {
            if matches!(self.peer(number).rest, Rest::Read | Rest::Hold { .. }) {
                self.input(number, Input::Drain);
            }
        }
    }

    /// There is not enough room: the session ends, if it waits for its time or for its client.
    pub fn shed(&mut self, number: usize) {
        if matches!(self.peer(number).rest, Rest::Read | Rest::Hold { .. }) {
            self.input(number, Input::Shed);
        }
    }

    /// The time to drain is over.
    pub fn drain_over(&mut self) {
        for number in 0..self.peers.len() {
            match &self.peer(number).rest {
                Rest::Read | Rest::Hold { .. } => self.input(number, Input::Expired),
                // Those who wait for the reply to end-of-data go on waiting.
                Rest::Relay(relay) if !relay.at_end => {
                    self.input(number, Input::DataEnd(DataEnd::Drained));
                }
                Rest::Take(take) if !take.is_asked() => {
                    self.input(number, Input::DataEnd(DataEnd::Drained));
                }
                // The answer can't be waited for, nor the handshake.
                Rest::Ask(_) => self.input(number, Input::Drain),
                Rest::Handshake => self.input(number, Input::Gone),
                Rest::Relay(_) | Rest::Take(_) | Rest::Closed => {}
            }
        }
    }

    /// The next moment at which something happens by itself.
    #[must_use]
    pub fn next_event(&self) -> Option<Tick> {
        (0..self.peers.len())
            .filter_map(|number| self.due(number))
            .min()
    }

    /// Time passes, up to `moment`; everything that is due until then happens when it is due.
    pub fn advance(&mut self, moment: Tick) {
        let peers = &self.peers;
        self.live
            .retain(|number| !matches!(peers[*number].rest, Rest::Closed));
        loop {
            let due = |number: &usize| Some((self.due(*number)?, *number));
            let next = self.live.iter().filter_map(due).min();
            let Some((due, number)) = next.filter(|(due, _)| *due <= moment) else {
                break;
            };
            self.now = self.now.max(due);
            if self.say_piece(number) {
                continue;
            }
            let input = self.due_input(number);
            self.input(number, input);
        }
        self.now = self.now.max(moment);
    }

    fn due(&self, number: usize) -> Option<Tick> {
        let peer = self.peer(number);
        match peer.rest {
            Rest::Hold { until } => Some(peer.next_piece.map_or(until, |next| next.min(until))),
            Rest::Read => Some(self.command_end(peer).min(self.session_end(peer))),
            // Nobody holds an upstream connection without being there.
            Rest::Ask(_) => peer.reset.map(|moment| moment + self.rules.grace),
            Rest::Relay(_) | Rest::Take(_) | Rest::Handshake | Rest::Closed => None,
        }
    }

    fn due_input(&self, number: usize) -> Input<'static> {
        let peer = self.peer(number);
        match peer.rest {
            Rest::Hold { .. } => Input::Resume,
            Rest::Ask(_) => Input::Gone,
            _ if self.session_end(peer) < self.command_end(peer) => Input::Expired,
            _ => Input::TimedOut,
        }
    }

    fn command_end(&self, peer: &Peer) -> Tick {
        let limit = self.rules.command_timeout;
        peer.reading_since
            + if peer.session.is_in_auth() {
                limit.min(AUTH_LINE_TIMEOUT)
            } else {
                limit
            }
    }

    fn session_end(&self, peer: &Peer) -> Tick {
        peer.opened + self.rules.session_timeout
    }

    /// One input, what follows from it, and the sessions that it woke.
    fn input(&mut self, number: usize, input: Input<'_>) {
        self.step(number, input);
        self.settle();
    }

    /// Sessions that have room now ask the ledger again.
    fn settle(&mut self) {
        while let Some(ticket) = self.woken.pop_front() {
            let waits =
                |peer: &Peer| peer.session.ticket() == ticket && peer.session.waits_for_room();
            if let Some(number) = self.peers.iter().position(waits) {
                self.step(number, Input::Resume);
            }
        }
    }

    fn step(&mut self, number: usize, input: Input<'_>) {
        let then = self.handle(number, input);
        self.rest(number, then);
    }

    fn handle(&mut self, number: usize, input: Input<'_>) -> Then {
        let env = Env {
            hostname: &self.rules.hostname,
            policy: &self.rules.policy,
            ledger: &self.ledgers[self.peers[number].home],
            capabilities: &self.rules.capabilities,
            filter: &self.rules.filter,
            door: self.rules.door,
            prefixes: Prefixes::default(),
        };
        let peer = self
            .peers
            .get_mut(number)
            .expect("a session of this number");
        let then = peer.handle(self.now, input, &env);
        let mut woken = Vec::new();
        env.ledger.take_woken(&mut woken);
        self.woken.extend(woken);
        self.follow(number, true);
        then
    }
}

/// A question to the upstream as dialogues write it: `RCPT a@b`, `DATA`, `AUTH PLAIN`, `LINE dGVz`.
#[must_use]
pub fn question_of(ask: &Ask) -> String {
    match ask {
        Ask::Rcpt(recipient) => format!("RCPT {}{}", recipient.path, recipient.params),
        Ask::Data => "DATA".to_owned(),
        Ask::Auth {
            mechanism,
            initial: None,
        } => format!("AUTH {mechanism}"),
        Ask::Auth {
            mechanism,
            initial: Some(initial),
        } => format!("AUTH {mechanism} {initial}"),
        Ask::AuthLine(line) => format!("LINE {line}"),
    }
}
