//! One file that is written, and the ones that were written before it.
//!
//! When it is full, or its first line is a day old, it is renamed to its name with the time of that
//! moment appended (`records.jsonl.20261130T200105.123Z`), and the next begins. A file goes when its
//! first line will be older than allowed before it is looked at again, which is done with each file that
//! is begun, and every hour; so no line is ever kept for longer. And the oldest goes when there are too many.
//!
//! During an upgrade two processes write the same file. Each batch is appended in one write
//! (`O_APPEND`), the one who renames holds a lock, and the other notices before its next batch. A lock
//! is never waited for: whoever may read the file can lock it, and keep it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tarpit_gateway::clock::unix_now;

use super::Settings;

/// A file spans no more than this, so that what is too old goes day by day.
const SPAN_MAX: Duration = Duration::from_secs(86_400);

/// Appended to the name of a file that is full. In the order of time, and of the alphabet.
const STAMP: &str = "%Y%m%dT%H%M%S.%3fZ";
const STAMP_LENGTH: usize = "20261130T200105.123Z".len();

/// How often old files are looked for.
const LOOK_EVERY: u64 = 3600;

/// The file that is written.
#[derive(Debug)]
pub(super) struct Rotating {
    settings: Settings,
    file: File,
    /// Seconds since 1970 of its first line.
    since: u64,
    size: u64,
    /// A write failed in the middle: the next begins a line of its own.
    torn: bool,
    /// Seconds since 1970 at which old files were looked for.
    pruned: u64,
}

impl Rotating {
    /// Opens it, and makes it if it is missing; its folder must be there. Old files go.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub(super) fn open(settings: Settings) -> io::Result<Self> {
        let (file, since, size) = open(&settings.file)?;
        let mut rotating = Self {
            torn: size > 0 && !ends_a_line(&settings.file)?,
            settings,
            file,
            since,
            size,
            pruned: 0,
        };
        rotating.prune();
        Ok(rotating)
    }

    pub(super) fn path(&self) -> &Path {
        &self.settings.file
    }

    /// Appends whole lines, to as many files as they need.
    ///
    /// # Errors
    ///
    /// They can't be written: none of them counts, though some may be there.
    pub(super) fn append(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            let (piece, rest) = lines.split_at(self.fitting(lines));
            self.append_piece(piece)?;
            lines = rest;
        }
        Ok(())
    }

    /// Octets of the first lines that fit into one file: one line at least.
    fn fitting(&self, lines: &[u8]) -> usize {
        let most = usize::try_from(self.settings.max_size).unwrap_or(usize::MAX);
        if lines.len() <= most {
            return lines.len();
        }
        let is_end = |octet: &u8| *octet == b'\n';
        let last = lines.iter().take(most).rposition(is_end);
        let end = last.or_else(|| lines.iter().position(is_end));
        end.map_or(lines.len(), |end| end + 1)
    }

    fn append_piece(&mut self, lines: &[u8]) -> io::Result<()> {
        let more = lines.len() as u64;
        self.turn(more)?;
        if self.torn {
            self.file.write_all(b"\n")?;
            self.torn = false;
        }
        let written = self.file.write_all(lines);
        self.torn = written.is_err();
        self.size = self.file.metadata().map_or(self.size, |meta| meta.len());
        written
    }

    /// Puts away what is full or old, though nothing is to be written.
    ///
    /// # Errors
    ///
    /// The file can't be renamed.
    pub(super) fn tend(&mut self) -> io::Result<()> {
        self.turn(0)
    }

    /// Begins another file if it is time, or `more` octets would be too many; and looks for old ones.
    fn turn(&mut self, more: u64) -> io::Result<()> {
        if !self.is_current() {
            self.reopen()?;
        }
        let now = unix_now();
        let age = now.saturating_sub(self.since);
        let full = self.size.saturating_add(more) > self.settings.max_size;
        if self.size > 0 && (full || age >= self.span().as_secs()) {
            self.rotate(age)?;
        }
        if now.abs_diff(self.pruned) >= self.look_every() {
            self.prune();
        }
        Ok(())
    }

    /// Seconds. Of a short age, a part.
    fn look_every(&self) -> u64 {
        LOOK_EVERY.min(self.settings.max_age.as_secs() / 8)
    }

    /// No file spans so much that its end is young when its beginning has to go.
    fn span(&self) -> Duration {
        SPAN_MAX.min(self.settings.max_age / 8)
    }

    /// Whether the open file is still the one with the name: another process, or an administrator,
    /// may have renamed it.
    fn is_current(&self) -> bool {
        let identity =
            |meta: io::Result<fs::Metadata>| meta.ok().map(|meta| (meta.dev(), meta.ino()));
        let named = identity(fs::metadata(&self.settings.file));
        named.is_some() && named == identity(self.file.metadata())
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.since, self.size) = open(&self.settings.file)?;
        self.torn = false;
        Ok(())
    }

    /// `age`: of its first line, in seconds.
    fn rotate(&mut self, age: u64) -> io::Result<()> {
        let is_overdue = self.size >= self.settings.max_size.saturating_mul(2)
            || age >= self.span().as_secs().saturating_mul(2);
        match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            // It is our other process, which renames it in no time. Else it is somebody who keeps it.
            Err(Errno::WOULDBLOCK) if !is_overdue => return Ok(()),
            Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error.into()),
        }
        // Another process may have been first; then its new file is the one.
        if self.is_current() {
            fs::rename(&self.settings.file, self.next_name())?;
        }
        self.reopen()?;
        self.prune();
        Ok(())
    }

    /// With the time of this moment, or the first after it that is later than all names there are: a
    /// clock that stands still or goes back must not make the newest file the first to go.
    fn next_name(&self) -> PathBuf {
        let newest = older(&self.settings.file).unwrap_or_default();
        let newest = newest.iter().rev().find_map(|path| put_away(path));
        let next = newest.and_then(|newest| newest.checked_add(Duration::from_millis(1)).ok());
        let now = Timestamp::now();
        let mut moment = next.map_or(now, |next| next.max(now));
        loop {
            let mut name = self.settings.file.clone().into_os_string();
            name.push(format!(".{}", moment.strftime(STAMP)));
            let name = PathBuf::from(name);
            if !name.exists() {
                return name;
            }
            moment += Duration::from_millis(1);
        }
    }

    /// Removes the files that are too many or too old. What can't be removed is tried again at the
    /// next turn; the bound is then missed by it, and said.
    fn prune(&mut self) {
        self.pruned = unix_now();
        let old = match older(&self.settings.file) {
            Ok(old) => old,
            Err(error) => {
                tracing::warn!(target: "tarpit::records", %error, "old records can't be listed");
                return;
            }
        };
        let surplus = old.len().saturating_sub(self.settings.keep);
        // It must not become too old before the next look, nor if that is late.
        let age = self.settings.max_age.as_secs();
        let margin = 2 * self.look_every();
        let limit = self.pruned.saturating_sub(age.saturating_sub(margin));
        for (at, path) in old.iter().enumerate() {
            // A line that was cut says nothing; but all were written before the file was put away.
            let begun = || {
                first_second(path)
                    .ok()
                    .flatten()
                    .or_else(|| end_second(path))
            };
            let too_old = || begun().is_some_and(|begun| begun < limit);
            if (at < surplus || too_old())
                && let Err(error) = fs::remove_file(path)
            {
                tracing::warn!(target: "tarpit::records", file = %path.display(), %error, "old records can't be removed");
            }
        }
    }
}

