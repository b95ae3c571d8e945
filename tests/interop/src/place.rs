//! Where things are on this machine: ports, binaries, folders.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};

/// Below the range from which the kernel gives ports to outgoing connections, so that none of
/// those takes a port between our choice and the server's start.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port on which nothing listens, never given twice by this process.
///
/// Servers that can't listen on port 0 and tell need it. Each process begins at a place of its
/// own, by chance, so that two test runs at once do not meet.
///
/// # Errors
/// When all ports of the range were given or are taken.
pub fn free_port() -> Result<u16> {
    static START: OnceLock<u64> = OnceLock::new();
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let start = *START.get_or_init(|| RandomState::new().build_hasher().finish() >> 1);
    let size = u64::from(PORTS.end - PORTS.start);
    for _ in 0..size {
        let given = GIVEN.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + u16::try_from((start + given) % size)?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?}")
}

/// An address of this machine outside loopback: that from which it would reach the documentation
/// network of RFC 5737. Nothing is sent.
#[must_use]
pub fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(198, 51, 100, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .ancestors()
        .nth(2)
        .unwrap_or(manifest)
        .to_path_buf()
}

/// The gateway that was built last: `TARPIT_BIN`, or beside the running test program.
///
/// # Errors
/// When there is none; says how to build it.
pub fn gateway_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("TARPIT_BIN") {
        return Ok(PathBuf::from(path));
    }
    // The test program is target/debug/deps/NAME.
    let program = std::env::current_exe()?;
    if let Some(path) = program
        .ancestors()
        .nth(2)
        .map(|folder| folder.join("tarpit"))
        && path.is_file()
    {
        return Ok(path);
    }
    bail!(
        "the gateway is not built: run `cargo build -p tarpit`, or the tests by `cargo xtask test`"
    )
}

/// The folder into which `cargo xtask install` unpacked the package of `server`.
pub(crate) fn unpacked(server: &str) -> Result<PathBuf> {
    Ok(installed(server)?.join("root"))
}

/// A file of the package of `server`, as it is shipped.
///
/// # Errors
/// When the package was not unpacked, or has no such file.
pub fn config_of_package(server: &str, file: &str) -> Result<PathBuf> {
    let path = unpacked(server)?.join(file);
    if !path.is_file() {
        bail!("{} is not there: run `cargo xtask install`", path.display());
    }
    Ok(path)
}

/// The folder of one thing that `cargo xtask install` brought in.
pub(crate) fn installed(name: &str) -> Result<PathBuf> {
    let mut places = Vec::new();
    if let Some(root) = std::env::var_os("TARPIT_INTEROP_ROOT") {
        places.push(PathBuf::from(root));
    }
    let program = std::env::current_exe()?;
    places.extend(
        program
            .ancestors()
            .nth(3)
            .map(|target| target.join("interop-root")),
    );
    places.push(repository().join("target/interop-root"));
    for place in &places {
        let folder = place.join(name);
        if folder.join("stamp").is_file() {
            return Ok(folder);
        }
    }
    bail!("{name} is not there: run `cargo xtask install` (looked in {places:?})")
}

/// The folder of shared libraries for this machine's architecture below `root`.
pub(crate) fn libraries(root: &Path) -> PathBuf {
    root.join("usr/lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH))
}
