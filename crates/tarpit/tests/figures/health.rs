//! `/livez`, `/readyz`, and what a reload does.

use std::net::{SocketAddr, TcpListener};
use std::time::Instant;

use super::http::{Answer, get, say};
use super::parse::{parse, value};
use super::process::{PATIENCE, Tarpit};
use super::smtp::Client;

fn config(admin: &str) -> String {
    format!("admin.address = \"{admin}\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n")
}

/// Draining is said as long as there is somebody to drain for.
#[test]
fn readiness_ends_with_the_drain_and_life_goes_on() {
    let mut tarpit = Tarpit::start(&config("127.0.0.1:0"));
    let mx = tarpit.listener();
    let admin = tarpit.admin();
    for path in ["/livez", "/readyz"] {
        let answer = get(admin, path);
        assert_eq!((answer.status, &*answer.body), (200, "ok\n"), "{path}");
    }
    let mut client = Client::connect(mx);
    client.talk(&[
        ("EHLO client.example.test", "250"),
        ("MAIL FROM:<bob@example.test>", "250"),
        ("RCPT TO:<alice@example.test>", "250"),
        ("DATA", "354"),
    ]);
    tarpit.signal("TERM");
    tarpit.wait_for_message("draining");
    let answer = get(admin, "/readyz");
    assert_eq!((answer.status, &*answer.body), (503, "draining\n"));
    assert_eq!(get(admin, "/livez").status, 200);
    let shown = parse(&get(admin, "/metrics").body);
    assert_eq!(value(&shown, "tarpit_draining", &[]), 1.0);
    assert_eq!(value(&shown, "tarpit_sessions", &["state=message"]), 1.0);
    client.talk(&[("Text\r\n.", "250")]);
    assert_eq!(tarpit.end().code(), Some(0));
}

/// No upstream, no mail: senders choose another MX, and whoever balances should as well.
#[test]
fn no_upstream_is_not_ready() {
    // Bound and closed: nobody answers there.
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let text = format!(
        "hostname = \"mx.example.test\"\nlog.format = \"json\"\n{}\n[[upstream]]\nname = \"back\"\naddress = \"{nobody}\"\n",
        config("127.0.0.1:0")
    );
    let tarpit = Tarpit::start_with(&text);
    let admin = tarpit.admin();
    let answer = get(admin, "/readyz");
    assert_eq!(
        (answer.status, &*answer.body),
        (503, "no upstream is healthy\n")
    );
    let shown = parse(&get(admin, "/metrics").body);
    let server = format!("server={nobody}");
    assert_eq!(
        value(&shown, "tarpit_upstream_up", &["upstream=back", &server]),
        0.0
    );
    let idle = ["upstream=back", &server, "state=idle"];
    assert_eq!(value(&shown, "tarpit_upstream_connections", &idle), 0.0);
    assert_eq!(
        value(&shown, "tarpit_upstream_waiting", &["upstream=back"]),
        0.0
    );
}

#[test]
fn a_reload_moves_it_and_says_what_came_of_it() {
    let tarpit = Tarpit::start(&config("127.0.0.1:0"));
    let first = tarpit.admin();
    let reloaded = |address: SocketAddr| {
        let shown = parse(&get(address, "/metrics").body);
        value(&shown, "tarpit_config_last_reload_successful", &[])
    };
    assert_eq!(reloaded(first), 1.0);

    tarpit.reload("mistake = true");
    tarpit.wait_for_message("not reloaded: the old configuration stays in force");
    until(|| reloaded(first) == 0.0);

    // An address that is taken: everything stays.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    tarpit.reload(&config(&taken.local_addr().unwrap().to_string()));
    let line = tarpit.wait_for("refusal", |line| {
        line["error"]
            .as_str()
            .is_some_and(|error| error.contains("[admin] address"))
    });
    assert!(
        line["error"].as_str().unwrap().contains("cannot listen"),
        "{line}"
    );
    assert_eq!(reloaded(first), 0.0);

    let second = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    tarpit.reload(&config(&second.to_string()));
    tarpit.wait_for_message("new configuration in force");
    until(|| std::net::TcpStream::connect(second).is_ok() && reloaded(second) == 1.0);
    until(|| std::net::TcpStream::connect(first).is_err());

    tarpit.reload(&config("off"));
    tarpit.wait_for_message("new configuration in force");
    until(|| std::net::TcpStream::connect(second).is_err());
}

/// The default is a convenience: nobody's mail stops for it.
#[test]
fn a_default_that_is_taken_stops_nothing() {
    // Either it is free, or somebody else has it, which is as good.
    let _taken = TcpListener::bind("127.0.0.1:12842");
    let tarpit = Tarpit::start("[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n");
    let mx = tarpit.listener();
    tarpit.wait_for("a word on it", |line| {
        line["target"] == "tarpit::admin" && line["level"] == "INFO"
    });
    Client::connect(mx).talk(&[("QUIT", "221")]);
}

#[test]
fn an_address_that_was_asked_for_must_be_had() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut tarpit = Tarpit::start(&config(&address));
    let line = tarpit.wait_for_message("can't start");
    assert!(line["error"].as_str().unwrap().contains(&address), "{line}");
    assert_eq!(tarpit.end().code(), Some(69));
}

/// HTTP/1.0, as simple health checks speak it.
#[test]
fn old_clients_are_answered() {
    let tarpit = Tarpit::start(&config("127.0.0.1:0"));
    let answer: Answer = say(tarpit.admin(), b"GET /livez HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((answer.status, &*answer.body), (200, "ok\n"));
}

pub(crate) fn until(is_so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "it never is");
        std::thread::yield_now();
    }
}
