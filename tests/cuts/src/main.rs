//! `cargo xtask cuts`: as many cuts as wanted, or exactly those that are named.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use tarpit_cuts::{Options, World, run};

const HELP: &str = "\
cuts [--points N] [--seed N] [--without WORLD]... [--only POINT]...

  --points N       how many cuts (100000); fewer than there are: a choice of chance
  --seed N         that chance (1)
  --without WORLD  leaves out told, pooled, held, killed, maildir, secured or postfix (which needs
                   `cargo xtask install`, and root)
  --only POINT     exactly this one, as it stands in a report of failures; may be repeated
";

fn main() -> ExitCode {
    match start() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cuts: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<bool> {
    let Some(options) = options(std::env::args().skip(1))? else {
        print!("{HELP}");
        return Ok(true);
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(run(&options))?;
    for failure in &report.failures {
        println!("WRONG {failure}");
    }
    print!("{report}");
    Ok(report.failures.is_empty())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let mut options = Options {
        points: 100_000,
        seed: 1,
        worlds: World::ALL.to_vec(),
        only: Vec::new(),
    };
    while let Some(name) = arguments.next() {
        if name == "--help" {
            return Ok(None);
        }
        let value = arguments.next();
        let value = value.with_context(|| format!("{name} takes a value; see --help"))?;
        match name.as_str() {
            "--points" => options.points = value.parse().context("--points takes a number")?,
            "--seed" => options.seed = value.parse().context("--seed takes a number")?,
            "--without" => options.worlds.retain(|world| world.to_string() != value),
            "--only" => options.only.push(value.parse()?),
            _ => bail!("no such option: {name}\n{HELP}"),
        }
    }
    Ok(Some(options))
}
