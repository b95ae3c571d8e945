//! What comes from the registries of Node and Python, each by its ordinary client and below
//! `target/`. Versions and digests are pinned in `tests/interop/peers`; nothing is compiled, and
//! no install script of a package runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::run::{repository, run};

/// Haraka and nodemailer, into `folder/node_modules`.
///
/// # Errors
/// When npm can't get them.
pub(super) fn npm(folder: &Path) -> Result<()> {
    let pins = ["package.json", "package-lock.json"];
    once(folder, &pins, || {
        for name in pins {
            fs::copy(peers().join(name), folder.join(name))?;
        }
        run(Command::new("npm").current_dir(folder).args([
            "ci",
            "--ignore-scripts",
            "--omit=optional",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]))
        .context("the interop tests need Haraka and nodemailer")
    })
}

/// aiosmtpd, into a virtual environment.
///
/// # Errors
/// When pip can't get it.
pub(super) fn python(folder: &Path) -> Result<()> {
    once(folder, &["requirements.txt"], || {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
        run(Command::new(folder.join("bin/pip"))
            .args([
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--only-binary=:all:",
                "--require-hashes",
                "--requirement",
            ])
            .arg(peers().join("requirements.txt")))
        .context("the interop tests need aiosmtpd")
    })
}

fn peers() -> PathBuf {
    repository().join("tests/interop/peers")
}

/// Fills `folder` anew, unless it was filled from the same `pins`. A stamp tells a finished
/// folder from one that was interrupted.
fn once(folder: &Path, pins: &[&str], fill: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut wanted = String::new();
    for name in pins {
        wanted.push_str(&fs::read_to_string(peers().join(name))?);
    }
    let stamp = folder.join("stamp");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder)?;
    fill()?;
    fs::write(stamp, wanted)?;
    Ok(())
}
