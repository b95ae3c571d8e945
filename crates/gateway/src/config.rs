//! What the gateway needs to know before it serves: checked values only.
//!
//! The front door (`tarpit/src/config/`) reads files and turns them into this; nothing here knows
//! a file format. Each default stands in the option table of the front door, with its reason.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use tarpit_core::Prefixes;
use tarpit_core::policy::Policy;

/// The whole configuration of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our name, in the greeting, in EHLO to the upstream and in trace headers.
    pub hostname: Box<str>,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// Who takes the mail.
    pub delivery: Delivery,
    /// Domains that we accept mail for, in lower case. Empty: the upstream alone decides.
    pub domains: Vec<Box<str>>,
    /// Who knows which names exist.
    pub recipients: Recipients,
    /// Networks that are never held.
    pub exempt: Vec<Exemption>,
    /// The unit of account.
    pub prefixes: Prefixes,
    /// The bounds.
    pub limits: Limits,
}

/// One listening address with its policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// For logs, records and metrics.
    pub name: Box<str>,
    /// Where to listen. Port 0 takes a free one.
    pub address: SocketAddr,
    /// What offences cost here.
    pub policy: Policy,
}

impl Listener {
    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }
}

/// Who takes the mail: exactly one of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A mail server behind us.
    Upstream(Upstream),
    /// The built-in maildir.
    Maildir(Maildir),
}

/// The mail server behind us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// For logs, records and metrics.
    pub name: Box<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// How it learns who its client is.
    pub identity: Identity,
    /// The administrator says that relaying for our address is meant (DESIGN promise 7).
    pub relays: bool,
    /// Connections in all, idle ones included.
    pub connections_max: u32,
    /// Connections on behalf of one source.
    pub connections_per_source_max: u32,
    /// Of `connections_max`, how many are kept for known senders.
    pub connections_reserved: u32,
    /// A session that is held or idle for longer holds no upstream connection.
    pub grace: Duration,
    /// Limit on the TCP connect.
    pub connect_timeout: Duration,
}

/// How the upstream learns who its client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Postfix's XCLIENT command.
    Xclient,
    /// The PROXY protocol, version 2.
    ProxyV2,
    /// Not at all: every client seems to be the gateway.
    None,
}

/// The built-in maildir, for `tarpit try` and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maildir {
    /// Each recipient gets a maildir `root/address/`.
    pub root: PathBuf,
    /// Addresses that exist, in lower case.
    pub recipients: Vec<Box<str>>,
    /// Largest message in octets, announced with SIZE.
    pub size_max: u64,
}

/// Who knows which names exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipients {
    /// The server behind us is asked.
    Upstream,
    /// A file with one address a line; `#` starts a comment. `@example.org` takes a whole domain.
    File(PathBuf),
}

/// A network that is never held, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exemption {
    /// Whose sessions are exempt.
    pub network: IpNet,
    /// For the records and for whoever comes after.
    pub reason: Box<str>,
    /// Seconds since 1970 after which it no longer holds.
    pub until: Option<u64>,
}

impl Exemption {
    /// Whether it covers `address` at `unix_now` (seconds since 1970).
    #[must_use]
    pub fn covers(&self, address: IpAddr, unix_now: u64) -> bool {
        self.network.contains(&address.to_canonical())
            && self.until.is_none_or(|end| unix_now < end)
    }
}

/// The bounds of a gateway (DESIGN promise 8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions in all; over it 421 4.3.2.
    pub sessions_max: u32,
    /// Sessions of one source; over it 421 4.7.0. Applied in `enforce` only.
    pub sessions_per_source_max: u32,
    /// Octets that a held session may have read ahead; the rest stays in the kernel.
    pub held_unread_max: u32,
    /// Time for one whole command line.
    pub command_timeout: Duration,
    /// Time for one session in all, but never in the middle of a message.
    pub session_timeout: Duration,
    /// Time for one block of message data.
    pub data_block_timeout: Duration,
    /// Least average rate of message data, octets a second, after the first block timeout.
    pub data_rate_min: u32,
    /// How long the reply to end-of-data is awaited.
    pub end_of_data_timeout: Duration,
    /// How long running transactions may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Sources in the ledger; the least owing go first.
    pub ledger_sources_max: u32,
    /// Known senders remembered; the longest silent go first.
    pub known_senders_max: u32,
}
