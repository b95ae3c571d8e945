//! Exim from a private folder: as the server behind the gateway, or as a client before it.
//!
//! It is started by root with a configuration of its own and changes to its user `Debian-exim`
//! at once. For each delivery it starts itself anew as that user, who may not keep root's rights
//! with a private configuration; it needs none, since all its files are its own.

mod settings;

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::certificates::KeyPair;
use crate::courier::{Tls, Way};
use crate::place::{free_port, libraries, unpacked};
use crate::postfix::read_maildir;
use crate::process::{Group, wait_for};
use crate::server::MailServer;
use crate::tools::user_ids;

/// How long a start or a delivery may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Exim. Dropping it ends all its processes and removes its folder.
#[derive(Debug)]
pub struct Exim {
    process: Group,
    ports: Ports,
    // Behind the process: fields are dropped in order, and the folder must outlive it.
    folder: TempDir,
}

/// Where an Exim listens on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
struct Ports {
    plain: u16,
    implicit: Option<u16>,
    proxy: u16,
}

/// What an Exim is for.
#[derive(Clone, Copy, Debug)]
enum Role<'a> {
    Server {
        login: (&'a str, &'a str),
        pair: Option<&'a KeyPair>,
    },
    Relay(&'a Way),
}

impl Exim {
    /// A server for `example.org` that knows [`crate::USERS`] and [`crate::UTF8_USER`], and
    /// `user@example.org` with `password` (AUTH PLAIN and LOGIN), and trusts nobody's address.
    ///
    /// # Errors
    /// When Exim is not installed, or doesn't come up.
    pub fn start(user: &str, password: &str) -> Result<Self> {
        Self::launch(Role::Server {
            login: (user, password),
            pair: None,
        })
    }

    /// The same with a certificate: it offers STARTTLS, and has a port where TLS comes first.
    ///
    /// # Errors
    /// When Exim is not installed, or doesn't come up.
    pub fn start_with_tls(user: &str, password: &str, pair: &KeyPair) -> Result<Self> {
        Self::launch(Role::Server {
            login: (user, password),
            pair: Some(pair),
        })
    }

    /// The same server as [`Exim::start`], with `listen` in its main section in place of what says
    /// where it listens and from whom it takes the PROXY protocol.
    ///
    /// # Errors
    /// When Exim is not installed, or doesn't come up.
    pub fn listening(listen: &str) -> Result<Self> {
        let role = Role::Server {
            login: ("alice", "secret"),
            pair: None,
        };
        Self::launch_with(role, Some(listen))
    }

    /// A sending Exim: takes everything from loopback, and sends it `way`.
    ///
    /// # Errors
    /// When Exim is not installed, or doesn't come up.
    pub fn relaying(way: &Way) -> Result<Self> {
        Self::launch(Role::Relay(way))
    }

    /// One with a configuration of its own, in which `{exim}` stands for the program, `{folder}` for
    /// its folder, with `spool` and `log/main.log` in it, and `{port}` for its port.
    ///
    /// # Errors
    /// When Exim is not installed, or doesn't come up.
    pub fn configured(text: &str) -> Result<Self> {
        Self::launch_text(false, |root, folder, ports| {
            let exim = root.join("usr/sbin/exim4");
            Ok(text
                .replace("{exim}", &exim.display().to_string())
                .replace("{folder}", &folder.display().to_string())
                .replace("{port}", &ports.plain.to_string()))
        })
    }

    fn launch(role: Role<'_>) -> Result<Self> {
        Self::launch_with(role, None)
    }

    fn launch_with(role: Role<'_>, listen: Option<&str>) -> Result<Self> {
        let secure = matches!(role, Role::Server { pair: Some(_), .. });
        Self::launch_text(secure, |root, folder, ports| {
            let text = settings::text(root, folder, ports, role)?;
            Ok(match listen {
                Some(listen) => settings::listening(&text, listen),
                None => text,
            })
        })
    }

    fn launch_text(
        secure: bool,
        text: impl FnOnce(&Path, &Path, Ports) -> Result<String>,
    ) -> Result<Self> {
        let root = unpacked("exim")?;
        let folder = tempfile::Builder::new().prefix("tarpit-exim-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let (uid, gid) = user_ids("Debian-exim")?;
        for name in ["spool", "log", "mail"] {
            let path = folder.path().join(name);
            fs::create_dir(&path)?;
            chown(&path, Some(uid), Some(gid)).context("the interop tests run as root")?;
        }
        let ports = Ports {
            plain: free_port()?,
            implicit: secure.then(free_port).transpose()?,
            proxy: free_port()?,
        };
        let config = folder.path().join("exim.conf");
        fs::write(&config, text(&root, folder.path(), ports)?)?;

        let mut command = Command::new(root.join("usr/sbin/exim4"));
        // -bdf: a daemon that stays in the foreground; -q1s would start a process each second.
        command.arg("-C").arg(&config).arg("-bdf");
        command.env("LD_LIBRARY_PATH", library_path(&root));
        let output = fs::File::create(folder.path().join("exim.out"))?;
        let mut process = Group::spawn_with_output(&command, &output)?;
        let log = folder.path().join("log/main.log");
        let started = || fs::read_to_string(&log).is_ok_and(|text| text.contains("daemon started"));
        let up = wait_for(PATIENCE, || {
            if process.ended().is_some() {
                return Some(false);
            }
            started().then_some(true)
        });
        if up != Some(true) {
            bail!(
                "Exim doesn't start: {}",
                fs::read_to_string(folder.path().join("exim.out"))?
            );
        }
        Ok(Self {
            process,
            ports,
            folder,
        })
    }

    /// The number of its daemon, whose descendants serve sessions.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// The port on 127.0.0.1 where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.plain
    }

    /// All that it logged.
    #[must_use]
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join("log").join(name));
        let logs =
            ["main.log", "reject.log", "panic.log"].map(|name| read(name).unwrap_or_default());
        logs.concat()
    }

    /// Waits until the mailbox of `user` holds `count` messages; returns them.
    ///
    /// # Errors
    /// When there are fewer after half a minute, or more.
    pub fn wait_mailbox(&self, user: &str, count: usize) -> Result<Vec<Vec<u8>>> {
        let new = self.mailbox(user);
        let enough = || {
            read_maildir(&new)
                .ok()
                .filter(|messages| messages.len() >= count)
        };
        let Some(messages) = wait_for(PATIENCE, enough) else {
            bail!(
                "{user} has fewer than {count} messages; log:\n{}",
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
}

impl MailServer for Exim {
    fn port(&self) -> u16 {
        self.ports.plain
    }

    fn implicit_port(&self) -> Option<u16> {
        self.ports.implicit
    }

    fn proxy_port(&self) -> Option<u16> {
        Some(self.ports.proxy)
    }

    fn log(&self) -> String {
        Self::log(self)
    }

    fn mailbox(&self, user: &str) -> PathBuf {
        self.folder.path().join("mail").join(user).join("new")
    }
}

/// Some of its libraries lie outside the folder of the architecture.
fn library_path(root: &Path) -> OsString {
    let mut path = libraries(root).into_os_string();
    path.push(":");
    path.push(root.join("usr/lib"));
    path
}
