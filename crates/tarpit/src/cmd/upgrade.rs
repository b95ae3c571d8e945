//! `tarpit upgrade`: asks the gateway that runs to start its successor, and waits until that serves.
//!
//! The gateway does the work (`run.rs`), as it does at SIGUSR2; this brings its answer to whoever
//! types the command, and to scripts.

use std::process::ExitCode;

use tarpit_gateway::handover::{AskError, ask};
use tarpit_gateway::runtime;

use super::{BAD_CONFIG, UNAVAILABLE, block_on};
use crate::cli::Upgrade;
use crate::config;

/// Asks.
pub(crate) fn run(args: &Upgrade) -> anyhow::Result<ExitCode> {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            eprintln!("not upgraded, the gateway goes on as it was");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let places = runtime::places(loaded.runtime_directory());
    let asked = block_on(async { Ok(ask(places, &loaded.file).await) })?;
    Ok(match asked {
        Ok(process) => {
            println!("upgraded: process {process} serves, the one before it lets its sessions end");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("tarpit: {error}");
            match error {
                AskError::Nobody { .. } => ExitCode::from(UNAVAILABLE),
                AskError::Refused(_) | AskError::Wire(_) => ExitCode::FAILURE,
            }
        }
    })
}
