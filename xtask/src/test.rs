//! `cargo xtask test`: everything that must hold before a change lands, cheapest first.
//!
//! One profile (dev) serves lints, unit tests and the gateway that the interop tests run: on two
//! cores a second, optimized build costs more than it saves.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result};

use crate::run::{cargo, is_root, run, target};
use crate::{checks, install};

/// Interop tests at once, whatever the processors: they wait most of the time, some for minutes.
/// More would make the servers slower than their tests allow.
const INTEROP_THREADS: &str = "6";

/// Interop tests that need the machine for themselves; the others run before them.
const ALONE: &str = "alone::";

/// All checks and tests.
///
/// # Errors
/// The first that fails.
pub(crate) fn all() -> Result<()> {
    step("format", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    // A real component that is missing is a failure, in CI as at a desk: tests that are skipped
    // in silence are believed to pass.
    step("install", || {
        install::install().context("`cargo xtask test --fast` runs all but the interop tests")
    })?;
    lints()?;
    unit_tests()?;
    step("fuzz targets, not run", fuzz)?;
    step("interop tests", || {
        run(&mut cargo(&["build", "--package", "tarpit"]))?;
        interop(&["--skip", ALONE, "--test-threads", INTEROP_THREADS])
    })?;
    step("interop tests, one at a time", || {
        interop(&[ALONE, "--test-threads", "1"])
    })?;
    step("cuts, a sample", || {
        let mut tests = cargo(&["test", "--package", "tarpit-cuts", "--", "--show-output"]);
        tests.env("TARPIT_INTEROP_ROOT", install::root());
        tests.env("TARPIT_BIN", target().join("debug/tarpit"));
        as_root_where_needed(&mut tests)?;
        run(&mut tests)
    })
}

/// The interop tests that `arguments` choose.
fn interop(arguments: &[&str]) -> Result<()> {
    let mut tests = cargo(&["test", "--package", "tarpit-interop", "--"]);
    // Some tests measure; what they found is worth reading.
    tests.args(arguments).arg("--show-output");
    tests.env("TARPIT_INTEROP_ROOT", install::root());
    tests.env("TARPIT_BIN", target().join("debug/tarpit"));
    as_root_where_needed(&mut tests)?;
    run(&mut tests)
}

/// All that can be cut, or what `arguments` say, with optimized builds: it is the number that
/// counts here.
///
/// # Errors
/// When something was lost, delivered against what a client was told, or never answered.
pub(crate) fn cuts(arguments: &[&str]) -> Result<()> {
    install::install().context("`--without postfix` still needs what the tests need")?;
    run(&mut cargo(&["build", "--release", "--package", "tarpit"]))?;
    let mut cuts = cargo(&["run", "--release", "--package", "tarpit-cuts", "--"]);
    cuts.args(arguments);
    cuts.env("TARPIT_INTEROP_ROOT", install::root());
    cuts.env("TARPIT_BIN", target().join("release/tarpit"));
    as_root_where_needed(&mut cuts)?;
    run(&mut cuts)
}

/// All but the interop tests.
///
/// # Errors
/// The first that fails.
pub(crate) fn fast() -> Result<()> {
    step("format", || run(&mut cargo(&["fmt", "--all", "--check"])))?;
    lints()?;
    unit_tests()
}

/// The workspace of the fuzz targets: that they compile, and that its own tests hold (the parser
/// differs from another one only where that is known). Their seeds are replayed by the unit tests.
fn fuzz() -> Result<()> {
    const MANIFEST: [&str; 2] = ["--manifest-path", "fuzz/Cargo.toml"];
    // A folder of its own: the two workspaces would undo each other's builds.
    let folder = target().join("fuzz");
    for verb in [&["check", "--bins"][..], &["test"]] {
        let mut cargo = cargo(verb);
        cargo.args(MANIFEST).env("CARGO_TARGET_DIR", &folder);
        run(&mut cargo)?;
    }
    Ok(())
}

fn unit_tests() -> Result<()> {
    step("tests", || {
        run(&mut cargo(&[
            "test",
            "--workspace",
            "--exclude",
            "tarpit-interop",
            "--exclude",
            "tarpit-cuts",
        ]))
    })
}

fn lints() -> Result<()> {
    step("lints", || {
        run(&mut cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    })?;
    step("documentation", || {
        run(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    step("purity", checks::purity)
}

/// Postfix and Exim want to be started by root. Where we are not, cargo runs the test programs
/// through sudo; the builds stay ours.
fn as_root_where_needed(tests: &mut Command) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    run(Command::new("sudo").arg("--validate")).context("the interop tests need root or sudo")?;
    let triple = format!(
        "CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER",
        std::env::consts::ARCH.to_uppercase()
    );
    tests.env(triple, "sudo --preserve-env");
    Ok(())
}

fn step(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    work().with_context(|| format!("step `{name}` failed"))?;
    eprintln!(
        "\n== {name}: done in {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
