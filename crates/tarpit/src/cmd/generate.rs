//! `tarpit generate`: pages that are derived from the tables of options and of commands.
//!
//! Man pages and completions are files in a folder, since there are several of each; the others go
//! to standard output. None of them is kept in the repository but those that people read there
//! (`cargo xtask generate`): what a package needs is made when it is built.

mod man;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::out;
use crate::cli::{Generate, Page, Tarpit};
use crate::config::generate;

/// The shells that get completions: those that distributions have a folder for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// Prints a page, or writes files.
///
/// # Errors
///
/// When a file can't be written.
pub(crate) fn run(args: &Generate) -> anyhow::Result<ExitCode> {
    match args.page {
        Page::Sample => out::print(generate::sample())?,
        Page::Reference => out::print(generate::reference())?,
        Page::Extensions => out::print(tarpit_smtp::extensions_markdown())?,
        Page::Monitoring => out::print(tarpit_admin::monitoring_markdown())?,
        Page::Man => man::write(folder(args)?)?,
        Page::Completions => completions(folder(args)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder that was named, made if it is missing.
fn folder(args: &Generate) -> anyhow::Result<&Path> {
    let Some(folder) = &args.dir else {
        bail!("this makes several files: say where to with --dir DIR");
    };
    fs::create_dir_all(folder).with_context(|| format!("can't make {}", folder.display()))?;
    Ok(folder)
}

fn completions(folder: &Path) -> anyhow::Result<()> {
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut Tarpit::command(), "tarpit", folder)
            .with_context(|| format!("can't write completions to {}", folder.display()))?;
    }
    Ok(())
}
