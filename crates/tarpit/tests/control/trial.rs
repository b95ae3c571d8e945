//! A trial: what ends it, and that nothing else keeps it going.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::gateway::{Client, Tarpit};
use super::process::PATIENCE;

fn by(mode: &str, set_by: &str) -> (String, String) {
    (mode.to_owned(), set_by.to_owned())
}

#[test]
fn a_trial_ends_when_a_known_sender_waits() {
    let tarpit = Tarpit::run("mode = \"observe\"\ndelay = \"1s\"");
    let mut known = Client::connect(tarpit.address);
    known.deliver();
    let waiting = tarpit
        .command(&["mode", "enforce", "--for", "1h", "--trip", "1s", "--wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tarpit.process.wait_for("changed by command");
    let status = tarpit.status();
    assert_eq!(status["rule"]["set_by"], "trial");
    assert_eq!(status["rule"]["trial"]["trip_seconds"], 1.0);
    let kept = fs::read_to_string(tarpit.folder.path().join("mode.toml")).unwrap();
    assert!(kept.contains("mode = \"observe\""), "{kept}");

    // A session from before keeps its mode.
    known.guess();
    assert!(known.reply().starts_with("550 "));
    let mut known = Client::connect(tarpit.address);
    known.guess();
    assert!(known.reply().starts_with("550 "));
    tarpit.process.wait_for("trial over");
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let verdict = String::from_utf8(output.stdout).unwrap();
    assert!(
        verdict.contains("sources whose mail was accepted waited 1.0 s in all, allowed were 1 s"),
        "{verdict}"
    );
    assert!(verdict.contains("127.0.0.1"), "{verdict}");
    let status = tarpit.status();
    assert_eq!(status["rule"]["mode"], "observe");
    assert_eq!(status["listeners"][0]["mode"], "observe");
    assert_eq!(status["rule"]["verdict"]["outcome"], "waited");
    let waited = status["harm"]["seconds"].as_f64().unwrap();
    assert!((1.0..1.5).contains(&waited), "{waited}");
    let error = tarpit.refuse(&["confirm"], 1);
    assert!(error.contains("no trial runs"), "{error}");
}

#[test]
fn a_trial_ends_when_a_known_sender_hangs_up_and_the_time_of_another_is_up() {
    let tarpit = Tarpit::run("mode = \"observe\"\ndelay = \"100s\"");
    Client::connect(tarpit.address).deliver();
    tarpit.say(&["mode", "enforce", "--for", "1h"]);
    let mut known = Client::connect(tarpit.address);
    known.guess();
    while tarpit.status()["pit"]["held"] != 1 {}
    rustix::net::sockopt::set_socket_linger(known.0.get_ref(), Some(Duration::ZERO)).unwrap();
    drop(known);
    let line = tarpit.process.wait_for("trial over");
    assert!(line.contains("outcome=\"hung_up\""), "{line}");
    let verdict = tarpit.tarpit(&["mode", "enforce", "--for", "1s", "--wait"]);
    assert!(verdict.status.success());
    let said = String::from_utf8(verdict.stdout).unwrap();
    assert!(
        said.contains("its time is up. The mode is observe now"),
        "{said}"
    );
}

#[test]
fn a_restart_in_a_trial_comes_back_in_observe_and_a_confirmed_one_stays() {
    let tarpit = Tarpit::run("mode = \"enforce\"\ndelay = \"1s\"");
    tarpit.say(&["mode", "enforce", "--for", "1h"]);
    let tarpit = tarpit.again();
    assert_eq!(tarpit.mode(), by("observe", "command"));
    tarpit.say(&["mode", "enforce", "--for", "1h"]);
    tarpit.say(&["confirm"]);
    let tarpit = tarpit.again();
    assert_eq!(tarpit.mode(), by("enforce", "configuration"));
    for arguments in [
        &["mode", "observe", "--for", "1h"][..],
        &["mode", "enforce", "--for", "8761h"],
        &["mode", "enforce", "--for", "0s"],
    ] {
        tarpit.refuse(arguments, 1);
    }
}

/// The disk is full: a trial that can't be written down is refused where a restart in it would come
/// back in enforce, and the one that runs before it goes on, with its end.
#[test]
fn a_trial_that_cannot_be_kept_takes_nobody_s_safety_away() {
    let tarpit = Tarpit::run("mode = \"enforce\"\ndelay = \"1s\"");
    tarpit.say(&["mode", "enforce", "--for", "1h"]);
    tarpit.break_writing("mode.toml");
    // This one's restart is in observe already.
    tarpit.say(&["mode", "enforce", "--for", "2h"]);
    fs::remove_file(tarpit.folder.path().join("mode.toml")).unwrap();
    let error = tarpit.refuse(&["mode", "enforce", "--for", "3h"], 1);
    assert!(error.contains("nothing has changed"), "{error}");
    let trial = &tarpit.status()["rule"]["trial"];
    let length = trial["ends"].as_u64().unwrap() - trial["began"].as_u64().unwrap();
    assert_eq!(length, 7200);
}

#[test]
fn a_trial_that_cannot_be_kept_is_refused_after_enforce_by_command() {
    let tarpit = Tarpit::run("mode = \"observe\"\ndelay = \"1s\"");
    tarpit.say(&["mode", "enforce"]);
    tarpit.break_writing("mode.toml");
    let error = tarpit.refuse(&["mode", "enforce", "--for", "1h"], 1);
    assert!(error.contains("would not come back in observe"), "{error}");
    assert_eq!(tarpit.mode(), by("enforce", "command"));
    // Taking a file away works on a full disk.
    tarpit.say(&["mode", "observe"]);
    let said = tarpit.say(&["mode", "enforce", "--for", "1h"]);
    assert!(
        said.contains("warning: a restart will not know of the trial"),
        "{said}"
    );
    let tarpit = tarpit.again();
    assert_eq!(tarpit.mode(), by("observe", "configuration"));
}

/// Somebody's script asks for something all the time.
#[test]
fn however_much_is_asked_for_a_trial_ends() {
    let tarpit = Tarpit::run("mode = \"observe\"\ndelay = \"1s\"");
    let over = AtomicBool::new(false);
    let end = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        tarpit.say(&["mode", "enforce", "--for", "1s"]);
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) && Instant::now() < end {
                    tarpit.post("/v1/mode", "{\"mode\":\"on\"}");
                }
            });
        }
        let line = tarpit.process.wait_for("trial over");
        over.store(true, Ordering::Relaxed);
        assert!(line.contains("time_up"), "{line}");
    });
}

/// A gateway that is upgraded in a trial comes back in observe, and there nobody waits: not those
/// either who were held before.
#[test]
fn an_upgrade_in_a_trial_lets_everybody_go() {
    let tarpit = Tarpit::run("mode = \"observe\"\ndelay = \"70s\"\nhold_max = \"75s\"");
    tarpit.say(&["mode", "enforce", "--for", "1h"]);
    let mut clients: Vec<_> = (0..5).map(|_| Client::connect(tarpit.address)).collect();
    clients.iter_mut().for_each(Client::guess);
    while tarpit.status()["pit"]["held"] != 5 {}
    tarpit.say(&["upgrade"]);
    let status = tarpit.status();
    let successor = Successor(status["process"].to_string());
    assert_ne!(successor.0, tarpit.process.id().to_string());
    assert_eq!(status["rule"]["mode"], "observe");
    for client in &mut clients {
        // It waits for half as long at most.
        assert!(client.reply().starts_with("550 5.1.1 "));
    }
}

/// The process that took over; killed when dropped.
struct Successor(String);

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-s", "KILL", &self.0]).status();
    }
}
