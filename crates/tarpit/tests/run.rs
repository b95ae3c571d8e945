//! `tarpit run` as a process: what it logs, how it takes signals, how it ends. The built-in maildir
//! takes the mail, so nothing but loopback is needed.

#[path = "common/process.rs"]
mod process;
#[path = "common/reading.rs"]
mod reading;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

use process::{PATIENCE, Process};

fn write_config(folder: &Path, address: &str, more: &str) {
    let text = format!(
        "hostname = \"mx.example.test\"\n{more}\n[[listener]]\nname = \"mx\"\naddress = \"{address}\"\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n"
    );
    fs::write(folder.join("tarpit.toml"), text).unwrap();
}

/// A client that says one line and reads one reply at a time.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.reply(), "220");
        client
    }

    /// The code of the next reply.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3).unwrap_or("").to_owned();
            }
        }
    }

    fn say(&mut self, line: &str) -> String {
        write!(self.0.get_mut(), "{line}\r\n").unwrap();
        self.reply()
    }

    fn begin_message(&mut self) {
        assert_eq!(self.say("EHLO client.example.test"), "250");
        assert_eq!(self.say("MAIL FROM:<bob@example.test>"), "250");
        assert_eq!(self.say("RCPT TO:<alice@example.test>"), "250");
        assert_eq!(self.say("DATA"), "354");
    }
}

#[test]
fn serves_until_sigterm_and_finishes_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "127.0.0.1:0", "");
    let mut tarpit = Process::start(folder.path());
    let address = tarpit.address();
    let mut client = Client::connect(address);
    client.begin_message();
    tarpit.signal("TERM");
    tarpit.wait_for("draining");
    assert_eq!(client.say("Subject: last\r\n\r\nText\r\n."), "250");
    assert_eq!(tarpit.end().code(), Some(0));
    let new = fs::read_dir(folder.path().join("mail/alice@example.test/new")).unwrap();
    assert_eq!(new.count(), 1);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "127.0.0.1:0", "");
    let mut tarpit = Process::start(folder.path());
    let mut client = Client::connect(tarpit.address());
    client.begin_message();
    tarpit.signal("INT");
    tarpit.wait_for("draining");
    tarpit.signal("TERM");
    assert_eq!(tarpit.end().code(), Some(1));
}

#[test]
fn reloads_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "127.0.0.1:0", "");
    let tarpit = Process::start(folder.path());
    let address = tarpit.address();

    // A new mode would be fine, but with a mistake beside it nothing changes.
    write_config(
        folder.path(),
        "127.0.0.1:0",
        "tarpit = { mode = \"off\", delya = 5 }",
    );
    tarpit.signal("HUP");
    let line = tarpit.wait_for("bad configuration");
    assert!(
        line.contains("tarpit.toml:2:26: tarpit.delya: unknown key; did you mean `delay`?"),
        "{line}"
    );
    tarpit.wait_for("the old configuration stays");

    write_config(
        folder.path(),
        "127.0.0.1:0",
        "log.format = \"json\"\ntarpit.mode = \"off\"",
    );
    tarpit.signal("HUP");
    let line = tarpit.wait_for("needs a restart");
    assert!(line.contains("log.format"), "{line}");
    tarpit.wait_for("the old configuration stays");

    // An address that is taken: the old listener stays.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    write_config(folder.path(), &taken.local_addr().unwrap().to_string(), "");
    tarpit.signal("HUP");
    tarpit.wait_for("the old configuration stays");
    assert_eq!(Client::connect(address).say("QUIT"), "221");

    write_config(folder.path(), "127.0.0.1:0", "tarpit.mode = \"off\"");
    tarpit.signal("HUP");
    tarpit.wait_for("new configuration in force");
    assert_eq!(Client::connect(address).say("QUIT"), "221");
}

#[test]
fn an_address_that_is_taken_is_a_missing_resource() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    write_config(folder.path(), &address, "");
    let mut tarpit = Process::start(folder.path());
    let line = tarpit.wait_for("can't start");
    assert!(line.contains(&address), "{line}");
    assert_eq!(tarpit.end().code(), Some(69));
}

#[test]
fn logs_json_with_utc_times() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "127.0.0.1:0", "log.format = \"json\"");
    let tarpit = Process::start(folder.path());
    let line = tarpit.wait_for("\"listening\"");
    assert!(
        line.starts_with("{\"timestamp\":\"2") && line.contains("Z\",\"level\":\"INFO\""),
        "{line}"
    );
    assert!(
        line.contains("\"listener\":\"mx\",\"address\":\"127.0.0.1:"),
        "{line}"
    );
}

#[test]
fn a_bad_filter_is_said() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "127.0.0.1:0", "");
    let output = Command::new(env!("CARGO_BIN_EXE_tarpit"))
        .args(["run", "--config", "tarpit.toml"])
        .current_dir(folder.path())
        .env("TARPIT_LOG", "a=b=c")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("TARPIT_LOG: found \"a=b=c\""), "{stderr}");
}
