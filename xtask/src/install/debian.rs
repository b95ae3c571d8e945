//! Debian packages that are unpacked, never installed: no script of theirs runs.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{as_root, output, run, succeeds};

/// Changed when an unpacked folder of an older checkout can't be used any more.
const LAYOUT: &str = "1";

/// Downloads `packages` with whatever they need that this machine lacks, and unpacks all that
/// into `folder/root`. A stamp tells a finished folder from one that was interrupted.
///
/// # Errors
/// When the package manager is not there or does not have them.
pub(super) fn unpack(folder: &Path, packages: &[&str]) -> Result<()> {
    let stamp = format!("{LAYOUT} {} {}\n", system()?, packages.join(" "));
    let stamp_file = folder.join("stamp");
    if std::fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    if folder.exists() {
        run(as_root("rm").arg("--recursive").arg("--force").arg(folder))?;
    }
    let (archives, tree) = (folder.join("archives"), folder.join("root"));
    std::fs::create_dir_all(&tree)?;

    let cache = format!("Dir::Cache::archives={}", archives.display());
    let mut download = vec![
        "install",
        "--yes",
        "--quiet",
        "--download-only",
        "--reinstall",
        "--no-install-recommends",
        "--option",
        &cache,
    ];
    download.extend(packages);
    // Old lists name old versions: what came before they were renewed must not be unpacked beside the new.
    let empty = || {
        run(as_root("rm")
            .args(["--recursive", "--force"])
            .arg(&archives))?;
        Ok(std::fs::create_dir_all(archives.join("partial"))?)
    };
    attempts(&download, empty).with_context(|| {
        format!(
            "needed: the packages {}, only unpacked",
            packages.join(", ")
        )
    })?;
    for entry in std::fs::read_dir(&archives)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            run(as_root("dpkg-deb").arg("--extract").arg(&path).arg(&tree))?;
        }
    }
    // The tests run as root already; a program that makes root of anyone has no place below target/.
    run(as_root("chmod").args(["--recursive", "u-s,g-s"]).arg(&tree))?;
    std::fs::write(&stamp_file, stamp)?;
    Ok(())
}

/// `apt-get`, without questions. Tries again with fresh lists, since those of an image are often
/// missing or name versions that are gone.
///
/// # Errors
/// When it is not there, or fails twice.
pub(super) fn apt_get(arguments: &[&str]) -> Result<()> {
    attempts(arguments, || Ok(()))
}

/// The same, with something to do before each attempt.
fn attempts(arguments: &[&str], prepare: impl Fn() -> Result<()>) -> Result<()> {
    if !succeeds(Command::new("apt-get").arg("--version")) {
        bail!(
            "no apt-get here: the interop tests know Debian only. `cargo xtask test --fast` runs \
             the others"
        );
    }
    let attempt = || {
        prepare()?;
        run(as_root("env")
            .args(["DEBIAN_FRONTEND=noninteractive", "apt-get"])
            .args(arguments))
    };
    if attempt().is_ok() {
        return Ok(());
    }
    run(as_root("apt-get").args(["update", "--quiet"]))?;
    attempt()
}

/// The system that the packages are for.
fn system() -> Result<String> {
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        ". /etc/os-release && echo \"$ID $VERSION_ID $(uname -m)\"",
    ]);
    Ok(output(&mut shell)?.trim().to_owned())
}
