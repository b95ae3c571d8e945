//! What `tarpit run` tells a service manager, read from a real socket as systemd would.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::time::{ClockId, clock_gettime};

/// Far longer than anything here takes; only a broken product waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

struct Service {
    process: Child,
    socket: UnixDatagram,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Service {
    fn start(folder: &Path) -> Self {
        let path = folder.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_tarpit"))
            .args(["run", "--config", "tarpit.toml"])
            .current_dir(folder)
            .env_remove("TARPIT_LOG")
            .env("NOTIFY_SOCKET", &path)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, socket }
    }

    /// The lines of the next datagram that has `text` in it, and of all before it.
    fn wait_for(&self, text: &str) -> Vec<String> {
        let mut seen = Vec::new();
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            let mut buffer = [0; 4096];
            let Ok(count) = self.socket.recv(&mut buffer) else {
                break;
            };
            let datagram = std::str::from_utf8(&buffer[..count]).unwrap();
            seen.extend(datagram.lines().map(str::to_owned));
            if datagram.contains(text) {
                return seen;
            }
        }
        panic!("no {text:?} was said, but {seen:?}");
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }
}

fn write_config(folder: &Path, text: &str) {
    let text = format!(
        "hostname = \"mx.example.test\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n\
         [admin]\naddress = \"off\"\n{text}\n"
    );
    fs::write(folder.join("tarpit.toml"), text).unwrap();
}

fn monotonic_usec() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1000
}

#[test]
fn a_life_as_the_manager_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    let mut service = Service::start(folder.path());
    let start = service.wait_for("STATUS=serving; 0 sessions");
    assert_eq!(start, ["READY=1", "STATUS=serving; 0 sessions"]);

    // systemd takes a reload for done only if its stamp is not older than the signal.
    for (text, outcome) in [
        ("", "STATUS=reloaded"),
        (
            "hostname_ = 1",
            "STATUS=not reloaded: the old configuration stays in force, see the log",
        ),
    ] {
        write_config(folder.path(), text);
        let before = monotonic_usec();
        service.signal(Signal::HUP);
        let mut said = service.wait_for("READY=1");
        // The status may be renewed in between.
        said.retain(|line| !line.starts_with("STATUS=serving"));
        let [reloading, stamp, ready, status] = said.as_slice() else {
            panic!("{said:?}");
        };
        assert_eq!(
            (reloading.as_str(), ready.as_str(), status.as_str()),
            ("RELOADING=1", "READY=1", outcome)
        );
        let stamp: u64 = stamp
            .strip_prefix("MONOTONIC_USEC=")
            .unwrap()
            .parse()
            .unwrap();
        assert!((before..=monotonic_usec()).contains(&stamp), "{stamp}");
    }

    service.signal(Signal::TERM);
    assert_eq!(service.wait_for("STOPPING=1"), ["STOPPING=1"]);
    assert!(service.process.wait().unwrap().success());
}

/// A drain that waits for a client must not be killed by the manager.
#[test]
fn a_drain_asks_for_time() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "[limits]\ndrain_timeout = \"15m\"");
    let mut service = Service::start(folder.path());
    service.wait_for("READY=1");
    let address = listening(service.process.id());
    let mut client = BufReader::new(TcpStream::connect(address).unwrap());
    let mut dialogue = |line: &str, code: &str| {
        client.get_mut().write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        while reply.as_bytes().get(3) != Some(&b' ') {
            reply.clear();
            client.read_line(&mut reply).unwrap();
        }
        assert!(reply.starts_with(code), "{line}: {reply}");
    };
    dialogue("", "220");
    dialogue("EHLO client.example.net\r\n", "250");
    dialogue("MAIL FROM:<a@example.net>\r\n", "250");
    dialogue("RCPT TO:<alice@example.test>\r\n", "250");
    dialogue("DATA\r\n", "354");
    service.signal(Signal::TERM);
    let said = service.wait_for("EXTEND_TIMEOUT_USEC=30000000");
    assert!(
        said.contains(&"STATUS=draining; 1 sessions left".to_owned()),
        "{said:?}"
    );
    dialogue("Subject: x\r\n\r\n.\r\n", "250");
    assert!(service.process.wait().unwrap().success());
}

/// The first address at which a process listens, as the kernel knows it.
fn listening(process: u32) -> SocketAddr {
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).unwrap();
    let own: Vec<String> = fs::read_dir(format!("/proc/{process}/fd"))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    table
        .lines()
        .find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_own = own.contains(&format!("socket:[{}]", fields.get(9)?));
            let port = fields.get(1)?.split_once(':')?.1;
            (is_own && *fields.get(3)? == "0A").then(|| u16::from_str_radix(port, 16).ok())?
        })
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        .unwrap()
}

/// The listeners are not ours: somebody else has the port.
#[test]
fn who_does_not_serve_is_not_ready() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    let file = folder.path().join("tarpit.toml");
    let text = fs::read_to_string(&file).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    fs::write(&file, text.replace("127.0.0.1:0", &address)).unwrap();
    let mut service = Service::start(folder.path());
    assert_eq!(service.process.wait().unwrap().code(), Some(69));
    service.socket.set_nonblocking(true).unwrap();
    assert!(service.socket.recv(&mut [0; 64]).is_err());
}

/// Without a manager, or with one that is gone, mail flows.
#[test]
fn a_manager_that_is_gone_harms_nobody() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    let mut service = Service::start(folder.path());
    service.wait_for("READY=1");
    fs::remove_file(folder.path().join("notify")).unwrap();
    service.signal(Signal::HUP);
    service.signal(Signal::TERM);
    assert!(service.process.wait().unwrap().success());
}
