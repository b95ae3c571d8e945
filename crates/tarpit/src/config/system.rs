//! What the system knows about itself.

use std::fs;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The system's name, if it is fully qualified: as set, else as `/etc/hosts` has it in full.
pub(crate) fn hostname() -> Option<String> {
    let read = |path| fs::read_to_string(path).ok();
    // A hardened service may not see /proc/sys; the file has what was set at boot.
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"))?;
    qualified(name.trim(), &read("/etc/hosts").unwrap_or_default())
}

/// The full form of `name`: itself if it has a dot, else the first name with a dot on a line of
/// the hosts file that lists it.
fn qualified(name: &str, hosts: &str) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    if name.contains('.') {
        return Some(name.to_owned());
    }
    hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or("");
        let names = || line.split_whitespace().skip(1);
        let listed = names().any(|listed| listed == name);
        let prefix = format!("{name}.");
        let full = names().find(|full| full.starts_with(&prefix))?;
        listed.then(|| full.to_owned())
    })
}

/// Lets this process have as many files and sockets open as it may: the soft limit is often 1024,
/// for the sake of programs that use `select`. A process may always raise it to the hard one.
pub(crate) fn raise_descriptors() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: hard,
        maximum: hard,
    };
    // If it is refused all the same, the old limit stays, and the warning about it says so.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Whether this process has all the rights there are.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How many files and sockets this process may have open; `None` if there is no limit.
pub(crate) fn descriptors_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qualifies() {
        let hosts = "127.0.0.1 localhost localhost.localdomain # mx1 mx1.wrong.example\n127.0.1.1\tmx1.example.org mx1\n";
        assert_eq!(qualified("mx1", hosts).as_deref(), Some("mx1.example.org"));
        assert_eq!(
            qualified("mx1.example.net", hosts).as_deref(),
            Some("mx1.example.net")
        );
        assert_eq!(qualified("mx2", hosts), None);
        assert_eq!(qualified("", hosts), None);
    }

    #[test]
    fn takes_what_it_may() {
        raise_descriptors();
        assert_eq!(descriptors_max(), getrlimit(Resource::Nofile).maximum);
    }
}
