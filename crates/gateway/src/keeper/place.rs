//! Where keepers are found: `keeper-PID.sock` in the directory that [`crate::runtime`] found. A front
//! that starts looks there for those whose front has died.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen,
    socket_with,
};

use crate::runtime::is_own_user;

/// Fronts that may wait at a keeper's door: there is one at a time, and another during an upgrade.
const BACKLOG: i32 = 4;

/// The socket at which a keeper waits for a new front. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) socket: OwnedFd,
    path: PathBuf,
}

impl Door {
    /// Opens the door of the keeper with this process id.
    ///
    /// # Errors
    /// The directory can't be written, or its name is too long for a socket (107 octets).
    pub(crate) fn open(directory: &Path, pid: u32) -> io::Result<Self> {
        let path = directory.join(format!("keeper-{pid}.sock"));
        // It gets its name when it listens: who knocks at one that does not yet would take it for that of
        // a keeper that was killed, and remove it.
        let fresh = directory.join(format!("fresh-{pid}.sock"));
        // An earlier process of this number was killed.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = seqpacket()?;
        bind(&socket, &SocketAddrUnix::new(&fresh)?)?;
        listen(&socket, BACKLOG)?;
        fs::rename(&fresh, &path)?;
        Ok(Self { socket, path })
    }

    /// Who knocks, if it is a process of our own user.
    pub(crate) fn accept(&self) -> Option<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = accept_with(&self.socket, flags).ok()?;
        is_own_user(&socket).ok()?.then_some(socket)
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Whoever finds it later removes it.
        let _ = fs::remove_file(&self.path);
    }
}

/// The keepers that can be found: their process ids.
pub(crate) fn keepers(directory: &Path) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let pid = name
                .to_str()?
                .strip_prefix("keeper-")?
                .strip_suffix(".sock")?;
            pid.parse().ok()
        })
        .collect()
}

/// A line to the keeper with this process id. `None` if it is gone: its socket is removed then.
///
/// # Errors
/// The system refuses, or who listens there is not of our own user.
pub(crate) fn knock(directory: &Path, pid: u32) -> io::Result<Option<OwnedFd>> {
    let path = directory.join(format!("keeper-{pid}.sock"));
    let socket = seqpacket()?;
    match connect(&socket, &SocketAddrUnix::new(&path)?) {
        Ok(()) if is_own_user(&socket)? => Ok(Some(socket)),
        Ok(()) => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to another user",
        )),
        Err(Errno::CONNREFUSED | Errno::NOENT) => {
            let _ = fs::remove_file(&path);
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_door_is_found_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let door = Door::open(folder, 7).unwrap();
        assert_eq!(keepers(folder), [7]);
        let line = knock(folder, 7).unwrap();
        assert!(line.is_some() && door.accept().is_some() && door.accept().is_none());
        drop(door);
        assert!(keepers(folder).is_empty());
    }

    #[test]
    fn what_a_killed_keeper_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keeper-8.sock");
        let socket = seqpacket().unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        drop(socket);
        assert_eq!(keepers(folder.path()), [8]);
        assert!(knock(folder.path(), 8).unwrap().is_none() && !path.exists());
        assert!(knock(folder.path(), 9).unwrap().is_none());
    }
}
