//! The part of systemd that matters for who gets the mail: starts the service of a unit, waits for
//! `READY=1`, runs what is to run after the start, at the stop and after the end, and starts it
//! again.
//!
//! It reads the shipped unit and runs the shipped lines, so that these are what is tested. The
//! service runs as `nobody` with the capabilities of the unit, in place of a user that only the
//! package makes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Group, wait_for};
use crate::unit::{ExecLine, Unit};

/// How long a start or a stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the process is looked at. systemd is woken; this adds little to what is measured.
const GLANCE: Duration = Duration::from_millis(5);

/// `nobody` and `nogroup`.
const NOBODY: &str = "65534";

/// A service that is looked after. Dropping it stops it.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    stop: Sender<()>,
    keeper: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
struct Shared {
    unit: Unit,
    /// What stands in the unit, and what it is here.
    places: Vec<(String, String)>,
    folder: TempDir,
    state: Mutex<State>,
}

/// What systemd would show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not ready yet, or between two tries.
    Activating,
    /// Ready, and all that follows a start is done; with the number of its process.
    Active(u32),
    /// Told to stop, or at its end.
    Stopping,
    /// Over: stopped, or not worth another try.
    Inactive,
}

impl Service {
    /// Starts the service, and waits until it is active. Paths that the unit names are replaced by
    /// those in `places`.
    ///
    /// # Errors
    /// When it ends before it is ready; with what it said.
    pub fn start(unit: Unit, places: &[(&str, &Path)]) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("tarpit-service-")
            .tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let places = places
            .iter()
            .map(|(from, to)| ((*from).to_owned(), to.to_string_lossy().into_owned()));
        let shared = Arc::new(Shared {
            unit,
            places: places.collect(),
            folder,
            state: Mutex::new(State::Activating),
        });
        let (stop, stopped) = channel();
        let keeper = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                let outcome = shared.keep(&stopped);
                shared.set(State::Inactive);
                outcome
            }
        });
        let mut service = Self {
            shared,
            stop,
            keeper: Some(keeper),
        };
        service.wait_active().or_else(|error| {
            let log = service.log();
            let outcome = service.join();
            bail!("{error:#}; {outcome:?}; log:\n{log}")
        })?;
        Ok(service)
    }

    /// How it is now.
    #[must_use]
    pub fn state(&self) -> State {
        *self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is active; returns the number of its process.
    ///
    /// # Errors
    /// When it is not after a minute, or never will be.
    pub fn wait_active(&self) -> Result<u32> {
        let state = wait_for(PATIENCE, || match self.state() {
            State::Active(process) => Some(Some(process)),
            State::Inactive => Some(None),
            State::Activating | State::Stopping => None,
        });
        state
            .flatten()
            .with_context(|| format!("it is {:?}", self.state()))
    }

    /// All that the service printed.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.shared.folder.path().join("log")).unwrap_or_default()
    }

    /// Begins to stop it, and waits for nothing.
    pub fn begin_stop(&self) {
        // Gone is stopped.
        let _ = self.stop.send(());
    }

    /// Stops it and waits for its end.
    ///
    /// # Errors
    /// When a command of the unit fails, or it does not end.
    pub fn stop(mut self) -> Result<()> {
        self.begin_stop();
        self.join()
    }

    fn join(&mut self) -> Result<()> {
        match self.keeper.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => bail!("the keeper panicked"),
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.begin_stop();
        let _ = self.join();
    }
}

impl Shared {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// One life after the other.
    fn keep(&self, stop: &Receiver<()>) -> Result<()> {
        loop {
            self.set(State::Activating);
            let lived = self.live(stop);
            self.set(State::Stopping);
            // systemd.service(5): also when the start failed.
            self.run_all("ExecStopPost")?;
            let Some(status) = lived? else {
                return Ok(());
            };
            if !self.is_worth_another(status) {
                bail!("it ended with {status}");
            }
            self.set(State::Activating);
            if stop.recv_timeout(self.pause()?) != Err(RecvTimeoutError::Timeout) {
                return Ok(());
            }
        }
    }

