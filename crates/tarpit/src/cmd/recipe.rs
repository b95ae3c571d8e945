//! `tarpit recipe SERVER`: how Tarpit is put in front of a mail server, and taken away again.
//!
//! The pages are Markdown in `recipe/pages/`, with the addresses of the configuration at hand put in.
//! What a person is to type or a file is to hold stands in fenced blocks with a name, and `--part`
//! prints one of them alone: the interop tests run these very blocks against the real servers.
//!
//! That Tarpit changes the mail server's files itself was rejected: an administrator must see what
//! changes, and every site has its own way to keep files.

mod page;
mod plan;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;

use super::{BAD_CONFIG, USUAL_CONFIG, out};
use crate::cli::{Recipe, Way};
use crate::config;
use plan::Facts;

/// Prints a recipe, or a part of one. Exit code 78 if the configuration is bad.
///
/// # Errors
///
/// There is no such part, or the configuration has no upstream.
pub(crate) fn run(args: &Recipe) -> anyhow::Result<ExitCode> {
    let usual = Path::new(USUAL_CONFIG);
    let named = args
        .config
        .clone()
        .or_else(|| usual.exists().then(|| usual.to_owned()));
    let facts = match named {
        Some(file) => match config::load(&file) {
            Ok(loaded) => Facts::of(&loaded)?,
            Err(findings) => {
                eprintln!("{findings}");
                return Ok(ExitCode::from(BAD_CONFIG));
            }
        },
        None => Facts::usual(PathBuf::from(USUAL_CONFIG)),
    };
    out::print(render(args, &facts)?)?;
    Ok(ExitCode::SUCCESS)
}

/// What is printed.
fn render(args: &Recipe, facts: &Facts) -> anyhow::Result<String> {
    let ways = match args.way {
        Some(way) => vec![way],
        None => vec![Way::A, Way::B],
    };
    let source = page::source(args.server);
    let mut text = String::new();
    for (at, way) in ways.iter().enumerate() {
        let values = facts.plan(args.server, *way).values();
        if at == 0 {
            text.push_str(&page::fill(page::introduction(source), &values)?);
        }
        text.push_str(&page::fill(page::way(source, *way)?, &values)?);
    }
    match (&args.part, args.way) {
        (None, _) => Ok(text),
        (Some(name), Some(_)) => page::part(&text, name),
        (Some(_), None) => bail!("--part needs --way: each way has its own"),
    }
}
