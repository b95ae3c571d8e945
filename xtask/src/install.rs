//! What the interop tests need on the machine.
//!
//! Mail servers exclude each other as packages, and installing one would set up mail on the
//! machine and start a daemon. So they are only downloaded, and unpacked into folders of their
//! own below `target/`: no script of theirs runs. The package manager is asked to download
//! rather than a mirror by address, since it knows which libraries are missing here.
//!
//! A container with everything baked in was rejected: it hides from contributors what the tests
//! need, and needs more than a machine with a package manager.

mod debian;
mod registries;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{as_root, run, succeeds, target};
use debian::{apt_get, unpack};

/// What is unpacked, and into which folder. The harness in `tests/interop` knows these names.
const UNPACKED: &[(&str, &[&str])] = &[
    (
        "postfix",
        &[
            "postfix",
            "sasl2-bin",
            "libsasl2-2",
            "libsasl2-modules",
            "libsasl2-modules-db",
        ],
    ),
    // The light one takes no PROXY header.
    ("exim", &["exim4-daemon-heavy"]),
    ("opensmtpd", &["opensmtpd"]),
    (PROXIES, PROXY_PACKAGES),
    // It reads the gateway's figures; promtool, beside it, judges them.
    ("prometheus", &["prometheus"]),
    // For fail2ban-regex, which reads records by the filter that we ship.
    ("fail2ban", &["fail2ban"]),
    // It runs the parser and the scenarios that we ship over records.
    ("crowdsec", &["crowdsec"]),
    // For systemd-analyze, which judges the unit that we ship.
    ("systemd", &["systemd"]),
];

/// The folder of the proxies that stand in front of the gateway, and beside it in the benchmark.
const PROXIES: &str = "proxies";

/// Of the unpacked, what the benchmark measures as pits, beside the proxies.
const PITS: &[&str] = &["postfix", "exim"];

/// What is unpacked there.
const PROXY_PACKAGES: &[&str] = &[
    "haproxy",
    "nginx",
    "libnginx-mod-stream",
    "libnginx-mod-mail",
];

/// What is installed as usual, with a command that shows that it is there. None has a daemon.
const INSTALLED: &[(&str, &[&str])] = &[
    ("swaks", &["swaks", "--version"]),
    // Without it, swaks has no TLS.
    ("libnet-ssleay-perl", &["perl", "-MNet::SSLeay", "-e", "1"]),
    ("msmtp", &["msmtp", "--version"]),
    ("curl", &["curl", "--version"]),
    ("openssl", &["openssl", "version"]),
    ("python3", &["python3", "-c", "import smtplib"]),
    ("python3-venv", &["python3", "-c", "import venv, ensurepip"]),
    ("nodejs", &["node", "--version"]),
    ("npm", &["npm", "--version"]),
    // It looks at the page, and takes its pictures.
    ("chromium", &["chromium", "--version"]),
    (
        "fonts-dejavu-core",
        &["test", "-d", "/usr/share/fonts/truetype/dejavu"],
    ),
    // Network namespaces, and the redirect that belongs to the unit.
    ("iproute2", &["ip", "-Version"]),
    ("nftables", &["/usr/sbin/nft", "--version"]),
];

/// Users that the servers change to, with their groups, as their packages would make them.
const USERS: &[&str] = &["postfix", "Debian-exim", "opensmtpd", "opensmtpq"];

/// The group of Postfix's drop folder.
const GROUPS: &[&str] = &["postdrop"];

/// Where the servers are unpacked.
pub(crate) fn root() -> PathBuf {
    target().join("interop-root")
}

/// Installs what is missing; does nothing when all is there.
///
/// # Errors
/// Says what is missing and how to get it by hand.
pub(crate) fn install() -> Result<()> {
    for (package, probe) in INSTALLED {
        install_package(package, probe)?;
    }
    users()?;
    for (folder, packages) in UNPACKED {
        unpack(&root().join(folder), packages)?;
    }
    haraka()?;
    registries::python(&root().join("python"))?;
    Ok(())
}

/// Installs the mail servers that the benchmark measures as pits.
///
/// # Errors
/// When one can't be had.
pub(crate) fn pits() -> Result<()> {
    users()?;
    for (folder, packages) in UNPACKED {
        if PITS.contains(folder) {
            unpack(&root().join(folder), packages)?;
        }
    }
    haraka()
}

fn haraka() -> Result<()> {
    registries::node(&root().join("node"))?;
    registries::npm(&root().join("npm"))
}

fn users() -> Result<()> {
    for group in GROUPS {
        if !succeeds(Command::new("getent").args(["group", group])) {
            run(as_root("groupadd").args(["--system", group]))?;
        }
    }
    for user in USERS {
        if !succeeds(Command::new("getent").args(["passwd", user])) {
            run(as_root("useradd").args([
                "--system",
                "--user-group",
                "--no-create-home",
                "--home-dir",
                "/nonexistent",
                "--shell",
                "/usr/sbin/nologin",
                user,
            ]))?;
        }
    }
    Ok(())
}

/// Unpacks the other proxies that the benchmark measures, and says below which folder.
///
/// # Errors
/// When they can't be had.
pub(crate) fn peers() -> Result<PathBuf> {
    let folder = root().join(PROXIES);
    unpack(&folder, PROXY_PACKAGES)?;
    Ok(folder.join("root"))
}

fn install_package(package: &str, probe: &[&str]) -> Result<()> {
    let Some((program, arguments)) = probe.split_first() else {
        return Ok(());
    };
    if succeeds(Command::new(program).args(arguments)) {
        return Ok(());
    }
    apt_get(&[
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ])
    .with_context(|| format!("the interop tests need {package}; install it by hand"))?;
    if !succeeds(Command::new(program).args(arguments)) {
        bail!(
            "{package} was installed, but this still fails: {}",
            probe.join(" ")
        );
    }
    Ok(())
}