/// The file, the second of its first line and its size.
fn open(path: &Path) -> io::Result<(File, u64, u64)> {
    // Addresses of people are in it: for the user and the group alone.
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(0o640);
    let file = options.open(path)?;
    let size = file.metadata()?.len();
    let since = match size {
        0 => None,
        _ => first_second(path)?,
    };
    Ok((file, since.unwrap_or_else(unix_now), size))
}

fn ends_a_line(path: &Path) -> io::Result<bool> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// When the first line of a file was written, in seconds since 1970.
fn first_second(path: &Path) -> io::Result<Option<u64>> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    // Longer than any record is.
    io::Read::take(&mut reader, 65_536).read_until(b'\n', &mut line)?;
    let line = String::from_utf8_lossy(&line);
    let time = line.split("\"timestamp\":\"").nth(1);
    let time = time.and_then(|rest| rest.split('"').next());
    let time = time.and_then(|time| time.parse::<Timestamp>().ok());
    Ok(time.and_then(|time| u64::try_from(time.as_second()).ok()))
}

/// When a file was put away, by its name.
fn put_away(path: &Path) -> Option<Timestamp> {
    let name = path.file_name()?.to_str()?;
    let stamp = name.get(name.len().checked_sub(STAMP_LENGTH)?..)?;
    let stamp = stamp.strip_suffix('Z')?;
    Timestamp::strptime("%Y%m%dT%H%M%S%.f%z", format!("{stamp}+0000")).ok()
}

/// The same in seconds since 1970.
fn end_second(path: &Path) -> Option<u64> {
    u64::try_from(put_away(path)?.as_second()).ok()
}

/// The files that were written before `path`, the oldest first.
///
/// # Errors
///
/// The folder can't be read.
pub(crate) fn older(path: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Ok(Vec::new());
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut old = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_old = entry.file_name().to_str().is_some_and(|other| {
            let stamp = other
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix('.'));
            stamp.is_some_and(is_stamp)
        });
        if is_old {
            old.push(entry.path());
        }
    }
    old.sort();
    Ok(old)
}

/// Nothing but what this module named so is ever removed.
fn is_stamp(text: &str) -> bool {
    text.len() == STAMP_LENGTH
        && text.ends_with('Z')
        && text.bytes().enumerate().all(|(at, octet)| match at {
            8 => octet == b'T',
            15 => octet == b'.',
            19 => octet == b'Z',
            _ => octet.is_ascii_digit(),
        })
}
