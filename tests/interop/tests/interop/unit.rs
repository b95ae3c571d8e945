//! The shipped unit, as systemd's own tools judge it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Unit, gateway_binary, repository, systemd_analyze};

/// The exposure that systemd-analyze computes, in tenths: 0 is a service that can do nothing, 100
/// one without any wall. What is left is what the service is for: sockets, port 25, the network,
/// and that it may give some of its threads less of the processor.
const EXPOSURE_MAX: &str = "17";

/// What systemd before 253 says about the second `Type=`, and goes by the first.
const OLD_SYSTEMD: &str = "Failed to parse service type, ignoring: notify-reload";

/// The unit with the drop-ins `with`, with the gateway under test for the installed one.
fn unit(with: &[&str]) -> Result<tempfile::TempDir> {
    let folder = tempfile::tempdir()?;
    let shipped = repository().join("packaging/systemd");
    let text = fs::read_to_string(shipped.join("tarpit.service"))?;
    let binary = gateway_binary()?.canonicalize()?;
    let text = text.replace("/usr/bin/tarpit", &binary.to_string_lossy());
    fs::write(folder.path().join("tarpit.service"), text)?;
    let drop_ins = folder.path().join("tarpit.service.d");
    fs::create_dir(&drop_ins)?;
    for name in with {
        fs::copy(shipped.join(name), drop_ins.join(name))?;
    }
    Ok(folder)
}

fn analyze(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command: Command = systemd_analyze()?;
    command.args(arguments).arg(folder.join("tarpit.service"));
    command.output().context("systemd-analyze can't be started")
}

#[test]
fn systemd_takes_the_unit_and_its_drop_ins() -> Result<()> {
    for with in [
        &[][..],
        &["tarpit-redirect.conf"],
        &["tarpit-transparent.conf"],
        &["tarpit-redirect.conf", "tarpit-transparent.conf"],
    ] {
        let folder = unit(with)?;
        let output = analyze(folder.path(), &["verify", "--man=no"])?;
        let said = String::from_utf8_lossy(&output.stderr);
        // It looks at other units of this machine, too.
        let mut about_us = said.lines().filter(|line| line.contains("tarpit"));
        let complaint = about_us.find(|line| !line.ends_with(OLD_SYSTEMD));
        ensure!(complaint.is_none(), "{with:?}: {said}");
    }
    Ok(())
}

/// A mistake in a unit is found: otherwise the test above shows nothing.
#[test]
fn systemd_refuses_a_unit_with_a_mistake() -> Result<()> {
    let folder = unit(&[])?;
    let path = folder.path().join("tarpit.service");
    let text = fs::read_to_string(&path)?;
    fs::write(
        &path,
        text.replace("ProtectHome=yes", "ProtectHome=perhaps"),
    )?;
    let output = analyze(folder.path(), &["verify", "--man=no"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("perhaps"), "{said}");
    Ok(())
}

#[test]
fn the_service_is_exposed_no_more_than_it_needs() -> Result<()> {
    let folder = unit(&[])?;
    let bound = format!("--threshold={EXPOSURE_MAX}");
    let output = analyze(
        folder.path(),
        &["security", "--offline=yes", "--no-pager", &bound],
    )?;
    let table = String::from_utf8_lossy(&output.stdout);
    let verdict = table.lines().rfind(|line| line.contains("exposure level"));
    println!("{}", verdict.context("no verdict")?.trim());
    ensure!(output.status.success(), "over {EXPOSURE_MAX}:\n{table}");
    Ok(())
}

/// What the service relies on, whatever a tool thinks of it.
#[test]
fn the_unit_says_what_it_must() -> Result<()> {
    let path = repository().join("packaging/systemd/tarpit.service");
    let unit = Unit::read(&[&path])?;
    for (key, value) in [
        ("Type", "notify-reload"),
        ("User", "tarpit"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "78"),
        ("AmbientCapabilities", "CAP_NET_BIND_SERVICE"),
        ("CapabilityBoundingSet", "CAP_NET_BIND_SERVICE"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("MemoryDenyWriteExecute", "yes"),
        // A crash leaves the keepers and the way to them.
        ("KillMode", "process"),
        ("RuntimeDirectoryPreserve", "restart"),
    ] {
        ensure!(
            unit.list("Service", key).last() == Some(&value),
            "{key}: {:?}",
            unit.list("Service", key)
        );
    }
    let files: u32 = unit
        .value("Service", "LimitNOFILE")
        .context("no LimitNOFILE")?
        .parse()?;
    ensure!(files > 100_000, "{files}");
    Ok(())
}
