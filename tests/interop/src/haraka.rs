//! Haraka, the mail server in Node.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::certificates::KeyPair;
use crate::place::{free_port, installed, repository};
use crate::process::{Group, wait_for};
use crate::server::MailServer;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running Haraka. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Haraka {
    process: Group,
    port: u16,
    implicit_port: Option<u16>,
    // Behind the process: fields are dropped in order, and the folder must outlive it.
    folder: TempDir,
}

impl Haraka {
    /// A server for `example.org` that knows [`crate::USERS`] and [`crate::UTF8_USER`], and takes
    /// XCLIENT from 127.0.0.1. With `pair` it offers STARTTLS and has a port where TLS comes first.
    ///
    /// # Errors
    /// When Haraka is not installed, or doesn't come up.
    pub fn server(pair: Option<&KeyPair>) -> Result<Self> {
        let haraka = installed("npm")?.join("node_modules/Haraka");
        let folder = tempfile::Builder::new()
            .prefix("tarpit-haraka-")
            .tempdir()?;
        let port = free_port()?;
        let implicit_port = pair.map(|_| free_port()).transpose()?;
        configure(&haraka, folder.path(), (port, implicit_port), pair)?;
        Self::launch(folder, port, implicit_port)
    }

    /// One with these files in place of its own configuration: paths below its folder, as
    /// `config/smtp.ini` or `plugins/NAME.js`, and texts in which `{port}` stands for its port.
    ///
    /// # Errors
    /// When Haraka is not installed, or doesn't come up.
    pub fn configured(files: &[(&str, &str)]) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tarpit-haraka-")
            .tempdir()?;
        let port = free_port()?;
        for name in ["config", "plugins"] {
            fs::create_dir(folder.path().join(name))?;
        }
        for (path, text) in files {
            let text = text.replace("{port}", &port.to_string());
            fs::write(folder.path().join(path), text)?;
        }
        // It does without none of the sections of this one.
        let settings = "config/connection.ini";
        if !folder.path().join(settings).exists() {
            let own = installed("npm")?.join("node_modules/Haraka").join(settings);
            fs::copy(own, folder.path().join(settings))?;
        }
        Self::launch(folder, port, None)
    }

    /// The number of its first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    fn launch(folder: TempDir, port: u16, implicit_port: Option<u16>) -> Result<Self> {
        let haraka = installed("npm")?.join("node_modules/Haraka");
        let users = [&crate::USERS[..], &[crate::UTF8_USER]].concat().join(",");
        let mut command = Command::new(installed("node")?.join("bin/node"));
        command
            .arg(haraka.join("bin/haraka"))
            .arg("--configs")
            .arg(folder.path())
            .env("TARPIT_MAIL", folder.path().join("mail"))
            .env("TARPIT_USERS", users);
        let output = fs::File::create(folder.path().join("log"))?;
        let process = Group::spawn_with_output(&command, &output)?;
        let mut server = Self {
            process,
            port,
            implicit_port,
            folder,
        };
        let up = wait_for(PATIENCE, || {
            if server.process.ended().is_some() {
                return Some(false);
            }
            let ports = [Some(port), implicit_port];
            ports
                .into_iter()
                .flatten()
                .all(crate::proc::is_listening)
                .then_some(true)
        });
        if up != Some(true) {
            bail!("Haraka doesn't start: {}", server.log());
        }
        Ok(server)
    }
}

fn configure(
    haraka: &Path,
    folder: &Path,
    ports: (u16, Option<u16>),
    pair: Option<&KeyPair>,
) -> Result<()> {
    let config = folder.join("config");
    fs::create_dir(&config)?;
    fs::create_dir(folder.join("plugins"))?;
    let servers = repository().join("tests/interop/servers");
    fs::copy(
        servers.join("haraka_maildir.js"),
        folder.join("plugins/maildir.js"),
    )?;
    let (port, implicit) = ports;
    let mut listen = format!("listen=127.0.0.1:{port}");
    let mut plugins = String::from("xclient\nmaildir\n");
    if let (Some(implicit), Some(pair)) = (implicit, pair) {
        listen = format!("{listen},127.0.0.1:{implicit}\nsmtps_port={implicit}");
        plugins.insert_str(0, "tls\n");
        fs::copy(&pair.chain, config.join("tls_cert.pem"))?;
        fs::copy(&pair.key, config.join("tls_key.pem"))?;
        fs::write(
            config.join("tls.ini"),
            "key=tls_key.pem\ncert=tls_cert.pem\n",
        )?;
    }
    fs::write(config.join("smtp.ini"), format!("{listen}\nnodes=0\n"))?;
    fs::write(config.join("plugins"), plugins)?;
    fs::write(config.join("me"), "haraka.example.org\n")?;
    fs::write(config.join("xclient.hosts"), "127.0.0.1\n")?;
    fs::write(config.join("log.ini"), "[main]\nlevel=notice\n")?;
    // All of its sections are needed. Its own limit would break lines of more than 992 octets.
    let settings = fs::read_to_string(haraka.join("config/connection.ini"))?
        .replace("data_line_length=992", "data_line_length=1000000")
        .replace("bytes=26214400", "bytes=52428800")
        .replace("[main]", "[main]\nsmtputf8=true");
    fs::write(config.join("connection.ini"), settings)?;
    Ok(())
}

impl MailServer for Haraka {
    fn port(&self) -> u16 {
        self.port
    }

    fn implicit_port(&self) -> Option<u16> {
        self.implicit_port
    }

    fn proxy_port(&self) -> Option<u16> {
        None
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.path().join("mail").join(user).join("new")
    }
}
