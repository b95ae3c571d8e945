//! Injection around STARTTLS, towards clients and towards the upstream: CVE-2011-0411 and the NO
//! STARTTLS list (Poddebniak and others, USENIX Security 2021). Whatever stands in the clear behind
//! STARTTLS, or behind the 220 to it, was put there by somebody in the middle: it has no effect.
//!
//! The peers here are scripted, since no real one does what these do; TLS itself is rustls.

use std::io::BufRead as _;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Certificates, Client, FaultServer, Gateway, Record, config, wait_for};

use crate::talker::{Secure, Talker, secure};

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

fn talker(port: u16) -> Result<Talker<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    let mut talker = Talker::new(stream);
    let greeting = talker.reply()?;
    ensure!(greeting.starts_with("220"), "{greeting}");
    talker.ask("EHLO clear.example", "250")?;
    Ok(talker)
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
