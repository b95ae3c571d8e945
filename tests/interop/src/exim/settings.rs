//! The configuration file of an Exim of the tests.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use super::{Ports, Role, Tls, Way};
use crate::certificates::KeyPair;

/// The whole file.
pub(super) fn text(root: &Path, folder: &Path, ports: Ports, role: Role<'_>) -> Result<String> {
    let mut text = common(root, folder, ports)?;
    match role {
        Role::Server { login, pair } => {
            if let Some(pair) = pair {
                certificate(&mut text, ports, pair)?;
            }
            server(&mut text, folder, login)?;
        }
        Role::Relay(way) => relay(&mut text, way)?,
    }
    Ok(text)
}

/// The same text with `listen` for all that says where it listens.
pub(super) fn listening(text: &str, listen: &str) -> String {
    let names = ["daemon_smtp_ports", "local_interfaces", "hosts_proxy"];
    let rest = text
        .lines()
        .filter(|line| !names.iter().any(|name| line.starts_with(name)))
        .fold(String::new(), |text, line| text + line + "\n");
    format!("{}\n{rest}", listen.trim_end())
}

fn common(root: &Path, folder: &Path, ports: Ports) -> Result<String> {
    let (folder, exim) = (folder.display(), root.join("usr/sbin/exim4"));
    let (exim, Ports { plain, proxy, .. }) = (exim.display(), ports);
    let listen = match ports.implicit {
        Some(implicit) => format!("{plain} : {proxy} : {implicit}"),
        None => format!("{plain} : {proxy}"),
    };
    let mut text = String::new();
    write!(
        text,
        "exim_path = {exim}
keep_environment = LD_LIBRARY_PATH
exim_user = Debian-exim
exim_group = Debian-exim
spool_directory = {folder}/spool
log_file_path = {folder}/log/%s.log
pid_file_path = {folder}/log/exim.pid
daemon_smtp_ports = {listen}
local_interfaces = 127.0.0.1
hosts_proxy = ${{if eq{{$received_port}}{{{proxy}}}{{127.0.0.0/8}}}}
acl_smtp_rcpt = recipient
smtputf8_advertise_hosts = *
# Addresses of tests have no names; a look-up would only wait for a resolver.
host_lookup =
helo_try_verify_hosts =
helo_allow_chars = _
rfc1413_hosts =
message_size_limit = 50M
smtp_accept_max = 100
deliver_drop_privilege = true
never_users =
trusted_users = Debian-exim
"
    )?;
    Ok(text)
}

fn certificate(text: &mut String, ports: Ports, pair: &KeyPair) -> Result<()> {
    writeln!(text, "tls_certificate = {}", pair.chain.display())?;
    writeln!(text, "tls_privatekey = {}", pair.key.display())?;
    writeln!(text, "tls_advertise_hosts = *")?;
    if let Some(port) = ports.implicit {
        writeln!(text, "tls_on_connect_ports = {port}")?;
    }
    Ok(())
}

fn server(text: &mut String, folder: &Path, login: (&str, &str)) -> Result<()> {
    let (user, password) = login;
    let folder = folder.display();
    let users = [&crate::USERS[..], &[crate::UTF8_USER]]
        .concat()
        .join(" : ");
    if !text.contains("tls_advertise_hosts") {
        text.push_str("tls_advertise_hosts =\n");
    }
    write!(
        text,
        "primary_hostname = exim.example.org
domainlist local_domains = example.org

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
"
    )?;
    Ok(())
}

fn relay(text: &mut String, way: &Way) -> Result<()> {
    let (port, source, authority) = (way.port, way.source, way.authority.display());
    let tls = match way.tls {
        Tls::Plain => "  hosts_avoid_tls = *\n",
        Tls::StartTls => "  hosts_require_tls = *\n",
        Tls::Implicit => "  protocol = smtps\n  hosts_require_tls = *\n",
    };
    write!(
        text,
        "primary_hostname = relay.example.net
tls_advertise_hosts =

begin acl
recipient:
  accept

begin routers
relay:
  driver = manualroute
  domains = *
  transport = smtp
  route_list = * 127.0.0.1
  host_find_failed = defer
  self = send

begin transports
smtp:
  driver = smtp
  port = {port}
  interface = {source}
  helo_data = relay.example.net
  message_linelength_limit = 1000000
  tls_verify_certificates = {authority}
  tls_verify_hosts = *
  tls_verify_cert_hostnames =
{tls}
begin retry
* * F,1h,2s
"
    )?;
    Ok(())
}
