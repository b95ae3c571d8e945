//! The machine: its limits, what root may raise for the time of a run, and what the kernel says
//! about memory.

use std::fs;
use std::net::SocketAddrV4;

use anyhow::{Context as _, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is raised where we are root, and to what.
///
/// A backlog that overflows delays a client by a second, which is not what is measured. TCP's
/// memory is in pages: at a million held on both ends it must not be the first thing to end.
const RAISED: &[(&str, &str)] = &[
    ("net.core.somaxconn", "65535"),
    ("net.ipv4.tcp_max_syn_backlog", "65535"),
    ("net.ipv4.tcp_mem", "2000000 3000000 4000000"),
    ("net.ipv4.tcp_max_orphans", "1048576"),
    ("net.netfilter.nf_conntrack_max", "4000000"),
];

/// Settings of the kernel that were raised. Dropping it puts them back.
#[derive(Debug)]
pub(crate) struct Raised {
    before: Vec<(&'static str, String)>,
    /// What was done, for the report.
    pub(crate) words: String,
}

impl Raised {
    /// Raises what can be raised, and nothing that is higher already.
    pub(crate) fn new() -> Self {
        let mut before = Vec::new();
        let mut done = Vec::new();
        let mut refused = Vec::new();
        for (name, value) in RAISED {
            // Without netfilter there is nothing to raise.
            let Ok(old) = fs::read_to_string(path(name)) else {
                continue;
            };
            let old = old.trim().to_owned();
            if first(&old) >= first(value) {
                continue;
            }
            if fs::write(path(name), value).is_ok() {
                before.push((*name, old.clone()));
                done.push(format!("{name} from {} to {value}", one_line(&old)));
            } else {
                refused.push(format!("{name} stays at {}", one_line(&old)));
            }
        }
        let mut words = match (done.is_empty(), refused.is_empty()) {
            (true, true) => "No limit of the kernel had to be raised.".to_owned(),
            (false, _) => format!("Raised for this run: {}.", done.join(", ")),
            (true, false) => String::new(),
        };
        if !refused.is_empty() {
            let more = format!("Not raised, which takes root: {}.", refused.join(", "));
            words = format!("{words} {more}").trim().to_owned();
        }
        Self { before, words }
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        for (name, old) in &self.before {
            if let Err(error) = fs::write(path(name), old) {
                eprintln!("pit: {name} was {old} and can't be put back: {error}");
            }
        }
    }
}

fn path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn first(value: &str) -> u64 {
    let first = value.split_ascii_whitespace().next();
    first.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn one_line(value: &str) -> String {
    value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

/// Descriptors that a process may have, raised to the hard limit: what it starts inherits that.
pub(crate) fn raise_descriptors() -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).context("raising the limit of descriptors")?;
    Ok(descriptors())
}

/// Descriptors that a process may have now.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// How many sessions the kernel has room for, both ends of them, apart from memory; and what
/// bounds it.
pub(crate) fn room() -> (u64, &'static str) {
    let number = |name: &str| {
        let text = fs::read_to_string(path(name)).ok()?;
        Some(first(text.trim()))
    };
    // A tenth stays for everything else.
    let files = number("fs.file-max").map(|most| most / 20 * 9);
    let watches = number("fs.epoll.max_user_watches").map(|most| most / 20 * 9);
    // It counts connections only where a rule of netfilter made it begin.
    let tracked = number("net.netfilter.nf_conntrack_count").filter(|count| *count > 0);
    let tracked = tracked.and_then(|_| number("net.netfilter.nf_conntrack_max"));
    [
        (files, "fs.file-max"),
        (watches, "fs.epoll.max_user_watches"),
        (
            tracked.map(|most| most / 10 * 9),
            "net.netfilter.nf_conntrack_max",
        ),
    ]
    .into_iter()
    .filter_map(|(room, name)| Some((room?, name)))
    .min()
    .unwrap_or((u64::MAX, "nothing"))
}

/// What the kernel has, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Kernel {
    /// All of its own objects (`Slab` of /proc/meminfo).
    pub(crate) slab_kib: u64,
    /// What TCP has buffered (`TCP: mem` of /proc/net/sockstat).
    pub(crate) tcp_kib: u64,
    /// What programs can still have.
    pub(crate) available_kib: u64,
}

impl Kernel {
    /// Now.
    pub(crate) fn now() -> Result<Self> {
        let memory = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let sockets = fs::read_to_string("/proc/net/sockstat").context("/proc/net/sockstat")?;
        Self::read(&memory, &sockets).context("/proc/meminfo or /proc/net/sockstat lacks a figure")
    }

    fn read(memory: &str, sockets: &str) -> Option<Self> {
        let kib = |name: &str| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix(" kB")?.trim().parse().ok()
        };
        let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:"))?;
        let pages: u64 = tcp.split_once(" mem ")?.1.trim().parse().ok()?;
        Some(Self {
            slab_kib: kib("Slab:")?,
            tcp_kib: pages * (rustix::param::page_size() as u64 / 1024),
            available_kib: kib("MemAvailable:")?,
        })
    }
}

