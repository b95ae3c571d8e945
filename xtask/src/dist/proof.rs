//! What was packed is unpacked again and used: by its list, its scripts, its configuration, its
//! unit and its binary.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use crate::run::{output, run, target};

/// What the Debian package must hold. Man pages are compressed there.
const IN_PACKAGE: &[&str] = &[
    "etc/tarpit/tarpit.toml",
    "usr/bin/tarpit",
    "usr/lib/systemd/system/tarpit.service",
    "usr/lib/sysusers.d/tarpit.conf",
    "usr/share/bash-completion/completions/tarpit",
    "usr/share/zsh/vendor-completions/_tarpit",
    "usr/share/fish/vendor_completions.d/tarpit.fish",
    "usr/share/man/man5/tarpit.toml.5.gz",
    "usr/share/man/man8/tarpit.8.gz",
    "usr/share/man/man8/tarpit-run.8.gz",
    "etc/fail2ban/filter.d/tarpit.conf",
    "usr/share/tarpit/crowdsec/parser.yaml",
    "usr/share/tarpit/systemd/tarpit-redirect.conf",
    "usr/share/tarpit/systemd/tarpit-transparent.conf",
    "usr/share/doc/tarpit/copyright",
    "usr/share/doc/tarpit/LICENSE-APACHE",
    "usr/share/doc/tarpit/LICENSE-MIT",
    "usr/share/doc/tarpit/tarpit.toml",
];

/// What the archive must hold, below its one folder.
const IN_ARCHIVE: &[&str] = &[
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "bin/tarpit",
    "completions/_tarpit",
    "crowdsec/parser.yaml",
    "docs/configuration.md",
    "etc/tarpit.toml",
    "man/tarpit.8",
    "man/tarpit.toml.5",
    "systemd/tarpit.service",
    "systemd/tarpit-redirect.conf",
];

/// Unpacks the archive and uses it.
///
/// # Errors
/// Says what is missing or doesn't work.
pub(super) fn archive(path: &Path) -> Result<()> {
    let place = target().join("dist-proof/archive");
    super::fresh(&place)?;
    run(Command::new("tar")
        .args(["--extract", "--strip-components=1", "--directory"])
        .arg(&place)
        .arg("--file")
        .arg(path))?;
    holds(&place, IN_ARCHIVE)?;
    works(&place.join("bin/tarpit"), &place.join("etc/tarpit.toml"))
}

/// Unpacks the package, as `dpkg --install` would, and uses it; looks at its scripts.
///
/// # Errors
/// Says what is missing or doesn't work.
pub(super) fn package(path: &Path) -> Result<()> {
    let place = target().join("dist-proof/package");
    super::fresh(&place)?;
    run(Command::new("dpkg-deb")
        .arg("--extract")
        .arg(path)
        .arg(&place))?;
    run(Command::new("dpkg-deb")
        .arg("--control")
        .arg(path)
        .arg(place.join("DEBIAN")))?;
    holds(&place, IN_PACKAGE)?;
    works(
        &place.join("usr/bin/tarpit"),
        &place.join("etc/tarpit/tarpit.toml"),
    )?;
    scripts(&place.join("DEBIAN"))
}

fn holds(place: &Path, files: &[&str]) -> Result<()> {
    for file in files {
        let found = fs::metadata(place.join(file)).with_context(|| format!("no {file} in it"))?;
        ensure!(found.len() > 0, "{file} is empty");
    }
    Ok(())
}

/// The binary runs, and takes the configuration that is packed with it.
fn works(binary: &Path, config: &Path) -> Result<()> {
    let version = output(Command::new(binary).arg("--version"))?;
    ensure!(version.starts_with("tarpit "), "it says: {version}");
    // The name is that of the machine, if it has a full one; one that builds may not.
    let named = config.with_extension("named");
    let text = fs::read_to_string(config)?;
    fs::write(&named, format!("hostname = \"mx.example.org\"\n{text}"))?;
    let values = output(
        Command::new(binary)
            .args(["check", "--no-probe", "--config"])
            .arg(&named),
    )?;
    fs::remove_file(&named)?;
    // Who installs it must not find the mail of the machine changed.
    for line in ["address = \"127.0.0.1:2525\"", "mode = \"observe\""] {
        ensure!(values.contains(line), "no {line} in effect:\n{values}");
    }
    Ok(())
}

/// Maintainer scripts run as root on the machines of others: they make the user, tell systemd,
/// neither enable nor start anything, and are shell that parses.
fn scripts(control: &Path) -> Result<()> {
    let conffiles = fs::read_to_string(control.join("conffiles")).context("no conffiles")?;
    ensure!(
        conffiles
            .lines()
            .any(|line| line == "/etc/tarpit/tarpit.toml"),
        "the configuration is no conffile: an upgrade would overwrite it"
    );
    let postinst = fs::read_to_string(control.join("postinst")).context("no postinst")?;
    ensure!(
        postinst.contains("systemd-sysusers"),
        "no user is made:\n{postinst}"
    );
    for name in ["preinst", "postinst", "prerm", "postrm"] {
        let path = control.join(name);
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        run(Command::new("sh").arg("-n").arg(&path))?;
        // The helper's `enable` stands behind the question whether it was enabled before.
        let enables = text.contains("deb-systemd-helper enable") && !text.contains("was-enabled");
        if enables || text.contains("_dh_action=start") || text.contains("deb-systemd-invoke start")
        {
            bail!("{name} enables or starts the service:\n{text}");
        }
    }
    Ok(())
}
