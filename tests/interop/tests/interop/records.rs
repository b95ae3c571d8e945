//! TLS as OpenSSL speaks it: each suite, and new keys in the middle of a session, asked for and not.
//!
//! After the handshake the gateway speaks TLS itself; its unit tests know only the library's client.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Certificates, FaultServer, Gateway, KeyPair, config};

const TLS13: [&str; 3] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
];
const TLS12: [&str; 3] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
];

/// `openssl s_client`, which takes a line `K` or `k` for an order of its own: new keys.
struct Openssl {
    child: Child,
    says: ChildStdin,
    hears: Box<dyn BufRead>,
    notes: Box<dyn BufRead>,
}

impl Openssl {
    fn connect(port: u16, more: [&str; 3]) -> Result<Self> {
        let mut child = Command::new("openssl")
            .args(["s_client", "-crlf", "-connect"])
            .arg(format!("127.0.0.1:{port}"))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("openssl")?;
        Ok(Self {
            says: child.stdin.take().context("no pipe")?,
            hears: reader(child.stdout.take().context("no pipe")?),
            notes: reader(child.stderr.take().context("no pipe")?),
            child,
        })
    }

    /// One line, and the line of the answer that begins with this.
    fn ask(&mut self, line: &str, answer: &str) -> Result<()> {
        self.says.write_all(line.as_bytes())?;
        wait(&mut self.hears, answer).with_context(|| line.trim_end().to_owned())
    }

    fn order(&mut self, line: &str) -> Result<()> {
        self.says.write_all(line.as_bytes())?;
        wait(&mut self.notes, "KEYUPDATE")
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn reader(pipe: impl Read + 'static) -> Box<dyn BufRead> {
    Box::new(BufReader::new(pipe))
}

/// Reads up to a line that begins so; the program ends, and with it this, if there is none.
fn wait(lines: &mut impl BufRead, start: &str) -> Result<()> {
    let mut read = String::new();
    loop {
        let before = read.len();
        ensure!(lines.read_line(&mut read)? > 0, "no {start:?} in {read}");
        if read[before..].starts_with(start) {
            return Ok(());
        }
    }
}

fn gateway(pair: &KeyPair) -> Result<(FaultServer, Gateway)> {
    let server = FaultServer::start()?;
    let rest = format!(
        "[[certificate]]\nchain = {:?}\nkey = {:?}\n",
        pair.chain, pair.key
    );
    let settings = config(server.port(), "none", &rest)
        .replace("name = \"mx\"\n", "name = \"mx\"\ntls = \"implicit\"\n");
    let gateway = Gateway::start(&settings)?;
    Ok((server, gateway))
}

#[test]
fn openssl_takes_new_keys_whenever_it_likes() -> Result<()> {
    let certificates = Certificates::new()?;
    let (_server, gateway) = gateway(&certificates.issue(&["mx.example.org"])?)?;
    for suite in TLS13 {
        let mut openssl = Openssl::connect(gateway.port()?, ["-tls1_3", "-ciphersuites", suite])?;
        openssl.ask("", "220 ")?;
        openssl.ask("EHLO client.example.net\n", "250 ")?;
        for order in ["K\n", "k\n", "K\n", "K\n"] {
            // "K" asks for new keys of ours, too.
            openssl.order(order)?;
            openssl.ask("NOOP\n", "250 2.0.0")?;
            openssl.ask("MAIL FROM:<s@example.net>\n", "250 2.1.0")?;
            openssl.ask("rset\n", "250 2.0.0")?;
        }
        // Closed as it should be, not cut off.
        openssl.ask("quit\n", "221 ")?;
        wait(&mut openssl.hears, "closed")?;
    }
    gateway.stop()
}

#[test]
fn openssl_speaks_the_older_version() -> Result<()> {
    let certificates = Certificates::new()?;
    let (_server, gateway) = gateway(&certificates.issue(&["mx.example.org"])?)?;
    for suite in TLS12 {
        let mut openssl = Openssl::connect(gateway.port()?, ["-tls1_2", "-cipher", suite])?;
        openssl.ask("", "220 ")?;
        openssl.ask("EHLO client.example.net\n", "250 ")?;
        openssl.ask("NOOP\n", "250 2.0.0")?;
        openssl.ask("quit\n", "221 ")?;
        wait(&mut openssl.hears, "closed")?;
    }
    gateway.stop()
}
