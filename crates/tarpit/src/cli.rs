//! The command line. Usage errors end with exit code 2, which is clap's own and LSB's "invalid
//! argument".

pub(crate) mod control;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// An SMTP tar pit for any mail server: wrong guesses wait, mail does not.
#[derive(Debug, Parser)]
#[command(name = "tarpit", version, arg_required_else_help = true)]
pub(crate) struct Tarpit {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve, in the foreground, until SIGTERM
    Run(Run),
    /// Let a new process take over from the one that runs, and lose nobody
    Upgrade(Upgrade),
    /// Show what the running gateway does now: the pit, mail, upstreams, the mode
    Status(control::Reach),
    /// The same, live in the terminal
    Top(control::Top),
    /// Show the sources that owe most
    Sources(control::Sources),
    /// Why does this client wait? What is known of an address or a session, and what it would take to get out
    Explain(control::Explain),
    /// Forget what a source owes
    Forgive(control::Forgive),
    /// Networks whose sessions never wait: add, list, remove
    Exempt(control::Exempt),
    /// Set the mode, or try enforce for a while
    Mode(control::Mode),
    /// Keep enforce: the trial that runs does not end any more
    Confirm(control::Reach),
    /// Let the running gateway read its configuration again, and say what is wrong with it
    Reload(control::Reach),
    /// Check a configuration file, show the values in effect, and probe the upstream
    Check(Check),
    /// Measure any server's answers to unknown and known recipients, as KB 842851 advises
    Verify(Verify),
    /// Try it out: no file and no server needed
    Try(Try),
    /// Print how to put Tarpit in front of a mail server, and how to take it away again
    Recipe(Recipe),
    /// Tell from the records who waited, or would have, the harm first
    Report(Report),
    /// Print a configuration made from that of another mail server
    Import(Import),
    /// Hold every listener against a rule for auditors
    Audit(Audit),
    /// Run recorded sessions again under other settings, and compare
    Replay(Replay),
    /// Try delays from 0 to 60 s on recorded sessions, and show what each buys and costs
    Advise(Advise),
    /// Print or write pages that are derived from the tables of options and commands
    #[command(hide = true)]
    Generate(Generate),
    /// Hold sessions for the process that starts this
    #[command(hide = true)]
    Keeper(Keeper),
}

/// `tarpit run`
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Take over from the process at the other end of standard input
    #[arg(long, hide = true)]
    pub(crate) successor: bool,
}

/// `tarpit keeper`
#[derive(Args, Debug)]
pub(crate) struct Keeper {
    /// Where a new process finds it
    #[arg(long, value_name = "DIR")]
    pub(crate) directory: PathBuf,
    /// How records look
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log: LogFormat,
}

/// How records look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Human,
    /// For programs
    Json,
}

/// `tarpit upgrade`
#[derive(Args, Debug)]
pub(crate) struct Upgrade {
    /// The configuration file with which it runs, and is to run
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
}

/// `tarpit check`
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Leave the upstream alone: look at the file only
    #[arg(long)]
    pub(crate) no_probe: bool,
}

/// `tarpit verify`
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The server to measure
    #[arg(value_name = "HOST:PORT")]
    pub(crate) server: String,
    /// An address that exists there; unknown names are made up in its domain
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) good: String,
}

/// `tarpit try`
#[derive(Args, Debug)]
pub(crate) struct Try {
    /// Skip the race between a harvester and wanted mail
    #[arg(long)]
    pub(crate) no_race: bool,
    /// Listen on this port of the loopback addresses
    #[arg(long, value_name = "PORT", default_value_t = 2525)]
    pub(crate) port: u16,
}

/// `tarpit recipe`
#[derive(Args, Debug)]
pub(crate) struct Recipe {
    /// The mail server behind, or the proxy in front
    pub(crate) server: Server,
    /// The configuration file (TOML); without, /etc/tarpit/tarpit.toml if there is one
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// One of the two ways alone
    #[arg(long)]
    pub(crate) way: Option<Way>,
    /// One block of the way alone, for a shell or a file, such as mta, redirect, go or back
    #[arg(long, value_name = "PART", requires = "way")]
    pub(crate) part: Option<String>,
}

/// `tarpit report`
#[derive(Args, Debug)]
pub(crate) struct Report {
    /// A record file (those that were written before it are read too), a JSON log, or - for standard input;
    /// without, that of the configuration
    #[arg(long, value_name = "FILE")]
    pub(crate) records: Vec<PathBuf>,
    /// The configuration file (TOML); without, the records are where the package's service keeps them
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Only what is not older, such as 12h or 7d; with --records all, else 7d
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// As a page in this file, which needs nothing else
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

/// `tarpit replay`
#[derive(Args, Debug)]
pub(crate) struct Replay {
    /// A record file; those that were written before it are read too
    #[arg(value_name = "RECORDS", required = true)]
    pub(crate) records: Vec<PathBuf>,
    /// The configuration file (TOML) to try
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tarpit advise`
#[derive(Args, Debug)]
pub(crate) struct Advise {
    /// A record file; those that were written before it are read too
    #[arg(value_name = "RECORDS", required = true)]
    pub(crate) records: Vec<PathBuf>,
    /// The configuration file (TOML) whose other settings hold; without, the defaults
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Whom a recipe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Server {
    /// Postfix, by XCLIENT or the PROXY protocol
    Postfix,
    /// Exim, by the PROXY protocol
    Exim,
    /// OpenSMTPD, by the PROXY protocol
    Opensmtpd,
    /// Microsoft Exchange, by the client's own address
    Exchange,
    /// HAProxy, in front of Tarpit
    Haproxy,
}

/// Who has port 25.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Way {
    /// Tarpit takes port 25, the mail server moves behind it
    A,
    /// The mail server keeps port 25, and gets the mail whenever Tarpit is not there
    B,
}

/// `tarpit import`
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// Whose configuration it is
    pub(crate) from: From,
    /// The file: main.cf, Exim's or Debian's update-exim4.conf.conf, sendmail.mc or .cf, what
    /// Get-ReceiveConnector | Format-List prints or a registry export
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// Whose configuration is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum From {
    /// Postfix: main.cf, with the master.cf beside it
    Postfix,
    /// Exim: its configuration, or Debian's update-exim4.conf.conf with what lies beside it
    Exim,
    /// Sendmail: sendmail.mc or sendmail.cf, with the access file beside it
    Sendmail,
    /// Microsoft Exchange and the SMTP service of Windows: receive connectors, or TarpitTime
    Exchange,
}

/// `tarpit audit`
#[derive(Args, Debug)]
pub(crate) struct Audit {
    /// The rule
    pub(crate) rule: Rule,
    /// The configuration file (TOML); without, /etc/tarpit/tarpit.toml
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// For programs
    #[arg(long)]
    pub(crate) json: bool,
}

/// Rules for auditors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rule {
    /// DISA's STIG for Exchange Edge, EX19-ED-000135: every connector delays at least 5 s
    Stig,
}

/// `tarpit generate`
#[derive(Args, Debug)]
pub(crate) struct Generate {
    /// Which page
    pub(crate) page: Page,
    /// The folder for man pages and completions; made if it is missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Pages that are derived from the tables of options and commands.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Page {
    /// docs/tarpit.toml
    Sample,
    /// docs/configuration.md
    Reference,
    /// docs/extensions.md
    Extensions,
    /// docs/monitoring.md
    Monitoring,
    /// Man pages: tarpit(8), one for each command, tarpit.toml(5)
    Man,
    /// Completions for bash, zsh and fish
    Completions,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        super::Tarpit::command().debug_assert();
    }
}
