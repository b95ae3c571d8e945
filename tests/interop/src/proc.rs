//! What the kernel says about processes: `/proc`.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};

/// Whether a process of this group still does something. The kernel's own answer (kill with
/// signal 0) counts dead ones that init has not yet looked at, which may take it seconds.
pub(crate) fn group_lives(group: &str) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return false;
    };
    processes.flatten().any(|entry| {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            return false;
        };
        // PID (NAME) STATE PARENT GROUP ...; a name may contain anything.
        let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let state = fields.next();
        fields.nth(1) == Some(group) && !matches!(state, Some("Z" | "X"))
    })
}

/// State of a listening socket in /proc/net/tcp.
const LISTEN: &str = "0A";

/// Local addresses of the sockets on which process `id` listens.
pub(crate) fn listening(id: u32) -> Result<Vec<SocketAddr>> {
    let mut own = Vec::new();
    for entry in fs::read_dir(format!("/proc/{id}/fd"))?.flatten() {
        // Closed in between is fine; what it is named looks like "socket:[12345]".
        let name = fs::read_link(entry.path()).unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        own.extend(
            name.strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'))
                .map(str::to_owned),
        );
    }
    let mut addresses = Vec::new();
    for table in ["tcp", "tcp6"] {
        // A machine without IPv6 has no tcp6.
        let text = fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) =
                (fields.get(1), fields.get(3), fields.get(9))
            else {
                continue;
            };
            if *state == LISTEN && own.iter().any(|socket| socket == inode) {
                addresses.push(address(local)?);
            }
        }
    }
    Ok(addresses)
}

/// Whether anybody listens on this port of an IPv4 address, as the kernel knows it: a trial
/// connection would be a session in what the tests look at.
pub(crate) fn is_listening(port: u16) -> bool {
    // That of this thread, which may be in a network namespace of its own.
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap_or_default();
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().and_then(|local| address(local).ok());
        local.is_some_and(|local| local.port() == port) && fields.nth(1) == Some(LISTEN)
    })
}

/// `0100007F:0019`: each 32 bits of the address in the machine's own byte order, then the port.
fn address(text: &str) -> Result<SocketAddr> {
    let (host, port) = text.split_once(':').context("no port")?;
    let port = u16::from_str_radix(port, 16)?;
    let mut octets = Vec::new();
    for start in (0..host.len()).step_by(8) {
        let word = host.get(start..start + 8).context("a short address")?;
        octets.extend_from_slice(&u32::from_str_radix(word, 16)?.to_ne_bytes());
    }
    let host = match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(octets) => IpAddr::V4(Ipv4Addr::from(octets)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(octets.as_slice())?)),
    };
    Ok(SocketAddr::new(host, port))
}

/// The most memory that process `id` ever held (VmHWM), in octets.
pub(crate) fn peak_memory(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("no VmHWM")?;
    Ok(kib.trim().parse::<u64>()? * 1024)
}
