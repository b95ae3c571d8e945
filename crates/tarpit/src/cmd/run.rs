//! `tarpit run`.

use std::process::ExitCode;

use super::BAD_CONFIG;
use crate::cli::Run;
use crate::{config, log};

/// Serves.
pub(crate) fn run(args: &Run) -> anyhow::Result<ExitCode> {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    log::start(loaded.log)?;
    anyhow::bail!("can't serve: this build has no gateway yet")
}
