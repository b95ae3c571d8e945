//! `cargo xtask bench pit`: what it costs to hold, and what mail notices of it.
//!
//! Real TCP from addresses all over 127.0.0.0/8, both ends on one machine. Each case starts a pit of
//! its own, measures mail while it is empty, fills it, measures again, and once more when the
//! clients have left: what the machine does besides hits all three. Beside the gateway a bare epoll
//! loop is measured, which is what the machine itself can do.

mod case;
mod floor;
mod herd;
mod lookers;
mod machine;
mod mail;
mod plan;
mod rival;
mod soak;
mod subject;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use floor::run as floor;
pub(crate) use herd::{Orders, run as herd};

use case::{Case, Measured};
use machine::Raised;
use subject::Kind;

use crate::report::Table;
use crate::{gateway, part, report};

/// A part, by its name on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Sessions held in all sizes (up to 20,000 for 10 s, up to 200,000 for 30 s, else for 60 s),
    /// and mail beside them
    Held,
    /// Sessions held for 5 s
    Short,
    /// Names and paths of the greatest length
    Long,
    /// One octet of each held session lies unread
    Unread,
    /// The server is asked for each name that is guessed
    Asked,
    /// Held over TLS
    Tls,
    /// Replies said octet by octet
    Stutter,
    /// 100,000 held, and the page with nobody and with as many as may look at it
    Page,
    /// The same against other servers: Postfix, Exim, Haraka, nginx
    Peers,
    /// The way of wanted mail itself: direct, through the gateway, and through other proxies
    Way,
    /// Names learnt by harvesters
    Names,
    /// Twenty minutes of churn, unless --soak says otherwise; only if it is named
    Soak,
}

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Wish {
    /// Only this part; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Only this pit; may be given several times
    #[arg(long, value_name = "NAME")]
    pit: Vec<Kind>,
    /// Leave out part `peers`, about ten minutes
    #[arg(long)]
    no_peers: bool,
    /// Sizes of part `held`, instead of 1,000, 10,000, 100,000 and 1,000,000, and of part `peers`
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    held: Vec<u64>,
    /// Fewer and shorter windows, and nothing above 20,000 unless --held or `--only tls` says so:
    /// rougher figures in a few minutes
    #[arg(long)]
    quick: bool,
    /// Sessions that connect, a second
    #[arg(long, value_name = "N", default_value_t = 10_000.0)]
    rate: f64,
    /// Only part `soak`, for so long
    #[arg(long, value_name = "MINUTES")]
    soak: Option<u64>,
    /// Write what was measured to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The gateway to measure, instead of building it
    #[arg(long, value_name = "PATH")]
    tarpit: Option<PathBuf>,
}

/// Of a soak, unless another time is asked for.
const SOAK_MINUTES: u64 = 20;

/// Parts of the other benchmark that belong to the picture.
async fn beside(part: Part, wish: &Wish, setting: &Setting) -> Result<Table> {
    println!();
    let other = part::Setting {
        tarpit: setting.tarpit.clone(),
        beside: Vec::new(),
        quick: wish.quick,
        held: 0,
        case: "1 KiB".to_owned(),
        senders: vec![10, 50],
    };
    match part {
        Part::Way => part::way(&other).await,
        _ => part::names(&other).await,
    }
}

impl Wish {
    fn wants(&self, part: Part) -> bool {
        let is_other = self.only.is_empty() && self.pit.is_empty();
        is_other || self.only.contains(&part)
    }

    /// Whether the cases of this part are wished for.
    fn wants_cases(&self, part: Part) -> bool {
        let is_named = self.only.contains(&part);
        is_named || (self.only.is_empty() && !(part == Part::Peers && self.no_peers))
    }

    fn soak_minutes(&self) -> Option<u64> {
        let is_named = self.only.contains(&Part::Soak);
        self.soak.or_else(|| is_named.then_some(SOAK_MINUTES))
    }

    fn write(&self, json: &serde_json::Value) -> Result<()> {
        match &self.json {
            Some(path) => std::fs::write(path, format!("{json:#}\n"))
                .with_context(|| path.display().to_string()),
            None => Ok(()),
        }
    }
}

/// What all cases need to know.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// The gateway's binary.
    tarpit: PathBuf,
    /// Time of a window.
    window: Duration,
    /// Windows of mail at capacity while held.
    windows: usize,
    /// Sessions that connect, a second.
    rate: f64,
}

/// Runs what is wished for, and prints it.
pub(crate) async fn run(wish: Wish) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = measure(wish) => done,
        // The kernel's settings are put back on the way out.
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn measure(wish: Wish) -> Result<()> {
    let machine = report::machine();
    println!("{machine}");
    let tarpit = wish.tarpit.clone().map_or_else(gateway::build, Ok)?;
    machine::raise_descriptors()?;
    let raised = Raised::new();
    println!("{}\n", raised.words);
    let setting = Setting {
        tarpit,
        window: Duration::from_secs(if wish.quick { 3 } else { 10 }),
        windows: if wish.quick { 2 } else { 5 },
        rate: wish.rate,
    };
    if let Some(minutes) = wish.soak_minutes() {
        let soaked = soak::soak(minutes, &setting).await?;
        println!("{}", soaked.to_markdown());
        return wish.write(&soaked.to_json());
    }
    let (cases, mut left_out) = plan::plan(&wish, &setting)?;
    let takes: Duration = cases
        .iter()
        .map(|case| plan::takes(case, &plan::setting_for(case.part, &setting)))
        .sum();
    eprintln!(
        "pit: {} cases, about {} minutes",
        cases.len(),
        takes.as_secs().div_ceil(60)
    );
    let words = |all: &[Measured]| table::to_json(&machine, &raised.words, all);
    let (all, mut failed) = measure_all(&cases, &setting, &mut left_out, |all| {
        wish.write(&words(all))
    })
    .await?;
    if !all.is_empty() {
        println!("## Held sessions\n\n{}", table::to_markdown(&all));
    }
    for line in left_out {
        println!("- {line}");
    }
    let mut json = words(&all);
    for part in [Part::Way, Part::Names] {
        if !wish.wants(part) {
            continue;
        }
        match beside(part, &wish, &setting).await {
            Ok(table) => json[format!("{part:?}").to_lowercase()] = table.to_json(),
            Err(error) => {
                println!("{part:?} was not measured: {error:#}\n");
                failed += 1;
            }
        }
        wish.write(&json)?;
    }
    ensure!(failed == 0, "{failed} cases or parts were not measured");
    Ok(())
}

/// Measures one case after the other; those that were measured, and how many were not.
///
/// `keep` is called after each, so that a run that is broken off leaves something.
async fn measure_all(
    cases: &[Case],
    setting: &Setting,
    left_out: &mut Vec<String>,
    keep: impl Fn(&[Measured]) -> Result<()>,
) -> Result<(Vec<Measured>, usize)> {
    let mut all = Vec::new();
    let mut failed = 0;
    // Those that took less than they were offered.
    let mut full = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        let words = plan::words(case);
        if full.contains(&case.kind) {
            left_out.push(format!("Left out: {words}, since it held fewer before."));
            continue;
        }
        eprintln!("pit: {} of {}: {words}", at + 1, cases.len());
        match case::measure(case, &plan::setting_for(case.part, setting)).await {
            Ok(measured) => {
                if case.kind.is_rival() && measured.filled.held < case.held {
                    full.push(case.kind);
                }
                all.push(measured);
            }
            // The others are worth having without it.
            Err(error) => {
                println!("{words} was not measured: {error:#}\n");
                failed += 1;
            }
        }
        keep(&all)?;
    }
    Ok((all, failed))
}
