//! The socket's name in the file system.
//!
//! It appears whole: a socket is made beside it, gets its mode and group, and takes the name when it
//! listens. So nobody connects who may not, and a name that nobody answers at is of a dead process.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::Place;

/// Our user and the group.
const MODE: u32 = 0o660;

/// Connections that the kernel keeps for us.
const BACKLOG: i32 = 64;

/// The name of a socket in the runtime directory: `control-PID.sock`. It has the process in it, so
/// that several gateways may share a directory, and a successor has its own before its predecessor is
/// gone.
pub const PREFIX: &str = "control-";
/// Its end.
pub const SUFFIX: &str = ".sock";

/// Why there is no control socket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[control] socket {}: {why}", .path.display())]
pub struct ControlError {
    /// Its path.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// A name; taken away when dropped, if it still is this socket's.
#[derive(Debug)]
pub(super) struct Name {
    path: PathBuf,
    inode: u64,
}

impl Name {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds. A name that nobody answers at is taken over; so is one of a predecessor.
pub(super) fn bind(place: &Place, takes_over: bool) -> Result<(UnixListener, Name), ControlError> {
    let path = &place.path;
    let refused = |why: String| ControlError {
        path: path.clone(),
        why,
    };
    if let Some(folder) = path.parent() {
        sweep(folder);
    }
    if !takes_over && is_answered(path) {
        return Err(refused("another gateway answers there".to_owned()));
    }
    if fs::symlink_metadata(path).is_ok_and(|found| !found.file_type().is_socket()) {
        return Err(refused("there is something else of that name".to_owned()));
    }
    let made = make(path, place.group);
    made.map_err(|error| refused(error.to_string()))
}

fn make(path: &Path, group: Option<u32>) -> io::Result<(UnixListener, Name)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("~");
    let beside = PathBuf::from(beside);
    let _ = fs::remove_file(&beside);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(&beside)?)?;
    let named = fs::set_permissions(&beside, Permissions::from_mode(MODE))
        .and_then(|()| group.map_or(Ok(()), |group| chown(&beside, None, Some(group))))
        .and_then(|()| socket.listen(BACKLOG))
        .and_then(|()| fs::symlink_metadata(&beside))
        .and_then(|found| fs::rename(&beside, path).map(|()| found.ino()));
    let inode = named.inspect_err(|_| {
        let _ = fs::remove_file(&beside);
    })?;
    let name = Name {
        path: path.to_owned(),
        inode,
    };
    Ok((UnixListener::from(socket), name))
}

/// Connects without waiting: one that is stopped, with as many callers as its system takes, would let
/// us wait for ever, and mail with us.
fn call(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// Whether somebody listens there, though it may have no room for us now.
fn is_answered(path: &Path) -> bool {
    match call(path) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}

/// Takes away the names of gateways that were killed.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        let is_dead = || {
            let error = call(&entry.path()).err();
            error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        };
        // Connecting to any other file is refused, too.
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        if is_ours && is_socket && is_dead() {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_that_accepts_nobody_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| Place {
            path: folder.path().join(name),
            group: None,
        };
        let (_stuck, name) = bind(&place("control-1.sock"), false).unwrap();
        let mut callers = Vec::new();
        loop {
            let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            match socket.connect(&SockAddr::unix(name.path()).unwrap()) {
                Ok(()) => callers.push(socket),
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        }
        let other = place("control-2.sock");
        let (done, is_done) = std::sync::mpsc::channel();
        let path = place("control-1.sock");
        std::thread::spawn(move || {
            let again = bind(&path, false).map(drop);
            let beside = bind(&other, false).map(drop);
            done.send((again, beside)).unwrap();
        });
        let outcome = is_done.recv_timeout(Duration::from_secs(20));
        let (again, beside) = outcome.expect("it waits for ever");
        assert!(again.unwrap_err().why.contains("another gateway answers"));
        assert_eq!(beside, Ok(()));
        assert!(name.path().exists(), "it is not dead");
    }

    #[test]
    fn a_name_is_taken_when_nobody_answers_and_given_back_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            path: folder.path().join("control-1.sock"),
            group: None,
        };
        let (listener, name) = bind(&place, false).unwrap();
        let mode = fs::metadata(&place.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, MODE);
        let error = bind(&place, false).unwrap_err().to_string();
        assert!(error.contains("another gateway answers"), "{error}");
        // A successor takes the name; what the predecessor drops then is not its.
        let (successor, its_name) = bind(&place, true).unwrap();
        drop((listener, name));
        assert!(UnixStream::connect(&place.path).is_ok());
        // Of one that was killed.
        drop(successor);
        let (_, again) = bind(&place, false).unwrap();
        drop(its_name);
        assert!(place.path.exists());
        drop(again);
        assert!(!place.path.exists());
        fs::write(&place.path, "precious").unwrap();
        assert!(bind(&place, true).is_err());
        assert_eq!(fs::read_to_string(&place.path).unwrap(), "precious");
    }
}
