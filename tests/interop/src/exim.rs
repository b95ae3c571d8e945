//! Exim from a private folder, as a second kind of server behind the gateway.
//!
//! It is started by root with a configuration of its own and changes to its user `Debian-exim`
//! at once. For each delivery it starts itself anew as that user, who may not keep root's rights
//! with a private configuration; it needs none, since all its files are its own.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::place::{free_port, libraries, unpacked};
use crate::postfix::read_maildir;
use crate::process::{Group, wait_for};
use crate::tools::user_ids;

/// How long a start or a delivery may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running Exim. Dropping it ends all its processes and removes its folder.
#[derive(Debug)]
pub struct Exim {
    _process: Group,
    port: u16,
    // Behind the process: fields are dropped in order, and the folder must outlive it.
    folder: TempDir,
}

impl Exim {
    /// A server for `example.org` that knows [`crate::USERS`] and `user@example.org` with
    /// `password` (AUTH PLAIN and LOGIN), and trusts nobody's address.
    ///
    /// # Errors
    /// When Exim is not installed, or doesn't come up.
    pub fn start(user: &str, password: &str) -> Result<Self> {
        let root = unpacked("exim")?;
        let folder = tempfile::Builder::new().prefix("tarpit-exim-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let (uid, gid) = user_ids("Debian-exim")?;
        for name in ["spool", "log", "mail"] {
            let path = folder.path().join(name);
            fs::create_dir(&path)?;
            chown(&path, Some(uid), Some(gid)).context("the interop tests run as root")?;
        }
        let port = free_port()?;
        let config = folder.path().join("exim.conf");
        fs::write(
            &config,
            configuration(&root, folder.path(), port, (user, password))?,
        )?;

        let mut command = Command::new(root.join("usr/sbin/exim4"));
        // -bdf: a daemon that stays in the foreground.
        command
            .arg("-C")
            .arg(&config)
            .args(["-bdf", "-oX", &format!("[127.0.0.1]:{port}")]);
        command.env("LD_LIBRARY_PATH", libraries(&root));
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
            _process: process,
            port,
            folder,
        })
    }

    /// The port on 127.0.0.1 where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
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
        let new = self.folder.path().join("mail").join(user).join("new");
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

fn configuration(root: &Path, folder: &Path, port: u16, login: (&str, &str)) -> Result<String> {
    let (user, password) = login;
    let (folder, exim) = (folder.display(), root.join("usr/sbin/exim4"));
    let users = crate::USERS.join(" : ");
    let mut text = String::new();
    write!(
        text,
        "exim_path = {}
keep_environment = LD_LIBRARY_PATH
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s.log
pid_file_path = {folder}/log/exim.pid
primary_hostname = exim.example.org
daemon_smtp_ports = {port}
local_interfaces = 127.0.0.1
domainlist local_domains = example.org
acl_smtp_rcpt = recipient
# Addresses of tests have no names; a look-up would only wait for a resolver.
host_lookup =
helo_try_verify_hosts =
helo_allow_chars = _
rfc1413_hosts =
tls_advertise_hosts =
message_size_limit = 50M
smtp_accept_max = 100
deliver_drop_privilege = true
never_users =
trusted_users = Debian-exim

begin acl
recipient:
  accept authenticated = *
  deny message = relay not permitted
       domains = !+local_domains
  deny message = unknown user
       !verify = recipient
  accept

begin routers
users:
  driver = accept
  domains = +local_domains
  local_parts = {users}
  transport = maildir

begin transports
maildir:
  driver = appendfile
  directory = {folder}/mail/$local_part_data
  maildir_format
  create_directory
  envelope_to_add
  return_path_add
  delivery_date_add
  user = Debian-exim

begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}@example.org}}}}{{eq{{$auth3}}{{{password}}}}}}}}}
  server_set_id = $auth2
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = Username:: : Password::
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}@example.org}}}}{{eq{{$auth2}}{{{password}}}}}}}}}
  server_set_id = $auth1
",
        exim.display()
    )?;
    Ok(text)
}
