//! Other proxies, for comparison: HAProxy in TCP mode and nginx's stream proxy, which read nothing
//! of what they pass on, and nginx's mail proxy, which reads the envelope of a session's first
//! message.
//!
//! Each runs as its package has it, with as many threads or workers as there are cores, and writes
//! no log, as none of them does by default for such traffic. The packages are unpacked by
//! `cargo xtask bench` and never set up on the machine.

use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tarpit_interop::{Group, free_port};
use tempfile::TempDir;

use crate::load::{Server, Way};
use crate::process::Processes;
use crate::tls::Certificate;
use crate::wire::Client;

/// Where `cargo xtask bench` says that it unpacked the packages.
const ROOT: &str = "TARPIT_BENCH_PEERS";

/// For a start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the start is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Sessions at a time: four times as many as there are senders.
const CONNECTIONS: u32 = 200;

/// Which proxy.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind<'a> {
    /// HAProxy, `mode tcp`.
    Haproxy,
    /// nginx, `stream`.
    Stream,
    /// nginx, `mail`, asking `authority` by HTTP which server is to get the mail.
    Mail {
        /// Where it is asked.
        authority: SocketAddr,
        /// For STARTTLS.
        certificate: Option<&'a Certificate>,
    },
}

impl Kind<'_> {
    /// As a column has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "HAProxy, TCP",
            Self::Stream => "nginx, stream",
            Self::Mail { .. } => "nginx, mail",
        }
    }
}

/// A running proxy. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Where it listens.
    address: SocketAddr,
    group: Group,
    log: PathBuf,
    _folder: TempDir,
}

impl Peer {
    /// Starts it in front of `upstream` and waits until it passes something on.
    pub(crate) async fn start(kind: Kind<'_>, upstream: SocketAddr) -> Result<Self> {
        let root = root()?;
        let folder = tempfile::Builder::new()
            .prefix("tarpit-bench-peer-")
            .tempdir()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = folder.path().join("config");
        let log = folder.path().join("log");
        let workers = std::thread::available_parallelism()?.get();
        let (text, program) = match kind {
            Kind::Haproxy => (haproxy(address, upstream, workers), "usr/sbin/haproxy"),
            Kind::Stream | Kind::Mail { .. } => (
                nginx(kind, &root, folder.path(), address, upstream, workers),
                "usr/sbin/nginx",
            ),
        };
        fs::write(&config, text)?;
        let mut command = Command::new(root.join(program));
        command.env("LD_LIBRARY_PATH", libraries(&root));
        match kind {
            Kind::Haproxy => command.arg("-db").arg("-f").arg(&config),
            _ => command
                .arg("-p")
                .arg(folder.path())
                .arg("-e")
                .arg(&log)
                .arg("-c")
                .arg(&config),
        };
        let group = Group::spawn_with_output(&command, &File::create(&log)?)?;
        let mut peer = Self {
            address,
            group,
            log,
            _folder: folder,
        };
        let started = Instant::now();
        while let Err(error) = peer.greets().await {
            let said = fs::read_to_string(&peer.log).unwrap_or_default();
            if let Some(status) = peer.group.ended() {
                bail!("{} ended ({status}): {said}", kind.name());
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "{} doesn't serve: {error}: {said}",
                kind.name()
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(peer)
    }

    /// As a server that is measured.
    pub(crate) fn server(&self, way: Way) -> Server {
        Server {
            way,
            address: self.address,
            processes: Processes::Group(self.group.id()),
        }
    }

    async fn greets(&self) -> io::Result<()> {
        let mut client = Client::open(Ipv4Addr::LOCALHOST.into(), self.address).await?;
        client.send(b"QUIT\r\n").await?;
        client.expect("QUIT", 221).await
    }
}

/// The folder with the packages.
pub(crate) fn root() -> Result<PathBuf> {
    let root = std::env::var_os(ROOT).map(PathBuf::from);
    root.with_context(|| format!("{ROOT} names no folder with the packages"))
}

/// The folder of shared libraries below `root`.
pub(crate) fn libraries(root: &Path) -> PathBuf {
    root.join("usr/lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH))
}

fn haproxy(address: SocketAddr, upstream: SocketAddr, workers: usize) -> String {
    format!(
        "global
    nbthread {workers}
    maxconn {CONNECTIONS}
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
listen mail
    bind {address}
    server sink {upstream}
"
    )
}

fn nginx(
    kind: Kind<'_>,
    root: &Path,
    folder: &Path,
    address: SocketAddr,
    upstream: SocketAddr,
    workers: usize,
) -> String {
    let modules = root.join("usr/lib/nginx/modules");
    let folder = folder.display();
    let (module, block) = match kind {
        Kind::Mail {
            authority,
            certificate,
        } => (
            "ngx_mail_module.so",
            format!(
                "mail {{
    server_name gateway.example.org;
    auth_http {authority}/;
    proxy_smtp_auth off;
    xclient off;
    smtp_auth none;
    smtp_capabilities PIPELINING \"SIZE 104857600\" ENHANCEDSTATUSCODES 8BITMIME;
    server {{
        listen {address};
        protocol smtp;
        {}
    }}
}}",
                certificate.map_or_else(String::new, starttls)
            ),
        ),
        _ => (
            "ngx_stream_module.so",
            format!("stream {{ server {{ listen {address}; proxy_pass {upstream}; }} }}"),
        ),
    };
    // Each session has two descriptors.
    let user = nginx_user();
    format!(
        "{user}
daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/log crit;
load_module {};
events {{ worker_connections {}; }}
{block}
",
        modules.join(module).display(),
        CONNECTIONS * 4,
    )
}

fn starttls(certificate: &Certificate) -> String {
    format!(
        "starttls on; ssl_certificate {}; ssl_certificate_key {};",
        certificate.chain().display(),
        certificate.key().display()
    )
}

/// nginx's master runs as whoever we are, and so do its workers then.
pub(crate) fn nginx_user() -> &'static str {
    if is_root() { "user root root;" } else { "" }
}

/// Whether the files that we make are root's, which is to say that we are.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_is_told() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let told = haproxy(at(1), at(2), 2);
        assert!(told.contains("bind 127.0.0.1:1\n") && told.contains("server sink 127.0.0.1:2\n"));
        let (root, folder) = (Path::new("/root"), Path::new("/folder"));
        let told = |kind: Kind<'_>| nginx(kind, root, folder, at(1), at(2), 2);
        assert!(told(Kind::Stream).contains("listen 127.0.0.1:1; proxy_pass 127.0.0.1:2;"));
        let mail = told(Kind::Mail {
            authority: at(3),
            certificate: None,
        });
        assert!(mail.contains("auth_http 127.0.0.1:3/;") && mail.contains("ngx_mail_module.so;"));
    }
}
