//! Postfix from a private folder: as the server behind the gateway, or as a client before it.
//!
//! `master` is started directly. The `postfix` command would check and repair the installation
//! first, which takes seconds and expects the folders of the package; what it creates is created
//! here. No service is chrooted.

mod build;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

pub use build::PostfixBuilder;

use crate::process::{Group, wait_for};
use crate::server::MailServer;
use build::{Ports, library_path, write_settled};

/// How long a start, a stop or a delivery may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Postfix. Dropping it ends all its processes and removes its folder.
#[derive(Debug)]
pub struct Postfix {
    process: Option<Group>,
    ports: Ports,
    root: PathBuf,
    // Behind the process: fields are dropped in order, and the folder must outlive it.
    folder: TempDir,
}

impl Postfix {
    /// A server for `example.org` that knows [`crate::USERS`], trusts nobody's address, and
    /// refuses unknown recipients with 550 5.1.1.
    #[must_use]
    pub fn server() -> PostfixBuilder {
        PostfixBuilder::new(&crate::USERS)
            .set("mynetworks", "")
            .set("virtual_mailbox_domains", "example.org")
    }

    /// A sending Postfix: takes everything from loopback and gives it to the gateway on `port`.
    /// It tries deferred mail again after 2 s, where a real one waits 5 minutes.
    #[must_use]
    pub fn relaying_to(port: u16) -> PostfixBuilder {
        PostfixBuilder::new(&[])
            .set("myhostname", "relay.example.net")
            .set("relayhost", &format!("[127.0.0.1]:{port}"))
            .set("smtp_host_lookup", "native")
            .set("smtp_dns_support_level", "disabled")
            .set("queue_run_delay", "2s")
            .set("minimal_backoff_time", "2s")
            .set("maximal_backoff_time", "2s")
    }

