//! Clients that others wrote: swaks and Python's smtplib.

use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

use crate::place::{libraries, repository, unpacked};

/// Runs swaks with `arguments`, on a port of 127.0.0.1.
///
/// # Errors
/// When it can't be started; that it fails is in the output.
pub fn swaks(port: u16, arguments: &[&str]) -> Result<Output> {
    Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port.to_string()])
        .args(arguments)
        .output()
        .context("swaks is not there: run `cargo xtask install`")
}

/// Runs `tests/interop/clients/SCRIPT` with `arguments`.
///
/// # Errors
/// When it can't be started; that it fails is in the output.
pub fn python(script: &str, arguments: &[&str]) -> Result<Output> {
    Command::new("python3")
        .arg(repository().join("tests/interop/clients").join(script))
        .args(arguments)
        .output()
        .context("python3 is not there: run `cargo xtask install`")
}

/// `systemd-analyze`: this machine's, or that of the package, unpacked.
///
/// # Errors
/// When there is neither.
pub fn systemd_analyze() -> Result<Command> {
    let installed = Command::new("systemd-analyze").arg("--version").output();
    if installed.is_ok_and(|output| output.status.success()) {
        return Ok(Command::new("systemd-analyze"));
    }
    let root = unpacked("systemd")?;
    let libraries = libraries(&root);
    let own = libraries.join("systemd");
    let mut command = Command::new(root.join("usr/bin/systemd-analyze"));
    let path = format!("{}:{}", own.display(), libraries.display());
    command.env("LD_LIBRARY_PATH", path);
    Ok(command)
}

/// A program of the package `prometheus`: the server itself, or `promtool`.
///
/// # Errors
/// When it is not installed.
pub fn prometheus(program: &str) -> Result<Command> {
    Ok(Command::new(
        unpacked("prometheus")?.join("usr/bin").join(program),
    ))
}

/// `fail2ban-regex` of the package, with the package's own configuration.
///
/// # Errors
/// When it is not installed.
pub fn fail2ban_regex() -> Result<Command> {
    let root = unpacked("fail2ban")?;
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"));
    command.arg(root.join("usr/bin/fail2ban-regex"));
    command.arg("--config").arg(root.join("etc/fail2ban"));
    Ok(command)
}

/// HAProxy, as its package has it.
///
/// # Errors
/// When it is not installed.
pub fn haproxy() -> Result<Command> {
    let root = unpacked("proxies")?;
    let mut command = Command::new(root.join("usr/sbin/haproxy"));
    command.env("LD_LIBRARY_PATH", libraries(&root));
    Ok(command)
}

/// The numbers of a user and its first group.
pub(crate) fn user_ids(user: &str) -> Result<(u32, u32)> {
    let entry = entry("passwd", user)?;
    let mut fields = entry.split(':').skip(2);
    let mut number = || {
        fields
            .next()
            .context("a short entry")?
            .parse()
            .context("no number")
    };
    Ok((number()?, number()?))
}

/// The number of a group.
pub(crate) fn group_id(group: &str) -> Result<u32> {
    let entry = entry("group", group)?;
    entry
        .split(':')
        .nth(2)
        .context("a short entry")?
        .parse()
        .context("no number")
}

fn entry(database: &str, name: &str) -> Result<String> {
    let output = Command::new("getent").args([database, name]).output()?;
    ensure!(
        output.status.success(),
        "no {name} in {database}: run `cargo xtask install`"
    );
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
