//! Checks that no compiler makes for us: that the deciding crates are pure.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run::{cargo, output, repository, run, succeeds};

/// The crates that know no socket, no clock, no thread and no randomness (DESIGN.md §4), with the
/// crates that they may depend on. Each of these was read for the same purity.
const PURE: &[(&str, &str, &[&str])] = &[
    ("tarpit-smtp", "crates/smtp/src", &["memchr"]),
    ("tarpit-core", "crates/core/src", &["memchr", "tarpit-smtp"]),
];

/// Modules of the standard library with hands. `std::net` is here for its sockets; its address
/// types live in `core::net` and `std::net::{IpAddr, ...}`, and those are let through.
const HANDS: &[&str] = &[
    "std::fs",
    "std::io",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "Instant",
    "SystemTime",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "RandomState::new",
    "RandomState::default",
    "println!",
    "eprintln!",
];

const WASM: &str = "wasm32-unknown-unknown";

/// Proves that the deciding crates do no input or output.
///
/// Building for a machine without an operating system shows that no dependency needs one. It
/// doesn't show that nobody tries: the standard library builds there, with sockets and clocks
/// that fail when called. So dependencies and sources are looked at as well.
///
/// # Errors
/// Names the crate, and what it must not have.
pub(crate) fn purity() -> Result<()> {
    for (package, folder, allowed) in PURE {
        dependencies(package, allowed)?;
        sources(&repository().join(folder))?;
    }
    if has_wasm() {
        let mut build = cargo(&["build", "--target", WASM]);
        for (package, ..) in PURE {
            build.args(["--package", package]);
        }
        run(&mut build)?;
    } else {
        eprintln!(
            "{WASM} can't be had here; dependencies and sources of the pure crates were checked"
        );
    }
    Ok(())
}

/// Whether the target is there, or can be fetched now.
fn has_wasm() -> bool {
    let installed = output(Command::new("rustup").args(["target", "list", "--installed"]));
    installed.is_ok_and(|list| list.lines().any(|line| line == WASM))
        || succeeds(Command::new("rustup").args(["target", "add", WASM]))
}

fn dependencies(package: &str, allowed: &[&str]) -> Result<()> {
    let tree = output(&mut cargo(&[
        "tree",
        "--package",
        package,
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]))?;
    let names = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    for name in names {
        if name != package && !allowed.contains(&name) {
            bail!(
                "{package} depends on {name}; allowed: {}. See xtask/src/checks.rs",
                allowed.join(", ")
            );
        }
    }
    Ok(())
}

fn sources(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Modules of tests may do as they like, at the end of a file or in files of their own.
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path)?;
            continue;
        }
        let text = std::fs::read_to_string(&path)?;
        for (index, line) in text.lines().enumerate() {
            if line.trim() == "#[cfg(test)]" {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            if let Some(hand) = HANDS.iter().find(|hand| code.contains(**hand)) {
                bail!(
                    "{}:{}: {hand} in a crate that must be pure",
                    path.display(),
                    index + 1
                );
            }
        }
    }
    Ok(())
}
