//! What the interop tests need on the machine.
//!
//! Postfix and Exim exclude each other as packages, and installing either would set up mail on
//! the machine and start a daemon. So they are only downloaded, and unpacked into folders of
//! their own below `target/`: no script of theirs runs. The package manager is asked to download
//! rather than a mirror by address, since it knows which libraries are missing here.
//!
//! A container with everything baked in was rejected: it hides from contributors what the tests
//! need, and needs more than a machine with a package manager.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::run::{as_root, output, run, succeeds, target};

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
    ("exim", &["exim4-daemon-light"]),
];

/// What is installed as usual, with a command that shows that it is there. Neither has a daemon.
const INSTALLED: &[(&str, &[&str])] = &[
    ("swaks", &["swaks", "--version"]),
    ("python3", &["python3", "-c", "import smtplib"]),
];

/// Users that Postfix and Exim change to, with their groups, as their packages would make them.
const USERS: &[&str] = &["postfix", "Debian-exim"];

/// The group of Postfix's drop folder.
const GROUPS: &[&str] = &["postdrop"];

/// Changed when an unpacked folder of an older checkout can't be used any more.
const LAYOUT: &str = "1";

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
    for (folder, packages) in UNPACKED {
        unpack(&root().join(folder), packages)?;
    }
    Ok(())
}

/// What the benchmark compares the gateway with. Neither is set up on the machine.
const PEERS: &[&str] = &[
    "haproxy",
    "nginx",
    "libnginx-mod-stream",
    "libnginx-mod-mail",
];

/// Unpacks the other proxies that the benchmark measures, and says below which folder.
///
/// # Errors
/// When they can't be had.
pub(crate) fn peers() -> Result<PathBuf> {
    let folder = root().join("bench");
    unpack(&folder, PEERS)?;
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

/// Downloads `packages` with whatever they need that this machine lacks, and unpacks all that
/// into `folder/root`. A stamp tells a finished folder from one that was interrupted.
fn unpack(folder: &Path, packages: &[&str]) -> Result<()> {
    let stamp = format!("{LAYOUT} {} {}\n", system()?, packages.join(" "));
    let stamp_file = folder.join("stamp");
    if std::fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    if folder.exists() {
        run(as_root("rm").arg("--recursive").arg("--force").arg(folder))?;
    }
    let (archives, tree) = (folder.join("archives"), folder.join("root"));
    std::fs::create_dir_all(archives.join("partial"))?;
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
    apt_get(&download).with_context(|| {
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
fn apt_get(arguments: &[&str]) -> Result<()> {
    if !succeeds(Command::new("apt-get").arg("--version")) {
        bail!(
            "no apt-get here: the interop tests know Debian only. `cargo xtask test --fast` runs \
             the others"
        );
    }
    let attempt = || {
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
