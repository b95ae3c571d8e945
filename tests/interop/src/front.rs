//! Load balancers and proxies in front of the gateway.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::certificates::KeyPair;
use crate::place::{free_port, libraries, unpacked};
use crate::process::{Group, wait_for};

/// How long a start may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What stands in front, and how it says who the client is.
#[derive(Clone, Copy, Debug)]
pub enum Front<'a> {
    /// HAProxy in TCP mode, PROXY protocol version 1.
    HaproxyV1,
    /// HAProxy in TCP mode, PROXY protocol version 2, with health checks (command LOCAL).
    HaproxyV2,
    /// HAProxy that ends TLS itself, and tells about it in the header of version 2.
    HaproxySsl(&'a KeyPair),
    /// The stream module of nginx, PROXY protocol version 1.
    NginxStream,
    /// The mail module of nginx: speaks SMTP itself up to RCPT, then says XCLIENT.
    NginxMail,
}

/// A running proxy. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub struct Proxy {
    process: Group,
    port: u16,
    // Behind the process: fields are dropped in order, and the folder must outlive it.
    folder: TempDir,
}

impl Proxy {
    /// Starts one in front of `behind`, a port of 127.0.0.1.
    ///
    /// # Errors
    /// When it is not installed, or doesn't come up.
    pub fn start(front: Front<'_>, behind: u16) -> Result<Self> {
        let root = unpacked("proxies")?;
        let folder = tempfile::Builder::new().prefix("tarpit-front-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let port = free_port()?;
        let command = match front {
            Front::HaproxyV1 => haproxy(&root, folder.path(), &bind(port), behind, "send-proxy")?,
            Front::HaproxyV2 => {
                let how = "send-proxy-v2 check inter 200ms check-send-proxy";
                haproxy(&root, folder.path(), &bind(port), behind, how)?
            }
            Front::HaproxySsl(pair) => {
                let file = folder.path().join("both.pem");
                fs::write(
                    &file,
                    [fs::read(&pair.chain)?, fs::read(&pair.key)?].concat(),
                )?;
                let bind = format!("{} ssl crt {}", bind(port), file.display());
                haproxy(&root, folder.path(), &bind, behind, "send-proxy-v2-ssl-cn")?
            }
            Front::NginxStream => nginx(&root, folder.path(), &stream(&root, port, behind))?,
            Front::NginxMail => nginx(&root, folder.path(), &mail(&root, port, behind)?)?,
        };
        let output = fs::File::create(folder.path().join("log"))?;
        let process = Group::spawn_with_output(&command, &output)?;
        let mut proxy = Self {
            process,
            port,
            folder,
        };
        let up = wait_for(PATIENCE, || {
            if proxy.process.ended().is_some() {
                return Some(false);
            }
            crate::proc::is_listening(port).then_some(true)
        });
        if up != Some(true) {
            bail!("{front:?} doesn't start: {}", proxy.log());
        }
        Ok(proxy)
    }

    /// The port of 127.0.0.1 where clients connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// All that it said.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

fn bind(port: u16) -> String {
    format!("bind 127.0.0.1:{port}")
}

fn haproxy(root: &Path, folder: &Path, bind: &str, behind: u16, how: &str) -> Result<Command> {
    let file = folder.join("haproxy.cfg");
    fs::write(
        &file,
        format!(
            "defaults
    mode tcp
    timeout connect 10s
    timeout client 5m
    timeout server 30m
listen mail
    {bind}
    server gate 127.0.0.1:{behind} {how}
"
        ),
    )?;
    let mut command = Command::new(root.join("usr/sbin/haproxy"));
    // -db: in the foreground.
    command.args(["-db", "-f"]).arg(file);
    command.env("LD_LIBRARY_PATH", libraries(root));
    Ok(command)
}

fn nginx(root: &Path, folder: &Path, settings: &str) -> Result<Command> {
    let file = folder.join("nginx.conf");
    let path = folder.display();
    fs::write(
        &file,
        format!(
            "{settings}
user nobody nogroup;
daemon off;
pid {path}/nginx.pid;
error_log stderr info;
events {{ }}
"
        ),
    )?;
    let mut command = Command::new(root.join("usr/sbin/nginx"));
    command.arg("-p").arg(folder).arg("-c").arg(file);
    command.env("LD_LIBRARY_PATH", libraries(root));
    Ok(command)
}

fn module(root: &Path, name: &str) -> String {
    let path = root.join("usr/lib/nginx/modules").join(name);
    format!("load_module {};", path.display())
}

fn stream(root: &Path, port: u16, behind: u16) -> String {
    let module = module(root, "ngx_stream_module.so");
    format!(
        "{module}
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{behind};
        proxy_protocol on;
    }}
}}"
    )
}

/// The mail module asks a server for each recipient where to go; here, nginx answers itself.
fn mail(root: &Path, port: u16, behind: u16) -> Result<String> {
    let module = module(root, "ngx_mail_module.so");
    let asked = free_port()?;
    Ok(format!(
        "{module}
mail {{
    server_name front.example.org;
    auth_http 127.0.0.1:{asked}/;
    server {{
        listen 127.0.0.1:{port};
        protocol smtp;
        smtp_auth none;
        smtp_capabilities \"SIZE 52428800\" 8BITMIME;
        xclient on;
        proxy_timeout 10m;
    }}
}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{asked};
        location / {{
            add_header Auth-Status OK;
            add_header Auth-Server 127.0.0.1;
            add_header Auth-Port {behind};
            return 204;
        }}
    }}
}}"
    ))
}
