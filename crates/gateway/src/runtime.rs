//! The directory where the processes of a gateway find each other: a front its keepers, and
//! `tarpit upgrade` the front.
//!
//! What it promises: whoever can make a socket in it is us. The directory belongs to our user, and
//! nobody else may write in it; a directory for which that does not hold is passed over, or, where
//! the configuration names it, an error. Who connects is asked for its user all the same
//! ([`is_own_user`]).
//!
//! Sockets in the abstract namespace, which need no directory, were rejected: anybody may take
//! their names first.

use std::collections::hash_map::RandomState;
use std::fs::{self, DirBuilder};
use std::hash::BuildHasher as _;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::net::sockopt::socket_peercred;
use rustix::process::geteuid;

/// Ours alone.
const MODE: u32 = 0o700;

/// Write for the group, write for others.
const WRITE_FOR_OTHERS: u32 = 0o022;

/// Where a service has its directory without a service manager that says so (FHS 3.0 §3.15).
const USUAL: &str = "/run/tarpit";

/// Names for a fresh directory that are tried, lest somebody who guesses them keeps us busy.
const FRESH_TRIES: u64 = 16;

/// Why there is no directory.
#[derive(Debug, thiserror::Error)]
#[error("the directory {} can't be used: {why}", .path.display())]
pub struct RuntimeError {
    path: PathBuf,
    why: String,
}

/// A directory that is ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    path: PathBuf,
    is_fresh: bool,
}

impl Runtime {
    /// Finds the directory and makes it where it is missing: the `configured` one; or else
    /// `$RUNTIME_DIRECTORY`, `/run/tarpit`, `$XDG_RUNTIME_DIR/tarpit`, whichever can be used first;
    /// or else a fresh one among the temporary files, of which the log tells.
    ///
    /// # Errors
    /// [`RuntimeError`] if the configured one can't be used, or no fresh one be made.
    pub fn open(configured: Option<&Path>) -> Result<Self, RuntimeError> {
        if let Some(path) = configured {
            return Self::at(path);
        }
        let usable = usual().into_iter().find_map(|path| Self::at(&path).ok());
        usable.map_or_else(fresh, Ok)
    }

    fn at(path: &Path) -> Result<Self, RuntimeError> {
        let refused = |why: String| RuntimeError {
            path: path.to_owned(),
            why,
        };
        match DirBuilder::new().mode(MODE).create(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(refused(error.to_string())),
        }
        if let Some(why) = objection(path).map_err(|error| refused(error.to_string()))? {
            return Err(refused(why));
        }
        Ok(Self {
            path: path.to_owned(),
            is_fresh: false,
        })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was made for this process, so that nobody finds it who does not know of it.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.is_fresh
    }
}

/// Where a front may have its directory, to look for one: the configured one alone, or those that
/// [`Runtime::open`] would try. None is made.
#[must_use]
pub fn places(configured: Option<&Path>) -> Vec<PathBuf> {
    configured.map_or_else(usual, |path| vec![path.to_owned()])
}

/// Whether the process at the other end of a Unix socket belongs to our user, or to root, who may do
/// everything anyhow.
///
/// # Errors
/// What the system says.
pub fn is_own_user(socket: impl AsFd) -> io::Result<bool> {
    let uid = socket_peercred(socket)?.uid;
    Ok(uid == geteuid() || uid.is_root())
}

fn usual() -> Vec<PathBuf> {
    let mut places = Vec::new();
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(list) = variable("RUNTIME_DIRECTORY") {
        // systemd.exec(5): several are separated by colons.
        places.extend(std::env::split_paths(&list).next());
    }
    places.push(USUAL.into());
    if let Some(path) = variable("XDG_RUNTIME_DIR") {
        places.push(PathBuf::from(path).join("tarpit"));
    }
    places
}

/// Why a directory is none of ours.
fn objection(path: &Path) -> io::Result<Option<String>> {
    let found = fs::metadata(path)?;
    let own = geteuid().as_raw();
    Ok(if !found.is_dir() {
        Some("it is no directory".to_owned())
    } else if found.uid() != own {
        Some(format!(
            "it belongs to user {}; allowed: {own}, who runs this",
            found.uid()
        ))
    } else if found.mode() & WRITE_FOR_OTHERS != 0 {
        let mode = found.mode() & 0o7777;
        Some(format!(
            "others may write in it (mode {mode:o}); allowed: 700"
        ))
    } else {
        None
    })
}

fn fresh() -> Result<Runtime, RuntimeError> {
    let folder = std::env::temp_dir();
    let names = RandomState::new();
    let mut last = None;
    for attempt in 0..FRESH_TRIES {
        let path = folder.join(format!("tarpit-{:016x}", names.hash_one(attempt)));
        match DirBuilder::new().mode(MODE).create(&path) {
            Ok(()) => {
                return Ok(Runtime {
                    path,
                    is_fresh: true,
                });
            }
            Err(error) => last = Some((path, error)),
        }
    }
    let (path, why) = last.map_or_else(Default::default, |(path, error)| (path, error.to_string()));
    Err(RuntimeError { path, why })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_missing_one_is_made_for_us_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let made = Runtime::open(Some(&path)).unwrap();
        assert_eq!((made.path(), made.is_fresh()), (path.as_path(), false));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        assert_eq!(Runtime::open(Some(&path)).unwrap(), made);
        assert_eq!(places(Some(&path)), [path]);
    }

    #[test]
    fn one_that_others_may_write_in_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o770, 0o707, 0o1777] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            let error = Runtime::open(Some(folder.path())).unwrap_err().to_string();
            assert!(error.contains("others may write in it"), "{error}");
        }
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Runtime::open(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("it is no directory"), "{error}");
        let deep = folder.path().join("not/there");
        assert!(Runtime::open(Some(&deep)).is_err());
    }

    #[test]
    fn a_fresh_one_is_empty_and_ours() {
        let one = fresh().unwrap();
        let other = fresh().unwrap();
        assert!(one.is_fresh() && one != other);
        for made in [one, other] {
            assert_eq!(objection(made.path()).unwrap(), None);
            fs::remove_dir(made.path()).unwrap();
        }
    }

    #[test]
    fn we_know_ourselves() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(is_own_user(one).unwrap());
    }
}
