//! The floor: a bare epoll loop as pit. It says what a client must hear to be held, keeps a socket
//! and a moment for each, and knows no SMTP beyond the first letter of a line.
//!
//! What it costs is what the machine itself costs; no pit can hold for less. It runs in as many
//! processes as its descriptors need, which share a listener.

mod child;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

pub(crate) use child::run;

use super::machine;
use crate::process::End;

/// Descriptors that a process of the floor needs for itself.
const OWN_DESCRIPTORS: u64 = 64;

/// Connections that wait to be accepted: as many as the kernel is made to allow.
const BACKLOG: i32 = 65_535;

/// A running floor. Dropping it ends it.
pub(crate) struct Floor {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    processes: Vec<End>,
}

impl Floor {
    /// Starts one with room for `count`, each held for `hold`.
    pub(crate) fn start(count: u64, hold: Duration) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a listener")?;
        // Again, with more room than the standard library asks for.
        rustix::net::listen(&listener, BACKLOG).context("a longer backlog")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let own = std::env::current_exe().context("where the benchmark itself is")?;
        let room = machine::descriptors()
            .saturating_sub(OWN_DESCRIPTORS)
            .max(1);
        let mut processes = Vec::new();
        for _ in 0..count.div_ceil(room).max(1) {
            let listener: OwnedFd = listener.try_clone()?.into();
            let child = Command::new(&own)
                .arg("floor")
                .args(["--room", &room.to_string()])
                .args(["--hold-ms", &hold.as_millis().to_string()])
                .stdin(Stdio::from(listener))
                .stdout(Stdio::null())
                .spawn()
                .context("starting the floor")?;
            processes.push(End(child));
        }
        Ok(Self { address, processes })
    }

    /// Its processes.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.processes.iter().map(|child| child.0.id()).collect()
    }
}
