//! What the gateway needs to know before it serves: checked values only.
//!
//! The front door (`tarpit/src/config/`) reads files and turns them into this; nothing here knows
//! a file format. Each default stands in the option table of the front door, with its reason.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
pub use tarpit_core::Kind;
use tarpit_core::Prefixes;
use tarpit_core::ledger::LedgerConfig;
use tarpit_core::policy::Policy;
pub use tarpit_smtp::BareNewline;

/// The whole configuration of a gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Our name, in the greeting, in EHLO to the upstream and in trace headers.
    pub hostname: Box<str>,
    /// Where clients connect. At least one.
    pub listeners: Vec<Listener>,
    /// Who takes the mail: servers behind us, or the built-in maildir. At least one; listeners name
    /// theirs by its place here.
    pub deliveries: Vec<Delivery>,
    /// Certificates for TLS towards clients; the first serves clients that name no server. Empty:
    /// no TLS is offered.
    pub certificates: Vec<Certificate>,
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
    /// How mail addresses are shown.
    pub addresses: Addresses,
}

/// How mail addresses are shown in the log, in records and on the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Addresses {
    /// As they are.
    #[default]
    Full,
    /// Their domain.
    Domain,
    /// A keyed hash, the same for the same address as long as the process lives.
    Hash,
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
    /// Sessions that are held get the smallest receive window that the system has.
    pub small_window: bool,
    /// Which of [`Config::deliveries`] takes the mail of this listener.
    pub delivery: usize,
    /// Which kind of traffic comes here.
    pub kind: Kind,
    /// Whether and when TLS is spoken.
    pub tls: ListenerTls,
    /// AUTH is announced and taken without TLS too.
    pub auth_plaintext: bool,
    /// What is done with a bare LF in message data.
    pub bare_newline: BareNewline,
    /// Networks whose bare LF is mended whatever [`Self::bare_newline`] says: printers, scripts.
    pub normalize: Vec<IpNet>,
    /// Networks whose bytes go to the upstream untouched, before any SMTP is spoken.
    pub passthrough: Vec<IpNet>,
    /// Networks that must begin with a PROXY header, versions 1 or 2, and are believed.
    pub proxy_protocol: Vec<IpNet>,
    /// Networks that may say XCLIENT, and are believed.
    pub xclient: Vec<IpNet>,
}

/// Whether and when TLS is spoken on a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerTls {
    /// Never.
    Off,
    /// After STARTTLS (RFC 3207), if the client asks for it.
    StartTls,
    /// From the first byte (RFC 8314 §3).
    Implicit,
}

/// A certificate with its key, in PEM: one file for each, or one for both. The file of the chain
/// begins with the certificate itself. These are the layouts of Postfix, Exim and certbot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The certificate and its chain.
    pub chain: PathBuf,
    /// The private key; may be the same file.
    pub key: PathBuf,
}

impl Listener {
    /// Whether only this machine reaches it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.address.ip().to_canonical().is_loopback()
    }

    /// Whether only programs of this machine are its clients: nobody who connects to it on loopback
    /// is believed to speak for a client from elsewhere.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.is_loopback() && self.proxy_protocol.is_empty() && self.xclient.is_empty()
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

impl Delivery {
    /// Its name in the configuration and in records.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Upstream(upstream) => &upstream.name,
            Self::Maildir(_) => "maildir",
        }
    }
}

/// The mail server behind us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// For logs, records and metrics.
    pub name: Box<str>,
    /// Where its servers listen. At least one; all of them take the same mail.
    pub addresses: Vec<SocketAddr>,
    /// Which of them is used.
    pub balance: Balance,
    /// TLS towards it.
    pub tls: UpstreamTls,
    /// How it learns who its client is.
    pub identity: Identity,
    /// The administrator says that relaying for our address is meant (DESIGN promise 7).
    pub relays: bool,
    /// Connections to each server, idle ones included.
    pub connections_max: u32,
    /// Connections on behalf of one source.
    pub connections_per_source_max: u32,
    /// Of `connections_max`, how many are kept for known senders.
    pub connections_reserved: u32,
    /// Messages on one connection before other sessions get another.
    pub messages_per_connection_max: u32,
    /// A session that is held or idle for longer holds no upstream connection.
    pub grace: Duration,
    /// Limit on the TCP connect.
    pub connect_timeout: Duration,
}

impl Upstream {
    /// Its first server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }
}

/// Which of several servers gets the next connection. Unhealthy ones are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// The first one that is healthy and has a connection free: the others stand by.
    Order,
    /// The one with the fewest connections.
    LeastConnections,
}

/// TLS towards the upstream, by STARTTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamTls {
    /// Never.
    Off,
    /// Where it is offered, with any certificate: keeps out listeners, not impostors.
    Opportunistic,
    /// Always, with a certificate that is verified; otherwise no mail goes there.
    Required {
        /// A file with the authorities that are trusted, in PEM; the system's own without.
        ca: Option<PathBuf>,
        /// The name that the certificate must have.
        name: Box<str>,
    },
}

/// How the upstream learns who its client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Postfix's XCLIENT command.
    Xclient,
    /// The PROXY protocol, version 1.
    ProxyV1,
    /// The PROXY protocol, version 2.
    ProxyV2,
    /// By the source address of the connection, which is the client's (Linux, IP_TRANSPARENT).
    Transparent,
    /// By a Received header (RFC 5321 §4.4) at the head of each message.
    Trace,
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
    /// Sessions in the pit; over it the least useful are shed, until nine tenths are left.
    pub pit_sessions_max: u32,
    /// Octets of memory that sessions in the pit may take, with their unread input in the kernel;
    /// over it as above.
    pub pit_octets_max: u64,
    /// A source that owes so much, or has it reserved, is turned away when it connects: 421 4.7.0.
    /// Zero: nobody is. Applied in `enforce` with scope `source`, to listeners for mail from
    /// anywhere; never to known senders and exempt networks.
    pub door_debt: Duration,
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
    /// Largest message in octets that we take, whatever the upstream announces; 0 for no limit of
    /// our own.
    pub message_size_max: u64,
    /// Time for a TLS handshake.
    pub tls_handshake_timeout: Duration,
    /// How long the reply to end-of-data is awaited.
    pub end_of_data_timeout: Duration,
    /// How long running transactions may take to finish after SIGTERM.
    pub drain_timeout: Duration,
    /// Sources in the ledger; the least owing go first.
    pub ledger_sources_max: u32,
    /// Known senders remembered; the longest silent go first.
    pub known_senders_max: u32,
}

/// Known senders are those whose mail the upstream accepted within this time (DESIGN §3).
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

impl Limits {
    /// Those of the ledger.
    #[must_use]
    pub const fn ledger(&self) -> LedgerConfig {
        LedgerConfig {
            sources_max: self.ledger_sources_max as usize,
            known_max: self.known_senders_max as usize,
            known_for: KNOWN_FOR,
        }
    }
}
