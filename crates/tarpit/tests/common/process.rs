//! A gateway as a process, and its log line by line. Several programs of tests share this.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Far longer than anything here takes; only a broken product waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A process of `tarpit run`; killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: Mutex<Receiver<String>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts one with the `tarpit.toml` of a folder, in that folder.
    pub(crate) fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tarpit"))
            .args(["run", "--config", "tarpit.toml"])
            .current_dir(folder)
            .env_remove("TARPIT_LOG")
            .env_remove("STATE_DIRECTORY")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            log: Mutex::new(log),
        }
    }

    /// What `find` makes of the next line of the log that it wants.
    #[track_caller]
    pub(crate) fn find<T>(&self, what: &str, mut find: impl FnMut(&str) -> Option<T>) -> T {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Vec::new();
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = log.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if let Some(found) = find(&line) {
                return found;
            }
            seen.push(line);
        }
        panic!("no {what:?} in the log:\n{}", seen.join("\n"));
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits until it has ended.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::yield_now();
        }
    }
}
