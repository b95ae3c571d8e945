//! Two machines in one: a server and the world outside, joined by a cable, each in a network
//! namespace of its own.
//!
//! Port 25, a firewall's tables and foreign source addresses are there without touching those of
//! the machine that tests. The namespaces have no names: they live as long as somebody holds them
//! open, so a test that is killed leaves nothing behind.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Group, wait_for};

/// Two joined machines. Processes and sockets that are made within stay there.
#[derive(Debug)]
pub struct Net {
    server: File,
    outside: File,
}

impl Net {
    /// The server's address on the cable (RFC 5737).
    pub const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    /// The address of the world outside.
    pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    /// The server's IPv6 address on the cable (RFC 3849).
    pub const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

    /// Makes both, and the cable.
    ///
    /// # Errors
    /// Without root or iproute2; says so.
    pub fn new() -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "network namespaces need root: run the tests by `cargo xtask test`"
        );
        let net = Self {
            server: namespace()?,
            outside: namespace()?,
        };
        let peer = format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            net.outside.as_raw_fd()
        );
        net.on_server(|| {
            ip(&format!(
                "link add wan type veth peer name net0 netns {peer}"
            ))?;
            let v4 = format!("{}/24", Self::SERVER);
            addresses("wan", &v4, &format!("{}/64", Self::SERVER_V6))
        })?;
        net.from_outside(|| addresses("net0", &format!("{}/24", Self::OUTSIDE), "2001:db8::2/64"))?;
        Ok(net)
    }

    /// Does `work` on the server. Processes that it starts end when `work` is done: a process of the
    /// tests dies with the thread that started it.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn on_server<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.server, work)
    }

    /// Does `work` outside. Sockets that it returns stay there.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn from_outside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.outside, work)
    }
}

/// A third machine, behind the server.
#[derive(Debug)]
pub struct Behind(File);

impl Behind {
    /// Its address on the network that it shares with the server, which is 10.0.0.1 there.
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    /// Does `work` there.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.0, work)
    }
}

impl Net {
    /// A machine that only the server reaches: 10.0.0.2 and fd00::2, the server is 10.0.0.1 and
    /// fd00::1 there.
    ///
    /// # Errors
    /// As [`Net::new`].
    pub fn behind(&self) -> Result<Behind> {
        let behind = Behind(namespace()?);
        let peer = format!("/proc/{}/fd/{}", std::process::id(), behind.0.as_raw_fd());
        self.on_server(|| {
            ip(&format!(
                "link add lan type veth peer name net0 netns {peer}"
            ))?;
            addresses("lan", "10.0.0.1/24", "fd00::1/64")
        })?;
        behind.run(|| addresses("net0", &format!("{}/24", Behind::ADDRESS), "fd00::2/64"))?;
        Ok(behind)
    }
}

fn within<T: Send>(namespace: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .context("enter a network namespace")?;
            work()
        });
        thread
            .join()
            .unwrap_or_else(|_| Err(anyhow!("a panic in a network namespace, see above")))
    })
}

/// A new namespace. A process makes it, since only a process can without unsafe code.
fn namespace() -> Result<File> {
    let mut maker = Command::new("unshare");
    maker.args(["--net", "--", "sleep", "infinity"]);
    let mut maker = Group::spawn_with_pipes(&maker).context("unshare(1) is not there")?;
    let ours = std::fs::read_link("/proc/self/ns/net")?;
    let path = format!("/proc/{}/ns/net", maker.id());
    let made = || {
        std::fs::read_link(&path)
            .is_ok_and(|name| name != ours)
            .then_some(())
    };
    wait_for(Duration::from_secs(10), || {
        (made().is_some() || maker.ended().is_some()).then_some(())
    });
    ensure!(made().is_some(), "no network namespaces here");
    File::open(&path).with_context(|| format!("open {path}"))
}

fn addresses(device: &str, v4: &str, v6: &str) -> Result<()> {
    ip("link set lo up")?;
    ip(&format!("link set {device} up"))?;
    ip(&format!("addr add {v4} dev {device}"))?;
    // Without the seconds in which the kernel looks whether somebody else has it.
    ip(&format!("addr add {v6} dev {device} nodad"))
}

fn ip(arguments: &str) -> Result<()> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.context("iproute2 is not there: run `cargo xtask install`")?;
    ensure!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
