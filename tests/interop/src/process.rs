//! Processes that end with the test that started them.

use std::fs::File;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::proc::group_lives;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A process with all that it starts: one process group. Dropping it kills the whole group.
///
/// The process is also killed when the test program itself is, so that an interrupted run leaves
/// nothing behind.
#[derive(Debug)]
pub struct Group {
    child: Child,
    pid: Pid,
    ended: Option<ExitStatus>,
}

impl Group {
    /// Starts `command` in a group of its own, with all that it prints going to `output`.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_with_output(command: &Command, output: &File) -> Result<Self> {
        let mut wrapped = wrap(command);
        wrapped
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?);
        Self::spawn(&mut wrapped)
    }

    /// Starts `command` in a group of its own, with all that it prints coming to us.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_with_pipes(command: &Command) -> Result<Self> {
        let mut wrapped = wrap(command);
        wrapped
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Self::spawn(&mut wrapped)
    }

    /// Starts `command` in a group of its own, with a pipe to it and one from it.
    ///
    /// # Errors
    /// When it can't be started.
    pub fn spawn_with_dialogue(command: &Command) -> Result<Self> {
        let mut wrapped = wrap(command);
        wrapped
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        Self::spawn(&mut wrapped)
    }

    fn spawn(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("can't start {command:?}"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok(Self {
            child,
            pid: pid.context("a process without a number")?,
            ended: None,
        })
    }

    /// The number of the first process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The process itself, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Sends `signal` to the first process alone.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.pid, signal).with_context(|| format!("can't send {signal:?}"))
    }

    /// Kills the whole group at once (SIGKILL) and waits until nothing of it is left.
    pub fn kill(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = kill_process_group(self.pid, Signal::KILL);
        if self.ended.is_none() {
            self.ended = self.child.wait().ok();
        }
        let group = self.pid.as_raw_nonzero().to_string();
        let _ = wait_for(Duration::from_secs(5), || {
            (!group_lives(&group)).then_some(())
        });
    }

    /// How the first process ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Waits for the first process to end by itself.
    ///
    /// # Errors
    /// When it has not ended within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        match wait_for(limit, || self.ended()) {
            Some(status) => Ok(status),
            None => bail!("still runs after {limit:?}"),
        }
    }

    /// Whether a process ended because it was killed.
    #[must_use]
    pub fn was_killed(status: ExitStatus) -> bool {
        status.signal() == Some(Signal::KILL.as_raw())
    }
}

/// The same command by way of setpriv(1), which replaces itself by the program: the process id
/// stays, and the kernel kills it when we end.
fn wrap(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program());
    wrapped.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    wrapped
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks `probe` again and again until it answers, or `limit` is over.
///
/// Other programs tell nobody when they are ready, so here, and only here, a test looks at the
/// clock.
pub fn wait_for<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        if let Some(answer) = probe() {
            return Some(answer);
        }
        if start.elapsed() >= limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
