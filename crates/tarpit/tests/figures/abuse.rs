//! Who is not answered, and what it costs.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::http::{connect, get, request, say};
use super::process::Tarpit;
use super::smtp::Client;

const CONFIG: &str =
    "admin.address = \"127.0.0.1:0\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n";

#[test]
fn other_methods_paths_and_hosts_are_refused() {
    let tarpit = Tarpit::start(CONFIG);
    let admin = tarpit.admin();
    let status = |method: &str, path: &str, host: &str| {
        say(admin, &request(method, path, host)).map(|answer| answer.status)
    };
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        assert_eq!(
            status(method, "/metrics", "localhost"),
            Some(405),
            "{method}"
        );
    }
    let refused = say(admin, &request("POST", "/metrics", "localhost")).unwrap();
    assert_eq!(refused.field("allow"), Some("GET, HEAD"));
    for path in [
        "/page",
        "/metrics/",
        "/metricsx",
        "/../metrics",
        "//metrics",
    ] {
        assert_eq!(status("GET", path, "localhost"), Some(404), "{path}");
    }
    assert_eq!(status("GET", "/metrics?a=b", "localhost"), Some(200));
    for host in [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
    ] {
        assert_eq!(status("GET", "/metrics", host), Some(421), "{host}");
    }
    let two = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    assert_eq!(say(admin, two).map(|answer| answer.status), Some(421));
    let absolute = b"GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(say(admin, absolute).map(|answer| answer.status), Some(421));
}

#[test]
fn head_has_no_body() {
    let tarpit = Tarpit::start(CONFIG);
    let answer = say(tarpit.admin(), &request("HEAD", "/metrics", "localhost")).unwrap();
    assert_eq!((answer.status, &*answer.body), (200, ""));
    let length: usize = answer.field("content-length").unwrap().parse().unwrap();
    assert!(length > 1000, "{length}");
}

/// Neither is kept in memory, and neither is waited for.
#[test]
fn heads_without_end_and_bodies_are_cut() {
    let tarpit = Tarpit::start(CONFIG);
    let admin = tarpit.admin();
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "x".repeat(100_000)
    );
    let answer = say(admin, long.as_bytes());
    assert!(answer.is_none_or(|answer| (400..500).contains(&answer.status)));
    let fields = "X-Y: z\r\n".repeat(500);
    let many = format!("GET /livez HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let answer = say(admin, many.as_bytes());
    assert!(answer.is_none_or(|answer| (400..500).contains(&answer.status)));
    let body = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nxxx";
    let answer = say(admin, body);
    assert!(answer.is_none_or(|answer| answer.status == 200));
    assert!(say(admin, b"\x16\x03\x01\x02\x00\x01\x00").is_none_or(|answer| answer.status == 400));
    assert_eq!(get(admin, "/livez").status, 200);
}

/// Who says nothing, drips, or does not read: their places come back within the time for them, and
/// mail is served meanwhile.
#[test]
fn places_taken_by_the_slow_come_back() {
    let tarpit = Tarpit::start(CONFIG);
    let mx = tarpit.listener();
    let admin = tarpit.admin();
    let began = Instant::now();
    let mut silent: Vec<_> = (0..40).map(|_| connect(admin)).collect();
    for one in &mut silent[..10] {
        // Half a head.
        one.write_all(b"GET /metrics HT").unwrap();
    }
    // All places are taken: whoever comes now is closed on.
    assert!(is_closed_on(admin));
    let mut client = Client::connect(mx);
    client.talk(&[
        ("EHLO client.example.test", "250"),
        ("MAIL FROM:<bob@example.test>", "250"),
        ("RCPT TO:<alice@example.test>", "250"),
        ("DATA", "354"),
        ("Text\r\n.", "250"),
        ("QUIT", "221"),
    ]);
    // They are cut before they give up.
    for one in &mut silent {
        drop(one.read_to_end(&mut Vec::new()));
    }
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(get(admin, "/livez").status, 200);
}

fn is_closed_on(admin: SocketAddr) -> bool {
    let mut stream = connect(admin);
    let _ = stream.write_all(&request("GET", "/livez", "localhost"));
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer.is_empty()
}

/// However often somebody looks, the figures are read ten times a second at most: each look would
/// show one connection more, if it were a reading of its own.
#[test]
fn looking_often_costs_no_more() {
    let tarpit = Tarpit::start(CONFIG);
    let mx = tarpit.listener();
    let admin = tarpit.admin();
    let began = Instant::now();
    let mut readings = BTreeSet::new();
    let mut clients = Vec::new();
    for _ in 0..60 {
        clients.push(Client::connect(mx));
        readings.insert(get(admin, "/metrics").body);
    }
    let most = began.elapsed().as_millis() / 100 + 2;
    assert!(
        (readings.len() as u128) <= most,
        "{} readings, {most} allowed",
        readings.len()
    );
}
