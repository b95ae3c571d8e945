//! `tarpit import SERVER FILE`: what another mail server's configuration says about slowing clients,
//! as a configuration of ours.
//!
//! Each format is read by a module of its own into settings with their places. One table a format says
//! what becomes of a setting: an option of ours, or nothing and why. The draft that comes of it is
//! printed in the order of our own table of options, each value below the place that it comes from.
//!
//! Promised:
//!
//! - With what is printed nothing is slowed: the mode is `observe`, whatever the other server does.
//! - It refuses nothing that the other server takes. `domains` is written only where the file alone
//!   proves which domains are ours; else it is a comment, with what is missing.
//! - Every value has passed the check of its option; what has not is named, not printed.
//! - What a hostile file says stands in comments and quoted texts only.
//!
//! To ask the other server itself (`postconf`, `exim -bP`) was rejected: the file may come from another
//! machine, and who reads a configuration should not have to run a program as root.

mod draft;
mod exchange;
mod exim;
mod layout;
mod networks;
mod postfix;
mod sendmail;
mod source;
mod table;
#[cfg(test)]
mod tests;
mod units;

use std::path::Path;
use std::process::ExitCode;

use super::out;
use crate::cli::{From, Import};
use crate::config;
use draft::Draft;

/// Prints the configuration. Exit code 1 if it needs a hand before `tarpit run` takes it; what is
/// wrong with it stands on standard error then.
///
/// # Errors
///
/// The file can't be read or is broken; with its line.
pub(crate) fn run(args: &Import) -> anyhow::Result<ExitCode> {
    let text = draft(args.from, &args.file)?.print();
    out::print(&text)?;
    let Err(findings) = config::parse(Path::new("(printed)"), &text) else {
        return Ok(ExitCode::SUCCESS);
    };
    eprintln!("tarpit: the configuration needs a hand before it can be used:\n{findings}");
    Ok(ExitCode::FAILURE)
}

/// What becomes of a file.
fn draft(from: From, file: &Path) -> anyhow::Result<Draft> {
    match from {
        From::Postfix => postfix::import(file),
        From::Exim => exim::import(file),
        From::Sendmail => sendmail::import(file),
        From::Exchange => exchange::import(file),
    }
}
