//! `tarpit check`: is the file right, what holds, and what will the upstream make of it?
//!
//! Findings go to standard error, as those of a compiler do; what was asked for goes to standard
//! output.

mod names;
mod offer;
mod probe;
mod survey;

use std::process::ExitCode;
use std::time::Duration;

use tarpit_gateway::clock::unix_now;

use super::{BAD_CONFIG, block_on, out};
use crate::cli::Check;
use crate::config;

/// Checks a file, and unless told otherwise probes the upstream.
pub(crate) fn run(args: &Check) -> anyhow::Result<ExitCode> {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(ExitCode::from(BAD_CONFIG));
        }
    };
    let head = format!("# The values that hold in {}:\n", loaded.file.display());
    out::print(head + &config::as_toml(&loaded.effective))?;
    let mut is_blocked = false;
    if !args.no_probe {
        let report = block_on(async { Ok(probe::probe(&loaded.gateway).await) })?;
        print_section("", &report.lines);
        is_blocked = report.is_blocking;
    }
    print_section(
        "Warnings:",
        &config::warnings::warnings(&loaded, unix_now()),
    );
    Ok(if is_blocked {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Prints lines beneath a title, which without one is the first line.
fn print_section(title: &str, lines: &[String]) {
    let (title, lines) = match lines {
        [] => return,
        [first, rest @ ..] if title.is_empty() => (first.as_str(), rest),
        all => (title, all),
    };
    println!("\n{title}");
    for line in lines {
        println!("  {line}");
    }
}

/// A span in seconds, to a tenth: `5.0 s`.
fn show_seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}
