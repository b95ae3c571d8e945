//! The parts of the benchmark. Each starts what it needs, measures, and prints its table.

mod harvest;
mod held;
mod load;
mod postfix;
mod ways;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;

use crate::load::{Comparison, Load, Timing};
use crate::message::Message;
use crate::report::Table;
use crate::stats::{milliseconds, thousands};

/// A part, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Wanted mail to the fast sink: direct, through the gateway, and through other proxies
    Load,
    /// Wanted mail, direct to Postfix and through the gateway
    Postfix,
    /// Wanted mail in chunks and over TLS, with resumed sessions and without
    Ways,
    /// Answers a minute to harvesters
    Harvest,
    /// Memory of held sessions, and wanted mail beside them
    Held,
    /// The same with held sessions over TLS
    HeldTls,
}

/// What all parts need to know.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The gateway's binary.
    pub(crate) tarpit: PathBuf,
    /// Other builds of it.
    pub(crate) beside: Vec<PathBuf>,
    /// Shorter turns and windows, fewer pairs.
    pub(crate) quick: bool,
    /// Sessions to hold.
    pub(crate) held: u32,
    /// Only loads whose words begin with this.
    pub(crate) case: String,
    /// Numbers of senders at a time.
    pub(crate) senders: Vec<u8>,
}

/// Numbers of senders, unless others are asked for: what one message takes, and a crowd.
pub(crate) const SENDERS: [u8; 2] = [1, 50];

impl Part {
    /// Runs it.
    pub(crate) async fn run(self, setting: &Setting) -> Result<()> {
        match self {
            Self::Load => load::run(setting).await.map(drop),
            Self::Postfix => postfix::run(setting).await,
            Self::Ways => ways::run(setting).await,
            Self::Harvest => harvest::run(setting).await.map(drop),
            Self::Held => held::run(setting, false).await,
            Self::HeldTls => held::run(setting, true).await,
        }
    }
}

/// Prints the way of wanted mail, and returns its table.
pub(crate) async fn way(setting: &Setting) -> Result<Table> {
    load::run(setting).await
}

/// Prints what harvesters learn, and returns its table.
pub(crate) async fn names(setting: &Setting) -> Result<Table> {
    harvest::run(setting).await
}

/// The loads of `load` and `postfix`, with their words for the table.
fn loads(numbers: &[u8]) -> Vec<(String, Load)> {
    let sizes = [("1 KiB", 1 << 10), ("1 MiB", 1 << 20)];
    let mut loads = Vec::new();
    for (name, size) in sizes {
        let message = Arc::new(Message::new("user@example.org", size));
        for senders in numbers.iter().copied() {
            for each in [1, 10] {
                let words = format!(
                    "{name}, {senders} sender{}, {each} a connection",
                    if senders == 1 { "" } else { "s" }
                );
                let message = Arc::clone(&message);
                loads.push((
                    words,
                    Load {
                        senders,
                        message,
                        each,
                        certificate: None,
                        every: None,
                    },
                ));
            }
        }
    }
    loads
}

impl Setting {
    /// The loads that are wanted.
    fn loads(&self) -> impl Iterator<Item = (String, Load)> {
        let case = self.case.as_str();
        loads(&self.senders)
            .into_iter()
            .filter(move |(words, _)| words.starts_with(case))
    }
}

/// Against the sink: half a second shows some thousand messages.
fn timing(quick: bool) -> Timing {
    Timing {
        rounds: if quick { 3 } else { 5 },
        warm: Duration::from_millis(150),
        turn: Duration::from_millis(if quick { 400 } else { 1200 }),
    }
}

/// Rates, ratio and latencies of a comparison, as cells.
fn cells(comparison: &Comparison) -> Vec<String> {
    let Comparison {
        a,
        b,
        ratio,
        added_ms,
    } = comparison;
    let [median, least, greatest] = ratio;
    let latency = |turn: &crate::load::Turn| {
        format!("{} / {}", milliseconds(turn.median), milliseconds(turn.p99))
    };
    vec![
        thousands(a.rate),
        thousands(b.rate),
        format!("**{median:.2}** ({least:.2}-{greatest:.2})"),
        latency(a),
        latency(b),
        format!("{added_ms:+.2}"),
    ]
}

/// Says on standard error what failed, since a rate without failures is another figure.
fn complain(what: &str, comparison: &Comparison) {
    for (side, turn) in [("first", &comparison.a), ("second", &comparison.b)] {
        if let Some(failure) = &turn.first_failure {
            eprintln!(
                "{what}, {side} server: {} failures, the first: {failure}",
                turn.failures
            );
        }
    }
}
