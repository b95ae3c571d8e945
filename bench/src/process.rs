//! Processes that the benchmark starts, and what the kernel says about them.

use std::fs;
use std::process::Child;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// Ends a process when the benchmark is done with it, whatever way that comes about.
#[derive(Debug)]
pub(crate) struct End(pub(crate) Child);

impl Drop for End {
    fn drop(&mut self) {
        // It may have ended already; both calls then do nothing.
        let _killed = self.0.kill();
        let _status = self.0.wait();
    }
}

/// Clock ticks a second in /proc: 100 on every architecture that Linux gives user space
/// (`USER_HZ`).
const TICKS: u64 = 100;

/// Processor time of a process so far, user and system.
pub(crate) fn processor_time(id: u32) -> Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    ticks(&text)
        .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS))
        .with_context(|| format!("{path}: no utime and stime in {text:?}"))
}

/// Whose processor time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processes {
    /// Nobody's.
    None,
    /// One process.
    One(u32),
    /// All of a process group, by its number: a master with its workers.
    Group(u32),
}

impl Processes {
    /// Processor time so far, user and system.
    pub(crate) fn time(self) -> Result<Duration> {
        match self {
            Self::None => Ok(Duration::ZERO),
            Self::One(id) => processor_time(id),
            Self::Group(id) => {
                let mut all = 0;
                for entry in fs::read_dir("/proc")? {
                    // Who ended since is none of the group, which lives as long as we want it.
                    let text = fs::read_to_string(entry?.path().join("stat"));
                    let text = text.unwrap_or_default();
                    if group(&text) == Some(id) {
                        all += ticks(&text).unwrap_or(0);
                    }
                }
                Ok(Duration::from_millis(all * 1000 / TICKS))
            }
        }
    }
}

/// Field 5, the process group.
fn group(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(2);
    fields.next()?.parse().ok()
}

/// Fields 14 and 15; the name in field 2 may hold spaces, and ends with the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Memory of a process that is resident now, in KiB.
pub(crate) fn resident_kib(id: u32) -> Result<u64> {
    let path = format!("/proc/{id}/status");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok())
        .with_context(|| format!("{path}: no VmRSS"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_stat() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194304 100 0 0 0 250 31 0 0 20 0 3 0 100 1 2";
        assert_eq!(ticks(stat), Some(281));
        assert_eq!(ticks("42"), None);
        assert_eq!(group(stat), Some(42));
        assert_eq!(group("42"), None);
    }

    #[test]
    fn of_ourselves() {
        assert!(resident_kib(std::process::id()).unwrap() > 100);
        processor_time(std::process::id()).unwrap();
    }
}
