//! Commands that hand over to other packages of the workspace.

use anyhow::Result;

use crate::run::{cargo, run};

/// Writes all generated files.
///
/// # Errors
/// When the product can't be built, or a file can't be written.
pub(crate) fn generate() -> Result<()> {
    run(&mut cargo(&[
        "run",
        "--quiet",
        "--package",
        "tarpit",
        "--",
        "generate",
    ]))
}

/// Runs the benchmark with `arguments`.
///
/// # Errors
/// When it can't be built, or fails.
pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    // The gateway is a process of its own there, as in life, and must be the optimized one too.
    run(&mut cargo(&["build", "--release", "--package", "tarpit"]))?;
    run(cargo(&["run", "--release", "--package", "tarpit-bench", "--"]).args(arguments))
}
