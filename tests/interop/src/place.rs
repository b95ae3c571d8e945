//! Where things are on this machine: ports, binaries, folders.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// Below the range from which the kernel gives ports to outgoing connections, so that none of
/// those takes a port between our choice and the server's start.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port on which nothing listens, never given twice by this process.
///
/// Servers that can't listen on port 0 and tell need it. Two processes start at different places.
///
/// # Errors
/// When all ports of the range were given or are taken.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let size = PORTS.end - PORTS.start;
    let start = u16::try_from(std::process::id() * 97 % u32::from(size))?;
    for _ in 0..size {
        let given = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORTS.start + (start + given % size) % size;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?}")
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
        let folder = place.join(server);
        if folder.join("stamp").is_file() {
            return Ok(folder.join("root"));
        }
    }
    bail!("{server} is not there: run `cargo xtask install` (looked in {places:?})")
}

/// The folder of shared libraries for this machine's architecture below `root`.
pub(crate) fn libraries(root: &Path) -> PathBuf {
    root.join("usr/lib")
        .join(format!("{}-linux-gnu", std::env::consts::ARCH))
}
