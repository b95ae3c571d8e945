//! One of the servers of an upstream: where it is, and what is known about it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tarpit_smtp::Capabilities;
use tokio::sync::Notify;

use super::health::Health;

/// Most servers of one upstream. More of them need a load balancer of their own.
pub const SERVERS_MAX: usize = 64;

/// Some of the servers of an upstream, by their places in its list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerSet(u64);

impl ServerSet {
    /// The first `count` of them.
    pub(super) const fn first(count: usize) -> Self {
        if count >= SERVERS_MAX {
            Self(u64::MAX)
        } else {
            Self((1 << count) - 1)
        }
    }

    pub(super) const fn contains(self, server: usize) -> bool {
        server < SERVERS_MAX && self.0 >> server & 1 == 1
    }

    pub(super) const fn insert(&mut self, server: usize) {
        if server < SERVERS_MAX {
            self.0 |= 1 << server;
        }
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = usize> {
        (0..SERVERS_MAX).filter(move |server| self.contains(*server))
    }
}

impl FromIterator<usize> for ServerSet {
    fn from_iter<I: IntoIterator<Item = usize>>(servers: I) -> Self {
        let mut set = Self::default();
        servers.into_iter().for_each(|server| set.insert(server));
        set
    }
}

/// One of the servers.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    known: Mutex<Known>,
    /// Traffic had trouble: probe now.
    pub(super) trouble: Notify,
    /// One probe at a time.
    pub(super) probing: tokio::sync::Mutex<()>,
}

/// What is known about a server.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// What the last probe found.
    pub(super) health: Health,
    /// What it offered last.
    pub(super) capabilities: Option<Arc<Capabilities>>,
    /// Traffic found it dead since the last probe.
    pub(super) marked: bool,
    /// Some probe has judged whether it relays for us. Until then it gets no client's mail.
    pub(super) judged: bool,
    /// Probes in a row that did not find out whether it relays for us.
    pub(super) undecided: u32,
    /// TLS with it failed, and is not required: plain until the next probe.
    pub(super) is_without_tls: bool,
    /// That it failed was logged.
    pub(super) is_tls_noted: bool,
}

impl Server {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            known: Mutex::new(Known {
                health: Health::Unknown,
                capabilities: None,
                marked: false,
                judged: false,
                undecided: 0,
                is_without_tls: false,
                is_tls_noted: false,
            }),
            trouble: Notify::new(),
            probing: tokio::sync::Mutex::new(()),
        }
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn health(&self) -> Health {
        self.known().health.clone()
    }
}

impl Known {
    /// Whether a probe found that clients may be served.
    pub(super) const fn is_well(&self) -> bool {
        matches!(self.health, Health::Up | Health::Relays { .. })
    }
}

/// Who may be asked: those that are well; if there are none, those that traffic has found dead
/// since, and then those that were well at some time. A server alone is always asked: there is
/// nobody else, and who is served is for its health to say.
pub(super) fn usable(servers: &[Server]) -> ServerSet {
    if servers.len() == 1 {
        return ServerSet::first(1);
    }
    let known: Vec<Known> = servers
        .iter()
        .map(|server| server.known().clone())
        .collect();
    let those = |is_fit: fn(&Known) -> bool| -> ServerSet {
        let fit = known.iter().enumerate().filter(|(_, known)| is_fit(known));
        fit.map(|(at, _)| at).collect()
    };
    [
        those(|known| known.is_well() && !known.marked),
        those(Known::is_well),
        those(|known| known.judged),
    ]
    .into_iter()
    .find(|set| !set.is_empty())
    .unwrap_or_default()
}

/// What all of them are together: one that relays for us counts for all (DESIGN promise 7), and one
/// that is up is enough.
pub(super) fn together(servers: &[Server]) -> Health {
    let mut sum: Option<Health> = None;
    for server in servers {
        sum = match (sum, server.health()) {
            (_, relays @ Health::Relays { .. }) => return relays,
            (Some(Health::Up), _) | (_, Health::Up) => Some(Health::Up),
            (Some(Health::Unknown), _) | (_, Health::Unknown) => Some(Health::Unknown),
            (first, down) => Some(first.unwrap_or(down)),
        };
    }
    sum.unwrap_or(Health::Unknown)
}

/// What all that are well have in common; what all that were ever asked have, if none is.
pub(super) fn offered(servers: &[Server]) -> Option<Capabilities> {
    let known: Vec<Known> = servers
        .iter()
        .map(|server| server.known().clone())
        .collect();
    let has_well = known
        .iter()
        .any(|known| known.is_well() && known.capabilities.is_some());
    known
        .iter()
        .filter(|known| known.is_well() || !has_well)
        .filter_map(|known| known.capabilities.as_deref().cloned())
        .reduce(|all, one| Capabilities::common(&all, &one))
}
