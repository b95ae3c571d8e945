//! Record files, line by line, the oldest first.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Read, Write as _};
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

/// The files to read for the names that were given: a record file brings along those that were
/// written before it. `-` is standard input.
///
/// # Errors
///
/// A file is not there, or its folder can't be read.
pub(crate) fn files(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if path != Path::new("-") {
            let old = older(path).with_context(|| path.display().to_string())?;
            anyhow::ensure!(
                path.exists() || !old.is_empty(),
                "{}: there are no records; tarpit run keeps them where [records] file says",
                path.display()
            );
            files.extend(old);
            if !path.exists() {
                continue;
            }
        }
        files.push(path.clone());
    }
    Ok(files)
}

/// Reads all records of all files.
///
/// # Errors
///
/// A file can't be read.
pub(crate) fn each(
    files: &[PathBuf],
    mut take: impl FnMut(About, &Line<'_>),
) -> anyhow::Result<Passed> {
    let mut passed = Passed::default();
    let mut progress = Progress::of(files);
    for path in files {
        let read = if path == Path::new("-") {
            each_line(io::stdin().lock(), &mut progress, &mut passed, &mut take)
        } else {
            File::open(path).and_then(|file| {
                let reader = BufReader::with_capacity(1 << 20, file);
                each_line(reader, &mut progress, &mut passed, &mut take)
            })
        };
        read.with_context(|| path.display().to_string())?;
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
    fn of(files: &[PathBuf]) -> Self {
        let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |meta| meta.len());
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
