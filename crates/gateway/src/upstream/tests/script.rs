//! A server that plays a script, a line a step:
//!
//! ```text
//! S: 250 ok             says this
//! S: 250 ok|421 bye     says both in one write
//! C: RCPT TO:<a@b>      hears exactly this
//! proxy A B             hears the PROXY header, version 2, from A to B
//! proxy1 A B            hears the one of version 1
//! mark                  tells the test that it got here
//! wait                  waits for the test
//! eof                   the gateway closes
//! close                 closes at once
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::LIMIT;
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
    let mut stream = BufReader::new(stream);
    for step in script
        .lines()
        .map(str::trim)
        .filter(|step| !step.is_empty())
    {
        match step.split_once(' ').unwrap_or((step, "")) {
            ("S:", text) => {
                let lines: String = text.split('|').map(|line| format!("{line}\r\n")).collect();
                stream
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
                };
                let header = proxy_header(version, &who);
                let mut found = vec![0; header.len()];
                stream
                    .read_exact(&mut found)
                    .await
                    .map_err(|error| format!("{step}: {error}"))?;
                if found != header {
                    return Err(format!("{step}: found {found:?}"));
                }
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

/// Reads a line, which must be `expected`; empty: the end.
async fn hear(stream: &mut BufReader<TcpStream>, expected: &[u8]) -> Result<(), String> {
    let mut line = Vec::new();
    let read = timeout(LIMIT, stream.read_until(b'\n', &mut line)).await;
    let shown = tarpit_smtp::escape(expected).to_string();
    match read {
        Err(_) => Err(format!("expected \"{shown}\", heard nothing")),
        // A reset is an end too.
        Ok(_) if line == expected => Ok(()),
        Ok(_) => Err(format!(
            "expected \"{shown}\", heard \"{}\"",
            tarpit_smtp::escape(&line)
        )),
    }
}
