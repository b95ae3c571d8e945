//! Numbers that agree: after an hour's traffic of every kind, by chance and in some seconds, the page,
//! the figures, `tarpit status`, `tarpit report` and the log say what a plain count of the records says,
//! number by number.
//!
//! Prices are as short as the hour. The traffic follows from a seed: `TARPIT_SEED=7 cargo test ... hour`
//! tries another one. What comes of it depends on the machine too, so nothing is expected of a number
//! but that it is the same everywhere, and that each kind of thing has happened.

mod counts;
mod plain;
mod traffic;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::get;
use super::page::Watcher;
use super::parse::{parse, sum, value};
use super::process::{PATIENCE, Tarpit};
use super::records::{json, lines};
use super::upstream::upstream;
use plain::Plain;
use traffic::Traffic;

/// Errors that a session may make.
const ERRORS_MAX: u8 = 6;

/// At the listeners with long holds they are long enough for whoever is to leave in one.
fn config(scope: &str) -> String {
    let listeners = [
        ("mx", "tarpit.delay = \"500ms\""),
        ("watched", "tarpit.mode = \"observe\""),
        ("stutter", "tarpit.hold = \"stutter\""),
        ("slow", ""),
    ];
    let listeners = listeners.map(|(name, more)| {
        format!(
            "[[listener]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.1\"]\n\
             auth_plaintext = true\n{more}\n"
        )
    });
    format!(
        "hostname = \"mx.example.test\"\nlog.format = \"json\"\ndomains = [\"example.test\"]\n\
         admin.address = \"127.0.0.1:0\"\nrecords.file = \"records.jsonl\"\nkeepers.directory = \"run\"\n\
         limits.errors_max = {ERRORS_MAX}\npit.sessions = 60\n\
         [tarpit]\nmode = \"enforce\"\nscope = \"{scope}\"\ndelay = \"1s\"\nhold_max = \"2s\"\n{}\
         [[certificate]]\nchain = '{}/tests/configs/mx1.example.org.pem'\n\
         [[upstream]]\naddress = \"{}\"\nidentity = \"none\"\n",
        listeners.concat(),
        env!("CARGO_MANIFEST_DIR"),
        upstream()
    )
}

/// What must have happened, or the test says nothing.
const EVERYTHING: &[&str] = &[
    "sessions ended by hang_up",
    "sessions ended by hang_up_held",
    "sessions ended by limit",
    "sessions ended by quit",
    "sessions ended by shed",
    "sessions in observe",
    "sessions over TLS",
    "sessions over the error limit",
    "recipients accepted",
    "recipients deferred",
    "recipients to be refused",
    "messages accepted",
    "messages refused",
    "messages aborted",
    "failed AUTHs",
    "guesses",
    "names learnt",
    "harvesters",
    "names learnt by harvesters",
    "sources hurt",
    "harm seconds",
    "harm seconds observed",
    "stolen seconds",
    "stolen seconds observed",
    "holds ended by paid",
    "holds ended by hang_up",
    "holds ended by half_closed",
    "holds ended by shed",
    "holds ended by released",
    "holds in the way silent",
    "holds in the way stutter",
    "holds for unknown_recipient",
    "holds for recipient_refused",
    "holds for sender_refused",
    "holds for relay_denied",
    "holds for failed_auth",
    "holds for auth_mistake",
    "holds for protocol",
    "holds observed for unknown_recipient",
    "holds observed for failed_auth",
];

#[test]
fn an_hour_counts_alike_everywhere_by_session() {
    // A message that was refused is paid for with the next recipient.
    hour("session", &["holds for debt"]);
}

#[test]
fn an_hour_counts_alike_everywhere_by_source() {
    hour("source", &["unseen", "holds for no_room"]);
}

