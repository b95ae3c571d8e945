//! The gateway under test: the real binary, its configuration file, its log.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::place::gateway_binary;
use crate::proc::{listening, peak_memory};
use crate::process::Group;

/// How long a start or a log line may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running gateway. Dropping it ends it; a test that cares how it ends calls [`Gateway::stop`].
#[derive(Debug)]
pub struct Gateway {
    process: Group,
    log: Arc<Log>,
    readers: Vec<JoinHandle<()>>,
    folder: TempDir,
}

/// The lines that the gateway wrote, and a way to wait for more.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

/// One line of the gateway's log.
#[derive(Clone, Debug)]
pub struct Record(Value);

impl Record {
    /// A field, as text whatever its type; empty when there is none.
    #[must_use]
    pub fn text(&self, name: &str) -> String {
        match self.find(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        }
    }

    /// A field that is a number, or a number in a string.
    ///
    /// # Errors
    /// When it is missing or no number.
    pub fn number(&self, name: &str) -> Result<f64> {
        let text = self.text(name);
        text.parse()
            .with_context(|| format!("{name} is {text:?}, no number, in {}", self.0))
    }

    /// What kind of record it is: `tarpit::hold`, `tarpit::session` or the module that wrote it.
    #[must_use]
    pub fn target(&self) -> String {
        self.text("target")
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let field = self.0.get("fields").and_then(|fields| fields.get(name));
        field.or_else(|| self.0.get(name))
    }
}

/// A configuration with one listener on a free port of 127.0.0.1, for `example.org`, before the
/// server on `port`. `identity` is that of the configuration file; `rest` is put behind.
#[must_use]
pub fn config(port: u16, identity: &str, rest: &str) -> String {
    format!(
        r#"hostname = "gate.example.org"
domains = ["example.org"]

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[[upstream]]
name = "behind"
address = "127.0.0.1:{port}"
identity = "{identity}"
{rest}
"#
    )
}

impl Gateway {
    /// Starts the gateway and waits until all its `[[listener]]`s listen. Listeners use port 0.
    ///
    /// # Errors
    /// When it ends or doesn't listen in half a minute; with its log.
    pub fn start(config: &str) -> Result<Self> {
        Self::launch(config)?.listening_to(config)
    }

    fn listening_to(self, config: &str) -> Result<Self> {
        let gateway = self;
        let listeners = config.matches("[[listener]]").count();
        let ready = gateway.wait_records(|records| {
            let listening = records
                .iter()
                .filter(|record| record.text("message") == "listening");
            (listening.count() >= listeners).then_some(())
        });
        ready.with_context(|| format!("the gateway doesn't listen:\n{}", gateway.excerpt()))?;
        Ok(gateway)
    }

    /// Starts the gateway, and waits for nothing.
    ///
    /// # Errors
    /// When it is not built.
    pub fn launch(config: &str) -> Result<Self> {
        Self::launch_by(Command::new(gateway_binary()?), config)
    }

    /// As [`Gateway::start`], where it may have only `allowed` files and sockets open.
    ///
    /// # Errors
    /// When it ends or doesn't listen in half a minute; with its log.
    pub fn start_with_descriptors(config: &str, allowed: u64) -> Result<Self> {
        // It replaces itself by the program.
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={allowed}:{allowed}"));
        command.arg(gateway_binary()?);
        Self::launch_by(command, config)?.listening_to(config)
    }

    /// As [`Gateway::start_with_descriptors`], as an unprivileged user: root may have more sockets in
    /// flight than others.
    ///
    /// # Errors
    /// When it ends or doesn't listen in half a minute; with its log.
    pub fn start_confined(config: &str, allowed: u64) -> Result<Self> {
        Self::start_confined_program(&gateway_binary()?, config, allowed, None)
    }

    /// As [`Gateway::start_confined`], of another file, with this filter of the log if there is one.
    ///
    /// # Errors
    /// When it ends or doesn't listen in half a minute; with its log.
    pub fn start_confined_program(
        program: &Path,
        config: &str,
        allowed: u64,
        log: Option<&str>,
    ) -> Result<Self> {
        let mut command = Command::new("prlimit");
        command.envs(log.map(|filter| ("TARPIT_LOG", filter)));
        command.arg(format!("--nofile={allowed}:{allowed}"));
        if rustix::process::geteuid().is_root() {
            let user = UNPRIVILEGED.to_string();
            command.args(["setpriv", "--reuid", &user, "--regid", &user]);
            command.args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all"]);
        }
        command.arg(program);
        let folder = tempfile::Builder::new()
            .prefix("tarpit-gateway-")
            .tempdir()?;
        give_away(folder.path())?;
        Self::launch_in(folder, command, config)?.listening_to(config)
    }

