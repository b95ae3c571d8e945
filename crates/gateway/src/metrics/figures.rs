//! All figures at one moment, as plain values: for whoever shows them.

use tarpit_core::ledger::LedgerStats;
use tarpit_core::policy::Mode;

use super::{Snapshot, State, Strain};
use crate::upstream::ServerStatus;

/// What there is to be known about a gateway in numbers. They are read one after the other while it
/// runs, so sums over several of them may be off by what happened meanwhile.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// What was counted since the start.
    pub counts: Snapshot,
    /// Sessions by what they do now.
    pub sessions: Vec<(State, u64)>,
    /// The pit now.
    pub pit: PitFigures,
    /// Listeners in force.
    pub listeners: Vec<ListenerFigures>,
    /// Upstreams in force.
    pub upstreams: Vec<UpstreamFigures>,
    /// What the ledger holds.
    pub ledger: LedgerStats,
    /// Certificates in force.
    pub certificates: Vec<CertificateFigures>,
    /// What came of the last change of the configuration.
    pub reload: ReloadFigures,
    /// Lines lost on their way to the record file.
    pub records_dropped: u64,
    /// Whether a trial of `enforce` runs, which undoes itself.
    pub trial: bool,
    /// Whether the gateway stops.
    pub draining: bool,
    /// This process.
    pub process: ProcessFigures,
}

impl Figures {
    /// Sessions in all.
    #[must_use]
    pub fn sessions_all(&self) -> u64 {
        self.sessions.iter().map(|(_, count)| count).sum()
    }
}

/// The pit now. What is `None` is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PitFigures {
    /// Sessions in the pit, keepers' included: held, or idle there after a hold.
    pub sessions: u64,
    /// Octets of memory that they take, in this process and in keepers.
    pub octets: Option<u64>,
    /// Octets of their input that the kernel keeps unread.
    pub unread_octets: Option<u64>,
    /// Keepers that run.
    pub keepers: u64,
    /// Why holds are being shed, while they are.
    pub strained: Option<Strain>,
}

/// A listener in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerFigures {
    /// Its name.
    pub name: Box<str>,
    /// Whether the pit is at work there.
    pub mode: Mode,
}

/// An upstream in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamFigures {
    /// Its name.
    pub name: Box<str>,
    /// Its servers.
    pub servers: Vec<ServerStatus>,
    /// Sessions that wait for a connection.
    pub waiting: u64,
}

/// A certificate in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFigures {
    /// The file it was read from.
    pub file: Box<str>,
    /// Its names, without control characters.
    pub names: Box<str>,
    /// Seconds since 1970 after which it is no longer valid.
    pub not_after: i64,
}

/// What came of the last change of the configuration; the start is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReloadFigures {
    /// Whether the last one was put in force.
    pub successful: bool,
    /// When one was put in force last, in seconds since 1970.
    pub at: u64,
}

/// What the system says about this process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ProcessFigures {
    /// When the gateway started, in seconds since 1970.
    pub started: u64,
    /// Processor time in seconds.
    pub cpu_seconds: Option<f64>,
    /// Address space in octets.
    pub virtual_octets: Option<u64>,
    /// Memory in octets.
    pub resident_octets: Option<u64>,
    /// Open files and sockets.
    pub open_files: Option<u64>,
    /// How many may be open.
    pub max_files: Option<u64>,
}
