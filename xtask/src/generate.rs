//! Commands that hand over to other packages of the workspace.

use anyhow::{Context as _, Result};

use crate::install;
use crate::run::{cargo, output, repository, run, target};

/// Pages that the product prints from its table of options, and where they lie. That they are
/// current is a test of the package `tarpit`.
const PAGES: &[(&str, &str)] = &[
    ("sample", "docs/tarpit.toml"),
    ("reference", "docs/configuration.md"),
    ("extensions", "docs/extensions.md"),
    ("monitoring", "docs/monitoring.md"),
];

/// Writes all generated files.
///
/// # Errors
/// When the product can't be built, or a file can't be written.
pub(crate) fn generate() -> Result<()> {
    for (page, path) in PAGES {
        let text = output(&mut cargo(&[
            "run",
            "--quiet",
            "--package",
            "tarpit",
            "--",
            "generate",
            page,
        ]))?;
        let path = repository().join(path);
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("{} is current", path.display());
    }
    Ok(())
}

/// Runs the benchmark with `arguments`.
///
/// # Errors
/// When it can't be built, or fails.
pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    // The gateway is a process of its own there, as in life, and must be the optimized one too.
    run(&mut cargo(&["build", "--release", "--package", "tarpit"]))?;
    let mut bench = cargo(&["run", "--release", "--package", "tarpit-bench", "--"]);
    if arguments.first() == Some(&"replay") {
        return run(bench.args(arguments));
    }
    // Without them the rest is worth measuring all the same; the benchmark says what it left out.
    match install::peers() {
        Ok(root) => drop(bench.env("TARPIT_BENCH_PEERS", root)),
        Err(error) => eprintln!("xtask: without other proxies: {error:#}"),
    }
    bench.env("TARPIT_INTEROP_ROOT", install::root());
    if arguments.first() == Some(&"pit")
        && !arguments.contains(&"--no-peers")
        && let Err(error) = install::pits()
    {
        eprintln!("xtask: without other mail servers: {error:#}");
    }
    run(bench.args(arguments))
}

/// Takes the pictures of the page.
///
/// # Errors
/// When something can't be built, or there is no browser.
pub(crate) fn screenshot() -> Result<()> {
    run(&mut cargo(&["build", "--package", "tarpit"]))?;
    let folder = repository().join("docs");
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let mut taker = cargo(&[
        "run",
        "--package",
        "tarpit-interop",
        "--bin",
        "screenshot",
        "--",
    ]);
    taker.env("TARPIT_BIN", target().join("debug/tarpit"));
    run(taker.arg(folder))
}
