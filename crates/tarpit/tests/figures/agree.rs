//! The figures agree with the records: after a few dialogues of every kind, what is counted is what
//! stands in the log.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Instant;

use serde_json::Value;

use super::http::get;
use super::parse::{Metrics, parse, sum, value};
use super::process::{PATIENCE, Tarpit};
use super::smtp::Client;

const CONFIG: &str = concat!(
    "admin.address = \"127.0.0.1:0\"\n",
    "[tarpit]\nmode = \"enforce\"\ndelay = \"2s\"\n",
    "[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n",
    "[[listener]]\nname = \"watched\"\naddress = \"127.0.0.1:0\"\ntarpit.mode = \"observe\"\n",
    "[[certificate]]\nchain = '",
    env!("CARGO_MANIFEST_DIR"),
    "/tests/configs/mx1.example.org.pem'\n"
);

pub(crate) const HELLO: &[(&str, &str)] = &[
    ("EHLO client.example.test", "250"),
    ("MAIL FROM:<bob@example.test>", "250"),
];
pub(crate) const ALICE: (&str, &str) = ("RCPT TO:<alice@example.test>", "250");
pub(crate) const NOBODY: (&str, &str) = ("RCPT TO:<nobody@example.test>", "550");
pub(crate) const MESSAGE: &[(&str, &str)] =
    &[("DATA", "354"), ("Subject: x\r\n\r\nText\r\n.", "250")];

/// Mail that goes through, twice in one session, once in chunks.
pub(crate) fn mail(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.talk(HELLO);
    client.talk(&[ALICE]);
    client.talk(MESSAGE);
    client.talk(&[("MAIL FROM:<bob@example.test>", "250"), ALICE]);
    client.talk(&[("BDAT 5\r\nhel", "250"), ("BDAT 5 LAST\r\nlo!", "250")]);
    client.talk(&[("QUIT", "221")]);
}

/// Guesses and a verb that does not exist, each held.
pub(crate) fn guesses(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.talk(HELLO);
    client.talk(&[NOBODY, NOBODY, ALICE, ("FOO", "500"), ("QUIT", "221")]);
}

/// A client that leaves in a message.
fn leave_in_a_message(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.talk(HELLO);
    client.talk(&[ALICE, ("DATA", "354")]);
    client.tell("Subject: cut");
}

/// A guess whose client resets the connection while it is held: it is the only one then.
pub(crate) fn leave_in_a_hold(address: SocketAddr, admin: SocketAddr) {
    let mut client = Client::connect(address);
    client.talk(HELLO);
    client.tell(NOBODY.0);
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = parse(&get(admin, "/metrics").body);
        if value(&shown, "tarpit_sessions", &["state=held"]) == 1.0 {
            assert_eq!(value(&shown, "tarpit_pit_sessions", &[]), 1.0);
            break;
        }
        assert!(Instant::now() < end, "it is not held");
    }
    reset(client);
}

/// Ends the connection without a word (RST).
pub(crate) fn reset(client: Client) {
    let socket = client.into_socket();
    rustix::net::sockopt::set_socket_linger(&socket, Some(std::time::Duration::ZERO)).unwrap();
}

/// One handshake that succeeds, one that fails.
fn tls(address: SocketAddr) {
    let mut client = Client::connect(address);
    client.talk(&[("EHLO client.example.test", "250"), ("STARTTLS", "220")]);
    let mut client = client.secure();
    client.talk(HELLO);
    client.talk(&[ALICE]);
    client.talk(MESSAGE);
    client.talk(&[("QUIT", "221")]);
    let mut client = Client::connect(address);
    client.talk(&[("EHLO client.example.test", "250"), ("STARTTLS", "220")]);
    let mut socket = client.into_socket();
    socket.write_all(b"this is no TLS at all\r\n").unwrap();
    drop(socket.read_to_end(&mut Vec::new()));
}

#[test]
fn figures_agree_with_the_records() {
    let tarpit = Tarpit::start(CONFIG);
    let (mx, watched) = (tarpit.listener(), tarpit.listener());
    let admin = tarpit.admin();
    leave_in_a_hold(mx, admin);
    std::thread::scope(|scope| {
        scope.spawn(|| mail(mx));
        scope.spawn(|| guesses(mx));
        scope.spawn(|| leave_in_a_message(mx));
        scope.spawn(|| tls(mx));
        scope.spawn(|| guesses(watched));
        scope.spawn(|| mail(watched));
    });
    let records = tarpit.sessions(8);
    let shown = settled(admin, 8.0);
    sessions_agree(&shown, &records);
    holds_agree(&shown, &records);
    stages_agree(&shown);
    assert_eq!(
        value(&shown, "tarpit_sessions_opened_total", &["listener=mx"]),
        6.0
    );
    assert_eq!(
        value(
            &shown,
            "tarpit_sessions_opened_total",
            &["listener=watched"]
        ),
        2.0
    );
    let mode = |mode: &str| value(&shown, "tarpit_listener_mode", &["listener=watched", mode]);
    assert_eq!((mode("mode=observe"), mode("mode=enforce")), (1.0, 0.0));
    assert_eq!(sum(&shown, "tarpit_sessions"), 0.0);
    assert_eq!(value(&shown, "tarpit_pit_sessions", &[]), 0.0);
    assert_eq!(value(&shown, "tarpit_known_senders", &[]), 1.0);
}

