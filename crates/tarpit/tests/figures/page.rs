//! The page as it comes out of the socket; how it looks in a browser is in tests/interop.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::agree::{ALICE, HELLO, MESSAGE};
use super::health::until;
use super::http::{connect, get, request, say};
use super::process::Tarpit;
use super::smtp::Client;

const CONFIG: &str = "admin.address = \"127.0.0.1:0\"\n[tarpit]\nmode = \"enforce\"\ndelay = \"60s\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n";

/// Somebody who looks.
pub(crate) struct Watcher(BufReader<TcpStream>);

impl Watcher {
    /// `None` if there is no place.
    pub(crate) fn new(admin: SocketAddr) -> Option<Self> {
        let mut stream = connect(admin);
        stream
            .write_all(&request("GET", "/events", "localhost"))
            .unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line.starts_with("HTTP/1.1 200").then_some(Self(stream))
    }

    /// The next snapshot; `None` if the stream has ended.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            if let Some(text) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(text).unwrap());
            }
        }
    }

    /// The first snapshot of which something is true.
    fn until(&mut self, is_so: impl Fn(&Value) -> bool) -> Value {
        loop {
            let snapshot = self.next().unwrap();
            if is_so(&snapshot) {
                return snapshot;
            }
        }
    }
}

#[test]
fn what_happens_is_shown() {
    let tarpit = Tarpit::start(CONFIG);
    let mx = tarpit.listener();
    let admin = tarpit.admin();
    let mut watcher = Watcher::new(admin).unwrap();
    let first = watcher.next().unwrap();
    assert_eq!(
        (&first["pit"]["held"], &first["watchers"]),
        (&0.into(), &1.into())
    );
    let mut client = Client::connect(mx);
    client.talk(HELLO);
    client.talk(&[ALICE]);
    client.talk(MESSAGE);
    client.talk(&[("QUIT", "221")]);
    let mut guesser = Client::connect(mx);
    guesser.talk(HELLO);
    guesser.talk(&[ALICE]);
    guesser.tell("RCPT TO:<nobody@example.test>");
    let shown = watcher.until(|shown| shown["pit"]["held"] == 1);
    assert_eq!(shown["mail"]["accepted"], 1);
    // Whoever keeps an upstream connection is out of the pit for the grace time.
    let shown = watcher.until(|shown| shown["held"]["looked_at"] == 1);
    assert_eq!(shown["held"]["reasons"][0][0], "unknown_recipient");
    assert_eq!(shown["sessions"][0]["ended"]["messages_accepted"], 1);
    let id = shown["sessions"][0]["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/dialogue?of={id}");
    let said: Value = serde_json::from_str(&get(admin, &path).body).unwrap();
    let lines: Vec<_> = said["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["text"].as_str().unwrap())
        .collect();
    assert!(
        lines.contains(&"RCPT TO:<alice@example.test>") && lines.contains(&"message data"),
        "{lines:?}"
    );
    assert!(!said.to_string().contains("Subject"), "{said}");
    let path = format!("/v1/explain?of={id}");
    let told: Value = serde_json::from_str(&get(admin, &path).body).unwrap();
    assert_eq!(told["session"]["id"], id);
    assert_eq!(
        say(admin, &request("GET", "/v1/explain?of=x", "localhost"))
            .unwrap()
            .status,
        422
    );
}

#[test]
fn there_are_places_for_sixteen() {
    let tarpit = Tarpit::start(CONFIG);
    let admin = tarpit.admin();
    let mut watchers: Vec<_> = (0..16).map(|_| Watcher::new(admin).unwrap()).collect();
    assert!(Watcher::new(admin).is_none());
    assert_eq!(get(admin, "/livez").status, 200);
    let before = watchers[0].until(|shown| shown["watchers"] == 16);
    watchers.truncate(3);
    // Those who left are noticed at the latest when something is sent to them.
    let after = watchers[0].until(|shown| shown["watchers"] == 3);
    assert!(after["clock"].as_f64() > before["clock"].as_f64());
    let mut other = Watcher::new(admin).unwrap();
    assert!(other.next().is_some());
}

/// It names sources and senders, figures do not.
#[test]
fn beyond_loopback_there_are_figures_alone() {
    let everywhere = CONFIG.replacen("127.0.0.1:0", "0.0.0.0:0", 1);
    let tarpit = Tarpit::start(&everywhere);
    let admin = SocketAddr::from(([127, 0, 0, 1], tarpit.admin().port()));
    for path in [
        "/",
        "/page.js",
        "/events",
        "/v1/explain?of=127.0.0.1",
        "/v1/x",
    ] {
        assert_eq!(get(admin, path).status, 403, "{path}");
    }
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!(get(admin, path).status, 200, "{path}");
    }
}

/// From the reload on that brings a token, whoever looks has to know it; who looked already too.
#[test]
fn a_reload_brings_a_token() {
    let tarpit = Tarpit::start(CONFIG);
    let admin = tarpit.admin();
    let mut watcher = Watcher::new(admin).unwrap();
    assert!(watcher.next().is_some());
    let file = tarpit.folder().join("token");
    std::fs::write(&file, "0123456789abcdef\n").unwrap();
    tarpit.reload(&format!("admin.token_file = {file:?}\n{CONFIG}"));
    while watcher.next().is_some() {}
    assert_eq!(get(admin, "/").status, 401);
    assert!(Watcher::new(admin).is_none());
    let ask = |token: &str| {
        let request =
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n");
        say(admin, request.as_bytes()).unwrap().status
    };
    assert_eq!(ask("0123456789abcdef"), 200);
    // A file that no longer has one changes nothing.
    std::fs::write(&file, "short\n").unwrap();
    tarpit.signal("HUP");
    tarpit.wait_for_message("not reloaded: the old configuration stays in force");
    assert_eq!((ask("0123456789abcdef"), ask("short")), (200, 401));
    // Another one takes its place, though nothing else changed.
    std::fs::write(&file, "fedcba9876543210\n").unwrap();
    tarpit.signal("HUP");
    until(|| ask("fedcba9876543210") == 200);
    assert_eq!(ask("0123456789abcdef"), 401);
}
