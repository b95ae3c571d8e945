//! Where `tarpit upgrade` finds the front: `front-PID.sock` in the runtime directory.
//!
//! The name has the process in it, so that several gateways may share a directory, and a successor
//! has its own before its predecessor is gone. Which of them is meant is told by the configuration
//! file: each front says with which one it runs.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use rustix::process::{Pid, getpid, test_kill_process};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::STEP_MAX;
use super::message::Message;
use super::wire::{Wire, WireError};
use crate::runtime::{Runtime, is_own_user};

/// Those who connect are served one after the other.
const BACKLOG: i32 = 16;

/// How long `tarpit upgrade` waits for the front: for a reload that runs, and for its successor.
const ANSWER_MAX: Duration = Duration::from_secs(120);

const PREFIX: &str = "front-";
const SUFFIX: &str = ".sock";

/// The socket of a front. Dropping it takes its name out of the directory.
#[derive(Debug)]
pub struct FrontSocket {
    path: PathBuf,
    requests: mpsc::Receiver<Request>,
    task: JoinHandle<()>,
}

/// Somebody who asks for an upgrade.
#[derive(Debug)]
pub struct Request(Wire);

/// Why `tarpit upgrade` did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No front with this configuration.
    #[error(
        "no gateway runs with {}; looked for {PREFIX}PID{SUFFIX} in {}{}",
        .config.display(),
        .places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", "),
        found(.others)
    )]
    Nobody {
        /// The configuration file.
        config: PathBuf,
        /// Where was looked.
        places: Vec<PathBuf>,
        /// Configuration files of the fronts that were found.
        others: Vec<PathBuf>,
    },
    /// The front goes on as it was.
    #[error("not upgraded, the gateway goes on as it was: {0}")]
    Refused(String),
    /// The front said nothing, or nothing that makes sense.
    #[error("the gateway: {0}")]
    Wire(#[from] WireError),
}

fn found(configs: &[PathBuf]) -> String {
    let shown: Vec<_> = configs
        .iter()
        .map(|config| config.display().to_string())
        .collect();
    if shown.is_empty() {
        String::new()
    } else {
        format!("; found gateways with {}", shown.join(", "))
    }
}

impl FrontSocket {
    /// Listens in `runtime` for who asks for an upgrade of the gateway that runs with `config`. Names
    /// that fronts left behind are taken away.
    ///
    /// # Errors
    /// What the system says; a path that is too long for a socket, for instance.
    pub fn open(runtime: &Runtime, config: &Path) -> io::Result<Self> {
        sweep(runtime.path());
        let own = getpid().as_raw_nonzero();
        let path = runtime.path().join(format!("{PREFIX}{own}{SUFFIX}"));
        // Of another process that had our number.
        let _ = fs::remove_file(&path);
        let socket = new_socket()?;
        bind(&socket, &SocketAddrUnix::new(&path)?)?;
        listen(&socket, BACKLOG)?;
        // Of SOCK_SEQPACKET; see `Wire`.
        let socket = UnixListener::from_std(socket.into())?;
        let config = fs::canonicalize(config)?;
        let (sender, requests) = mpsc::channel(1);
        let task = tokio::spawn(serve(socket, config, sender));
        Ok(Self {
            path,
            requests,
            task,
        })
    }

    /// The next who asks for an upgrade.
    pub async fn next(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

impl Drop for FrontSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_file(&self.path);
    }
}

impl Request {
    /// Tells what came of it: the process that serves now, or why there is none.
    pub async fn answer(self, outcome: Result<u32, String>) {
        let message = match outcome {
            Ok(process) => Message::Upgraded(process),
            Err(reason) => Message::Failed(reason),
        };
        // Whoever asked may be gone.
        let _ = tokio::time::timeout(STEP_MAX, self.0.send(&message, &[])).await;
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

async fn serve(socket: UnixListener, config: PathBuf, requests: mpsc::Sender<Request>) {
    let hello = Message::Front(config.as_os_str().as_bytes().to_vec());
    loop {
        let caller = match socket.accept().await {
            Ok((caller, _)) => caller.into_std().map(OwnedFd::from),
            Err(error) => Err(error),
        };
        let Ok(caller) = caller else {
            // No descriptors, say.
            tokio::time::sleep(STEP_MAX).await;
            continue;
        };
        if let Ok(Some(request)) = tokio::time::timeout(STEP_MAX, hear(caller, &hello)).await
            && requests.send(request).await.is_err()
        {
            return;
        }
    }
}

/// Somebody of our own user who knows which front this is, and wants it to be upgraded.
async fn hear(caller: OwnedFd, hello: &Message) -> Option<Request> {
    if !is_own_user(&caller).ok()? {
        return None;
    }
    let mut wire = Wire::new(caller).ok()?;
    wire.send(hello, &[]).await.ok()?;
    let (message, _) = wire.receive().await.ok()??;
    (message == Message::Upgrade).then_some(Request(wire))
}

/// The fronts' sockets in a directory, with the processes they belong to.
fn fronts(place: &Path) -> Vec<(PathBuf, Pid)> {
    let Ok(entries) = fs::read_dir(place) else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let process = name.to_str()?.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
            let process = Pid::from_raw(process.parse().ok()?)?;
            Some((place.join(name), process))
        })
        .collect()
}

