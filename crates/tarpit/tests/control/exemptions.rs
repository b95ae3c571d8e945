//! Exemptions by command, beside those of the configuration and those that somebody writes.

use std::fs;

use super::gateway::{Client, Tarpit};

#[test]
fn exemptions_hold_for_sessions_that_come_after_and_outlive_the_process() {
    let tarpit = Tarpit::run("mode = \"enforce\"\ndelay = \"100s\"");
    let said = tarpit.say(&[
        "exempt",
        "add",
        "127.0.0.1",
        "--reason",
        "a partner",
        "--until",
        "2099-01-01",
    ]);
    assert!(said.starts_with("127.0.0.1/32 is exempt"), "{said}");
    let tarpit = tarpit.again();
    tarpit.say(&["reload"]);
    let list = tarpit.say(&["exempt", "list"]);
    assert_eq!(
        list,
        "127.0.0.1/32, a partner, until 2099-01-01T00:00:00Z (by command)\n"
    );
    let mut client = Client::connect(tarpit.address);
    client.guess();
    assert!(client.reply().starts_with("550 "));
    let explained = tarpit.say(&["explain", "127.0.0.1"]);
    assert!(
        explained.contains("exempt, so it never waits: 127.0.0.1/32, a partner"),
        "{explained}"
    );
    assert!(
        explained.contains("at mx (enforce): no reply of it would wait"),
        "{explained}"
    );

    an_auditor_sees(&tarpit, &["127.0.0.1/32 is exempt, by command (a partner)"]);

    assert_eq!(
        tarpit.say(&["exempt", "remove", "127.0.0.1/32"]),
        "127.0.0.1/32 is exempt no more\n"
    );
    an_auditor_sees(&tarpit, &[]);
    tarpit.say(&["mode", "off"]);
    an_auditor_sees(&tarpit, &["mode is \"off\", by command"]);
    let error = tarpit.refuse(&["exempt", "remove", "127.0.0.1/32"], 1);
    assert!(error.contains("is not exempt"), "{error}");
    for (network, reason, until) in [
        ("192.0.2.1/24", "host bits", None),
        ("192.0.2.1", " ", None),
        ("192.0.2.1", "over", Some("2001-01-01")),
    ] {
        let mut arguments = vec!["exempt", "add", network, "--reason", reason];
        arguments.extend(until.map(|_| "--until"));
        arguments.extend(until);
        tarpit.refuse(&arguments, 1);
    }
    assert_eq!(tarpit.say(&["exempt", "list"]), "no network is exempt\n");
}

/// The findings are these, and no others.
#[track_caller]
fn an_auditor_sees(tarpit: &Tarpit, findings: &[&str]) {
    let output = tarpit.tarpit(&["audit", "stig"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(i32::from(!findings.is_empty())),
        "{said}"
    );
    assert_eq!(said.matches("- ").count(), findings.len(), "{said}");
    for finding in findings {
        assert!(said.contains(finding), "{finding}: {said}");
    }
}

#[test]
fn two_administrators_at_once_each_hear_their_own() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    std::thread::scope(|scope| {
        let tarpit = &tarpit;
        let asked: Vec<_> = (1..=8)
            .map(|number| {
                scope.spawn(move || {
                    let network = format!("192.0.2.{number}");
                    let said = tarpit.say(&["exempt", "add", &network, "--reason", "x"]);
                    assert!(
                        said.starts_with(&format!("{network}/32 is exempt")),
                        "{said}"
                    );
                })
            })
            .collect();
        asked.into_iter().for_each(|one| one.join().unwrap());
    });
    assert_eq!(tarpit.say(&["exempt", "list"]).lines().count(), 8);
}

/// One administrator edits the file, the other gives a command before anybody reloads.
#[test]
fn what_somebody_wrote_into_the_file_is_not_lost() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    tarpit.say(&["exempt", "add", "192.0.2.1", "--reason", "first"]);
    let file = tarpit.folder.path().join("exemptions.toml");
    let text = fs::read_to_string(&file).unwrap();
    let more = "[[exempt]]\nnetwork = \"192.0.2.2\"\nreason = \"by hand\"\n";
    fs::write(&file, text.replace("first", "by hand too") + more).unwrap();
    tarpit.say(&["exempt", "add", "192.0.2.3", "--reason", "third"]);
    let list = tarpit.say(&["exempt", "list"]);
    for one in [
        "192.0.2.1/32, by hand too (by command)",
        "192.0.2.2/32, by hand (by command)",
        "192.0.2.3/32, third (by command)",
    ] {
        assert!(list.contains(one), "{one}: {list}");
    }
    // What is gone from the file is taken away all the same.
    fs::write(&file, more).unwrap();
    tarpit.say(&["exempt", "remove", "192.0.2.3"]);
    assert_eq!(
        tarpit.say(&["exempt", "list"]),
        "192.0.2.2/32, by hand (by command)\n"
    );
    assert!(fs::read_to_string(&file).unwrap().contains("by hand"));
}

#[test]
fn an_exemption_that_cannot_be_kept_is_none() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    // Its end could not be written down, so it would have none after the next start.
    let far = "{\"network\":\"192.0.2.1\",\"reason\":\"x\",\"until\":999999999999}";
    let answer = tarpit.post("/v1/exemptions", far);
    assert!(answer.starts_with("HTTP/1.1 422 "), "{answer}");
    tarpit.break_writing("exemptions.toml");
    let error = tarpit.refuse(&["exempt", "add", "192.0.2.1", "--reason", "x"], 1);
    assert!(error.contains("nothing has changed"), "{error}");
    assert_eq!(tarpit.say(&["exempt", "list"]), "no network is exempt\n");
}