/// Memory that processes have for themselves, and their share of what they have in common, in
/// KiB. One that has ended has none.
pub(crate) fn proportional_kib(processes: &[u32]) -> u64 {
    let of = |id: &u32| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
        line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()
    };
    processes.iter().filter_map(of).sum()
}

/// Descriptors that processes have open. One that has ended has none.
pub(crate) fn open_descriptors(processes: &[u32]) -> u64 {
    let of = |id: &u32| Some(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count() as u64);
    processes.iter().filter_map(of).sum()
}

/// Sockets of this machine that were accepted at `address` and are still there for a process.
pub(crate) fn sockets_at(address: SocketAddrV4) -> Result<u64> {
    let table = fs::read_to_string("/proc/net/tcp").context("/proc/net/tcp")?;
    Ok(table.lines().filter(|line| is_at(line, address)).count() as u64)
}

/// Whether a line of /proc/net/tcp is a connection at `address`: not its listener (0A), and not
/// what the kernel keeps when the process has closed (06, 0B's like have no inode).
fn is_at(line: &str, address: SocketAddrV4) -> bool {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, ..] = fields.as_slice() else {
        return false;
    };
    // The address as the machine has it in memory, and the port, in hexadecimal digits.
    let own = u32::from_ne_bytes(address.ip().octets());
    *local == format!("{own:08X}:{:04X}", address.port())
        && *state != "0A"
        && fields.get(9).is_some_and(|inode| *inode != "0")
}

/// A process and all that it started, and they, as far as they live.
///
/// Keepers may outlive the front and be nobody's children then, so all keepers of the same binary
/// that are not older count too.
pub(crate) fn family(first: u32) -> Vec<u32> {
    let all: Vec<Seen> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| Seen::read(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .collect();
    let Some(front) = all.iter().find(|seen| seen.id == first) else {
        return Vec::new();
    };
    let mut family = vec![first];
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let children = all.iter().filter(|seen| seen.parent == parent);
        family.extend(children.map(|seen| seen.id));
        at += 1;
    }
    for seen in &all {
        let same = seen.is_keeper && seen.program == front.program && seen.started >= front.started;
        if same && !family.contains(&seen.id) {
            family.push(seen.id);
        }
    }
    family
}

struct Seen {
    id: u32,
    parent: u32,
    started: u64,
    program: Option<std::path::PathBuf>,
    is_keeper: bool,
}

impl Seen {
    fn read(id: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // Behind the name in parentheses come field 3 and on: 4 is the parent, 22 the start.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let command = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        Some(Self {
            id,
            parent: fields.get(1)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
            program: fs::read_link(format!("/proc/{id}/exe")).ok(),
            is_keeper: command.split(|octet| *octet == 0).nth(1) == Some(b"keeper"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_the_kernel() {
        let memory = "MemTotal: 9 kB\nMemAvailable:    7 kB\nSlab:   3 kB\nSReclaimable: 1 kB\n";
        let sockets =
            "sockets: used 1\nTCP: inuse 1 orphan 0 tw 0 alloc 2 mem 5\nUDP: inuse 0 mem 0\n";
        let kernel = Kernel::read(memory, sockets).unwrap();
        assert_eq!((kernel.slab_kib, kernel.available_kib), (3, 7));
        assert!(kernel.tcp_kib >= 20);
        assert!(Kernel::read("", sockets).is_none());
        Kernel::now().unwrap();
    }

    #[test]
    fn the_kernel_has_room_for_some() {
        assert!(room().0 > 1000, "{:?}", room());
    }

    #[test]
    fn sockets_at_an_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port);
        assert_eq!(sockets_at(address).unwrap(), 0);
        let _client = std::net::TcpStream::connect(address).unwrap();
        let _accepted = listener.accept().unwrap();
        assert_eq!(sockets_at(address).unwrap(), 1);
        assert!(open_descriptors(&[std::process::id()]) >= 5);
    }

    #[test]
    fn our_own_family() {
        let own = std::process::id();
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let family = family(own);
        let _gone = (child.kill(), child.wait());
        assert!(family.starts_with(&[own]) && family.contains(&child.id()));
        assert!(proportional_kib(&[own]) > 100);
        assert_eq!(proportional_kib(&[u32::MAX]), 0);
    }

    #[test]
    fn settings_are_compared_by_their_first_number() {
        assert_eq!(first("287898\t383867\t575796"), 287_898);
        assert_eq!(one_line("1\t2  3"), "1 2 3");
        assert_eq!(path("net.core.somaxconn"), "/proc/sys/net/core/somaxconn");
    }
}
