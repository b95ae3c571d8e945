//! The benchmark: what the gateway costs wanted mail, and what the pit costs a harvester.
//!
//! It drives the real binary over loopback, from outside, and prints tables in Markdown. Nothing
//! passes or fails: figures of a shared machine are no threshold. What can be compared is what
//! stands in one row, since it was measured in turns within seconds.

mod gateway;
mod harvest;
mod load;
mod message;
mod part;
mod peers;
mod pit;
mod process;
mod replay;
mod report;
mod sink;
mod stats;
mod tls;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum as _};

use part::{Part, Setting};

/// Measures the gateway against a direct connection; prints tables in Markdown.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    process: Option<Process>,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Debug, Args)]
struct Wanted {
    /// Only this part; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Of wanted mail, only the loads whose row begins with this: "1 KiB, 50"; for a profiler
    #[arg(long, value_name = "TEXT", default_value = "")]
    case: String,
    /// Less than eight minutes instead of less than twenty, and rougher figures
    #[arg(long)]
    quick: bool,
    /// The gateway to measure, instead of building it
    #[arg(long, value_name = "PATH")]
    tarpit: Option<PathBuf>,
    /// Of `load`, another build of the gateway to measure in the same turns; may be given several
    /// times
    #[arg(long, value_name = "PATH")]
    beside: Vec<PathBuf>,
    /// Sessions that part `held` holds; a quarter more are held first
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(4..=100_000))]
    held: u32,
}

/// What is not among the parts: the pit's own benchmark, and processes that the benchmark starts
/// itself.
#[derive(Debug, Subcommand)]
enum Process {
    /// What held sessions cost, and what wanted mail notices of them; up to a million
    Pit(pit::Wish),
    /// How long a replay of many recorded sessions takes
    Replay(replay::Wish),
    /// Clients that guess and wait
    #[command(hide = true)]
    Herd(pit::Orders),
    /// A bare loop that holds whoever comes
    #[command(hide = true)]
    Floor {
        #[arg(long)]
        room: u64,
        #[arg(long)]
        hold_ms: u64,
    },
    /// Takes all mail and keeps none
    #[command(hide = true)]
    Sink {
        #[arg(long)]
        listeners: usize,
        #[arg(long)]
        look_up_ms: u64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match cli.process {
        Some(Process::Sink {
            listeners,
            look_up_ms,
        }) => sink::run(listeners, Duration::from_millis(look_up_ms)),
        Some(Process::Pit(wish)) => runtime().and_then(|runtime| runtime.block_on(pit::run(wish))),
        Some(Process::Replay(wish)) => replay::run(&wish),
        Some(Process::Herd(orders)) => pit::herd(orders),
        Some(Process::Floor { room, hold_ms }) => pit::floor(room, Duration::from_millis(hold_ms)),
        None => measure(cli.wanted),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    Ok(runtime?)
}

fn measure(wanted: Wanted) -> Result<()> {
    println!("{}", report::machine());
    let tarpit = wanted.tarpit.map_or_else(gateway::build, Ok)?;
    let setting = Setting {
        tarpit,
        beside: wanted.beside,
        quick: wanted.quick,
        held: wanted.held,
        case: wanted.case,
        senders: part::SENDERS.to_vec(),
    };
    let runtime = runtime()?;
    let mut failed = 0;
    for part in Part::value_variants() {
        if !wanted.only.is_empty() && !wanted.only.contains(part) {
            continue;
        }
        // The other parts are worth having without this one.
        if let Err(error) = runtime.block_on(part.run(&setting)) {
            println!("{part:?} was not measured: {error:#}\n");
            failed += 1;
        }
    }
    ensure!(failed == 0, "{failed} parts were not measured");
    Ok(())
}
