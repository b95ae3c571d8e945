//! OpenSMTPD from a private folder: as the server behind the gateway, or as a client before it.
//!
//! Its paths are compiled in (`/var/spool/smtpd`, `/run/smtpd.sock`, `/usr/libexec/opensmtpd`, its
//! chroot), so each one runs in a mount namespace of its own, where its private folders lie over
//! the machine's. A patched build was rejected: the one that people run is to be tested.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::place::{free_port, libraries, unpacked};
use crate::process::{Group, wait_for};
use crate::server::MailServer;

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `nobody`: delivers into the maildirs, since OpenSMTPD does not deliver as root.
const MAILBOX_OWNER: u32 = 65_534;

/// Puts its private folders where OpenSMTPD looks for them, and becomes it.
const ENTER: &str = r#"set -e
root=$1 folder=$2
mount --bind "$root/usr/libexec" /usr/libexec
mount -t tmpfs none /run
mount -t tmpfs none /var/lib
mkdir -p /var/lib/opensmtpd/empty
mount --bind "$folder/spool" /var/spool
exec "$root/usr/sbin/smtpd" -d -f "$folder/smtpd.conf"
"#;

/// A running OpenSMTPD. Dropping it ends all its processes and removes its folder.
#[derive(Debug)]
pub struct OpenSmtpd {
    process: Group,
    port: u16,
    proxy_port: u16,
    // Behind the process: fields are dropped in order, and the folder must outlive it.
    folder: TempDir,
}

impl OpenSmtpd {
    /// A server for `example.org` that knows [`crate::USERS`]. It has no TLS: Debian 12 builds
    /// 6.8 with OpenSSL 3, with which each handshake of the server fails (OpenSMTPD issue 1171).
    ///
    /// # Errors
    /// When OpenSMTPD is not installed, mount namespaces are not allowed, or it doesn't come up.
    pub fn server() -> Result<Self> {
        let folder = private_folder()?;
        let actions = delivery(folder.path())?;
        Self::start(folder, &actions)
    }

    /// The same server with `listen` for all its `listen on` lines; waits for `port`.
    ///
    /// # Errors
    /// As [`OpenSmtpd::server`].
    pub fn listening(listen: &str, port: u16) -> Result<Self> {
        let folder = private_folder()?;
        let actions = delivery(folder.path())?;
        Self::start_on(folder, listen, (port, port), &actions)
    }

    /// A sending OpenSMTPD: takes everything from loopback, and gives it to `url`, for example
    /// `smtp+tls://127.0.0.1:2525`, from the address `source`. `authority` signs whom it trusts.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn relaying_to(url: &str, source: &str, authority: Option<&Path>) -> Result<Self> {
        let folder = private_folder()?;
        // Without it, there is nobody to trust, and no TLS.
        let trust = authority.map_or(String::new(), |file| {
            format!("ca relay.example.net cert \"{}\"\n", file.display())
        });
        let actions = format!(
            "{trust}action \"out\" relay host \"{url}\" src {source} helo relay.example.net\n\
             match from any for any action \"out\"\n"
        );
        Self::start(folder, &actions)
    }

    fn start(folder: TempDir, actions: &str) -> Result<Self> {
        let (port, proxy_port) = (free_port()?, free_port()?);
        let listen = format!(
            "listen on 127.0.0.1 port {port}\n\
             listen on 127.0.0.1 port {proxy_port} proxy-v2\n"
        );
        Self::start_on(folder, &listen, (port, proxy_port), actions)
    }

    fn start_on(
        folder: TempDir,
        listen: &str,
        (port, proxy_port): (u16, u16),
        actions: &str,
    ) -> Result<Self> {
        let root = unpacked("opensmtpd")?;
        let text = format!("smtp max-message-size 50M\n{listen}{actions}");
        fs::write(folder.path().join("smtpd.conf"), text)?;

        let mut command = Command::new("unshare");
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                ENTER,
                "sh",
            ])
            .args([&root, folder.path()])
            .env("LD_LIBRARY_PATH", libraries(&root));
        let output = fs::File::create(folder.path().join("log"))?;
        let process = Group::spawn_with_output(&command, &output)?;
        let mut server = Self {
            process,
            port,
            proxy_port,
            folder,
        };
        server.wait_up()?;
        Ok(server)
    }

    /// It says nothing once it listens, so the kernel is asked.
    fn wait_up(&mut self) -> Result<()> {
        let port = self.port;
        let up = wait_for(PATIENCE, || {
            if self.process.ended().is_some() {
                return Some(false);
            }
            crate::proc::is_listening(port).then_some(true)
        });
        if up != Some(true) {
            bail!("OpenSMTPD doesn't start: {}", self.log());
        }
        Ok(())
    }
}

impl MailServer for OpenSmtpd {
    fn port(&self) -> u16 {
        self.port
    }

    fn implicit_port(&self) -> Option<u16> {
        None
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

/// Who exists, and where their mail goes.
fn delivery(folder: &Path) -> Result<String> {
    let path = folder.display();
    let mut users = String::new();
    for user in crate::USERS {
        writeln!(
            users,
            "{user} {MAILBOX_OWNER}:{MAILBOX_OWNER}:{path}/mail/{user}"
        )?;
    }
    fs::write(folder.join("users"), users)?;
    Ok(format!(
        "table users file:{path}/users\n\
         action \"in\" maildir \"%{{user.directory}}\" userbase <users>\n\
         match from any for domain \"example.org\" action \"in\"\n"
    ))
}

fn private_folder() -> Result<TempDir> {
    let folder = tempfile::Builder::new()
        .prefix("tarpit-opensmtpd-")
        .tempdir()?;
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(folder.path().join("spool/smtpd"))?;
    fs::set_permissions(
        folder.path().join("spool/smtpd"),
        fs::Permissions::from_mode(0o711),
    )?;
    fs::create_dir(folder.path().join("mail"))?;
    for user in crate::USERS {
        let path = folder.path().join("mail").join(user);
        fs::create_dir(&path)?;
        chown(&path, Some(MAILBOX_OWNER), Some(MAILBOX_OWNER))?;
    }
    Ok(folder)
}
