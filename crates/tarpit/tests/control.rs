//! The commands for a running gateway, as processes: what they print, what they change, what stays.
//! The built-in maildir takes the mail, so nothing but loopback is needed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Far longer than anything here takes; only a broken product waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway, its folder, and what it has logged.
struct Tarpit {
    process: Child,
    log: Mutex<Receiver<String>>,
    address: SocketAddr,
    folder: TempDir,
}

impl Drop for Tarpit {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write_config(folder: &Path, tarpit: &str) {
    let text = format!(
        "hostname = \"mx.example.test\"\nadmin.address = \"off\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n[keepers]\ndirectory = \"run\"\n\
         [tarpit]\n{tarpit}\n"
    );
    fs::write(folder.join("tarpit.toml"), text).unwrap();
}

fn launch(folder: &Path) -> (Child, Receiver<String>) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_tarpit"))
        .args(["run", "--config", "tarpit.toml"])
        .current_dir(folder)
        .env_remove("TARPIT_LOG")
        .env_remove("STATE_DIRECTORY")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = process.stderr.take().unwrap();
    let (send, log) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    (process, log)
}

fn wait_for(log: &Receiver<String>, text: &str) -> String {
    let mut seen = Vec::new();
    let end = Instant::now() + PATIENCE;
    while let Ok(line) = log.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if line.contains(text) {
            return line;
        }
        seen.push(line);
    }
    panic!("no {text:?} in the log:\n{}", seen.join("\n"));
}

impl Tarpit {
    fn run(tarpit: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_config(folder.path(), tarpit);
        Self::in_folder(folder)
    }

    fn in_folder(folder: TempDir) -> Self {
        let (process, log) = launch(folder.path());
        let line = wait_for(&log, " listening ");
        let address = line.split("address=").nth(1).unwrap();
        let address = address.split_whitespace().next().unwrap().parse().unwrap();
        wait_for(&log, "commands are answered");
        Self {
            process,
            log: Mutex::new(log),
            address,
            folder,
        }
    }

    fn wait_for(&self, text: &str) -> String {
        wait_for(&self.log.lock().unwrap(), text)
    }

    /// Killed, and started again.
    fn again(mut self) -> Self {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Self::in_folder(folder)
    }