/// Takes away the names of fronts that were killed.
fn sweep(place: &Path) {
    for (path, process) in fronts(place) {
        // Both: in another namespace for processes the number may mean nothing.
        let is_dead = test_kill_process(process) == Err(Errno::SRCH);
        if is_dead && reach(&path).is_err() {
            let _ = fs::remove_file(path);
        }
    }
}

fn reach(path: &Path) -> io::Result<OwnedFd> {
    let socket = new_socket()?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Asks the front that runs with `config` to start a successor, and waits until it serves. Returns
/// its process id.
///
/// # Errors
/// [`AskError`]; then nothing has changed.
pub async fn ask(places: Vec<PathBuf>, config: &Path) -> Result<u32, AskError> {
    let config = fs::canonicalize(config).unwrap_or_else(|_| config.to_owned());
    let mut others = Vec::new();
    let found = places.iter().flat_map(|place| fronts(place));
    for (path, _) in found {
        let Ok(socket) = reach(&path) else { continue };
        let mut wire = Wire::new(socket).map_err(WireError::from)?;
        // One that hangs may not be the one that is meant.
        let hello = tokio::time::timeout(STEP_MAX, wire.receive()).await;
        let Ok(Ok(Some((Message::Front(theirs), _)))) = hello else {
            continue;
        };
        let theirs = PathBuf::from(std::ffi::OsStr::from_bytes(&theirs));
        if theirs == config {
            return upgrade(wire).await;
        }
        others.push(theirs);
    }
    Err(AskError::Nobody {
        config,
        places,
        others,
    })
}

async fn upgrade(mut wire: Wire) -> Result<u32, AskError> {
    wire.send(&Message::Upgrade, &[]).await?;
    let Ok(answer) = tokio::time::timeout(ANSWER_MAX, wire.receive()).await else {
        let why = format!("no answer within {} s", ANSWER_MAX.as_secs());
        return Err(WireError::Unreadable(why).into());
    };
    match answer? {
        Some((Message::Upgraded(process), _)) => Ok(process),
        Some((Message::Failed(reason), _)) => Err(AskError::Refused(reason)),
        Some(_) => Err(WireError::Unreadable("the answer makes no sense".to_owned()).into()),
        None => Err(WireError::Unreadable("it ended without an answer".to_owned()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_right_front_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::open(Some(&folder.path().join("run"))).unwrap();
        let config = folder.path().join("tarpit.toml");
        let other = folder.path().join("other.toml");
        fs::write(&config, "").unwrap();
        fs::write(&other, "").unwrap();
        let places = || vec![runtime.path().to_owned()];
        let nobody = ask(places(), &config).await.unwrap_err().to_string();
        assert!(nobody.starts_with("no gateway runs with"), "{nobody}");

        let mut front = FrontSocket::open(&runtime, &config).unwrap();
        let error = ask(places(), &other).await.unwrap_err().to_string();
        assert!(error.contains("found gateways with"), "{error}");
        for outcome in [Ok(17), Err("line 1: no".to_owned())] {
            let places = places();
            let config = config.clone();
            let asking = tokio::spawn(async move { ask(places, &config).await });
            front.next().await.answer(outcome.clone()).await;
            let heard = asking.await.unwrap();
            match outcome {
                Ok(process) => assert_eq!(heard.unwrap(), process),
                Err(reason) => {
                    let heard = heard.unwrap_err().to_string();
                    assert!(heard.ends_with(&reason), "{heard}");
                }
            }
        }
        drop(front);
        assert!(fronts(runtime.path()).is_empty());
    }

    #[tokio::test]
    async fn names_of_the_dead_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let runtime = Runtime::open(Some(&folder.path().join("run"))).unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let dead = child.id();
        child.wait().unwrap();
        let path = runtime.path().join(format!("{PREFIX}{dead}{SUFFIX}"));
        let socket = new_socket().unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        drop(socket);
        let config = folder.path().join("tarpit.toml");
        fs::write(&config, "").unwrap();
        let _front = FrontSocket::open(&runtime, &config).unwrap();
        assert!(!path.exists());
        assert_eq!(fronts(runtime.path()).len(), 1);
    }
}
