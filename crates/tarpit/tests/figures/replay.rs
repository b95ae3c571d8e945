//! Replays of what a gateway that ran has recorded: the same settings give what really happened,
//! and others what follows from them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::Value;

use super::agree::{ALICE, HELLO, MESSAGE, NOBODY, leave_in_a_hold, mail};
use super::process::Tarpit;
use super::records::json;
use super::smtp::Client;

/// Of two listeners the first is for clients by themselves, the second for those by a proxy.
fn config(mode: &str, scope: &str, delay: &str) -> String {
    format!(
        "admin.address = \"127.0.0.1:0\"\nrecords.file = \"records.jsonl\"\n\
         [tarpit]\nmode = \"{mode}\"\nscope = \"{scope}\"\ndelay = \"{delay}\"\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\nname = \"proxied\"\naddress = \"127.0.0.1:0\"\nproxy_protocol = [\"127.0.0.1\"]\n"
    )
}

/// Four names that do not exist and one that does.
fn harvest(address: SocketAddr) {
    let mut client = Client::connect_as(address, "192.0.2.2");
    client.talk(HELLO);
    client.talk(&[NOBODY, NOBODY, ALICE, NOBODY, NOBODY, ("QUIT", "221")]);
}

/// A list with a stale name: mail that is wanted, and waits.
fn list(address: SocketAddr) {
    let mut client = Client::connect_as(address, "192.0.2.1");
    for _ in 0..2 {
        client.talk(&HELLO[..1]);
        client.talk(&HELLO[1..]);
        client.talk(&[NOBODY, ALICE]);
        client.talk(MESSAGE);
    }
    client.talk(&[("QUIT", "221")]);
}

/// Runs a gateway, and leaves its records and its configuration.
fn record(mode: &str, scope: &str, delay: &str) -> Tarpit {
    let mut tarpit = Tarpit::start(&config(mode, scope, delay));
    let (mx, proxied) = (tarpit.listener(), tarpit.listener());
    let mut sessions = 5;
    if mode == "enforce" {
        leave_in_a_hold(mx, tarpit.admin());
        sessions += 1;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| mail(mx));
        scope.spawn(|| list(proxied));
        for _ in 0..3 {
            scope.spawn(|| harvest(proxied));
        }
    });
    tarpit.sessions(sessions);
    tarpit.signal("TERM");
    assert!(tarpit.end().success());
    tarpit
}

fn replay(folder: &Path, more: &str) -> (Value, Value) {
    let text = format!(
        "hostname = \"mx.example.test\"\n{more}\n[maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n"
    );
    fs::write(folder.join("new.toml"), text).unwrap();
    let both = json(
        &["replay", "records.jsonl", "--config", "new.toml", "--json"],
        folder,
    );
    assert_eq!(
        (&both["sessions_cut"], &both["lines_unreadable"]),
        (&0.into(), &0.into())
    );
    (both["recorded"].clone(), both["replayed"].clone())
}

/// Equal, but for what a thread that comes late adds to a hold.
fn are_the_same(recorded: &Value, replayed: &Value) {
    let (mut recorded, mut replayed) = (recorded.clone(), replayed.clone());
    for pointer in ["/harm/seconds", "/stolen_seconds"] {
        let take = |of: &mut Value| of.pointer_mut(pointer).unwrap().take().as_f64().unwrap();
        let (was, is) = (take(&mut recorded), take(&mut replayed));
        assert!((was - is).abs() <= 0.2 + was / 5.0, "{pointer}: {was} {is}");
    }
    assert_eq!(recorded, replayed);
}

#[test]
fn the_same_settings_give_what_happened() {
    for scope in ["session", "source"] {
        for mode in ["observe", "enforce"] {
            let tarpit = record(mode, scope, "500ms");
            let (recorded, replayed) = replay(tarpit.folder(), &config(mode, scope, "500ms"));
            assert_eq!(recorded["names_learnt"], 3, "{recorded}");
            // Three harvesters, a list, and somebody who left, of the address that mail came from.
            let (holds, harmed) = if mode == "enforce" { (15, 2) } else { (14, 1) };
            assert_eq!(recorded["holds"], holds, "{mode} {scope}: {recorded}");
            assert_eq!(
                recorded["harm"]["sources_held"], harmed,
                "{mode} {scope}: {recorded}"
            );
            are_the_same(&recorded, &replayed);
        }
    }
}

#[test]
fn other_settings_give_other_outcomes_and_advice() {
    let tarpit = record("off", "session", "5s");
    let folder = tarpit.folder();
    let (recorded, replayed) = replay(folder, &config("enforce", "source", "20s"));
    assert_eq!(
        (&recorded["holds"], &recorded["stolen_seconds"]),
        (&0.into(), &0.0.into())
    );
    // The three go on side by side: there is room for one guess at a time, and then for none.
    assert!(replayed["names_learnt"].as_u64() < Some(3), "{replayed}");
    assert!(replayed["guesses_unseen"].as_u64() > Some(0), "{replayed}");
    assert_eq!(replayed["other_sources_deferred"], 1);
    assert_eq!(replayed["harm"]["sources_held"], 1);
    // An exemption ends the harm, and changes nothing for the harvester.
    let exempt = "[[exempt]]\nnetwork = \"192.0.2.1\"\nreason = \"a list\"\n";
    let more = format!("{}{exempt}", config("enforce", "source", "20s"));
    let (_, exempted) = replay(folder, &more);
    assert_eq!(exempted["harm"]["seconds"], 0.0);
    assert_eq!(exempted["stolen_seconds"], replayed["stolen_seconds"]);

    let advice = json(&["advise", "records.jsonl", "--json"], folder);
    let tries = advice["tries"].as_array().unwrap();
    assert_eq!(tries.len(), 26);
    let of = |scope: &str, delay: u64| {
        let is_it = |one: &&Value| one["scope"] == scope && one["delay_seconds"] == delay;
        tries.iter().find(is_it).unwrap()
    };
    assert_eq!(of("session", 0)["stolen_seconds"], 0.0);
    // Twelve wrong names of unwanted sources at 5 s each.
    assert_eq!(of("session", 5)["stolen_seconds"], 60.0);
    assert_eq!(of("session", 5)["harm"]["seconds"], 10.0);
    assert!(of("source", 20)["names_learnt"].as_u64() < Some(3));
    assert_eq!(advice["survival"], Value::Array(Vec::new()));
}