/// `more`: what must have happened with this scope.
fn hour(scope: &str, more: &[&str]) {
    let seed = std::env::var("TARPIT_SEED").map_or(842_851, |seed| seed.parse().unwrap());
    // Shown if it fails.
    eprintln!("TARPIT_SEED={seed} brings this traffic again");
    let mut tarpit = Tarpit::start_with(&config(scope));
    let doors = [(); 4].map(|()| tarpit.listener());
    let admin = tarpit.admin();
    let traffic = Traffic::new(seed, doors);
    watch(admin, || {
        traffic.pass();
        until_seen(admin, ("tarpit_sheds_total", "reason=sessions"), || {
            traffic.flood();
        });
        until_seen(admin, ("tarpit_holds_ended_total", "end=released"), || {
            traffic.wait_for_release(|| set_mode(tarpit.folder(), "observe"));
            set_mode(tarpit.folder(), "configured");
        });
    });
    let (sessions, checks) = traffic.came();
    settle(admin, f64::from(sessions + checks));

    let page = look(admin);
    let status = json(
        &["status", "--config", "tarpit.toml", "--json"],
        tarpit.folder(),
    );
    let shown = parse(&get(admin, "/metrics").body);
    let log = tarpit.sessions(sessions as usize);
    tarpit.signal("TERM");
    assert!(tarpit.end().success());
    let folder = tarpit.folder();
    let records = lines(folder);
    let plain = Plain::of(&records, f64::from(ERRORS_MAX));
    let report = json(&["report", "--config", "tarpit.toml", "--json"], folder);
    let of_the_log = report_of_the_log(folder, &log);

    let found = [
        plain.differences("page", &counts::page(&page)),
        plain.differences("metrics", &counts::metrics(&shown)),
        plain.differences("status", &counts::status(&status)),
        plain.differences("report", &counts::report(&report)),
        plain.differences("report of the log", &counts::report(&of_the_log)),
        plain.differences("records of acts", &counts::acts(&records)),
        plain.differences("records of sessions", &plain.of_sessions()),
        plain.differences_of_sources(&report),
        plain.differences_of_sessions(&page),
        plain.differences_of_events("page", &page),
        plain.differences_of_events("status", &status),
    ];
    let found = found.concat();
    assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
    let is_missing = |name: &&&str| plain.get(name) == 0.0;
    let missing: Vec<_> = EVERYTHING.iter().chain(more).filter(is_missing).collect();
    assert!(missing.is_empty(), "seed {seed}: there are no {missing:?}");
    assert_eq!(plain.get("sessions"), f64::from(sessions));
}

/// Somebody looks at the page while it passes: no count ever goes down.
fn watch(admin: SocketAddr, traffic: impl FnOnce() + Send) {
    // It may turn out that somebody who waited was wanted.
    let may_fall = [
        "sessions now",
        "held now",
        "stolen seconds",
        "stolen seconds observed",
    ];
    std::thread::scope(|scope| {
        let traffic = scope.spawn(traffic);
        let mut watcher = Watcher::new(admin).unwrap();
        let mut before = counts::page(&watcher.next().unwrap());
        while !traffic.is_finished() {
            let now = counts::page(&watcher.next().unwrap());
            for ((name, was), (_, is)) in before.iter().zip(&now) {
                assert!(
                    was <= is || may_fall.contains(&&**name),
                    "{name}: {was}, then {is}"
                );
            }
            before = now;
        }
    });
}

/// Does something until it has had its effect: how many are held at once, the machine decides.
fn until_seen(admin: SocketAddr, (metric, label): (&str, &str), act: impl Fn()) {
    for _ in 0..10 {
        act();
        // The figures are read ten times a second at most.
        std::thread::sleep(Duration::from_millis(150));
        if value(&parse(&get(admin, "/metrics").body), metric, &[label]) > 0.0 {
            break;
        }
    }
}

fn set_mode(folder: &Path, mode: &str) {
    json(&["mode", mode, "--config", "tarpit.toml", "--json"], folder);
}

/// Waits until all who came are gone.
fn settle(admin: SocketAddr, came: f64) {
    let end = Instant::now() + PATIENCE;
    loop {
        let shown = parse(&get(admin, "/metrics").body);
        let opened = sum(&shown, "tarpit_sessions_opened_total");
        let now = sum(&shown, "tarpit_sessions");
        if opened == came && now == 0.0 {
            return;
        }
        assert!(
            Instant::now() < end,
            "{opened} of {came} came, {now} are there"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What the page shows from now on.
fn look(admin: SocketAddr) -> Value {
    let mut watcher = Watcher::new(admin).unwrap();
    // The first may be of a moment ago.
    watcher.next().unwrap();
    watcher.next().unwrap()
}

/// What is reported from the log alone.
fn report_of_the_log(folder: &Path, log: &[Value]) -> Value {
    let text: String = log.iter().map(|line| format!("{line}\n")).collect();
    fs::write(folder.join("log.jsonl"), text).unwrap();
    json(&["report", "--records", "log.jsonl", "--json"], folder)
}
