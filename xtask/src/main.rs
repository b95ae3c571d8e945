//! The chores of the repository, in Rust instead of scripts: what works here works on every
//! machine that can build the product, and is checked by the same compiler and lints.

mod checks;
mod dist;
mod generate;
mod install;
mod run;
mod test;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
cargo xtask COMMAND

  test [--fast]   everything that must hold before a change lands: format, lints, docs, purity of
                  the deciding crates, all tests. Installs what the interop tests need first.
                  --fast leaves out the interop tests, and with them all installing.
  install         what the interop tests need: mail servers and proxies, unpacked into folders of
                  their own below target/ and never set up on this machine; swaks, msmtp, curl, Chromium,
                  Node and Python by the package manager; Haraka, nodemailer and aiosmtpd from
                  their registries, below target/. Needs root or sudo, on Debian 12 or its like.
  generate        writes the files that are generated from tables in the code
  bench [ARGS]    the benchmark, in release mode; ARGS go to it (--help lists them). Unpacks
                  HAProxy and nginx below target/ first, to measure them beside the gateway.
  bench pit [ARGS]  what held sessions cost, a thousand to a million, and what wanted mail notices;
                  as root it raises limits of the kernel for the time of the run
  bench replay [N] [--advise]  how long a replay of N recorded sessions takes, a million unless said
  dist            what is handed out: a tar.gz and a Debian package (by cargo-deb, which is installed
                  below target/ if it is missing), unpacked again and tried, in target/dist
  cuts [ARGS]     cuts, stalls and kills at every octet of the dialogue, 100,000 times unless ARGS
                  say otherwise (--help lists them), and compares what clients were told with
                  what was delivered; in release mode
  screenshot      the pictures of the page for the README, in docs/; with what install gets
  help            this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Result<()> {
    let rest: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match (arguments.first().map(String::as_str), rest.as_slice()) {
        (Some("test"), []) => test::all(),
        (Some("test"), ["--fast"]) => test::fast(),
        (Some("install"), []) => install::install(),
        (Some("generate"), []) => generate::generate(),
        (Some("bench"), more) => generate::bench(more),
        (Some("dist"), []) => dist::dist(),
        (Some("screenshot"), []) => generate::screenshot(),
        (Some("cuts"), more) => test::cuts(more),
        (Some("help" | "--help" | "-h") | None, []) => {
            print!("{HELP}");
            Ok(())
        }
        (
            Some(command @ ("test" | "install" | "generate" | "dist" | "screenshot" | "help")),
            more,
        ) => {
            bail!(
                "{command} does not take {}; see: cargo xtask help",
                more.join(" ")
            )
        }
        (Some(other), _) => {
            bail!(
                "no such command: {other}; there are test, install, generate, bench, dist, cuts, \
                 screenshot and help"
            )
        }
        (None, _) => Ok(()),
    }
}
