//! `tarpit verify`.

use std::process::ExitCode;

use crate::cli::Verify;

/// Measures a server.
///
/// # Errors
///
/// Always, in this version.
pub(crate) async fn run(args: Verify) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "can't measure {} for {}: this build has no `verify` yet",
        args.server,
        args.good
    )
}