/// The figures once so many sessions have ended.
pub(crate) fn settled(admin: SocketAddr, ended: f64) -> Metrics {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = parse(&get(admin, "/metrics").body);
        if sum(&shown, "tarpit_sessions_ended_total") == ended
            && sum(&shown, "tarpit_sessions") == 0.0
        {
            return shown;
        }
        assert!(
            Instant::now() < end,
            "{:?}",
            shown["tarpit_sessions_ended_total"]
        );
    }
}

fn of<'a>(records: &'a [Value], target: &str) -> Vec<&'a Value> {
    let is_it = |record: &&Value| record["target"] == target;
    records.iter().filter(is_it).collect()
}

fn count_by(records: &[&Value], field: &str) -> BTreeMap<String, f64> {
    let mut counts = BTreeMap::new();
    for record in records {
        let word = record[field].as_str().unwrap().to_owned();
        *counts.entry(word).or_default() += 1.0;
    }
    counts
}

fn sessions_agree(shown: &Metrics, records: &[Value]) {
    let sessions = of(records, "tarpit::session");
    let total = |field: &str| -> f64 {
        sessions
            .iter()
            .map(|record| record[field].as_f64().unwrap())
            .sum()
    };
    let (messages, accepted, aborted) = (
        total("messages"),
        total("messages_accepted"),
        total("messages_aborted"),
    );
    assert_eq!((messages, accepted, aborted), (6.0, 5.0, 1.0));
    let expected = [
        (
            "tarpit_recipients_total",
            "outcome=accepted",
            total("accepted"),
        ),
        (
            "tarpit_recipients_total",
            "outcome=refused",
            total("refused"),
        ),
        (
            "tarpit_recipients_total",
            "outcome=deferred",
            total("deferred"),
        ),
        ("tarpit_messages_total", "outcome=accepted", accepted),
        ("tarpit_messages_total", "outcome=aborted", aborted),
        (
            "tarpit_messages_total",
            "outcome=refused",
            messages - accepted - aborted,
        ),
        ("tarpit_tls_handshakes_total", "outcome=succeeded", 1.0),
        ("tarpit_tls_handshakes_total", "outcome=failed", 1.0),
    ];
    for (name, label, count) in expected {
        assert_eq!(value(shown, name, &[label]), count, "{name} {label}");
    }
    let ends = count_by(&sessions, "end");
    assert!(ends.len() > 2, "{ends:?}");
    for sample in &shown["tarpit_sessions_ended_total"].samples {
        let recorded = ends.get(&sample.labels["end"]).copied().unwrap_or(0.0);
        assert_eq!(sample.value, recorded, "{sample:?}");
    }
}

fn holds_agree(shown: &Metrics, records: &[Value]) {
    let holds: Vec<&Value> = of(records, "tarpit::hold")
        .into_iter()
        .filter(|record| record["message"] == "hold")
        .collect();
    let (observed, held): (Vec<&Value>, Vec<&Value>) =
        holds.iter().partition(|record| record["end"] == "observed");
    assert_eq!((held.len(), observed.len()), (4, 3), "{holds:?}");
    let reasons = count_by(&held, "reason");
    for (reason, count) in &reasons {
        let labels = [&*format!("reason={reason}"), "way=silent"];
        assert_eq!(value(shown, "tarpit_holds_total", &labels), *count);
    }
    assert_eq!(reasons["unknown_recipient"], 3.0);
    assert_eq!(sum(shown, "tarpit_holds_total"), held.len() as f64);
    let ends = count_by(&held, "end");
    assert_eq!(ends.get("hang_up"), Some(&1.0), "{ends:?}");
    for sample in &shown["tarpit_holds_ended_total"].samples {
        let recorded = ends.get(&sample.labels["end"]).copied().unwrap_or(0.0);
        assert_eq!(sample.value, recorded, "{sample:?}");
    }
    assert_eq!(
        sum(shown, "tarpit_observed_holds_total"),
        observed.len() as f64
    );
    for (name, records) in [
        ("tarpit_held_seconds_total", &held),
        ("tarpit_observed_seconds_total", &observed),
    ] {
        let seconds: f64 = records
            .iter()
            .map(|record| record["held_seconds"].as_f64().unwrap())
            .sum();
        // Milliseconds are counted; a part of one is cut off for each hold at most.
        assert!(
            (sum(shown, name) - seconds).abs() < 0.01,
            "{name}: {seconds}"
        );
        assert!(seconds > 2.9, "{name}: {seconds}");
    }
}

/// Each message and look-up left its time in the histograms.
fn stages_agree(shown: &Metrics) {
    let count = |stage: &str| {
        let label = format!("stage={stage}");
        value(shown, "tarpit_stage_duration_seconds_count", &[&label])
    };
    assert_eq!(count("end_of_data"), 5.0);
    assert_eq!(count("data"), 5.0);
    assert_eq!(count("message"), 5.0);
    assert_eq!(count("tls_handshake"), 1.0);
    // Each reply to RCPT but those that the gateway gave by itself, and the guess of the one who left.
    let recipients = sum(shown, "tarpit_recipients_total");
    assert!(
        count("lookup") >= recipients,
        "{} {recipients}",
        count("lookup")
    );
    assert_eq!(count("auth"), 0.0);
}
