//! `tarpit report`: what the records say, the harm first.
//!
//! It reads files and nothing else, so it works while the gateway runs and while it does not. Each
//! thing is counted once, where its line stands: sessions, recipients and messages from the records
//! of sessions (so a session counts when it has ended), holds and their seconds from those of holds.

mod html;
mod json;
mod plot;
mod tally;
mod text;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tarpit_gateway::clock::unix_now;

use crate::cli::Report;
use crate::config::{self, span};
use crate::records::read;
use tally::Tally;

use super::{BAD_CONFIG, out};
pub(super) use text::{number, seconds};

/// Where the package's service keeps its records.
const USUAL: &str = "/var/lib/tarpit/records.jsonl";

/// What is told if nothing is said.
const USUAL_SINCE: &str = "7d";

/// Reads and tells.
pub(crate) fn run(args: &Report) -> anyhow::Result<ExitCode> {
    let mut given = args.records.clone();
    let mut since = args.since.as_deref();
    let mut max_age = None;
    if given.is_empty() {
        since = since.or(Some(USUAL_SINCE));
        match usual(args.config.as_deref()) {
            Ok((file, limit)) => {
                given.push(file.context(
                    "[records] file is \"off\": no records are kept; --records names others",
                )?);
                max_age = limit;
            }
            Err(findings) => {
                eprintln!("{findings}");
                return Ok(ExitCode::from(BAD_CONFIG));
            }
        }
    }
    let since = since.map(moment_before).transpose()?;
    // What should be gone is not told, though its file may be there for a day more.
    let since = since.max(max_age.map(before_now));
    let files = read::files(&given)?;
    let mut tally = Tally::new(since);
    let passed = read::each(&files, |about, line| tally.take(about, line))?;
    let report = tally.close(passed);
    if let Some(file) = &args.html {
        let page = html::page(&report);
        std::fs::write(file, page).with_context(|| file.display().to_string())?;
    }
    if args.json {
        out::print(json::print(&report)? + "\n")?;
    } else if args.html.is_none() {
        out::print(text::print(&report))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The file of the configuration, if it has one, and how old its lines may be. Without, it is the
/// service's: whoever asks is not started by the service manager, who tells the gateway of it.
fn usual(config: Option<&Path>) -> Result<(Option<PathBuf>, Option<Duration>), config::Findings> {
    let service = || Some(PathBuf::from(USUAL));
    let Some(config) = config else {
        return Ok((service(), None));
    };
    let records = config::load(config)?.records;
    let file = match records.settings {
        Some(settings) => Some(settings.file),
        None if records.is_off => None,
        None => service(),
    };
    Ok((file, Some(records.max_age)))
}

/// Milliseconds since 1970 of the moment so long ago.
fn moment_before(text: &str) -> anyhow::Result<i64> {
    let ago = span(text)
        .with_context(|| format!("--since: found {text:?}; allowed: a time such as 7d or 12h"))?;
    Ok(before_now(ago))
}

fn before_now(ago: Duration) -> i64 {
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    let now = i64::try_from(unix_now()).unwrap_or(i64::MAX);
    now.saturating_mul(1000).saturating_sub(ago)
}

#[cfg(test)]
mod tests;
