//! Injection around STARTTLS, towards clients and towards the upstream: CVE-2011-0411 and the NO
//! STARTTLS list (Poddebniak and others, USENIX Security 2021). Whatever stands in the clear behind
//! STARTTLS, or behind the 220 to it, was put there by somebody in the middle: it has no effect.
//!
//! The peers here are scripted, since no real one does what these do; TLS itself is rustls.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tarpit_interop::{Certificates, Client, FaultServer, Gateway, Record, config, wait_for};

mod upstream;

/// What somebody in the middle would want to be obeyed.
const COMMANDS: &[&str] = &[
    "NOOP\r\n",
    "RSET\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "EHLO evil.example\r\n",
    "VRFY evil\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n\
     evil\r\n.\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\n\
     BDAT 1000 LAST\r\n",
    "EHLO evil.example\r\nAUTH PLAIN\r\n",
    "AUTH LOGIN\r\n",
    "XCLIENT ADDR=127.0.0.1\r\n",
    "BDAT 5\r\nevil\n",
    // The head of a command, for the client's own to end.
    "NO",
    "MAIL FROM:<evil@example.net> AUTH=",
    "\r\n",
    "\0",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r\n",
];

/// How long a reply, or the end of a connection, is waited for.
const LIMIT: Duration = Duration::from_secs(30);

/// The first octet of a TLS alert (RFC 8446 §5.1): what came was no handshake.
const TLS_ALERT: u8 = 21;

/// A client that can speak TLS halfway through.
struct Talker<S> {
    reader: BufReader<S>,
}

impl<S: Read + Write> Talker<S> {
    fn send(&mut self, text: &str) -> Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())?;
        Ok(self.reader.get_mut().flush()?)
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            ensure!(self.reader.read_line(&mut line)? > 0, "closed");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }

    fn ask(&mut self, line: &str, code: &str) -> Result<()> {
        self.send(&format!("{line}\r\n"))?;
        let reply = self.reply()?;
        ensure!(reply.starts_with(code), "{line}: {reply}, not {code}");
        Ok(())
    }

    /// What comes until the other side closes.
    fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // Closed without a word of TLS is closed, too.
        let _ = self.reader.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

fn talker(port: u16) -> Result<Talker<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    let mut talker = Talker {
        reader: BufReader::new(stream),
    };
    let greeting = talker.reply()?;
    ensure!(greeting.starts_with("220"), "{greeting}");
    talker.ask("EHLO clear.example", "250")?;
    Ok(talker)
}

type Secure = StreamOwned<ClientConnection, TcpStream>;

/// The handshake, with what the client read in the clear left behind.
fn secure(talker: Talker<TcpStream>, certificates: &Certificates) -> Result<Talker<Secure>> {
    match talker.reader.buffer() {
        [] => {}
        [TLS_ALERT, ..] => bail!("refused with an alert"),
        said => bail!("said in the clear: {said:?}"),
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.authority())?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("gate.example.org")?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = talker.reader.into_inner();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(Talker {
        reader: BufReader::new(StreamOwned::new(connection, stream)),
    })
}

/// A gateway with a certificate before a server that notes each command.
fn gateway(certificates: &Certificates, server: &FaultServer) -> Result<Gateway> {
    let pair = certificates.issue(&["gate.example.org"])?;
    let rest = format!(
        "[[certificate]]\nchain = {:?}\nkey = {:?}\n",
        pair.chain, pair.key
    );
    let gateway = Gateway::start(&config(server.port(), "none", &rest))?;
    let served = || Client::hello(gateway.port().ok()?).ok();
    wait_for(LIMIT, served).context("never served")?;
    Ok(gateway)
}

/// The client's own dialogue over TLS: each reply is to what it said itself, and nothing more.
fn dialogue(talker: &mut Talker<Secure>) -> Result<()> {
    talker.ask("VRFY alice", "252")?;
    talker.ask("RCPT TO:<alice@example.org>", "503")?;
    talker.ask("EHLO secure.example", "250")?;
    talker.ask("RCPT TO:<alice@example.org>", "503")?;
    talker.ask("MAIL FROM:<own@example.net>", "250")?;
    talker.ask("RCPT TO:<alice@example.org>", "250")?;
    talker.ask("RSET", "250")?;
    talker.ask("QUIT", "221")?;
    let rest = talker.rest();
    ensure!(rest.is_empty(), "more replies: {rest:?}");
    Ok(())
}

