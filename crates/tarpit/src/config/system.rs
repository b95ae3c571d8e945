//! What the system knows about itself.

use std::fs;

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

/// How many files and sockets this process may have open.
pub(crate) fn descriptors_max() -> Option<u64> {
    soft_limit(&fs::read_to_string("/proc/self/limits").ok()?)
}

/// The soft limit in the text of `/proc/self/limits`; none if there is no limit.
fn soft_limit(limits: &str) -> Option<u64> {
    let rest = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{qualified, soft_limit};

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
    fn reads_limits() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             127235               127235               processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(soft_limit(limits), Some(1024));
        assert_eq!(
            soft_limit(
                "Max open files            unlimited            unlimited            files\n"
            ),
            None
        );
        assert_eq!(soft_limit(""), None);
    }
}
