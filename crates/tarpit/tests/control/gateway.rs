//! A gateway, the commands for it, and its clients.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::process::{PATIENCE, Process};

/// A gateway and its folder.
pub(crate) struct Tarpit {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) folder: TempDir,
}

/// With these lines in its section `[tarpit]`, and `more` before the first section.
fn config(tarpit: &str, listener: &str) -> String {
    format!(
        "hostname = \"mx.example.test\"\nadmin.address = \"off\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n{listener}\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.test\"]\n[keepers]\ndirectory = \"run\"\n\
         [tarpit]\n{tarpit}\n"
    )
}

pub(crate) fn write_config(folder: &Path, tarpit: &str) {
    write_configs(folder, tarpit, "");
}

/// With lines of the listener too.
pub(crate) fn write_configs(folder: &Path, tarpit: &str, listener: &str) {
    fs::write(folder.join("tarpit.toml"), config(tarpit, listener)).unwrap();
}

impl Tarpit {
    /// Starts one with these lines in its section `[tarpit]`.
    pub(crate) fn run(tarpit: &str) -> Self {
        Self::run_with(tarpit, "")
    }

    /// With lines of the listener too.
    pub(crate) fn run_with(tarpit: &str, listener: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_configs(folder.path(), tarpit, listener);
        Self::in_folder(folder)
    }

    fn in_folder(folder: TempDir) -> Self {
        let process = Process::start(folder.path());
        let address = process.address();
        process.wait_for("commands are answered");
        Self {
            process,
            address,
            folder,
        }
    }

    /// Killed, and started again.
    pub(crate) fn again(self) -> Self {
        self.again_with(|_| {})
    }

    /// Killed, its folder changed, and started again.
    pub(crate) fn again_with(mut self, change: impl FnOnce(&Path)) -> Self {
        self.process.signal("KILL");
        self.process.end();
        change(self.folder.path());
        Self::in_folder(self.folder)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tarpit"));
        command
            .args(arguments)
            .args(["--config", "tarpit.toml"])
            .current_dir(self.folder.path());
        command
    }

    pub(crate) fn tarpit(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command says that must succeed.
    #[track_caller]
    pub(crate) fn say(&self, arguments: &[&str]) -> String {
        let output = self.tarpit(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command says that must fail with this status.
    #[track_caller]
    pub(crate) fn refuse(&self, arguments: &[&str], status: i32) -> String {
        let output = self.tarpit(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.say(&["status", "--json"])).unwrap()
    }

    /// The mode, and who set it.
    #[track_caller]
    pub(crate) fn mode(&self) -> (String, String) {
        let rule = &self.status()["rule"];
        let word = |key: &str| rule[key].as_str().unwrap().to_owned();
        (word("mode"), word("set_by"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        let name = format!("run/control-{}.sock", self.process.id());
        self.folder.path().join(name)
    }

    /// Octets to the control socket, and what comes back.
    pub(crate) fn raw(&self, octets: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(octets.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// A body to the control socket, and what comes back.
    pub(crate) fn post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// Makes what is kept impossible to write: the name of the new file is taken.
    pub(crate) fn break_writing(&self, file: &str) {
        let name = format!(".{file}.new");
        fs::create_dir(self.folder.path().join(name)).unwrap();
    }
}

/// A client that says one line and reads one reply at a time.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
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
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }

    pub(crate) fn send(&mut self, line: &str) {
        write!(self.0.get_mut(), "{line}\r\n").unwrap();
    }

    pub(crate) fn say(&mut self, line: &str) -> String {
        self.send(line);
        self.reply()
    }

    pub(crate) fn guess(&mut self) {
        self.send("RCPT TO:<nobody@example.test>");
    }

    pub(crate) fn deliver(&mut self) {
        assert!(self.say("RCPT TO:<alice@example.test>").starts_with("250"));
        assert!(self.say("DATA").starts_with("354"));
        assert!(self.say("Subject: x\r\n\r\nText\r\n.").starts_with("250"));
        assert!(self.say("MAIL FROM:<bob@example.test>").starts_with("250"));
    }
}
