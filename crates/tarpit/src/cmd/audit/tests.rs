//! The rule, one way to fail it after the other.

use std::path::Path;

use super::*;
use crate::config::parse;

const BASE: &str = "hostname = \"mx.example.org\"\n[[upstream]]\naddress = \"192.0.2.2:25\"\n";
/// 2027-03-31, the start of the day.
const END: u64 = 1_806_451_200;

/// With nothing set by command.
fn seen(listener: &str, rest: &str) -> Seen {
    let text = format!(
        "{BASE}[[listener]]\nname = \"mx\"\naddress = \"192.0.2.1:25\"\n{listener}\n{rest}\n"
    );
    Seen {
        loaded: parse(Path::new("tarpit.toml"), &text).unwrap(),
        mode: None,
        exempt: Vec::new(),
        folder: PathBuf::from("/var/lib/tarpit"),
    }
}

/// What is wrong with the only listener, in words for programs.
fn found(listener: &str, tarpit: &str, rest: &str) -> Vec<&'static str> {
    let seen = seen(listener, &format!("[tarpit]\n{tarpit}\n{rest}"));
    let judged = judge(&seen, END - 1);
    judged[0].findings.iter().map(|found| found.what).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_passes() {
    assert_eq!(found("", "mode = \"enforce\"", ""), NOTHING);
    assert_eq!(found("", "mode = \"enforce\"\ndelay = 5", ""), NOTHING);
    assert_eq!(
        found("", "mode = \"enforce\"\nscope = \"source\"", ""),
        NOTHING
    );
    assert_eq!(
        found("tarpit.mode = \"enforce\"", "mode = \"off\"", ""),
        NOTHING
    );
}

#[test]
fn the_defaults_do_not_pass() {
    assert_eq!(found("", "", ""), ["mode"]);
    assert_eq!(found("", "mode = \"off\"", ""), ["mode"]);
}

#[test]
fn a_delay_that_is_too_short() {
    assert_eq!(
        found("", "mode = \"enforce\"\ndelay = \"4999ms\"", ""),
        ["delay"]
    );
    // A listener's own delay counts, either way.
    let enforce = "mode = \"enforce\"\ndelay = ";
    assert_eq!(
        found("tarpit.delay = 1", &format!("{enforce}9"), ""),
        ["delay"]
    );
    assert_eq!(
        found("tarpit.delay = 9", &format!("{enforce}1"), ""),
        NOTHING
    );
}

#[test]
fn networks_that_do_not_wait() {
    let exempt = "[[exempt]]\nnetwork = \"203.0.113.0/24\"\nreason = \"a partner\"\n";
    let enforce = "mode = \"enforce\"";
    assert_eq!(found("", enforce, exempt), ["exempt"]);
    let ends = format!("{exempt}until = 2027-03-31");
    assert_eq!(found("", enforce, &ends), ["exempt"]);
    let ended = format!("{exempt}until = 2027-03-30");
    assert_eq!(found("", enforce, &ended), NOTHING);
    let through = "passthrough = [\"203.0.113.0/24\"]";
    assert_eq!(found(through, enforce, ""), ["passthrough"]);
}

#[test]
fn every_listener_is_judged_by_itself() {
    let second = "[[listener]]\nname = \"users\"\naddress = \"192.0.2.1:587\"\nkind = \"submission\"\n\
                  tarpit.mode = \"enforce\"\n";
    let seen = seen("", second);
    let judged = judge(&seen, END);
    let text = as_text(Path::new("tarpit.toml"), &seen, &judged);
    assert!(text.contains("FINDING  mx "), "{text}");
    assert!(text.contains("pass     users "), "{text}");
    assert!(text.contains("1 of 2 listeners pass"), "{text}");
    let json = as_json(Path::new("tarpit.toml"), &seen, &judged, END);
    assert_eq!(json["pass"], false);
    assert_eq!(json["listeners"][0]["findings"][0]["what"], "mode");
    assert_eq!(json["listeners"][1]["pass"], true);
    assert_eq!(json["listeners"][1]["delay_seconds"], 5.0);
}

#[test]
fn who_was_exempted_by_command_is_a_finding_too() {
    let mut seen = seen("", "[tarpit]\nmode = \"enforce\"");
    assert_eq!(judge(&seen, END)[0].findings, []);
    seen.exempt = vec![Exemption {
        network: "203.0.113.0/24".parse().unwrap(),
        reason: "a partner".into(),
        until: Some(END),
    }];
    let judged = judge(&seen, END - 1);
    assert_eq!(judged[0].findings[0].what, "exempt");
    let text = &judged[0].findings[0].text;
    assert!(
        text.contains("203.0.113.0/24 is exempt, by command (a partner)"),
        "{text}"
    );
    let json = as_json(Path::new("tarpit.toml"), &seen, &judged, END - 1);
    assert_eq!(json["exempt"][0]["set_by"], "command");
    // And it ends.
    assert_eq!(judge(&seen, END)[0].findings, []);
}
