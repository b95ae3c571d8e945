//! The record file of a gateway that runs: it agrees with the figures and the log, whatever is
//! logged; `tarpit report` reads it; and nothing secret is in either, nor on the page.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::agree::{ALICE, HELLO, MESSAGE, guesses, leave_in_a_hold, mail, settled};
use super::parse::{Metrics, sum, value};
use super::process::Tarpit;
use super::smtp::Client;
use super::upstream::{RIGHT, WRONG, upstream};

const CONFIG: &str = "admin.address = \"127.0.0.1:0\"\n\
     [records]\nfile = \"records.jsonl\"\n\
     [tarpit]\nmode = \"enforce\"\ndelay = \"1s\"\n\
     [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
     [[listener]]\nname = \"watched\"\naddress = \"127.0.0.1:0\"\ntarpit.mode = \"observe\"\n";

pub(crate) fn tarpit(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tarpit"));
    command
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap()
}

/// What a command prints as JSON.
pub(crate) fn json(arguments: &[&str], folder: &Path) -> Value {
    let output = tarpit(arguments, folder);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn lines(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("records.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of<'a>(records: &'a [Value], target: &str) -> Vec<&'a Value> {
    records
        .iter()
        .filter(|record| record["target"] == target)
        .collect()
}

#[test]
fn records_agree_with_the_log_the_figures_and_the_report() {
    let mut tarpit = Tarpit::start(CONFIG);
    let (mx, watched) = (tarpit.listener(), tarpit.listener());
    let admin = tarpit.admin();
    leave_in_a_hold(mx, admin);
    std::thread::scope(|scope| {
        scope.spawn(|| mail(mx));
        scope.spawn(|| guesses(mx));
        scope.spawn(|| guesses(watched));
    });
    let mut log = tarpit.sessions(4);
    // By now it is a known sender.
    guesses(mx);
    log.append(&mut tarpit.sessions(1));
    let shown = settled(admin, 5.0);
    assert_eq!(value(&shown, "tarpit_records_dropped_total", &[]), 0.0);
    tarpit.signal("TERM");
    assert!(tarpit.end().success());
    let records = lines(tarpit.folder());
    assert!(records.iter().all(|record| record["v"] == 1));
    assert!(records.iter().all(|record| record.get("level").is_none()));
    for target in ["tarpit::hold", "tarpit::session"] {
        let (here, there) = (of(&records, target), of(&log, target));
        assert_eq!(here.len(), there.len());
        for (here, there) in here.into_iter().zip(there) {
            let mut there = there.clone();
            let fields = there.as_object_mut().unwrap();
            fields.remove("level");
            fields.insert("v".to_owned(), 1.into());
            fields.insert("timestamp".to_owned(), here["timestamp"].clone());
            assert_eq!(*here, there);
        }
    }
    let acts = of(&records, "tarpit::act");
    let count = |deed: &str, judged: &str| {
        let is_it = |act: &&&Value| act["deed"] == deed && act["judged"] == judged;
        acts.iter().filter(is_it).count()
    };
    // One left in a hold, and three times two names and a verb that do not exist.
    assert_eq!(
        (count("rcpt", "refused"), count("command", "refused")),
        (7, 3)
    );
    assert_eq!(
        (count("rcpt", "accepted"), count("message", "accepted")),
        (5, 2)
    );
    let guess = acts.iter().find(|act| act["judged"] == "refused").unwrap();
    assert_eq!(guess["offence"], "unknown_recipient");
    assert_eq!(guess["price_seconds"], 1.0);

    known_senders_are_marked(&records);
    the_report_agrees(&shown, tarpit.folder());
}

/// That it does so is no hold of its own.
#[test]
fn who_closes_its_side_in_a_hold_was_held_once() {
    let mut tarpit = Tarpit::start(&CONFIG.replace("delay = \"1s\"", "delay = \"100s\""));
    let (mx, admin) = (tarpit.listener(), tarpit.admin());
    let mut client = Client::connect(mx);
    client.talk(HELLO);
    client.tell("RCPT TO:<nobody@example.test>");
    super::health::until(|| {
        let shown = super::parse::parse(&super::http::get(admin, "/metrics").body);
        value(&shown, "tarpit_sessions", &["state=held"]) == 1.0
    });
    let socket = client.into_socket();
    socket.shutdown(std::net::Shutdown::Write).unwrap();
    tarpit.wait_for_message("client closed its side while held");
    // It is let go of then.
    tarpit.signal("TERM");
    assert!(tarpit.end().success());
    let records = lines(tarpit.folder());
    let holds = of(&records, "tarpit::hold");
    assert_eq!(holds.len(), 1, "{holds:?}");
    let report = json(
        &["report", "--records", "records.jsonl", "--json"],
        tarpit.folder(),
    );
    assert_eq!(report["held"]["count"], 1, "{report}");
    assert_eq!(report["lines_unreadable"], 0, "{report}");
}

/// The first hold was before anything was accepted, those of the last session after.
fn known_senders_are_marked(records: &[Value]) {
    let holds = of(records, "tarpit::hold");
    assert!(holds[0].get("known").is_none(), "{}", holds[0]);
    let sessions = of(records, "tarpit::session");
    let last = &sessions.last().unwrap()["session"];
    let of_last: Vec<_> = holds
        .iter()
        .filter(|hold| hold["session"] == *last)
        .collect();
    assert_eq!(of_last.len(), 3);
    assert!(of_last.iter().all(|hold| hold["known"] == true));
}

fn the_report_agrees(shown: &Metrics, folder: &Path) {
    let report = json(&["report", "--config", "tarpit.toml", "--json"], folder);
    let harm = value(shown, "tarpit_harm_seconds_total", &[])
        + value(shown, "tarpit_observed_harm_seconds_total", &[]);
    let figures = [
        ("/held/count", sum(shown, "tarpit_holds_total")),
        ("/held/seconds", sum(shown, "tarpit_held_seconds_total")),
        (
            "/would_hold/count",
            sum(shown, "tarpit_observed_holds_total"),
        ),
        ("/sessions", 5.0),
        // Each hold was of one source, whose mail the upstream took.
        ("/harm/seconds", harm),
        (
            "/harm/sources/0/hung_up",
            value(shown, "tarpit_harm_hang_ups_total", &[]),
        ),
        (
            "/recipients_refused",
            value(shown, "tarpit_recipients_total", &["outcome=refused"]),
        ),
        (
            "/messages_accepted",
            value(shown, "tarpit_messages_total", &["outcome=accepted"]),
        ),
    ];
    for (pointer, figure) in figures {
        let told = report.pointer(pointer).unwrap().as_f64().unwrap();
        // Spans in the report are whole milliseconds.
        assert!((told - figure).abs() < 0.01, "{pointer}: {told}, {figure}");
    }
    // All came from one address, and the upstream took mail of it.
    assert_eq!(report["harm"]["sources"][0]["source"], "127.0.0.1");
    assert!(report["estimate"].is_string());
}

/// What must be nowhere.
const SECRETS: &[&str] = &[
    RIGHT,
    WRONG,
    "s3cr3t",
    // Base64 of parts of it, at each of the three places.
    "czNjcjN0",
    "MzY3IzdC",
    "zM2NyM3",
    "a body of mine",
    "a subject of mine",
];

#[test]
fn nothing_secret_is_written_down() {
    for (addresses, sender) in [
        ("full", "bob@example.test"),
        ("domain", "*@example.test"),
        ("hash", ""),
    ] {
        nothing_secret(addresses, sender);
    }
}

/// A session with passwords where they belong, and where they don't.
fn confide(mx: SocketAddr) {
    let mut client = Client::connect(mx);
    client.talk(&[("EHLO client.example.test", "250")]);
    client.talk(&[(&format!("AUTH PLAIN {WRONG}"), "535")]);
    client.talk(&[
        ("AUTH LOGIN", "334"),
        ("YWxpY2U=", "334"),
        ("czNjcjN0LWxvZ2lu", "535"),
    ]);
    // Where no AUTH line is meant, and broken ones.
    client.talk(&[("czNjcjN0LWxvZ2lu", "500"), ("AUTH PLAIN s3cr3t!", "501")]);
    client.talk(&[(&format!("AUTH PLAIN {RIGHT}"), "235")]);
    client.talk(&HELLO[1..]);
    client.talk(&[ALICE, ("RCPT TO:<nobody@example.test>", "550"), MESSAGE[0]]);
    client.talk(&[
        (
            "Subject: a subject of mine\r\n\r\na body of mine\r\n.",
            "250",
        ),
        ("QUIT", "221"),
    ]);
}

/// `sender`: how the reverse-path is shown; empty if nobody can know.
fn nothing_secret(addresses: &str, sender: &str) {
    let config = format!(
        "hostname = \"mx.example.test\"\nlog.format = \"json\"\nlog.addresses = \"{addresses}\"\nadmin.address = \"127.0.0.1:0\"\n\
         [records]\nfile = \"records.jsonl\"\n[tarpit]\nmode = \"enforce\"\ndelay = \"100ms\"\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\nauth_plaintext = true\n\
         [[upstream]]\naddress = \"{}\"\nidentity = \"none\"\n",
        upstream()
    );
    let mut tarpit = Tarpit::start_with(&config);
    let (mx, admin) = (tarpit.listener(), tarpit.admin());
    // While somebody looks, what is said is kept.
    let mut watcher = super::page::Watcher::new(admin).unwrap();
    assert!(watcher.next().is_some());
    confide(mx);
    let log = tarpit.sessions(1);
    let name = log.last().unwrap()["session"].as_str().unwrap();
    nothing_secret_is_shown((admin, &mut watcher), name, addresses == "full");
    drop(watcher);
    tarpit.signal("TERM");
    assert!(tarpit.end().success());
    let records = fs::read_to_string(tarpit.folder().join("records.jsonl")).unwrap();
    assert_eq!(
        records
            .lines()
            .filter(|line| line.contains("\"deed\":\"auth\""))
            .count(),
        3,
        "{records}"
    );
    assert!(
        records.contains("\"deed\":\"message\",\"judged\":\"accepted\""),
        "{records}"
    );
    let log: String = log.iter().map(|line| format!("{line}\n")).collect();
    for secret in SECRETS {
        assert!(!log.contains(secret), "{secret} in the log: {log}");
        assert!(
            !records.contains(secret),
            "{secret} in the records: {records}"
        );
    }
    assert!(
        records.contains(&format!("\"sender\":\"{sender}")),
        "{records}"
    );
    for local in ["alice@", "bob@", "nobody@"] {
        let is_shown = addresses == "full";
        assert_eq!(
            records.contains(local),
            is_shown,
            "{local} in the records: {records}"
        );
        assert_eq!(log.contains(local), is_shown, "{local} in the log: {log}");
    }
}

/// Nor on the page: in its events, in what was said in the session, and in what explains it.
fn nothing_secret_is_shown(
    (admin, watcher): (SocketAddr, &mut super::page::Watcher),
    session: &str,
    is_full: bool,
) {
    let ask = |path: &str| super::http::get(admin, &format!("{path}?of={session}"));
    super::health::until(|| ask("/v1/explain").status == 200);
    let (said, told) = (ask("/v1/dialogue"), ask("/v1/explain"));
    assert_eq!(said.status, 200, "it is not in the sample");
    assert!(
        said.body.contains("AUTH PLAIN (not shown)"),
        "{}",
        said.body
    );
    assert!(said.body.contains("message data"), "{}", said.body);
    let shown = loop {
        let shown = watcher.next().unwrap();
        if shown["sessions"][0]["ended"].is_object() {
            break shown.to_string();
        }
    };
    for text in [&said.body, &told.body, &shown] {
        for secret in SECRETS.iter().chain(&["YWxpY2U=", "UGFzc3dvcmQ6"]) {
            assert!(!text.contains(secret), "{secret} on the page: {text}");
        }
        for local in ["bob@", "nobody@"] {
            assert_eq!(text.contains(local), is_full, "{local} on the page: {text}");
        }
    }
    assert_eq!(said.body.contains("alice@"), is_full, "{}", said.body);
}

#[test]
fn a_quiet_log_leaves_the_records_whole() {
    let folder = tempfile::tempdir().unwrap();
    let text = "hostname = \"mx.example.test\"\nrecords.file = \"records.jsonl\"\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n";
    fs::write(folder.path().join("tarpit.toml"), text).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_tarpit"))
        .args(["run", "--config", "tarpit.toml"])
        .current_dir(folder.path())
        .env("TARPIT_LOG", "off,tarpit::listen=info")
        .stderr(std::process::Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let listening = log.next().unwrap().unwrap();
    let address = listening.split("address=").nth(1).unwrap();
    let address = address.split_whitespace().next().unwrap();
    mail(address.parse().unwrap());
    let ended = Command::new("kill").arg(child.id().to_string()).status();
    assert!(ended.unwrap().success() && child.wait().unwrap().success());
    assert_eq!(of(&lines(folder.path()), "tarpit::session").len(), 1);
    assert_eq!(log.map_while(Result::ok).count(), 0);
}

#[test]
fn a_place_that_was_named_must_be_writable() {
    let folder = tempfile::tempdir().unwrap();
    let text = "hostname = \"mx.example.test\"\nrecords.file = \"missing/records.jsonl\"\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n";
    fs::write(folder.path().join("tarpit.toml"), text).unwrap();
    let output = tarpit(&["run", "--config", "tarpit.toml"], folder.path());
    assert_eq!(output.status.code(), Some(69));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        errors.contains("records.file: missing/records.jsonl"),
        "{errors}"
    );
}