    /// As [`Gateway::start`], of another file, with this socket of a service manager if there is one.
    ///
    /// # Errors
    /// When it ends or doesn't listen in half a minute; with its log.
    pub fn start_program(program: &Path, config: &str, manager: Option<&Path>) -> Result<Self> {
        let mut command = Command::new(program);
        command.envs(manager.map(|socket| ("NOTIFY_SOCKET", socket)));
        Self::launch_by(command, config)?.listening_to(config)
    }

    /// Changes how many files and sockets it may have open, while it runs; not more than the
    /// `hard` limit that it was started with, which stays.
    ///
    /// # Errors
    /// When it has ended.
    pub fn limit_descriptors(&self, allowed: u64, hard: u64) -> Result<()> {
        let id = i32::try_from(self.process.id())?;
        let limit = Rlimit {
            current: Some(allowed),
            maximum: Some(hard),
        };
        prlimit(Pid::from_raw(id), Resource::Nofile, limit)?;
        Ok(())
    }

    fn launch_by(command: Command, config: &str) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tarpit-gateway-")
            .tempdir()?;
        Self::launch_in(folder, command, config)
    }

    fn launch_in(folder: TempDir, mut command: Command, config: &str) -> Result<Self> {
        let file = folder.path().join("tarpit.toml");
        write_config(&file, config)?;
        command.args(["run", "--config"]).arg(&file);
        let mut process = Group::spawn_with_pipes(&command)?;
        let log = Arc::new(Log::default());
        let child = process.child();
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|pipe| read_lines(pipe, &log)));
        readers.extend(child.stderr.take().map(|pipe| read_lines(pipe, &log)));
        Ok(Self {
            process,
            log,
            readers,
            folder,
        })
    }

    /// Runs another command of the binary to its end, with this configuration.
    ///
    /// # Errors
    /// When it can't be started; that it fails is in the output.
    pub fn check(config: &str) -> Result<Output> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("tarpit.toml");
        write_config(&file, config)?;
        Self::command(&["check", "--config", &file.to_string_lossy()])
    }

    /// Runs the binary with `arguments` to its end.
    ///
    /// # Errors
    /// When it can't be started; that it fails is in the output.
    pub fn command(arguments: &[&str]) -> Result<Output> {
        let output = Command::new(gateway_binary()?).args(arguments).output();
        output.with_context(|| format!("can't start the gateway with {arguments:?}"))
    }

    /// The folder of its configuration file, for whatever else it is to read.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Replaces its configuration file; a reload takes it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn configure(&self, config: &str) -> Result<()> {
        write_config(&self.folder.path().join("tarpit.toml"), config)
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self.process.signal(signal)
    }

    /// The port of its only, or first, listener.
    ///
    /// # Errors
    /// When it doesn't listen.
    pub fn port(&self) -> Result<u16> {
        let records = self.records();
        let listening = records
            .iter()
            .find(|record| record.text("message") == "listening");
        port_of(listening.context("it doesn't listen")?)
    }

    /// The port of the listener with this name.
    ///
    /// # Errors
    /// When it doesn't listen.
    pub fn port_of(&self, listener: &str) -> Result<u16> {
        let records = self.records();
        let mut listening = records
            .iter()
            .filter(|record| record.text("message") == "listening");
        let found = listening.find(|record| record.text("listener") == listener);
        port_of(found.with_context(|| format!("{listener} doesn't listen"))?)
    }

    /// Its whole log, as it is.
    #[must_use]
    pub fn log(&self) -> String {
        self.lines().join("\n")
    }

    /// How its log begins and ends, for whoever reads why a test failed.
    #[must_use]
    pub fn excerpt(&self) -> String {
        excerpt(&self.lines())
    }

    /// The lines of its log that are records.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        parse(&self.lines())
    }

    /// The records of one target.
    #[must_use]
    pub fn records_of(&self, target: &str) -> Vec<Record> {
        let mut records = self.records();
        records.retain(|record| record.target() == target);
        records
    }

    /// Waits until `probe` finds in the records what it looks for.
    ///
    /// # Errors
    /// When it doesn't in half a minute, or the gateway ends.
    pub fn wait_records<T>(&self, probe: impl Fn(&[Record]) -> Option<T>) -> Result<T> {
        let start = Instant::now();
        let mut lines = self
            .log
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = probe(&parse(&lines)) {
                return Ok(found);
            }
            let Some(left) = PATIENCE.checked_sub(start.elapsed()) else {
                bail!("not in the log after {PATIENCE:?}:\n{}", excerpt(&lines));
            };
            if self.readers.iter().all(JoinHandle::is_finished) {
                bail!("the gateway ended:\n{}", excerpt(&lines));
            }
            // Short rounds, since nothing wakes us when the gateway ends.
            let round = left.min(Duration::from_millis(200));
            let waited = self.log.more.wait_timeout(lines, round);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for `count` records of `target`, and returns them.
    ///
    /// # Errors
    /// When there are fewer after half a minute.
    pub fn wait_for_records(&self, target: &str, count: usize) -> Result<Vec<Record>> {
        self.wait_records(|records| {
            let found: Vec<Record> = records
                .iter()
                .filter(|record| record.target() == target)
                .cloned()
                .collect();
            (found.len() >= count).then_some(found)
        })
        .with_context(|| format!("fewer than {count} records of {target}"))
    }

    /// The local addresses at which it listens now, as the kernel knows them, whatever it says.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn listening(&self) -> Result<Vec<SocketAddr>> {
        listening(self.process.id())
    }

    /// The most memory that it ever held, in octets.
    ///
    /// # Errors
    /// When /proc can't be read.
    pub fn peak_memory(&self) -> Result<u64> {
        peak_memory(self.process.id())
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.process.ended().is_none()
    }

    /// Waits until it ends by itself, successfully.
    ///
    /// # Errors
    /// When it doesn't within `limit`, or fails.
    pub fn wait(&mut self, limit: Duration) -> Result<()> {
        let status = self.process.wait(limit).with_context(|| self.excerpt())?;
        ensure!(
            status.success(),
            "the gateway ended with {status}:\n{}",
            self.log()
        );
        Ok(())
    }

    /// Ends it by SIGTERM, and checks that it does so in good order.
    ///
    /// # Errors
    /// When it fails, or needs longer than the time that it gives to running transactions, or
    /// panicked.
    pub fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        self.wait(PATIENCE * 2)?;
        for reader in self.readers.drain(..) {
            ensure!(reader.join().is_ok(), "a reader of the log panicked");
        }
        ensure!(
            !self.log().contains("panicked"),
            "the gateway panicked:\n{}",
            self.log()
        );
        Ok(())
    }

    fn lines(&self) -> Vec<String> {
        self.log
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// The user and group `nobody` of most systems.
const UNPRIVILEGED: u32 = 65534;

/// Lets the unprivileged user have a file or folder, where tests run as root. Root reads it all the
/// same.
///
/// # Errors
/// When the system refuses.
pub fn give_away(path: &Path) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
    }
    Ok(())
}

