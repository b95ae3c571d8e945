//! `cargo xtask dist`: what is handed out, a tar.gz and a Debian package, and a proof that both work.
//!
//! Man pages and completions are made by the binary that is packed. The package is made by
//! cargo-deb rather than by debhelper: it needs a cargo and no Debian, and knows units, users and
//! conffiles. Distributions that package Tarpit themselves find all they need in `packaging/`.

mod proof;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{cargo, output, repository, run, succeeds, target};

/// Makes the package. A version that was tried, since its scripts run as root.
const CARGO_DEB: &str = "3.8.0";

/// Where Cargo puts what it builds for users. cargo-deb knows files below it by this prefix too.
const PROFILE: &str = "release";

/// What is packed beside the binary and what it makes: from the repository, to the archive.
const FILES: &[(&str, &str)] = &[
    ("LICENSE-APACHE", "LICENSE-APACHE"),
    ("LICENSE-MIT", "LICENSE-MIT"),
    ("README.md", "README.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("SECURITY.md", "SECURITY.md"),
    ("docs", "docs"),
    ("packaging/tarpit.toml", "etc/tarpit.toml"),
    ("packaging/systemd", "systemd"),
    ("packaging/fail2ban", "fail2ban"),
    ("packaging/crowdsec", "crowdsec"),
    (
        "packaging/grafana-dashboard.json",
        "monitoring/grafana-dashboard.json",
    ),
    (
        "packaging/prometheus-alerts.yml",
        "monitoring/prometheus-alerts.yml",
    ),
];

/// Builds, packs, and proves.
///
/// # Errors
/// When a step fails; says which.
pub(crate) fn dist() -> Result<()> {
    run(&mut cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        "tarpit",
    ]))?;
    let binary = target().join(PROFILE).join("tarpit");
    let made = target().join(PROFILE).join("dist");
    for (page, folder) in [("man", "man"), ("completions", "completions")] {
        fresh(&made.join(folder))?;
        run(Command::new(&binary)
            .args(["generate", page, "--dir"])
            .arg(made.join(folder)))?;
    }
    let out = target().join("dist");
    fresh(&out)?;
    let archive = archive(&binary, &made, &out)?;
    proof::archive(&archive)?;
    // Debian policy 12.1.
    run(Command::new("sh")
        .args(["-c", "gzip --force --best --no-name *.[58]"])
        .current_dir(made.join("man")))?;
    let package = package(&out)?;
    proof::package(&package)?;
    eprintln!("\n{}\n{}", archive.display(), package.display());
    Ok(())
}

/// An empty folder.
fn fresh(folder: &Path) -> Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

/// The tar.gz. Names in order and one date, so that two builds of one commit can be compared.
fn archive(binary: &Path, made: &Path, out: &Path) -> Result<PathBuf> {
    let version = output(Command::new(binary).arg("--version"))?;
    let version = version.split_whitespace().nth(1).context("no version")?;
    let (system, machine) = (std::env::consts::OS, std::env::consts::ARCH);
    let name = format!("tarpit-{version}-{machine}-{system}");
    let stage = out.join("stage");
    let folder = stage.join(&name);
    std::fs::create_dir_all(folder.join("bin"))?;
    std::fs::create_dir_all(folder.join("etc"))?;
    let mut pairs = vec![
        (binary.to_path_buf(), folder.join("bin/tarpit")),
        (made.join("man"), folder.join("man")),
        (made.join("completions"), folder.join("completions")),
    ];
    for (from, to) in FILES {
        pairs.push((repository().join(from), folder.join(to)));
    }
    for (from, to) in pairs {
        run(Command::new("cp").arg("--recursive").arg(from).arg(to))?;
    }
    run(Command::new("strip").arg(folder.join("bin/tarpit")))?;
    let path = out.join(format!("{name}.tar.gz"));
    let date = output(cargo_free("git").args(["log", "-1", "--format=%ct"]))?;
    run(Command::new("tar")
        .args([
            "--create",
            "--gzip",
            "--sort=name",
            "--owner=0",
            "--group=0",
            "--numeric-owner",
        ])
        .arg(format!("--mtime=@{}", date.trim()))
        .arg("--mode=u=rwX,go=rX")
        .arg("--directory")
        .arg(&stage)
        .arg("--file")
        .arg(&path)
        .arg(&name))?;
    std::fs::remove_dir_all(&stage)?;
    Ok(path)
}

/// A program that works on the repository.
fn cargo_free(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(repository());
    command
}

/// The Debian package.
fn package(out: &Path) -> Result<PathBuf> {
    let tool = cargo_deb()?;
    let mut command = cargo_free(&tool.to_string_lossy());
    command
        .args([
            "--package",
            "tarpit",
            "--no-build",
            "--strip",
            "--no-dbgsym",
            "--locked",
        ])
        .arg("--output")
        .arg(out)
        .env("CARGO_TARGET_DIR", target());
    run(&mut command)?;
    let found = std::fs::read_dir(out)?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut packages = found.filter(|path| path.extension().is_some_and(|ext| ext == "deb"));
    packages.next().context("cargo-deb made no package")
}

/// cargo-deb: the one below target/, made if it is missing. Never the user's own, which may be of
/// another version.
fn cargo_deb() -> Result<PathBuf> {
    let root = target().join("tools");
    let tool = root.join("bin/cargo-deb");
    let is_there = output(Command::new(&tool).arg("--version"))
        .is_ok_and(|version| version.trim().ends_with(CARGO_DEB));
    if !is_there {
        run(cargo(&[
            "install",
            "cargo-deb",
            "--locked",
            "--version",
            CARGO_DEB,
            "--root",
        ])
        .arg(&root)
        .env("CARGO_TARGET_DIR", target().join("tools-build")))?;
    }
    if !succeeds(Command::new(&tool).arg("--version")) {
        bail!("{} doesn't run", tool.display());
    }
    Ok(tool)
}
