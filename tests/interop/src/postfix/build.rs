//! How a Postfix of the tests is configured, and the folders that it needs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use super::Postfix;
use crate::certificates::KeyPair;
use crate::place::{free_port, libraries, unpacked};
use crate::tools::{group_id, user_ids};

/// `nobody`: delivers into the maildirs. Postfix refuses to deliver as root or as itself.
const MAILBOX_OWNER: u32 = 65_534;

/// The port of mail between servers.
const MX: u16 = 25;

/// What a Postfix is to be like. Each method returns the builder.
#[derive(Clone, Debug)]
pub struct PostfixBuilder {
    settings: BTreeMap<String, String>,
    users: Vec<String>,
    passwords: Vec<(String, String)>,
    implicit_tls: bool,
    proxy_listener: bool,
    is_mx: bool,
}

/// Where a Postfix listens on 127.0.0.1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) implicit: Option<u16>,
    pub(super) proxy: Option<u16>,
}

impl PostfixBuilder {
    /// No settings but those that hold for each Postfix of the tests.
    pub(super) fn new(users: &[&str]) -> Self {
        let users = users.iter().map(|&user| user.to_owned()).collect();
        Self {
            settings: BTreeMap::new(),
            users,
            passwords: Vec::new(),
            implicit_tls: false,
            proxy_listener: false,
            is_mx: false,
        }
    }

    /// A line of `main.cf`; the last one of a name counts.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// One more user of `example.org`.
    #[must_use]
    pub fn user(mut self, name: &str) -> Self {
        self.users.push(name.to_owned());
        self
    }

    /// Trusts loopback, as the package's own configuration does.
    #[must_use]
    pub fn stock_networks(self) -> Self {
        self.set("mynetworks", "127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128")
    }

    /// On port 25 of every address, as the package leaves it. For a network namespace.
    #[must_use]
    pub fn mx(mut self) -> Self {
        self.is_mx = true;
        self.set("inet_interfaces", "all")
            .set("inet_protocols", "all")
    }

    /// Takes XCLIENT from loopback.
    #[must_use]
    pub fn xclient(self) -> Self {
        self.set("smtpd_authorized_xclient_hosts", "127.0.0.0/8")
    }

    /// Expects the PROXY protocol before SMTP.
    #[must_use]
    pub fn proxy_protocol(self) -> Self {
        self.set("smtpd_upstream_proxy_protocol", "haproxy")
    }

    /// Expects the PROXY protocol before SMTP on a port of its own, see
    /// [`crate::MailServer::proxy_port`].
    #[must_use]
    pub fn proxy_listener(mut self) -> Self {
        self.proxy_listener = true;
        self
    }

    /// Offers STARTTLS, and listens on a port where TLS comes first.
    #[must_use]
    pub fn tls(mut self, pair: &KeyPair) -> Self {
        self.implicit_tls = true;
        // The key comes first in the file that Postfix reads both from.
        let files = format!("{}, {}", pair.key.display(), pair.chain.display());
        self.set("smtpd_tls_chain_files", &files)
            .set("smtpd_tls_security_level", "may")
            .set("smtpd_tls_loglevel", "1")
    }

    /// Offers AUTH, and knows `user@example.org` with this password.
    #[must_use]
    pub fn password(mut self, user: &str, password: &str) -> Self {
        self.passwords.push((user.to_owned(), password.to_owned()));
        self.set("smtpd_sasl_auth_enable", "yes")
            .set("smtpd_sasl_local_domain", "example.org")
            .set("smtpd_sasl_security_options", "noanonymous")
    }

