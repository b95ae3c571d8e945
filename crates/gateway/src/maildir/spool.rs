//! A message body between its first octet and its delivery: small ones in memory, large ones in a
//! file that has no name.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::deliver::at;
use super::names;
use crate::clock;

/// Octets kept in memory before they go to a file. Most mail is smaller, and a thousand senders at
/// once need 64 MiB.
pub(super) const MEMORY_MAX: usize = 64 * 1024;

/// The body. Its start is in the file, if there is one; the rest is in memory.
#[derive(Debug)]
pub(super) struct Spool {
    memory: Vec<u8>,
    file: Option<File>,
    /// Octets in the file.
    filed: u64,
}

impl Spool {
    pub(super) fn new() -> Self {
        Self {
            memory: Vec::new(),
            file: None,
            filed: 0,
        }
    }

    /// Where the next octets are appended; [`Spool::flush`] when it [`Spool::is_full`].
    pub(super) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.memory
    }

    pub(super) fn len(&self) -> u64 {
        self.filed
            .saturating_add(self.memory.len().try_into().unwrap_or(u64::MAX))
    }

    pub(super) fn is_full(&self) -> bool {
        self.memory.len() >= MEMORY_MAX
    }

    /// Moves what is in memory to the file, which is made in `folder` and loses its name at once,
    /// so that it is gone when it is closed, whoever closes it. Blocks.
    pub(super) fn flush(&mut self, folder: &Path) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(nameless(folder)?),
        };
        file.write_all(&self.memory)?;
        self.filed = self.len();
        self.memory.clear();
        Ok(())
    }

    /// Writes all of it to `to`. Blocks.
    pub(super) fn copy_to(&mut self, to: &mut File) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(0))?;
            let copied = io::copy(&mut file.take(self.filed), to)?;
            if copied != self.filed {
                let text = format!(
                    "spool: {copied} octets can be read, {} were written",
                    self.filed
                );
                return Err(io::Error::other(text));
            }
        }
        to.write_all(&self.memory)
    }
}

fn nameless(folder: &Path) -> io::Result<File> {
    // A leading dot: no mailbox's folder has one.
    let path = folder.join(format!(".spool-{}", names::unique(clock::unix_now(), "")));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    let file = options.open(&path).map_err(|error| at(&path, &error))?;
    std::fs::remove_file(&path).map_err(|error| at(&path, &error))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_it_took_as_often_as_asked() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::new();
        let mut expect = Vec::new();
        for round in 0..5_u8 {
            let part = vec![round; MEMORY_MAX / 2 + usize::from(round)];
            expect.extend_from_slice(&part);
            spool.memory().extend_from_slice(&part);
            if spool.is_full() {
                spool.flush(folder.path()).unwrap();
            }
        }
        assert!(spool.file.is_some() && !spool.memory.is_empty());
        assert_eq!(spool.len(), u64::try_from(expect.len()).unwrap());
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "the file has no name"
        );
        let copies = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            let path = copies.path().join(name);
            spool.copy_to(&mut File::create(&path).unwrap()).unwrap();
            assert!(std::fs::read(&path).unwrap() == expect, "{name}");
        }
    }
}
