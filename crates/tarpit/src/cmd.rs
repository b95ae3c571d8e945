//! One module for each subcommand, and the exit codes they share.

mod advise;
mod audit;
mod check;
mod control;
mod generate;
mod import;
mod keeper;
mod out;
mod recipe;
mod replay;
mod report;
mod run;
mod try_it;
mod upgrade;
mod verify;

use std::process::ExitCode;

use crate::cli::{Command, Tarpit};

/// A resource is not available: an address to bind, the upstream. `EX_UNAVAILABLE` of
/// sysexits.
const UNAVAILABLE: u8 = 69;

/// The configuration is bad. `EX_CONFIG` of sysexits; systemd's `RestartPreventExitStatus=78`
/// keeps a service with a bad file from being started over and over.
const BAD_CONFIG: u8 = 78;

/// Where the package puts the configuration.
const USUAL_CONFIG: &str = "/etc/tarpit/tarpit.toml";

/// Runs the subcommand that was asked for. An error that has no exit code of its own gives 1.
pub(crate) fn dispatch(args: Tarpit) -> ExitCode {
    let outcome = match args.command {
        Command::Run(args) => run::run(&args),
        Command::Upgrade(args) => upgrade::run(&args),
        Command::Status(args) => control::status(&args),
        Command::Top(args) => control::top(&args),
        Command::Sources(args) => control::sources(&args),
        Command::Explain(args) => control::explain(&args),
        Command::Forgive(args) => control::forgive(&args),
        Command::Exempt(args) => control::exempt(&args.what),
        Command::Mode(args) => control::mode(&args),
        Command::Confirm(args) => control::confirm(&args),
        Command::Reload(args) => control::reload(&args),
        Command::Check(args) => check::run(&args),
        Command::Verify(args) => block_on(verify::run(args)),
        Command::Try(args) => block_on(try_it::run(args)),
        Command::Recipe(args) => recipe::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Advise(args) => advise::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Keeper(args) => keeper::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("tarpit: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs `work` on a runtime of its own, and doesn't wait for what is left running after it.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(work);
    // A look-up of a name can't be cancelled; whoever asked us to end doesn't wait for it.
    runtime.shutdown_background();
    outcome
}