    /// Starts it.
    ///
    /// # Errors
    /// When Postfix is not installed, or doesn't come up.
    pub fn start(self) -> Result<Postfix> {
        let root = unpacked("postfix")?;
        let folder = tempfile::Builder::new()
            .prefix("tarpit-postfix-")
            .tempdir()?;
        // Postfix's own users must get to what is theirs.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let ports = Ports {
            plain: if self.is_mx { MX } else { free_port()? },
            implicit: self.implicit_tls.then(free_port).transpose()?,
            proxy: self.proxy_listener.then(free_port).transpose()?,
        };
        make_folders(folder.path())?;
        self.write_sasl(&root, folder.path())?;
        self.write_config(&root, folder.path(), ports)?;
        let mut postfix = Postfix {
            process: None,
            ports,
            root,
            folder,
        };
        postfix.launch()?;
        Ok(postfix)
    }

    fn write_config(&self, root: &Path, folder: &Path, ports: Ports) -> Result<()> {
        let etc = folder.join("etc");
        let users = self.users.iter().fold(String::new(), |mut text, user| {
            let _ = writeln!(text, "{user}@example.org {user}/");
            text
        });
        write_settled(&etc.join("users"), &users)?;

        let mut main = base_config(root, folder);
        for (name, value) in &self.settings {
            writeln!(main, "{name} = {value}")?;
        }
        write_settled(&etc.join("main.cf"), &main)?;
        write_settled(&etc.join("master.cf"), &services(ports))?;
        Ok(())
    }

    fn write_sasl(&self, root: &Path, folder: &Path) -> Result<()> {
        let database = folder.join("etc/sasldb2");
        fs::write(
            folder.join("etc/sasl/smtpd.conf"),
            format!(
                "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nsasldb_path: {}\n",
                database.display()
            ),
        )?;
        for (user, password) in &self.passwords {
            let mut command = Command::new(root.join("usr/sbin/saslpasswd2"));
            command
                .args(["-p", "-c", "-u", "example.org", "-f"])
                .arg(&database)
                .arg(user);
            command
                .env("LD_LIBRARY_PATH", library_path(root))
                .env("SASL_PATH", plugins(root));
            let mut child = command
                .stdin(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            let mut input = child.stdin.take().context("stdin")?;
            input.write_all(password.as_bytes())?;
            drop(input);
            let output = child.wait_with_output()?;
            ensure!(
                output.status.success(),
                "saslpasswd2: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        if database.exists() {
            let (user, group) = user_ids("postfix")?;
            chown(&database, Some(user), Some(group))?;
        }
        Ok(())
    }
}

/// What holds for each Postfix of the tests.
fn base_config(root: &Path, folder: &Path) -> String {
    let (root, folder) = (root.display(), folder.display());
    let libraries = library_path(Path::new(&root.to_string()));
    let plugins = plugins(Path::new(&root.to_string()));
    format!(
        "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {root}/usr/lib/postfix/sbin
command_directory = {root}/usr/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {folder}/etc
maillog_file = {folder}/maillog
maillog_file_prefixes = {folder}
import_environment = MAIL_CONFIG MAIL_LOGTAG LANG=C LD_LIBRARY_PATH={} SASL_PATH={}
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mail.example.org
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
local_transport = error:no local mail
# Headers stay as they are, wherever the client connects from.
local_header_rewrite_clients =
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/etc/users
virtual_uid_maps = static:{MAILBOX_OWNER}
virtual_gid_maps = static:{MAILBOX_OWNER}
virtual_mailbox_limit = 0
message_size_limit = 52428800
# Test addresses have no names; a look-up would only wait for a resolver.
smtpd_peername_lookup = no
# All clients of a test come from few addresses.
smtpd_client_connection_count_limit = 0
smtpd_tls_security_level = none
smtp_tls_security_level = none
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {folder}/etc/sasl
",
        libraries.to_string_lossy(),
        plugins.display(),
    )
}

fn services(ports: Ports) -> String {
    let smtp = match ports.plain {
        // On every address, as the package has it.
        MX => "smtp".to_owned(),
        port => format!("127.0.0.1:{port}"),
    };
    let mut text = format!("{smtp} inet n - n - - smtpd\n");
    if let Some(port) = ports.implicit {
        let _ = writeln!(
            text,
            "127.0.0.1:{port} inet n - n - - smtpd\n  -o smtpd_tls_wrappermode=yes"
        );
    }
    if let Some(port) = ports.proxy {
        let _ = writeln!(
            text,
            "127.0.0.1:{port} inet n - n - - smtpd\n  -o smtpd_upstream_proxy_protocol=haproxy"
        );
    }
    text.push_str(
        "pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
",
    );
    text
}

/// The folders that `postfix check` would make, with their owners.
fn make_folders(folder: &Path) -> Result<()> {
    let (postfix, _) = user_ids("postfix")?;
    let postdrop = group_id("postdrop")?;
    // Debian's Postfix looks for Cyrus SASL's settings there, whatever its own settings say.
    for name in ["etc", "etc/sasl", "queue", "queue/pid"] {
        fs::create_dir(folder.join(name))?;
    }
    let own = [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace",
    ];
    for name in own {
        make_folder(&folder.join("queue").join(name), 0o700, (postfix, None))?;
    }
    make_folder(&folder.join("data"), 0o700, (postfix, None))?;
    make_folder(
        &folder.join("queue/public"),
        0o710,
        (postfix, Some(postdrop)),
    )?;
    make_folder(
        &folder.join("queue/maildrop"),
        0o730,
        (postfix, Some(postdrop)),
    )?;
    make_folder(
        &folder.join("mail"),
        0o700,
        (MAILBOX_OWNER, Some(MAILBOX_OWNER)),
    )
}

fn make_folder(path: &Path, mode: u32, owner: (u32, Option<u32>)) -> Result<()> {
    fs::create_dir(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    chown(path, Some(owner.0), owner.1)
        .with_context(|| format!("chown {}: the interop tests run as root", path.display()))
}

/// Writes a file as if it were a minute old: Postfix waits for seconds before it reads a younger
/// one, in case somebody is still writing.
pub(super) fn write_settled(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)?;
    let file = fs::File::options().write(true).open(path)?;
    Ok(file.set_modified(SystemTime::now() - Duration::from_mins(1))?)
}

pub(super) fn library_path(root: &Path) -> OsString {
    let mut path = root.join("usr/lib/postfix").into_os_string();
    path.push(":");
    path.push(libraries(root));
    path
}

fn plugins(root: &Path) -> PathBuf {
    libraries(root).join("sasl2")
}
