//! `tarpit keeper`: holds sessions for a front that has no descriptors for them. Started by the
//! front, never by hand: its standard input is the line to it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tarpit_gateway::Handle;
use tarpit_gateway::keeper::{self, Settings};
use tarpit_gateway::runtime::Runtime;
use tracing::warn;

use crate::cli::{Keeper, LogFormat};
use crate::config::Loaded;
use crate::log;

/// This program, as it runs: not a newer one that has its name by now, which may speak another
/// version.
const SELF: &str = "/proc/self/exe";

/// Holds sessions until there are none, and no front.
pub(crate) fn run(args: &Keeper) -> anyhow::Result<ExitCode> {
    let format = match args.log {
        LogFormat::Human => log::Format::Human,
        LogFormat::Json => log::Format::Json,
    };
    log::start(format, log::USUAL, None)?;
    keeper::run(&args.directory).context("the keeper can't go on")?;
    Ok(ExitCode::SUCCESS)
}

/// Lets the gateway start keepers. Without them it serves all the same, but holds no more sessions
/// than it has descriptors for.
pub(super) fn start(handle: &Handle, loaded: &Loaded) {
    let runtime = match Runtime::open(loaded.runtime_directory()) {
        Ok(runtime) => runtime,
        Err(error) => {
            warn!(target: "tarpit::keeper", %error, "no keepers are started");
            return;
        }
    };
    let format = match loaded.log {
        log::Format::Human => "human",
        log::Format::Json => "json",
    };
    let settings = Settings {
        directory: runtime.path().to_owned(),
        program: PathBuf::from(SELF),
        arguments: ["keeper", "--log", format].map(OsString::from).into(),
    };
    if let Err(error) = handle.start_keepers(settings) {
        warn!(target: "tarpit::keeper", %error, "no keepers are started");
    }
}
