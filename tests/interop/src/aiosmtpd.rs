//! aiosmtpd, the server that many test suites and small tools are made with.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::certificates::KeyPair;
use crate::place::{free_port, installed, repository};
use crate::process::{Group, wait_for};
use crate::server::MailServer;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running aiosmtpd. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Aiosmtpd {
    process: Group,
    port: u16,
    implicit_port: Option<u16>,
    proxy_port: u16,
    // Behind the process: fields are dropped in order, and the folder must outlive it.
    folder: TempDir,
}

impl Aiosmtpd {
    /// A server for `example.org` that knows [`crate::USERS`] and [`crate::UTF8_USER`]. With
    /// `pair` it offers STARTTLS and has a port where TLS comes first.
    ///
    /// # Errors
    /// When aiosmtpd is not installed, or doesn't come up.
    pub fn server(pair: Option<&KeyPair>) -> Result<Self> {
        let python = installed("python")?.join("bin/python3");
        let folder = tempfile::Builder::new()
            .prefix("tarpit-aiosmtpd-")
            .tempdir()?;
        let (port, proxy_port) = (free_port()?, free_port()?);
        let implicit_port = pair.map(|_| free_port()).transpose()?;
        let mut command = Command::new(python);
        command
            .arg(repository().join("tests/interop/servers/aiosmtpd_server.py"))
            .arg(folder.path().join("mail"))
            .args([port.to_string(), proxy_port.to_string()]);
        match (implicit_port, pair) {
            (Some(implicit), Some(pair)) => command
                .arg(implicit.to_string())
                .args([&pair.chain, &pair.key]),
            _ => command.args(["-", "-", "-"]),
        };
        command.args(crate::USERS).arg(crate::UTF8_USER);
        let output = fs::File::create(folder.path().join("log"))?;
        let process = Group::spawn_with_output(&command, &output)?;
        let mut server = Self {
            process,
            port,
            implicit_port,
            proxy_port,
            folder,
        };
        let up = wait_for(PATIENCE, || {
            if server.process.ended().is_some() {
                return Some(false);
            }
            server.log().contains("ready").then_some(true)
        });
        if up != Some(true) {
            bail!("aiosmtpd doesn't start: {}", server.log());
        }
        Ok(server)
    }
}

impl MailServer for Aiosmtpd {
    fn port(&self) -> u16 {
        self.port
    }

    fn implicit_port(&self) -> Option<u16> {
        self.implicit_port
    }

    fn proxy_port(&self) -> Option<u16> {
        Some(self.proxy_port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.path().join("mail").join(user).join("new")
    }
}