    fn tarpit(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tarpit"))
            .args(arguments)
            .args(["--config", "tarpit.toml"])
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// What a command says that must succeed.
    #[track_caller]
    fn say(&self, arguments: &[&str]) -> String {
        let output = self.tarpit(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that must fail with this status.
    #[track_caller]
    fn refuse(&self, arguments: &[&str], status: i32) -> String {
        let output = self.tarpit(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.say(&["status", "--json"])).unwrap()
    }

    fn socket(&self) -> PathBuf {
        let name = format!("run/control-{}.sock", self.process.id());
        self.folder.path().join(name)
    }

    /// Octets to the control socket, and what comes back.
    fn raw(&self, octets: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(octets.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// A client that says one line and reads one reply at a time.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(BufReader::new(stream));
        assert!(client.reply().starts_with("220"));
        assert!(client.say("EHLO client.example.test").starts_with("250"));
        assert!(
            client
                .say("MAIL FROM:<bob@example.test>")
                .starts_with("250")
        );
        client
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    fn send(&mut self, line: &str) {
        write!(self.0.get_mut(), "{line}\r\n").unwrap();
    }

    fn say(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }

    fn guess(&mut self) {
        self.send("RCPT TO:<nobody@example.test>");
    }

    fn deliver(&mut self) {
        assert!(self.say("RCPT TO:<alice@example.test>").starts_with("250"));
        assert!(self.say("DATA").starts_with("354"));
        assert!(self.say("Subject: x\r\n\r\nText\r\n.").starts_with("250"));
        assert!(self.say("MAIL FROM:<bob@example.test>").starts_with("250"));
    }
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
    let rule = &tarpit.status()["rule"];
    assert_eq!(
        (&rule["mode"], &rule["set_by"]),
        (&"off".into(), &"command".into())
    );
    // A reload of the same file keeps it; one with another mode ends it.
    tarpit.say(&["reload"]);
    assert_eq!(tarpit.status()["rule"]["mode"], "off");
    write_config(tarpit.folder.path(), "mode = \"observe\"\ndelay = \"100s\"");
    tarpit.say(&["reload"]);
    let rule = &tarpit.status()["rule"];
    assert_eq!(
        (&rule["mode"], &rule["set_by"]),
        (&"observe".into(), &"configuration".into())
    );
    assert!(!tarpit.folder.path().join("mode.toml").exists());
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
fn mail_addresses_are_shown_as_in_the_log() {
    for how in ["full", "domain", "hash"] {
        let tarpit = Tarpit::run(&format!("delay = \"1s\"\n[log]\naddresses = \"{how}\""));
        let mut client = Client::connect(tarpit.address);
        client.guess();
        assert!(client.reply().starts_with("550 "));
        assert!(client.say("QUIT").starts_with("221 "));
        let line = tarpit.wait_for("tarpit::session: session");
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

#[test]
fn a_trial_ends_when_a_known_sender_waits() {
    let tarpit = Tarpit::run("mode = \"observe\"\ndelay = \"1s\"");
    let mut known = Client::connect(tarpit.address);
    known.deliver();
    let waiting = Command::new(env!("CARGO_BIN_EXE_tarpit"))
        .args([
            "mode",
            "enforce",
            "--for",
            "1h",
            "--trip",
            "1s",
            "--wait",
            "--config",
            "tarpit.toml",
        ])
        .current_dir(tarpit.folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    tarpit.wait_for("changed by command");
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
    tarpit.wait_for("trial over");
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
    let line = tarpit.wait_for("trial over");
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
    let rule = &tarpit.status()["rule"];
    assert_eq!(
        (&rule["mode"], &rule["set_by"]),
        (&"observe".into(), &"command".into())
    );
    tarpit.say(&["mode", "enforce", "--for", "1h"]);
    tarpit.say(&["confirm"]);
    let tarpit = tarpit.again();
    let rule = &tarpit.status()["rule"];
    assert_eq!(
        (&rule["mode"], &rule["set_by"]),
        (&"enforce".into(), &"configuration".into())
    );
    for arguments in [
        &["mode", "observe", "--for", "1h"][..],
        &["mode", "enforce", "--for", "8761h"],
        &["mode", "enforce", "--for", "0s"],
    ] {
        tarpit.refuse(arguments, 1);
    }
}

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
    let line = tarpit.wait_for("tarpit::session: session");
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
        error.contains("allowed: an IP address, or the name of a session"),
        "{error}"
    );
    tarpit.refuse(&["forgive", "192.0.2.0/24"], 1);
}

#[test]
fn what_no_command_says_is_refused() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    let post = |path: &str, more: &str, body: &str| {
        let length = body.len();
        tarpit.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n{body}"
        ))
    };
    let json = "Content-Type: application/json\r\n";
    let off = "{\"mode\":\"off\"}";
    for (answer, status) in [
        (
            post(
                "/v1/mode",
                &format!("{json}Origin: http://evil.example\r\n"),
                off,
            ),
            403,
        ),
        (
            post(
                "/v1/mode",
                &format!("{json}Sec-Fetch-Site: cross-site\r\n"),
                off,
            ),
            403,
        ),
        (post("/v1/mode", "Content-Type: text/plain\r\n", off), 415),
        (post("/v1/mode", json, "{\"mode\":\"off\",\"more\":1}"), 422),
        (post("/v1/mode", json, "{"), 422),
        (post("/v1/mode", json, "{\"mode\":\"on\"}"), 422),
        (post("/v1/mode", json, &"x".repeat(5000)), 400),
        (post("/v1/status", json, ""), 405),
        (post("/v2/status", json, ""), 404),
        (
            tarpit.raw("GET /v1/sources?top=0 HTTP/1.1\r\nHost: x\r\n\r\n"),
            422,
        ),
        (
            tarpit.raw("GET /v1/explain HTTP/1.1\r\nHost: x\r\n\r\n"),
            422,
        ),
        (tarpit.raw("nonsense\r\n\r\n"), 400),
    ] {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{status}: {answer}"
        );
    }
    assert_eq!(tarpit.status()["rule"]["mode"], "observe");
}

#[test]
fn who_only_sits_there_keeps_nobody_from_mail_and_goes() {
    let tarpit = Tarpit::run("mode = \"observe\"");
    let idle: Vec<_> = (0..32)
        .map(|_| UnixStream::connect(tarpit.socket()).unwrap())
        .collect();
    let error = tarpit.tarpit(&["status"]);
    assert!(!error.status.success(), "all places are taken");
    Client::connect(tarpit.address).deliver();
    // Their time for a head is over.
    for mut stream in idle {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
    }
    tarpit.status();
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