fn excerpt(lines: &[String]) -> String {
    let (head, rest) = lines.split_at(lines.len().min(8));
    let (left_out, tail) = rest.split_at(rest.len().saturating_sub(16));
    let gap = format!("... {} lines ...", left_out.len());
    [head, &[gap], tail].concat().join("\n")
}

fn write_config(file: &Path, config: &str) -> Result<()> {
    let log = if config.contains("[log]") {
        ""
    } else {
        "\n[log]\nformat = \"json\"\n"
    };
    // Its default is one port, for which all tests at once would come.
    let admin = if config.contains("[admin]") || config.contains("admin.") {
        ""
    } else {
        "\n[admin]\naddress = \"off\"\n"
    };
    fs::write(file, format!("{config}{log}{admin}"))
        .with_context(|| format!("write {}", file.display()))
}

fn parse(lines: &[String]) -> Vec<Record> {
    lines
        .iter()
        .filter_map(|line| serde_json::from_str(line).ok().map(Record))
        .collect()
}

fn port_of(record: &Record) -> Result<u16> {
    let address = record.text("address");
    let (_, port) = address
        .rsplit_once(':')
        .with_context(|| format!("no address: {record:?}"))?;
    port.parse().with_context(|| format!("no port: {address}"))
}

fn read_lines(pipe: impl Read + Send + 'static, log: &Arc<Log>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            log.lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
            log.more.notify_all();
        }
    })
}
