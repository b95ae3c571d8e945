//! The process that takes over: how it is started, watched, and ended if it does not come up.
//!
//! It runs what is on the disk now at the place that this process was started from, with the same
//! command line, and one end of the line as its standard input: so no number of a descriptor has to
//! be agreed on, and nothing `unsafe` is needed to pass one.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// The option of `tarpit run` by which a successor knows what it is.
pub(crate) const FLAG: &str = "--successor";

/// Where the running program is; followed, it leads to the file that runs, even if that has no name
/// any more (proc_pid_exe(5)).
const SELF: &str = "/proc/self/exe";

/// The program that this process was started from.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
}

impl Program {
    /// Called at the start: later the name may belong to another file.
    pub(crate) fn own() -> anyhow::Result<Self> {
        let path = std::env::current_exe().context("can't find out which program this is")?;
        Ok(Self { path })
    }

    /// Whether another program has its place now, as after the upgrade of a package. One that is
    /// missing is none.
    pub(crate) fn is_replaced(&self) -> bool {
        let mark = |path: &Path| {
            let found = fs::metadata(path).ok()?;
            Some((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
        };
        match (mark(&self.path), mark(Path::new(SELF))) {
            (Some(there), Some(runs)) => there != runs,
            _ => false,
        }
    }

    /// Starts it anew, with `line` as its end of the line.
    pub(crate) fn start(&self, config: &Path, line: OwnedFd) -> anyhow::Result<Successor> {
        let child = Command::new(&self.path)
            .arg("run")
            .arg("--config")
            .arg(config)
            .arg(FLAG)
            .stdin(Stdio::from(line))
            .spawn()
            .with_context(|| format!("can't start {}", self.path.display()))?;
        Ok(Successor {
            child,
            serves: AtomicBool::new(false),
            kept: false,
        })
    }
}

/// How often it is looked whether a process whose line is closed has ended: for a second.
const LOOKS: u32 = 50;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A process that may take over. Dropping it before it did ends it: with its sessions, if it has any.
#[derive(Debug)]
pub(crate) struct Successor {
    child: Child,
    serves: AtomicBool,
    kept: bool,
}

impl Successor {
    /// Its process id.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// It accepts: if it is to be ended now, its sessions have to be told.
    pub(crate) fn note_serving(&self) {
        self.serves.store(true, Ordering::Relaxed);
    }

    /// It has taken over: from here on it is on its own.
    pub(crate) fn keep(mut self) {
        self.kept = true;
    }

    /// How it ended, if it did so by itself; otherwise it is ended now. `is_ending`: its line is
    /// closed, which the system does a moment before the process has ended. Waits
    /// for that, so it is not for a worker of the runtime.
    pub(crate) fn end(mut self, is_ending: bool) -> Option<ExitStatus> {
        let mut by_itself = self.child.try_wait().ok().flatten();
        for _ in 0..if is_ending { LOOKS } else { 0 } {
            if by_itself.is_some() {
                break;
            }
            std::thread::sleep(LOOK_EVERY);
            by_itself = self.child.try_wait().ok().flatten();
        }
        self.stop();
        by_itself
    }

    fn stop(&mut self) {
        self.kept = true;
        if !self.serves.load(Ordering::Relaxed) {
            // If it has ended, there is nothing to kill.
            let _ = self.child.kill();
            let _ = self.child.wait();
        } else if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // It drains, in its own time: nobody waits for that here.
            let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.kept {
            self.stop();
        }
    }
}

/// In the successor: takes its end of the line, and leaves nothing in its place.
pub(crate) fn take_line() -> anyhow::Result<OwnedFd> {
    let line = rustix::stdio::stdin()
        .try_clone_to_owned()
        .context("there is no line to a predecessor")?;
    let nothing = File::open("/dev/null").context("can't open /dev/null")?;
    rustix::stdio::dup2_stdin(nothing).context("can't let go of standard input")?;
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!Program::own().unwrap().is_replaced());
        let path = folder.path().join("tarpit");
        let other = Program { path: path.clone() };
        assert!(!other.is_replaced(), "a missing one is none");
        fs::write(&path, "").unwrap();
        assert!(other.is_replaced());
    }
}
