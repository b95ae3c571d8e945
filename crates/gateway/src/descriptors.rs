//! How many files and sockets this process may have open, and which of them are kept for mail.
//!
//! The system gives a new socket the lowest number that is free. So a bound on *numbers* is a
//! reserve without any bookkeeping: where no client's socket stays whose number is above a mark,
//! the numbers above it are free for everything else, whoever holds what below. Counting all that
//! is open was rejected: one forgotten place, and the count is wrong for good.
//!
//! ```text
//! 0 ........................ strangers ............... known ................ allowed
//!   whoever connects         known senders, exempt     connections to upstreams,
//!                            networks, proxies         files, what the runtime needs
//! ```
//!
//! Who comes above its mark is told to come again (421 4.3.2) at once and not left in the queue of
//! the listener: behind it may be a known sender, for whom there is a place.

use std::io;
use std::os::fd::RawFd;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::config::{Config, Delivery};

/// Beside the connections to upstreams: standard streams, the runtime's own, listeners, look-ups in
/// files, certificates and recipients being read, keepers.
const OTHERS: u64 = 64;

/// Connections to each server beside `connections_max`: probes.
const PROBES: u64 = 4;

/// The marks. Made anew with each configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// What the system allows.
    pub(crate) allowed: u64,
    /// Sockets of strangers have numbers below this.
    pub(crate) strangers: u64,
    /// Sockets of known senders have numbers below this.
    pub(crate) known: u64,
}

impl Descriptors {
    /// For a configuration, under the limit in force.
    pub(crate) fn of(config: &Config) -> Self {
        let allowed = getrlimit(Resource::Nofile).current;
        Self::divide(allowed.unwrap_or(u64::MAX), connections(config))
    }

    /// Above the upper mark: every connection that there may be to upstreams. Between the marks: as
    /// many sessions of known senders, since more could not be served at once. Never more than half
    /// of all: where the limit is so low, somebody must be let in to have mail at all.
    fn divide(allowed: u64, connections: u64) -> Self {
        let needed = connections + OTHERS;
        let reserve = needed.min(allowed / 4);
        let share = connections.min(allowed / 4);
        let known = allowed - reserve;
        Self {
            allowed,
            strangers: known - share,
            known,
        }
    }

    /// How many sessions of known senders have a place where strangers have none.
    pub(crate) const fn share(&self) -> u64 {
        self.known - self.strangers
    }

    /// Whether a client's socket of this number may stay. `is_known`: asked only where it matters.
    pub(crate) fn admits(&self, socket: RawFd, is_known: impl FnOnce() -> bool) -> bool {
        let number = u64::try_from(socket).unwrap_or(u64::MAX);
        number < self.strangers || (number < self.known && is_known())
    }
}

/// All connections to upstreams that there may be at once.
fn connections(config: &Config) -> u64 {
    config
        .deliveries
        .iter()
        .map(|delivery| match delivery {
            Delivery::Upstream(upstream) => {
                let servers = upstream.addresses.len() as u64;
                servers * (u64::from(upstream.connections_max) + PROBES)
            }
            // A spool and a file in the mailbox for each message at a time; they are short.
            Delivery::Maildir(_) => OTHERS,
        })
        .sum()
}

/// Whether the system has run out of something that comes back when others end: descriptors of this
/// process or of the machine, memory for sockets.
pub(crate) fn is_short(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_leave_room_for_known_senders_and_these_for_the_upstream() {
        let descriptors = Descriptors::divide(20_000, 104);
        assert_eq!(descriptors.known, 20_000 - 104 - OTHERS);
        assert_eq!(descriptors.strangers, descriptors.known - 104);
        let admits = |number, known| descriptors.admits(number, || known);
        assert!(admits(19_727, false) && !admits(19_728, false));
        assert!(admits(19_728, true) && admits(19_831, true));
        assert!(!admits(19_832, true));
    }

    #[test]
    fn half_of_a_low_limit_is_for_whoever_connects() {
        let descriptors = Descriptors::divide(256, 1000);
        assert_eq!((descriptors.strangers, descriptors.known), (128, 192));
    }

    #[test]
    fn no_limit_is_no_bound() {
        let descriptors = Descriptors::divide(u64::MAX, 104);
        assert!(descriptors.admits(RawFd::MAX, || false));
    }

    #[test]
    fn what_comes_back() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(is_short(&errno.into()), "{errno}");
        }
        assert!(!is_short(&Errno::CONNREFUSED.into()));
        assert!(!is_short(&io::ErrorKind::TimedOut.into()));
    }
}