    /// The port on 127.0.0.1 where it listens; the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.plain
    }

    /// The number of its master, if it runs; its children are all else.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().map(Group::id)
    }

    /// All that it logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("maillog")).unwrap_or_default()
    }

    /// Waits until the log contains `text`.
    ///
    /// # Errors
    /// When it doesn't in half a minute; with the log.
    pub fn wait_log(&self, text: &str) -> Result<()> {
        wait_for(PATIENCE, || self.log().contains(text).then_some(()))
            .with_context(|| format!("Postfix never logged {text:?}:\n{}", self.log()))
    }

    /// The messages in the mailbox of `user` now, oldest first.
    ///
    /// # Errors
    /// When the maildir can't be read.
    pub fn mailbox(&self, user: &str) -> Result<Vec<Vec<u8>>> {
        read_maildir(&self.folder.path().join("mail").join(user).join("new"))
    }

    /// Waits until the mailbox of `user` holds `count` messages; returns them.
    ///
    /// # Errors
    /// When there are fewer after half a minute, or more.
    pub fn wait_mailbox(&self, user: &str, count: usize) -> Result<Vec<Vec<u8>>> {
        let enough = || {
            self.mailbox(user)
                .ok()
                .filter(|messages| messages.len() >= count)
        };
        let Some(messages) = wait_for(PATIENCE, enough) else {
            let found = self.mailbox(user)?.len();
            bail!(
                "{user} has {found} messages, not {count}; log:\n{}",
                self.log()
            );
        };
        ensure!(
            messages.len() == count,
            "{user} has {} messages, not {count}",
            messages.len()
        );
        Ok(messages)
    }

    /// Waits until the queue is empty: all that was accepted is delivered.
    ///
    /// # Errors
    /// When it isn't after half a minute.
    pub fn wait_queue_empty(&self) -> Result<()> {
        let empty = || self.queued().is_ok_and(|count| count == 0).then_some(());
        wait_for(PATIENCE, empty).with_context(|| format!("mail is stuck:\n{}", self.log()))
    }

    /// How many messages were accepted and not yet delivered.
    ///
    /// # Errors
    /// When the queue can't be read.
    pub fn queued(&self) -> Result<usize> {
        let mut count = 0;
        for name in ["incoming", "active", "deferred", "maildrop"] {
            count += queue_files(&self.folder.path().join("queue").join(name))?;
        }
        Ok(count)
    }

    /// The environment in which postconf(1) works on this Postfix.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            (
                "MAIL_CONFIG",
                self.folder.path().join("etc").display().to_string(),
            ),
            (
                "LD_LIBRARY_PATH",
                library_path(&self.root).to_string_lossy().into_owned(),
            ),
            ("PATH", self.root.join("usr/sbin").display().to_string()),
        ]
    }

    /// Lets it read its files again, as `postfix reload` does, and waits until it has.
    ///
    /// # Errors
    /// When it does not run.
    pub fn reload(&self) -> Result<()> {
        for name in ["main.cf", "master.cf"] {
            let file = self.folder.path().join("etc").join(name);
            write_settled(&file, &fs::read_to_string(&file)?)?;
        }
        let before = self.log().matches("reload -- version").count();
        let process = self.process.as_ref().context("it does not run")?;
        process.signal(rustix::process::Signal::HUP)?;
        let done = || self.log().matches("reload -- version").count() > before;
        wait_for(PATIENCE, || done().then_some(()))
            .with_context(|| format!("no reload:\n{}", self.log()))
    }

    /// Kills all its processes at once.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts again on the same port with the same queue, after [`Postfix::kill`] or not.
    /// `settings` replace those of the same name.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub fn restart(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.kill();
        let file = self.folder.path().join("etc/main.cf");
        let old = fs::read_to_string(&file)?;
        let mut text = String::new();
        for line in old.lines() {
            let name = line.split(" =").next().unwrap_or_default();
            if !settings.iter().any(|(changed, _)| *changed == name) {
                writeln!(text, "{line}")?;
            }
        }
        for (name, value) in settings {
            writeln!(text, "{name} = {value}")?;
        }
        write_settled(&file, &text)?;
        self.launch()
    }

    /// Starts `master` and waits until the port is open.
    fn launch(&mut self) -> Result<()> {
        let mut command = Command::new(self.root.join("usr/lib/postfix/sbin/master"));
        command
            .arg("-c")
            .arg(self.folder.path().join("etc"))
            .arg("-d");
        command.env("LD_LIBRARY_PATH", library_path(&self.root));
        let output = fs::File::create(self.folder.path().join("master.out"))?;
        let before = self.starts();
        let mut process = Group::spawn_with_output(&command, &output)?;
        // The log tells, not the port: a connection would be a session in what the tests look at.
        let up = wait_for(PATIENCE, || {
            if process.ended().is_some() {
                return Some(false);
            }
            (self.starts() > before).then_some(true)
        });
        if up != Some(true) {
            let output = fs::read_to_string(self.folder.path().join("master.out"))?;
            bail!("Postfix doesn't start: {output}\n{}", self.log());
        }
        self.process = Some(process);
        Ok(())
    }

    fn starts(&self) -> usize {
        self.log().matches("daemon started").count()
    }
}

impl MailServer for Postfix {
    fn port(&self) -> u16 {
        self.ports.plain
    }

    fn implicit_port(&self) -> Option<u16> {
        self.ports.implicit
    }

    fn proxy_port(&self) -> Option<u16> {
        self.ports.proxy
    }

    fn log(&self) -> String {
        Self::log(self)
    }

    fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.path().join("mail").join(user).join("new")
    }
}

/// The messages of the folder `new` of a maildir, in the order of their names, which begin with
/// the time of delivery.
pub(crate) fn read_maildir(new: &Path) -> Result<Vec<Vec<u8>>> {
    if !new.exists() {
        return Ok(Vec::new());
    }
    let mut paths = fs::read_dir(new)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    paths.iter().map(|path| Ok(fs::read(path)?)).collect()
}

/// Queue files below a folder. Postfix marks a finished one as executable; what a killed process
/// left half written is no mail, and nobody was told that it is.
fn queue_files(folder: &Path) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Gone in between is fine: Postfix moves files from folder to folder.
        let Ok(data) = entry.metadata() else { continue };
        if data.is_dir() {
            count += queue_files(&entry.path())?;
        } else {
            count += usize::from(data.permissions().mode() & 0o100 != 0);
        }
    }
    Ok(count)
}
