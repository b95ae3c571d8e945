//! A gateway as a process, and its records.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far longer than anything here takes; only a broken product waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running gateway.
pub(crate) struct Tarpit {
    process: Child,
    log: Receiver<Value>,
    folder: tempfile::TempDir,
}

impl Drop for Tarpit {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Tarpit {
    /// Starts one that logs JSON, with `more` in its configuration.
    pub(crate) fn start(more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), more);
        Self::run(folder)
    }

    /// Starts one with this configuration and nothing else in it.
    pub(crate) fn start_with(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("tarpit.toml"), text).unwrap();
        Self::run(folder)
    }

    fn run(folder: tempfile::TempDir) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_tarpit"))
            .args(["run", "--config", "tarpit.toml"])
            .current_dir(folder.path())
            .env_remove("TARPIT_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = process.stderr.take().unwrap();
        let (send, log) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                // What is wrong with a configuration is said in plain text.
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if send.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            process,
            log,
            folder,
        }
    }

    /// Puts another configuration in its place, and has it read.
    pub(crate) fn reload(&self, more: &str) {
        write(self.folder.path(), more);
        self.signal("HUP");
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// The next record for which `is_it` says so.
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Vec::new();
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self
            .log
            .recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            if is_it(&line) {
                return line;
            }
            seen.push(line.to_string());
        }
        panic!("no {what} in the log:\n{}", seen.join("\n"));
    }

    /// The next record with this message.
    pub(crate) fn wait_for_message(&self, message: &str) -> Value {
        self.wait_for(message, |line| line["message"] == message)
    }

    /// The address of the next listener that says that it listens.
    pub(crate) fn listener(&self) -> SocketAddr {
        let line = self.wait_for_message("listening");
        line["address"].as_str().unwrap().parse().unwrap()
    }

    /// Where the figures are. To be asked for after the listeners.
    pub(crate) fn admin(&self) -> SocketAddr {
        let line = self.wait_for_message("figures are shown");
        let url = line["url"].as_str().unwrap();
        let address = url.strip_prefix("http://").unwrap();
        address.strip_suffix("/metrics").unwrap().parse().unwrap()
    }

    /// Everything that is logged until `count` records of sessions have been.
    pub(crate) fn sessions(&self, count: usize) -> Vec<Value> {
        let mut seen = Vec::new();
        let is_session = |line: &Value| line["target"] == "tarpit::session";
        while seen.iter().filter(|line| is_session(line)).count() < count {
            seen.push(self.wait_for("record", |_| true));
        }
        seen
    }

    /// Where it runs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::yield_now();
        }
    }
}

fn write(folder: &Path, more: &str) {
    let text = format!(
        "hostname = \"mx.example.test\"\nlog.format = \"json\"\n{more}\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n"
    );
    fs::write(folder.join("tarpit.toml"), text).unwrap();
}