/// Ways of putting something behind STARTTLS in the clear.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// In the packet of STARTTLS.
    SamePacket,
    /// In the next one, at once.
    NextPacket,
    /// After the 220, before the handshake.
    AfterReply,
}

#[test]
fn nothing_behind_starttls_is_obeyed() -> Result<()> {
    let certificates = Certificates::new()?;
    let server = FaultServer::start()?;
    let gateway = gateway(&certificates, &server)?;
    for way in [Way::SamePacket, Way::NextPacket, Way::AfterReply] {
        for command in COMMANDS {
            let outcome = inject(gateway.port()?, &certificates, way, command);
            let outcome = outcome.with_context(|| format!("{way:?} {command:?}"))?;
            println!("client   {way:<10?} {command:<60.60?} {outcome}");
        }
    }
    let evil = |line: &String| line.contains("evil");
    let commands = server.commands();
    ensure!(!commands.iter().any(evil), "{commands:?}");
    assert!(server.messages().is_empty());
    gateway.stop()
}

fn inject(port: u16, certificates: &Certificates, way: Way, command: &str) -> Result<&'static str> {
    let mut client = talker(port)?;
    match way {
        Way::SamePacket => client.send(&format!("STARTTLS\r\n{command}"))?,
        Way::NextPacket => {
            client.send("STARTTLS\r\n")?;
            client.send(command)?;
        }
        Way::AfterReply => client.send("STARTTLS\r\n")?,
    }
    let reply = client.reply()?;
    ensure!(reply.starts_with("220"), "{reply}");
    if matches!(way, Way::AfterReply) {
        client.send(command)?;
    }
    match secure(client, certificates) {
        Ok(mut client) => {
            // Only what was read along with STARTTLS can be thrown away.
            ensure!(!matches!(way, Way::AfterReply), "taken for TLS");
            dialogue(&mut client)?;
            Ok("thrown away")
        }
        // Read as the beginning of TLS, which it is not.
        Err(error) => {
            let text = error.to_string();
            ensure!(!text.contains("said in the clear"), "{text}");
            ensure!(!matches!(way, Way::SamePacket), "no handshake: {text}");
            Ok("no handshake")
        }
    }
}

/// The order of things around STARTTLS (RFC 3207 §4).
#[test]
fn starttls_begins_a_session_anew() -> Result<()> {
    let certificates = Certificates::new()?;
    let server = FaultServer::start()?;
    let gateway = gateway(&certificates, &server)?;
    let port = gateway.port()?;

    let mut client = talker(port)?;
    client.ask("STARTTLS now", "501")?;
    client.ask("MAIL FROM:<s@example.net>", "250")?;
    client.ask("STARTTLS", "503")?;
    client.ask("RCPT TO:<alice@example.org>", "250")?;
    client.ask("STARTTLS", "503")?;
    client.ask("RSET", "250")?;
    client.ask("STARTTLS", "220")?;
    let mut client = secure(client, &certificates)?;
    client.ask("RCPT TO:<alice@example.org>", "503")?;
    client.ask("DATA", "503")?;
    client.send("EHLO secure.example\r\n")?;
    let mut offer = String::new();
    loop {
        let mut line = String::new();
        client.reader.read_line(&mut line)?;
        offer.push_str(&line);
        if !line.starts_with("250-") {
            break;
        }
    }
    ensure!(!offer.contains("STARTTLS"), "{offer}");
    client.ask("STARTTLS", "503")?;
    client.ask("MAIL FROM:<s@example.net>", "250")?;
    client.ask("QUIT", "221")?;
    // The name from before is forgotten (RFC 3207 §4.2).
    gateway.wait_records(|records| {
        let helo = |record: &&Record| record.text("helo") == "secure.example";
        records.iter().find(helo).map(|_| ())
    })?;
    gateway.stop()
}
