//! `tarpit check`: is the file right, what holds, and what will the server behind make of it?
//!
//! Findings go to standard error, as those of a compiler do; what was asked for goes to standard
//! output.

mod names;
mod offer;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use super::BAD_CONFIG;
use crate::cli::Check;
use crate::config::{self, Loaded};

/// Checks a file, and unless told otherwise probes the server behind.
pub(crate) fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    println!("# The values that hold in {}:", loaded.file.display());
    print!("{}", config::as_toml(&loaded.effective));
    print_warnings(&loaded)?;
    Ok(ExitCode::SUCCESS)
}

fn print_warnings(loaded: &Loaded) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let warnings = config::warnings::warnings(loaded, now);
    if !warnings.is_empty() {
        println!("\nWarnings:");
    }
    for warning in warnings {
        println!("  {warning}");
    }
    Ok(())
}

/// A span in seconds, to a tenth: `5.0 s`.
fn show_seconds(span: std::time::Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
