//! Record files, line by line, the oldest first.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal as _, Read, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::file::older;
use super::line::{About, Line};

/// Octets of one line at most; records are far shorter. What is longer is no record.
const LINE_MAX: u64 = 1 << 20;

/// What was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// Lines that are no records, though they should be.
    pub(crate) unreadable: u64,
}

/// A file that is to be read. It may be put away under another name meanwhile, or be too old.
#[derive(Debug)]
pub(crate) struct Input {
    path: PathBuf,
    /// Its device and number, which it keeps when it is renamed; none of standard input.
    identity: Option<(u64, u64)>,
}

impl Input {
    fn at(path: PathBuf) -> Self {
        let identity = std::fs::metadata(&path).ok().map(|meta| identity(&meta));
        Self { path, identity }
    }

    fn is_standard_input(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Opens it, whatever it is called now; `None` if it was too old and went.
    fn open(&self) -> io::Result<Option<File>> {
        let file = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let found = file.as_ref().map(File::metadata).transpose()?;
        if found.is_some_and(|meta| Some(identity(&meta)) == self.identity) {
            return Ok(file);
        }
        for old in older(&self.path)? {
            let old = Self::at(old);
            if old.identity == self.identity {
                return File::open(old.path).map(Some);
            }
        }
        Ok(file)
    }
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// The files to read for the names that were given, each once: a record file brings along those that
/// were written before it, which a pattern of the shell names again. `-` is standard input.
///
/// # Errors
///
/// A file is not there, or its folder can't be read.
pub(crate) fn files(given: &[PathBuf]) -> anyhow::Result<Vec<Input>> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    for path in given {
        // Before the others are listed: if it is put away in between, it is one of them too.
        let newest = Input::at(path.clone());
        if newest.is_standard_input() {
            files.push(newest);
            continue;
        }
        let is_first = newest.identity.is_some_and(|one| seen.insert(one));
        let old = older(path).with_context(|| path.display().to_string())?;
        anyhow::ensure!(
            newest.identity.is_some() || !old.is_empty(),
            "{}: there are no records; tarpit run keeps them where [records] file says",
            path.display()
        );
        let old = old.into_iter().map(Input::at);
        files.extend(old.filter(|old| old.identity.is_some_and(|one| seen.insert(one))));
        if is_first {
            files.push(newest);
        }
    }
    Ok(files)
}

/// Reads all records of all files.
///
/// # Errors
///
/// A file can't be read.
pub(crate) fn each(
    files: &[Input],
    mut take: impl FnMut(About, &Line<'_>),
) -> anyhow::Result<Passed> {
    let mut passed = Passed::default();
    let mut progress = Progress::of(files);
    for input in files {
        let read = if input.is_standard_input() {
            each_line(io::stdin().lock(), &mut progress, &mut passed, &mut take)
        } else {
            input.open().and_then(|file| {
                let Some(file) = file else {
                    return Ok(());
                };
                let reader = BufReader::with_capacity(1 << 20, file);
                each_line(reader, &mut progress, &mut passed, &mut take)
            })
        };
        read.with_context(|| input.path.display().to_string())?;
    }
    progress.end();
    Ok(passed)
}

fn each_line(
    mut reader: impl BufRead,
    progress: &mut Progress,
    passed: &mut Passed,
    take: &mut impl FnMut(About, &Line<'_>),
) -> io::Result<()> {
    let mut text = Vec::new();
    loop {
        text.clear();
        let length = Read::take(&mut reader, LINE_MAX).read_until(b'\n', &mut text)?;
        if length == 0 {
            return Ok(());
        }
        progress.advance(length as u64);
        let line = text.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match Line::read(line) {
            Ok(Some((about, line))) => take(about, &line),
            Ok(None) => {}
            Err(_) => passed.unreadable += 1,
        }
    }
}

/// A bar on standard error, if that is a terminal and there is enough to wait for.
pub(crate) struct Progress {
    total: u64,
    done: u64,
    /// Where the bar is drawn again.
    next: u64,
    is_shown: bool,
}

/// Less than this is read in no time.
const SHOWN_FROM: u64 = 16 << 20;

impl Progress {
    /// Over the octets of these files.
    fn of(files: &[Input]) -> Self {
        let size = |input: &Input| std::fs::metadata(&input.path).map_or(0, |meta| meta.len());
        let total = files.iter().map(size).sum();
        Self::over(total, total >= SHOWN_FROM)
    }

    /// Over so many steps.
    pub(crate) fn over(total: u64, is_long: bool) -> Self {
        Self {
            total,
            done: 0,
            next: 0,
            is_shown: is_long && io::stderr().is_terminal(),
        }
    }

    /// So much more is done.
    pub(crate) fn advance(&mut self, by: u64) {
        self.done += by;
        if self.is_shown && self.done >= self.next {
            self.next = self.done + self.total / 100;
            let percent = (self.done.saturating_mul(100) / self.total.max(1)).min(100);
            let full = usize::try_from(percent / 2).unwrap_or(50);
            // Whether it can be drawn does not matter.
            let _ = write!(io::stderr(), "\r[{:50}] {percent:3} %", "#".repeat(full));
        }
    }

    /// Takes the bar away.
    pub(crate) fn end(&self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r{:60}\r", "");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// What is found by a report that lists the files before they are put away, and reads them after.
    #[test]
    fn files_that_are_put_away_meanwhile_are_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let newest = folder.path().join("records.jsonl");
        let old = |day: u32| {
            let name = format!("records.jsonl.202611{day:02}T000000.000Z");
            folder.path().join(name)
        };
        let write = |path: &Path, session: &str| {
            let line = format!(
                "{{\"v\":1,\"timestamp\":\"2026-11-30T20:01:05Z\",\"session\":\"{session}\",\"source\":\"192.0.2.1\",\"target\":\"tarpit::session\"}}\n"
            );
            fs::write(path, line).unwrap();
        };
        write(&old(1), "oldest");
        write(&old(2), "older");
        write(&newest, "newest");
        let files = files(std::slice::from_ref(&newest)).unwrap();
        fs::remove_file(old(1)).unwrap();
        fs::rename(&newest, old(3)).unwrap();
        write(&newest, "after");
        let mut found = Vec::new();
        each(&files, |_, line| found.push(line.session.to_owned())).unwrap();
        assert_eq!(found, ["older", "newest"]);
        // As a pattern names them; and one that is put away between the first look and the list.
        fs::hard_link(&newest, old(4)).unwrap();
        let given = [newest, old(2), old(3)];
        assert_eq!(super::files(&given).unwrap().len(), 3);
    }
}
