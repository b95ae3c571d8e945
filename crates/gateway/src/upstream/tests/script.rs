//! A server that plays a script, a line a step:
//!
//! ```text
//! S: 250 ok             says this
//! S: 250 ok|421 bye     says both in one write
//! C: RCPT TO:<a@b>      hears exactly this
//! proxy A B             hears the PROXY header, version 2, from A to B
//! proxy1 A B            hears the one of version 1
//! tls                   does a handshake, as mx.example
//! mark                  tells the test that it got here
//! wait                  waits for the test
//! eof                   the gateway closes
//! close                 closes at once
//! ```

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::LIMIT;
use crate::config::Certificate;
use crate::stream::Stream;
use crate::tls::ServerTls;
use crate::upstream::identity::{ClientIdentity, ProxyVersion, proxy_header};

/// A server that is playing its scripts.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    stage: Arc<Stage>,
    playing: JoinSet<Result<(), String>>,
}

struct Stage {
    marks: Semaphore,
    waits: Semaphore,
}

impl Scripted {
    /// Plays one script for each connection, in the order in which they come.
    pub(super) async fn start(scripts: &[&[&str]]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, scripts)
    }

    pub(super) fn on(listener: TcpListener, scripts: &[&[&str]]) -> Self {
        let stage = Arc::new(Stage {
            marks: Semaphore::new(0),
            waits: Semaphore::new(0),
        });
        let address = listener.local_addr().unwrap();
        let mut playing = JoinSet::new();
        let scripts: Vec<String> = scripts.iter().map(|parts| parts.concat()).collect();
        playing.spawn(serve(listener, scripts, Arc::clone(&stage)));
        Self {
            address,
            stage,
            playing,
        }
    }

    /// Returns once a script came to `mark`.
    pub(super) async fn marked(&self) {
        let mark = timeout(LIMIT, self.stage.marks.acquire()).await;
        mark.expect("the script comes to its mark")
            .unwrap()
            .forget();
    }

    /// Lets a script go on after `wait`.
    pub(super) fn go(&self) {
        self.stage.waits.add_permits(1);
    }

    /// All scripts were played to their ends.
    pub(super) async fn done(mut self) {
        while let Some(played) = timeout(LIMIT, self.playing.join_next())
            .await
            .expect("the scripts end, and all connections come")
        {
            if let Err(fault) = played.unwrap() {
                panic!("{fault}");
            }
        }
    }
}

async fn serve(
    listener: TcpListener,
    scripts: Vec<String>,
    stage: Arc<Stage>,
) -> Result<(), String> {
    let mut connections = JoinSet::new();
    for (at, script) in scripts.into_iter().enumerate() {
        let Ok((stream, _)) = listener.accept().await else {
            return Err("accept failed".to_owned());
        };
        let stage = Arc::clone(&stage);
        connections.spawn(async move {
            play(stream, &script, &stage)
                .await
                .map_err(|fault| format!("connection {}: {fault}", at + 1))
        });
    }
    drop(listener);
    while let Some(played) = connections.join_next().await {
        played.map_err(|error| error.to_string())??;
    }
    Ok(())
}

async fn play(stream: TcpStream, script: &str, stage: &Stage) -> Result<(), String> {
    let mut stream = Peer {
        stream: Stream::plain(stream),
        unread: Vec::new(),
    };
    for step in script
        .lines()
        .map(str::trim)
        .filter(|step| !step.is_empty())
    {
        match step.split_once(' ').unwrap_or((step, "")) {
            ("S:", text) => {
                let lines: String = text.split('|').map(|line| format!("{line}\r\n")).collect();
                stream
                    .stream
                    .write_all(lines.as_bytes())
                    .await
                    .map_err(|error| format!("{step}: {error}"))?;
            }
            ("C:", text) => hear(&mut stream, format!("{text}\r\n").as_bytes()).await?,
            (verb @ ("proxy" | "proxy1"), addresses) => {
                let (from, to) = addresses.split_once(' ').unwrap();
                let version = if verb == "proxy" {
                    ProxyVersion::Two
                } else {
                    ProxyVersion::One
                };
                let who = ClientIdentity {
                    address: from.parse().unwrap(),
                    local: to.parse().unwrap(),
                    helo: None,
                    esmtp: true,
                    secured: false,
                    name: None,
                };
                let header = proxy_header(version, &who);
                let found = stream.exact(header.len()).await;
                if found != header {
                    return Err(format!("{step}: found {found:?}"));
                }
            }
            ("tls", _) => {
                assert!(stream.unread.is_empty(), "said ahead of the handshake");
                let tls = &mx_example().0;
                let shook = tls.accept(&mut stream.stream, LIMIT, None).await;
                shook.map_err(|error| format!("{step}: {error}"))?;
            }
            ("mark", _) => stage.marks.add_permits(1),
            ("wait", _) => stage.waits.acquire().await.unwrap().forget(),
            ("eof", _) => hear(&mut stream, b"").await?,
            ("close", _) => return Ok(()),
            _ => panic!("no step of a script: {step}"),
        }
    }
    Ok(())
}

/// The gateway, as the server sees it.
struct Peer {
    stream: Stream,
    unread: Vec<u8>,
}

impl Peer {
    /// The next `most` octets that are not later than the end of a line, or all until the end of
    /// the connection.
    async fn exact(&mut self, most: usize) -> Vec<u8> {
        // A reset is an end too.
        while self.unread.len() < most
            && matches!(self.stream.read_into(&mut self.unread, 4096).await, Ok(1..))
        {}
        let rest = self.unread.split_off(most.min(self.unread.len()));
        std::mem::replace(&mut self.unread, rest)
    }

    async fn line(&mut self) -> Vec<u8> {
        loop {
            if let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') {
                return self.exact(end + 1).await;
            }
            if !matches!(self.stream.read_into(&mut self.unread, 4096).await, Ok(1..)) {
                return std::mem::take(&mut self.unread);
            }
        }
    }
}

/// Reads a line, which must be `expected`; empty: the end.
async fn hear(stream: &mut Peer, expected: &[u8]) -> Result<(), String> {
    let shown = tarpit_smtp::escape(expected).to_string();
    match timeout(LIMIT, stream.line()).await {
        Err(_) => Err(format!("expected \"{shown}\", heard nothing")),
        Ok(line) if line == expected => Ok(()),
        Ok(line) => Err(format!(
            "expected \"{shown}\", heard \"{}\"",
            tarpit_smtp::escape(&line)
        )),
    }
}

/// A server with a certificate for mx.example, signed by itself, and the file with it.
pub(super) fn mx_example() -> &'static (ServerTls, tempfile::NamedTempFile) {
    static SERVER: LazyLock<(ServerTls, tempfile::NamedTempFile)> = LazyLock::new(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["mx.example".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), certificate + &key.serialize_pem()).unwrap();
        let both = Certificate {
            chain: file.path().to_owned(),
            key: file.path().to_owned(),
        };
        (ServerTls::read(&[both]).unwrap(), file)
    });
    &SERVER
}
