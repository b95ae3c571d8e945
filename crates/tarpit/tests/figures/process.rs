//! A gateway as a process, and its records.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitStatus;

use serde_json::Value;

pub(crate) use super::common::PATIENCE;
use super::common::Process;

/// A running gateway.
pub(crate) struct Tarpit {
    process: Process,
    folder: tempfile::TempDir,
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
        let process = Process::start(folder.path());
        Self { process, folder }
    }

    /// Puts another configuration in its place, and has it read.
    pub(crate) fn reload(&self, more: &str) {
        write(self.folder.path(), more);
        self.signal("HUP");
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// The next record for which `is_it` says so.
    pub(crate) fn wait_for(&self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        self.process.find(what, |line| {
            // What is wrong with a configuration is said in plain text.
            let line =
                serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()));
            is_it(&line).then_some(line)
        })
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
        self.process.end()
    }
}

fn write(folder: &Path, more: &str) {
    let text = format!(
        "hostname = \"mx.example.test\"\nlog.format = \"json\"\n{more}\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n"
    );
    fs::write(folder.join("tarpit.toml"), text).unwrap();
}