    /// From start to end; how it ended, unless it was told to.
    fn live(&self, stop: &Receiver<()>) -> Result<Option<ExitStatus>> {
        let socket = self.folder.path().join("notify");
        let _ = fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket)?;
        fs::set_permissions(&socket, fs::Permissions::from_mode(0o777))?;
        notify.set_read_timeout(Some(GLANCE))?;
        let mut process = self.spawn(&socket)?;
        let start = Instant::now();
        let mut is_active = false;
        loop {
            if let Some(status) = process.ended() {
                return Ok(Some(status));
            }
            let mut datagram = [0; 4096];
            if let Ok(count) = notify.recv(&mut datagram)
                && !is_active
                && String::from_utf8_lossy(&datagram[..count])
                    .lines()
                    .any(|line| line == "READY=1")
            {
                self.run_all("ExecStartPost")?;
                is_active = true;
                self.set(State::Active(process.id()));
            }
            ensure!(is_active || start.elapsed() < PATIENCE, "it is never ready");
            if stop.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                self.set(State::Stopping);
                self.run_all("ExecStop")?;
                process.signal(Signal::TERM)?;
                process.wait(PATIENCE)?;
                return Ok(None);
            }
        }
    }

    fn spawn(&self, notify: &Path) -> Result<Group> {
        let lines = self.unit.commands("ExecStart")?;
        let [line] = lines.as_slice() else {
            bail!("not one ExecStart, but {}", lines.len());
        };
        let capabilities = self.unit.list("Service", "AmbientCapabilities").join(" ");
        let capabilities = capabilities
            .split_whitespace()
            .map(|name| format!("+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect::<Vec<_>>()
            .join(",");
        let mut command = Command::new("setpriv");
        command
            .args([
                "--reuid",
                NOBODY,
                "--regid",
                NOBODY,
                "--clear-groups",
                "--no-new-privs",
            ])
            // A change of the user takes back what was asked for before.
            .args(["--pdeathsig", "KILL"])
            .arg(format!("--inh-caps=-all,{capabilities}"))
            .arg(format!("--ambient-caps=-all,{capabilities}"))
            .arg(format!("--bounding-set=-all,{capabilities}"))
            .arg("--")
            .args(self.words(line))
            .env("NOTIFY_SOCKET", notify);
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))?;
        Group::spawn_with_output(&command, &log)
    }

    /// All commands of a key, one after the other; the first that fails ends it.
    fn run_all(&self, key: &str) -> Result<()> {
        for line in self.unit.commands(key)? {
            // Others would run as the service's user, within its walls: ours have no such.
            ensure!(
                line.is_full,
                "{key} has a command that is not for root: {line:?}"
            );
            let words = self.words(&line);
            let (program, arguments) = words.split_first().context("no command")?;
            let output = Command::new(program).args(arguments).output();
            let output = output
                .with_context(|| format!("{program} is not there: run `cargo xtask install`"))?;
            ensure!(
                output.status.success() || line.may_fail,
                "{key}: {words:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(())
    }

    fn words(&self, line: &ExecLine) -> Vec<String> {
        let replaced = line.words.iter().map(|word| {
            let place = self.places.iter().find(|(from, _)| from == word);
            place.map_or_else(|| word.clone(), |(_, to)| to.clone())
        });
        replaced.collect()
    }

    fn is_worth_another(&self, status: ExitStatus) -> bool {
        let prevented = self
            .unit
            .list("Service", "RestartPreventExitStatus")
            .join(" ");
        let is_prevented = prevented
            .split_whitespace()
            .any(|code| code.parse() == Ok(status.code().unwrap_or(-1)));
        self.unit.value("Service", "Restart") == Some("on-failure")
            && !status.success()
            && !is_prevented
    }

    fn pause(&self) -> Result<Duration> {
        let text = self.unit.value("Service", "RestartSec").unwrap_or("0s");
        let seconds = text.strip_suffix('s').context("RestartSec without s")?;
        Ok(Duration::from_secs(seconds.parse()?))
    }
}
