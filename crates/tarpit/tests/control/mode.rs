//! The mode: set, kept, and left.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::gateway::{Client, Tarpit, write_config, write_configs};
use super::process::PATIENCE;

fn by(mode: &str, set_by: &str) -> (String, String) {
    (mode.to_owned(), set_by.to_owned())
}

#[test]
fn leaving_enforce_lets_everybody_go_and_a_restart_keeps_it() {
    let tarpit = Tarpit::run("mode = \"enforce\"\ndelay = \"100s\"");
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(tarpit.address)).collect();
    clients.iter_mut().for_each(Client::guess);
    let end = Instant::now() + PATIENCE;
    while tarpit.status()["pit"]["held"] != 50 {
        assert!(Instant::now() < end, "{}", tarpit.status());
    }
    let said = tarpit.say(&["mode", "off"]);
    assert!(said.starts_with("the mode is off, by command"), "{said}");
    let began = Instant::now();
    for client in &mut clients {
        assert!(client.reply().starts_with("550 5.1.1 "));
        // The same session is not held again.
        client.guess();
        assert!(client.reply().starts_with("550 5.1.1 "));
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");

    let tarpit = tarpit.again();
    assert_eq!(tarpit.mode(), by("off", "command"));
    // A reload of the same file keeps it; one with another mode ends it.
    tarpit.say(&["reload"]);
    assert_eq!(tarpit.status()["rule"]["mode"], "off");
    write_config(tarpit.folder.path(), "mode = \"observe\"\ndelay = \"100s\"");
    tarpit.say(&["reload"]);
    assert_eq!(tarpit.mode(), by("observe", "configuration"));
    assert!(!tarpit.folder.path().join("mode.toml").exists());
}

/// A listener may be stricter than the configuration is elsewhere.
#[test]
fn off_is_off_everywhere() {
    let tarpit = Tarpit::run_with(
        "mode = \"off\"\ndelay = \"100s\"",
        "tarpit.mode = \"enforce\"",
    );
    assert_eq!(tarpit.status()["listeners"][0]["mode"], "enforce");
    let mut client = Client::connect(tarpit.address);
    client.guess();
    while tarpit.status()["pit"]["held"] != 1 {}
    tarpit.say(&["mode", "observe"]);
    assert!(client.reply().starts_with("550 "));
    assert_eq!(tarpit.status()["listeners"][0]["mode"], "observe");
    tarpit.say(&["mode", "off"]);
    let off = |tarpit: &Tarpit| {
        assert_eq!(tarpit.mode(), by("off", "command"));
        assert_eq!(tarpit.status()["listeners"][0]["mode"], "off");
    };
    off(&tarpit);
    let tarpit = tarpit.again();
    off(&tarpit);
    tarpit.say(&["reload"]);
    off(&tarpit);
    // Until somebody says otherwise.
    tarpit.say(&["mode", "configured"]);
    assert_eq!(tarpit.mode(), by("off", "configuration"));
    assert_eq!(tarpit.status()["listeners"][0]["mode"], "enforce");
    write_configs(tarpit.folder.path(), "mode = \"off\"", "");
    tarpit.say(&["reload"]);
    assert!(
        tarpit
            .say(&["mode", "off"])
            .contains("as the configuration says")
    );
}

/// A command is forgotten when the file says something else, and not only until the file says again
/// what it said then.
#[test]
fn a_mode_of_long_ago_does_not_come_back() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    tarpit.say(&["mode", "enforce"]);
    let tarpit = tarpit.again_with(|folder| write_config(folder, "mode = \"off\""));
    assert_eq!(tarpit.mode(), by("off", "configuration"));
    let tarpit = tarpit.again_with(|folder| write_config(folder, "mode = \"observe\""));
    assert_eq!(tarpit.mode(), by("observe", "configuration"));
}

#[test]
fn a_reload_says_what_is_wrong_and_changes_nothing() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    write_config(tarpit.folder.path(), "mode = \"off\"\ndelya = \"5s\"");
    let error = tarpit.refuse(&["reload"], 78);
    assert!(
        error.contains("tarpit.delya: unknown key; did you mean `delay`?"),
        "{error}"
    );
    assert!(
        error.contains("the old configuration stays in force"),
        "{error}"
    );
    let status = tarpit.status();
    assert_eq!(status["listeners"][0]["mode"], "observe");
    assert_eq!(status["reload_successful"], false);
    write_config(tarpit.folder.path(), "mode = \"off\"");
    tarpit.say(&["reload"]);
    assert_eq!(tarpit.status()["listeners"][0]["mode"], "off");
    // What a command set is no part of the file.
    fs::write(
        tarpit.folder.path().join("exemptions.toml"),
        "[[exempt]]\nnetwork = 1\n",
    )
    .unwrap();
    let error = tarpit.refuse(&["reload"], 78);
    assert!(
        error.contains("exemptions.toml:2:11: exempt.network"),
        "{error}"
    );
    let error = tarpit.refuse(&["exempt", "add", "192.0.2.1", "--reason", "x"], 1);
    assert!(error.contains("nothing has changed"), "{error}");
}

/// The file is well, the machine is not: no status for a bad configuration.
#[test]
fn an_address_that_cannot_be_had_is_no_mistake_in_the_file() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let more = format!("[[listener]]\nname = \"other\"\naddress = \"{address}\"");
    write_configs(tarpit.folder.path(), "mode = \"off\"", &more);
    let error = tarpit.refuse(&["reload"], 1);
    assert!(error.contains(&address.to_string()), "{error}");
    assert_eq!(tarpit.mode(), by("observe", "configuration"));
}

/// A reload took the listener away that they came by: `mode off` is off for them too.
#[test]
fn who_came_by_a_listener_that_is_gone_is_let_go() {
    let tarpit = Tarpit::run("mode = \"enforce\"\ndelay = \"100s\"");
    let mut client = Client::connect(tarpit.address);
    client.guess();
    while tarpit.status()["pit"]["held"] != 1 {}
    let file = tarpit.folder.path().join("tarpit.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("name = \"mx\"", "name = \"other\"")).unwrap();
    tarpit.say(&["reload"]);
    tarpit.say(&["mode", "off"]);
    assert!(client.reply().starts_with("550 "));
}
