//! Why does this client wait, and which gateway is asked?

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use super::gateway::{Client, Tarpit};
use super::process::PATIENCE;

#[test]
fn why_does_this_client_wait() {
    let tarpit =
        Tarpit::run("mode = \"enforce\"\ndelay = \"2s\"\nscope = \"source\"\nhold_max = \"4s\"");
    let mut client = Client::connect(tarpit.address);
    for _ in 0..2 {
        client.guess();
        assert!(client.reply().starts_with("550 "));
    }
    assert!(client.say("QUIT").starts_with("221 "));
    let line = tarpit.process.wait_for("tarpit::session: session");
    let id = line
        .split("session=")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let explained = tarpit.say(&["explain", id]);
    assert!(
        explained.starts_with(&format!("session {id} of 127.0.0.1, ")),
        "{explained}"
    );
    for part in [
        "quit after",
        "names: 0 accepted, 2 refused",
        "refused: <nobody@example.test> <nobody@example.test>",
        "the reply 550 waited 2s for unknown_recipient (owed 2s), end: paid",
        "source 127.0.0.1",
        "known sender: no",
        "tarpit exempt add 127.0.0.1 --reason",
        "the next wrong name would wait",
    ] {
        assert!(explained.contains(part), "{part}: {explained}");
    }
    // Three who guess at once owe six seconds, of which four are waited for at most.
    let mut guessers: Vec<_> = (0..3).map(|_| Client::connect(tarpit.address)).collect();
    guessers.iter_mut().for_each(Client::guess);
    let owing = |sources: &Value| sources["sources"][0]["owed_seconds"].as_f64();
    let end = Instant::now() + PATIENCE;
    loop {
        let sources: Value =
            serde_json::from_str(&tarpit.say(&["sources", "--top", "3", "--json"])).unwrap();
        if owing(&sources).is_some_and(|owed| owed > 1.0) {
            break;
        }
        assert!(Instant::now() < end, "{sources}");
    }
    let said = tarpit.say(&["forgive", "127.0.0.1"]);
    assert!(
        said.starts_with("127.0.0.1 owed ") && said.ends_with("owes nothing now\n"),
        "{said}"
    );
    let error = tarpit.refuse(&["explain", "tp-00000000"], 1);
    assert!(error.contains("not among the newest sessions"), "{error}");
    let error = tarpit.refuse(&["explain", "mallory"], 1);
    assert!(
        error.contains("allowed: an IP address, a source as it is shown, or the name of a session"),
        "{error}"
    );
    tarpit.refuse(&["forgive", "192.0.2.0/24"], 1);
    // As it is shown: a source of IPv6 has 64 bits, and one of IPv4 is its address.
    let said = tarpit.say(&["forgive", "2001:db8::/64"]);
    assert_eq!(said, "2001:db8::/64 owed nothing\n");
    assert!(
        tarpit
            .say(&["explain", "2001:db8::/64"])
            .contains("2001:db8::/64")
    );
    tarpit.refuse(&["explain", "2001:db8::1/64"], 1);
}

#[test]
fn commands_find_the_gateway_that_is_meant() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    let other = tempfile::tempdir().unwrap();
    let run = tarpit.folder.path().join("run");
    fs::write(
        other.path().join("tarpit.toml"),
        format!("[keepers]\ndirectory = \"{}\"\n", run.display()),
    )
    .unwrap();
    let ask = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tarpit"))
            .args(arguments)
            .current_dir(other.path())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, error) = ask(&["status", "--config", "tarpit.toml"]);
    assert_eq!(code, Some(69));
    assert!(
        error.contains("no gateway runs with") && error.contains("; found"),
        "{error}"
    );
    let socket = tarpit.socket().display().to_string();
    assert_eq!(ask(&["status", "--socket", &socket]).0, Some(0));
    let (code, error) = ask(&["status", "--socket", "nowhere.sock"]);
    assert_eq!(code, Some(69), "{error}");
    // A socket of a gateway that was killed is nobody's, and is swept.
    let tarpit = tarpit.again();
    assert!(!Path::new(&socket).exists() && tarpit.socket().exists());
}

#[test]
fn mail_addresses_are_shown_as_in_the_log() {
    for how in ["full", "domain", "hash"] {
        let tarpit = Tarpit::run(&format!("delay = \"1s\"\n[log]\naddresses = \"{how}\""));
        let mut client = Client::connect(tarpit.address);
        client.guess();
        assert!(client.reply().starts_with("550 "));
        assert!(client.say("QUIT").starts_with("221 "));
        let line = tarpit.process.wait_for("tarpit::session: session");
        let name = line.split("session=").nth(1).unwrap();
        let name = name.split_whitespace().next().unwrap();
        for arguments in [&["explain", name][..], &["explain", name, "--json"]] {
            let told = tarpit.say(arguments);
            for whole in ["bob@example.test", "nobody@example.test"] {
                assert_eq!(told.contains(whole), how == "full", "{told}");
            }
            assert_eq!(told.contains("*@example.test"), how == "domain", "{told}");
            assert!(told.contains("127.0.0.1"), "{told}");
        }
    }
}
