//! Who is turned away at the door: for the price of an accept, with one write that nobody waits for.
//! No task, no TLS, no session and no line in the log for each.
//!
//! What it promises: known senders, exempt networks and those who speak for others (proxies,
//! filters) are turned away only where there is nothing left to serve them with.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use tarpit_core::answer::Finding;
use tarpit_core::ledger::Account;
use tarpit_core::policy::Scope;
use tarpit_core::{Kind, Source, Tick};

use crate::config::Listener;
use crate::front;
use crate::live::Live;
use crate::shared::Shared;

/// How often those who were turned away are told of in the log, in one line for all.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The door of one listener.
#[derive(Debug)]
pub(super) struct Door {
    /// The replies, ready to be sent.
    full: Box<[u8]>,
    debtor: Box<[u8]>,
    tally: Tally,
}

/// Who was turned away and is not told of yet.
#[derive(Debug, Default)]
struct Tally {
    full: u64,
    debtors: u64,
    told: Option<Tick>,
}

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no descriptor, or no place, for a stranger.
    Full,
    /// The source owes so much that its next look-up would find no room.
    Debtor,
}

/// Somebody at the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Guest<'a> {
    pub(super) shared: &'a Shared,
    pub(super) live: &'a Live,
    pub(super) listener: &'a Listener,
    pub(super) peer: SocketAddr,
    pub(super) source: Source,
}

impl Door {
    pub(super) fn new() -> Self {
        let line = |finding: Finding| {
            let mut line = Vec::new();
            finding.brief().write_to(&mut line);
            line.into_boxed_slice()
        };
        Self {
            full: line(Finding::Full),
            debtor: line(Finding::Debtor),
            tally: Tally::default(),
        }
    }

    /// Says why, as far as the system takes it at once, and closes.
    pub(super) fn turn_away(&mut self, mut socket: TcpStream, why: Refusal, guest: &Guest<'_>) {
        let metrics = &guest.shared.metrics;
        let line = match why {
            Refusal::Full => {
                metrics.refused_at_door_full.add(1);
                self.tally.full += 1;
                &self.full
            }
            Refusal::Debtor => {
                metrics.refused_at_door_debt.add(1);
                self.tally.debtors += 1;
                &self.debtor
            }
        };
        // Who has not even room for one line will see the end of the connection.
        let _ = socket.write(line);
        drop(socket);
        self.tell(guest);
    }

    fn tell(&mut self, guest: &Guest<'_>) {
        let now = guest.shared.clock.now();
        let tally = &mut self.tally;
        if tally.told.is_some_and(|told| now.since(told) < TOLD_EVERY) {
            return;
        }
        tracing::warn!(
            target: "tarpit::listen",
            listener = %guest.listener.name,
            full = tally.full,
            debtors = tally.debtors,
            last = %guest.source,
            "turned away at the door since the last such line"
        );
        *tally = Tally {
            told: Some(now),
            ..Tally::default()
        };
    }
}

impl<'a> Guest<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        live: &'a Live,
        listener: &'a Listener,
        peer: SocketAddr,
    ) -> Self {
        Self {
            shared,
            live,
            listener,
            peer,
            source: Source::of(peer.ip(), live.config.prefixes),
        }
    }

    /// Whether it is to be turned away. `socket`: its own, not served yet.
    pub(super) fn refusal(&self, socket: &TcpStream) -> Option<Refusal> {
        let descriptors = self.live.descriptors;
        if !descriptors.admits(socket.as_raw_fd(), || self.is_wanted()) {
            return Some(Refusal::Full);
        }
        (self.is_deep_in_debt() && !self.is_wanted()).then_some(Refusal::Debtor)
    }

    /// With scope `session` a source has no debt, and in `observe` nobody is refused for it. Not on
    /// submission either: there a phone with an old password is in debt for its whole office.
    fn is_deep_in_debt(&self) -> bool {
        let policy = &self.listener.policy;
        let limit = self.live.config.limits.door_debt;
        if limit.is_zero()
            || !policy.enforces()
            || policy.scope != Scope::Source
            || self.listener.kind != Kind::Mx
        {
            return false;
        }
        let now = self.shared.clock.now();
        self.shared.ledger.claimed(now, self.source, Account::Rcpt) >= limit
    }

    /// Known senders, exempt networks, and those who speak for others: who these are is known later.
    fn is_wanted(&self) -> bool {
        let address: IpAddr = self.peer.ip();
        let listener = self.listener;
        let now = self.shared.clock.now();
        self.shared.ledger.is_known(now, self.source)
            || front::is_listed(&listener.proxy_protocol, address)
            || front::is_listed(&listener.xclient, address)
            || front::is_listed(&listener.passthrough, address)
            || front::exemption(self.live, address).is_some()
    }
}
