//! Other servers as pits: Postfix, Exim, Haraka and nginx's mail proxy, each set up by the files in
//! `bench/peers`.
//!
//! Each takes wanted mail too, and passes it on to the same sink as the gateway. How each is told to
//! delay is its own; in front of all stands the same herd.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tarpit_interop::{Exim, Group, Haraka, Postfix, free_port, wait_for};

use super::subject::{Cost, Kind, Subject, Wanted};
use crate::peers;

/// For a start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The files; `{...}` is filled in.
const POSTFIX: &str = include_str!("../../peers/postfix.cf");
const POSTFIX_RAISED: &str = include_str!("../../peers/postfix-raised.cf");
const EXIM: &str = include_str!("../../peers/exim.conf");
const EXIM_RAISED: &str = include_str!("../../peers/exim-raised.conf");
const NGINX: &str = include_str!("../../peers/nginx.conf");
const HARAKA: &[(&str, &str)] = &[
    ("config/plugins", include_str!("../../peers/haraka/plugins")),
    (
        "config/tarpit.ini",
        include_str!("../../peers/haraka/tarpit.ini"),
    ),
    (
        "config/smtp_forward.ini",
        include_str!("../../peers/haraka/smtp_forward.ini"),
    ),
    (
        "plugins/guesses.js",
        include_str!("../../peers/haraka/guesses.js"),
    ),
    ("config/guesses.seconds", "{seconds}\n"),
    ("config/smtp.ini", "listen=127.0.0.1:{port}\n"),
    ("config/me", "haraka.example.org\n"),
    // Each session otherwise writes a dozen lines, of which the others write one or two.
    ("config/log.ini", "[main]\nlevel=notice\n"),
];

/// Starts one and waits until it greets.
///
/// To be called on a thread that stays: the kernel ends the server with the thread that started it.
/// Nothing else is to be done meanwhile, so it may wait as it is.
pub(super) fn start(kind: Kind, wanted: &Wanted<'_>) -> Result<Subject> {
    let settled = Settled {
        sink: wanted.sink,
        authority: wanted.authority,
        seconds: wanted.hold.as_secs(),
    };
    settled.start(kind)
}

/// What the files need to know.
#[derive(Clone, Copy)]
struct Settled {
    sink: SocketAddr,
    authority: SocketAddr,
    seconds: u64,
}

impl Settled {
    fn fill_in(&self, text: &str) -> String {
        text.replace("{sink}", &self.sink.port().to_string())
            .replace("{authority}", &self.authority.to_string())
            .replace("{seconds}", &self.seconds.to_string())
    }

    fn start(self, kind: Kind) -> Result<Subject> {
        let (port, first, running): (u16, u32, Box<dyn std::any::Any + Send>) = match kind {
            Kind::Postfix | Kind::PostfixRaised => {
                let postfix = self.postfix(kind == Kind::PostfixRaised)?;
                let id = postfix.id().context("Postfix ended")?;
                (postfix.port(), id, Box::new(postfix))
            }
            Kind::Exim | Kind::EximRaised => {
                let more = if kind == Kind::EximRaised {
                    EXIM_RAISED
                } else {
                    ""
                };
                let exim = Exim::configured(&format!("{more}{}", self.fill_in(EXIM)))?;
                (exim.port(), exim.id(), Box::new(exim))
            }
            Kind::Haraka => {
                let files: Vec<(&str, String)> = HARAKA
                    .iter()
                    .map(|(path, text)| (*path, self.fill_in(text)))
                    .collect();
                let files: Vec<(&str, &str)> = files
                    .iter()
                    .map(|(path, text)| (*path, text.as_str()))
                    .collect();
                let haraka = Haraka::configured(&files)?;
                let port = tarpit_interop::MailServer::port(&haraka);
                (port, haraka.id(), Box::new(haraka))
            }
            Kind::Nginx => {
                let (port, group, folder) = self.nginx()?;
                (port, group.id(), Box::new((group, folder)))
            }
            Kind::Floor | Kind::Tarpit => bail!("{} is no other server", kind.name()),
        };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        wait_for(PATIENCE, || greets(address).ok())
            .with_context(|| format!("{} doesn't greet", kind.name()))?;
        Ok(Subject {
            pit: address,
            mail: address,
            admin: None,
            remark: None,
            cost: Cost::Family(first),
            running,
        })
    }

    fn postfix(self, is_raised: bool) -> Result<Postfix> {
        let text = self.fill_in(POSTFIX);
        let more = if is_raised { POSTFIX_RAISED } else { "" };
        let mut builder = Postfix::server().user("user");
        for line in text.lines().chain(more.lines()) {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            let (name, value) = line.split_once(" = ").context("a line without a value")?;
            builder = builder.set(name, value);
        }
        builder.start()
    }

    fn nginx(self) -> Result<(u16, Group, tempfile::TempDir)> {
        let root = peers::root()?;
        let folder = tempfile::Builder::new()
            .prefix("tarpit-bench-nginx-")
            .tempdir()?;
        let port = free_port()?;
        let path = |path: &std::path::Path| path.display().to_string();
        let text = self
            .fill_in(NGINX)
            .replace("{user}", peers::nginx_user())
            .replace("{folder}", &path(folder.path()))
            .replace("{modules}", &path(&root.join("usr/lib/nginx/modules")))
            .replace("{port}", &port.to_string());
        let config = folder.path().join("config");
        fs::write(&config, text)?;
        let log = folder.path().join("log");
        let mut command = Command::new(root.join("usr/sbin/nginx"));
        command.env("LD_LIBRARY_PATH", peers::libraries(&root));
        command.arg("-p").arg(folder.path());
        command.arg("-e").arg(&log).arg("-c").arg(&config);
        let mut group = Group::spawn_with_output(&command, &File::create(&log)?)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let up = wait_for(PATIENCE, || match group.ended() {
            Some(_) => Some(false),
            None => greets(address).is_ok().then_some(true),
        });
        ensure!(
            up == Some(true),
            "nginx doesn't serve: {}",
            fs::read_to_string(&log).unwrap_or_default()
        );
        Ok((port, group, folder))
    }
}

fn greets(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE / 4))?;
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line)?;
    ensure!(line.starts_with("220"), "{line:?} as greeting");
    stream.write_all(b"QUIT\r\n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_know_the_sink_and_the_delay() {
        let settled = Settled {
            sink: "127.0.0.1:2525".parse().unwrap(),
            authority: "127.0.0.1:8080".parse().unwrap(),
            seconds: 5,
        };
        let told = |text: &str| settled.fill_in(text);
        assert!(told(POSTFIX).contains("\nsmtpd_error_sleep_time = 5s\n"));
        assert!(told(POSTFIX).contains("smtp:[127.0.0.1]:2525\n"));
        assert!(told(EXIM).contains("delay = 5s\n") && told(EXIM).contains("port = 2525\n"));
        assert!(told(NGINX).contains("auth_http 127.0.0.1:8080/5;"));
        let haraka: String = HARAKA.iter().map(|(_, text)| told(text)).collect();
        assert!(haraka.contains("port=2525\n") && !haraka.contains("{sink}"));
    }
}
