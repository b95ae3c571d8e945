//! The processes of the pit's benchmark, against each other: what the herd reports must be what the
//! floor did, else every figure is worth nothing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tarpit-bench");

/// A process that ends with the test.
struct End(Child);

impl Drop for End {
    fn drop(&mut self) {
        let _ended = (self.0.kill(), self.0.wait());
    }
}

fn floor(hold_ms: u64, room: u64) -> (SocketAddr, End) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let child = Command::new(PROGRAM)
        .args(["floor", "--room", &room.to_string()])
        .args(["--hold-ms", &hold_ms.to_string()])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .unwrap();
    (address, End(child))
}

struct Herd {
    process: End,
    orders: Option<ChildStdin>,
    reports: BufReader<ChildStdout>,
}

impl Herd {
    fn start(to: SocketAddr, first_source: u32, hold_ms: u64, more: &[&str]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(["herd", "--to", &to.to_string()])
            .args(["--first-source", &first_source.to_string()])
            .args(["--per-source", "10", "--opening-max", "50"])
            .args(["--hold-ms", &hold_ms.to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take(),
            reports: BufReader::new(child.stdout.take().unwrap()),
            process: End(child),
        }
    }

    fn order(&mut self, order: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
    }

    fn report(&mut self) -> Value {
        self.order("report");
        let mut line = String::new();
        self.reports.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Looks until `done` says so.
    fn wait(&mut self, what: &str, done: impl Fn(&dyn Fn(&str) -> u64) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let report = self.report();
            if done(&|name| report[name].as_u64().unwrap()) {
                return report;
            }
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{what}: {report}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn all_are_held_and_get_their_replies_when_they_are_due() {
    let (address, _floor) = floor(400, 1000);
    let mut herd = Herd::start(address, 0x70_0001, 400, &[]);
    herd.order("answer 0");
    herd.order("open 200 100000");
    let report = herd.wait("held", |count| count("taken_in") == 200);
    assert_eq!(report["opening"], 0);
    let report = herd.wait("silent", |count| count("silent") == 200);
    assert_eq!(
        (report["held"].as_u64(), report["replies"].as_u64()),
        (Some(0), Some(200))
    );
    // A reply that came early would mean that somebody's clock is wrong.
    assert_eq!(report["early"], 0);
    assert_eq!(report["failures"], 0);
    herd.order("reset");
    herd.order("answer 0.5");
    herd.order("guess 100000");
    herd.wait("half of them go on", |count| {
        count("replies") >= 500 && (95..=105).contains(&count("silent"))
    });
}

#[test]
fn an_octet_ahead_is_no_guess() {
    let (address, _floor) = floor(100, 100);
    let mut herd = Herd::start(address, 0x71_0001, 100, &["--ahead"]);
    herd.order("open 20 100000");
    let report = herd.wait("replies", |count| count("replies") >= 100);
    assert_eq!(report["passed"], 0, "{report}");
    assert_eq!(report["ended"], 0, "{report}");
}

#[test]
fn churn_keeps_their_number() {
    let (address, _floor) = floor(60_000, 1000);
    let mut herd = Herd::start(address, 0x72_0001, 60_000, &[]);
    herd.order("open 100 100000");
    herd.wait("held", |count| count("held") == 100);
    herd.order("churn 1000");
    // Who hangs up while it connects is never taken in.
    herd.wait("churn", |count| count("taken_in") >= 400);
    herd.order("churn 0");
    let report = herd.wait("all again", |count| count("held") == 100);
    assert_eq!(report["failures"], 0, "{report}");
    assert!(report["hung_up"].as_u64() >= Some(300), "{report}");
}

#[test]
fn who_finds_no_room_is_no_failure_and_the_herd_ends_with_its_orders() {
    let (address, _floor) = floor(60_000, 30);
    let mut herd = Herd::start(address, 0x73_0001, 60_000, &[]);
    herd.order("open 50 100000");
    let report = herd.wait("full", |count| count("held") == 30);
    assert_eq!(report["opening"], 20, "{report}");
    herd.orders = None;
    let status = herd.process.0.wait().unwrap();
    assert!(status.success(), "{status}");
}
