//! One message into its mailboxes: all of them, or none.
//!
//! Every copy is written and synced in `tmp` before the first is renamed into `new`, since writing
//! is what fails (a full disk) and renaming hardly ever does. Then every `new` is synced, so that
//! the names survive a crash too. Whatever fails, copies in place are taken back.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A mailbox that gets a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    /// For Delivered-To.
    pub(super) address: String,
    /// With `tmp`, `new` and `cur` in it.
    pub(super) folder: PathBuf,
}

/// Delivers under the name `unique`; `write` writes one mailbox's copy. `durable` remembers the
/// mailboxes whose folders are known to be on disk. Blocks.
///
/// # Errors
///
/// The first that occurred, with its path. No mailbox has a copy then.
pub(super) fn deliver(
    mailboxes: &[Mailbox],
    unique: &str,
    durable: &Mutex<HashSet<PathBuf>>,
    mut write: impl FnMut(&Mailbox, &mut File) -> io::Result<()>,
) -> io::Result<()> {
    let mut copies = Copies::default();
    for mailbox in mailboxes {
        prepare(&mailbox.folder, durable)?;
        let path = mailbox.folder.join("tmp").join(unique);
        let mut file = copies.create(path.clone())?;
        write(mailbox, &mut file)
            .and_then(|()| file.sync_all())
            .map_err(|error| at(&path, &error))?;
    }
    for (place, mailbox) in mailboxes.iter().enumerate() {
        copies.rename(place, mailbox.folder.join("new").join(unique))?;
    }
    for mailbox in mailboxes {
        sync_folder(&mailbox.folder.join("new"))?;
    }
    copies.keep();
    Ok(())
}

/// The files of a delivery that is not complete: removed unless kept.
#[derive(Debug, Default)]
struct Copies(Vec<PathBuf>);

impl Copies {
    fn create(&mut self, path: PathBuf) -> io::Result<File> {
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        let file = opened.map_err(|error| at(&path, &error))?;
        self.0.push(path);
        Ok(file)
    }

    fn rename(&mut self, place: usize, to: PathBuf) -> io::Result<()> {
        fs::rename(&self.0[place], &to).map_err(|error| at(&to, &error))?;
        self.0[place] = to;
        Ok(())
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        for path in &self.0 {
            if let Err(error) = fs::remove_file(path) {
                // A reader was faster and has the message; the client's retry will be its second.
                tracing::warn!(target: "tarpit::maildir", path = %path.display(), %error, "can't take a copy back");
            }
            // So that it does not come back after a crash. Nothing is promised on it.
            let _ = path.parent().map(sync_folder);
        }
    }
}

/// Makes sure that a mailbox is there, and that it will be there after a crash.
fn prepare(folder: &Path, durable: &Mutex<HashSet<PathBuf>>) -> io::Result<()> {
    let mut is_new = create_folder(folder)?;
    for part in ["tmp", "new", "cur"] {
        is_new |= create_folder(&folder.join(part))?;
    }
    let known = durable
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .contains(folder);
    if known && !is_new {
        return Ok(());
    }
    // Another delivery may have created it a moment ago and not synced it yet: both do.
    sync_folder(folder)?;
    if let Some(root) = folder.parent() {
        sync_folder(root)?;
    }
    durable
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(folder.to_owned());
    Ok(())
}

/// Creates a folder, and its parents, for our user alone: mail is private. True if it was created.
pub(super) fn create_folder(path: &Path) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(false);
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| at(path, &error))?;
    Ok(true)
}

/// A new name is on disk only when its folder is (fsync(2)).
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| at(path, &error))
}

/// The error with the path that it is about.
pub(super) fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn mailboxes(root: &Path) -> Vec<Mailbox> {
        let mailbox = |name: &str| Mailbox {
            address: name.to_owned(),
            folder: root.join(name),
        };
        ["a", "b", "c"].map(mailbox).into()
    }

    /// All files below, by path.
    fn files(folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                found.push(path);
            }
        }
        found
    }

    fn write(mailbox: &Mailbox, file: &mut File) -> io::Result<()> {
        file.write_all(mailbox.address.as_bytes())
    }

    #[test]
    fn each_mailbox_gets_its_copy() {
        let root = tempfile::tempdir().unwrap();
        deliver(&mailboxes(root.path()), "1.x", &Mutex::default(), write).unwrap();
        for name in ["a", "b", "c"] {
            assert_eq!(
                fs::read_to_string(root.path().join(name).join("new/1.x")).unwrap(),
                name
            );
        }
        assert_eq!(files(root.path()).len(), 3);
    }

    #[test]
    fn a_rename_that_fails_takes_back_the_earlier_ones() {
        let root = tempfile::tempdir().unwrap();
        let (all, durable) = (mailboxes(root.path()), Mutex::default());
        // A folder of the copy's own name: only the rename fails on it.
        fs::create_dir_all(root.path().join("c/new/1.x")).unwrap();
        let error = deliver(&all, "1.x", &durable, write).unwrap_err();
        assert!(error.to_string().contains("c/new/1.x"), "{error}");
        assert_eq!(files(root.path()), Vec::<PathBuf>::new());
        // And the same mailboxes take the next message.
        deliver(&all, "2.x", &durable, write).unwrap();
        assert_eq!(files(root.path()).len(), 3);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let full = |mailbox: &Mailbox, file: &mut File| {
            write(mailbox, file)?;
            if mailbox.address == "b" {
                Err(io::ErrorKind::StorageFull.into())
            } else {
                Ok(())
            }
        };
        let error = deliver(&mailboxes(root.path()), "1.x", &Mutex::default(), full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(files(root.path()), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_name_that_is_taken_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("b/tmp")).unwrap();
        fs::write(root.path().join("b/tmp/1.x"), "another's").unwrap();
        deliver(&mailboxes(root.path()), "1.x", &Mutex::default(), write).unwrap_err();
        assert_eq!(files(root.path()), [root.path().join("b/tmp/1.x")]);
    }

    #[test]
    fn a_mailbox_that_was_deleted_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let (all, durable) = (mailboxes(root.path()), Mutex::default());
        deliver(&all, "1.x", &durable, write).unwrap();
        fs::remove_dir_all(root.path().join("a")).unwrap();
        deliver(&all, "2.x", &durable, write).unwrap();
        assert!(root.path().join("a/new/2.x").is_file());
    }
}
