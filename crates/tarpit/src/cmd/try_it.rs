//! `tarpit try`.

use std::process::ExitCode;

use crate::cli::Try;

/// Serves without a file or a server.
///
/// # Errors
///
/// Always, in this version.
pub(crate) async fn run(args: Try) -> anyhow::Result<ExitCode> {
    let Try { no_race, port } = args;
    anyhow::bail!("can't listen on port {port} (no_race: {no_race}): this build has no `try` yet")
}
