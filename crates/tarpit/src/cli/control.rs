//! The commands that ask the running gateway, or change something in it.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// Which gateway is asked, and how it is shown.
#[derive(Args, Debug)]
pub(crate) struct Reach {
    /// The configuration file with which it runs; without, /etc/tarpit/tarpit.toml if there is one
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Its control socket, wherever that is
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub(crate) socket: Option<PathBuf>,
    /// As JSON, for programs: docs/control.md
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tarpit top`
#[derive(Args, Debug)]
pub(crate) struct Top {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) every: u64,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tarpit sources`
#[derive(Args, Debug)]
pub(crate) struct Sources {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) top: u16,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tarpit explain`
#[derive(Args, Debug)]
pub(crate) struct Explain {
    /// An IP address, or the name of a session as in replies and records
    #[arg(value_name = "ADDRESS|tp-ID")]
    pub(crate) of: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tarpit forgive`
#[derive(Args, Debug)]
pub(crate) struct Forgive {
    /// An address of the source
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tarpit exempt`
#[derive(Args, Debug)]
pub(crate) struct Exempt {
    /// What to do
    #[command(subcommand)]
    pub(crate) what: ExemptWhat,
}

/// What to do about exemptions.
#[derive(Debug, Subcommand)]
pub(crate) enum ExemptWhat {
    /// Let the sessions of a network never wait, from now on
    Add(ExemptAdd),
    /// Show all exemptions, those of the configuration too
    List(Reach),
    /// Take away an exemption that was made by command
    Remove(ExemptRemove),
}

/// `tarpit exempt add`
#[derive(Args, Debug)]
pub(crate) struct ExemptAdd {
    /// An address or a network
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    /// Why, for the records and for whoever comes after
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: String,
    /// When it ends: a date (the start of that day, UTC), or a date and time with its offset
    #[arg(long, value_name = "DATE")]
    pub(crate) until: Option<String>,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tarpit exempt remove`
#[derive(Args, Debug)]
pub(crate) struct ExemptRemove {
    /// As it is listed
    #[arg(value_name = "NETWORK")]
    pub(crate) network: String,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// `tarpit mode`
#[derive(Args, Debug)]
pub(crate) struct Mode {
    /// Which
    pub(crate) mode: ModeWord,
    /// With enforce: a trial for so long, such as 1h; then it is observe again
    #[arg(long = "for", value_name = "TIME")]
    pub(crate) length: Option<String>,
    /// The trial ends early when sources whose mail was accepted have waited for so long in all [default: 30s]
    #[arg(long, value_name = "TIME", requires = "length")]
    pub(crate) trip: Option<String>,
    /// Wait until the trial is over, and print its verdict
    #[arg(long, requires = "length")]
    pub(crate) wait: bool,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

/// A mode, or that of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeWord {
    /// Nothing is kept and nothing waits; whoever is held is let go
    Off,
    /// Nothing waits, and what would have is reported; whoever is held is let go
    Observe,
    /// Wrong guesses wait
    Enforce,
    /// What the configuration says
    Configured,
}

impl ModeWord {
    /// The word of the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Enforce => "enforce",
            Self::Configured => "configured",
        }
    }
}
