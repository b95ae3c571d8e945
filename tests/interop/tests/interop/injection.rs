//! Injection around STARTTLS, towards clients and towards the upstream: CVE-2011-0411 and the NO
//! STARTTLS list (Poddebniak and others, USENIX Security 2021). Whatever stands in the clear behind
//! STARTTLS, or behind the 220 to it, was put there by somebody in the middle: it has no effect.
//!
//! The peers here are scripted, since no real one does what these do; TLS itself is rustls.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};
use tarpit_interop::{
    Certificates, Client, FaultServer, Gateway, KeyPair, Record, config, plain, stuffed, wait_for,
};

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

/// What somebody in the middle would want to be taken for the server's replies.
const REPLIES: &[&str] = &[
    "250 ok\r\n",
    "250-evil.example\r\n250-AUTH PLAIN LOGIN\r\n250 EVIL\r\n",
    "250-evil.example\r\n",
    "250-evil.example\r\n250 8BITMIME\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n",
    "421 go away\r\n",
    "550 5.7.1 no\r\n",
    "235 welcome\r\n",
    "220 again\r\n",
    "2",
    "\r\n",
    "\0",
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

/// What an upstream in the middle does.
#[derive(Clone, Copy, Debug)]
enum Trick {
    /// Nothing: to show that the rest of it works.
    None,
    /// Says more, in the clear, in the packet of the 220.
    SamePacket(&'static str),
    /// Says more in a packet of its own, then goes on as if nothing were.
    NextPacket(&'static str),
    /// Refuses STARTTLS.
    Refuse,
    /// Doesn't offer it.
    Strip,
}

/// What the upstream heard.
#[derive(Debug, Default)]
struct Heard {
    /// Each command, and whether it came over TLS.
    commands: Vec<(bool, String)>,
    messages: usize,
}

type Shared = Arc<Mutex<Heard>>;

fn lock(heard: &Shared) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server with that trick, on each connection. It lives as long as the test program.
fn upstream(pair: &KeyPair, trick: Trick) -> Result<(u16, Shared)> {
    let chain = CertificateDer::pem_file_iter(&pair.chain)?.collect::<Result<Vec<_>, _>>()?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key)?)?;
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let heard = Shared::default();
    let shared = Arc::clone(&heard);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (config, heard) = (Arc::clone(&config), Arc::clone(&shared));
            thread::spawn(move || serve(stream, &config, trick, &heard));
        }
    });
    Ok((port, heard))
}

fn serve(
    stream: TcpStream,
    config: &Arc<ServerConfig>,
    trick: Trick,
    heard: &Shared,
) -> Result<()> {
    let mut plain = Talker {
        reader: BufReader::new(stream),
    };
    plain.send("220 mail.example.org ESMTP\r\n")?;
    let offer = if matches!(trick, Trick::Strip) {
        "8BITMIME"
    } else {
        "STARTTLS"
    };
    if !talk(
        &mut plain,
        false,
        &format!("250-mail\r\n250-SIZE 1000\r\n250 {offer}\r\n"),
        heard,
    )? {
        return Ok(());
    }
    match trick {
        Trick::Refuse => {
            plain.send("454 4.7.0 no\r\n")?;
            talk(&mut plain, false, "250 mail\r\n", heard)?;
            return Ok(());
        }
        Trick::SamePacket(more) => plain.send(&format!("220 go\r\n{more}"))?,
        Trick::NextPacket(more) => {
            plain.send("220 go\r\n")?;
            plain.send(more)?;
        }
        Trick::None | Trick::Strip => plain.send("220 go\r\n")?,
    }
    let connection = ServerConnection::new(Arc::clone(config))?;
    let mut secure = Talker {
        reader: BufReader::new(StreamOwned::new(connection, plain.reader.into_inner())),
    };
    talk(
        &mut secure,
        true,
        "250-mail\r\n250-SIZE 2000\r\n250-8BITMIME\r\n250 DSN\r\n",
        heard,
    )?;
    Ok(())
}

/// Answers until QUIT; `true` if STARTTLS came instead, which is left unanswered.
fn talk<S: Read + Write>(
    client: &mut Talker<S>,
    is_secure: bool,
    offer: &str,
    heard: &Shared,
) -> Result<bool> {
    loop {
        let mut line = String::new();
        if client.reader.read_line(&mut line)? == 0 {
            return Ok(false);
        }
        let line = line.trim_end();
        lock(heard).commands.push((is_secure, line.to_owned()));
        match line.split(' ').next().unwrap_or_default() {
            "EHLO" => client.send(offer)?,
            "STARTTLS" => return Ok(true),
            "RCPT" if !line.contains("@example.org") => client.send("554 5.7.1 no\r\n")?,
            "DATA" => {
                client.send("354 go\r\n")?;
                let mut message = String::new();
                while !message.ends_with("\r\n.\r\n") {
                    ensure!(client.reader.read_line(&mut message)? > 0, "closed");
                }
                lock(heard).messages += 1;
                client.send("250 2.0.0 taken\r\n")?;
            }
            "QUIT" => {
                client.send("221 bye\r\n")?;
                return Ok(false);
            }
            _ => client.send("250 ok\r\n")?,
        }
    }
}

/// Tries to send a message through a gateway; what became of it, and what was offered.
fn attempt(port: u16) -> Result<(u16, String)> {
    let mut client = Client::connect(port)?;
    let greeting = client.reply()?;
    if greeting.code != 220 {
        return Ok((greeting.code, String::new()));
    }
    let offer = client.command("EHLO client.example.net")?.text();
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    for line in ["RCPT TO:<alice@example.org>", "DATA"] {
        let reply = client.command(line)?;
        if reply.code >= 400 {
            return Ok((reply.code, offer));
        }
    }
    client.send(&stuffed(&plain("secret")))?;
    Ok((client.reply()?.code, offer))
}

/// With TLS `required`, nothing but EHLO and STARTTLS is ever said in the clear, and nothing that was
/// said there in return counts. With `opportunistic` what was injected counts as little.
#[test]
fn nothing_behind_the_220_is_believed() -> Result<()> {
    let certificates = Certificates::new()?;
    let pair = certificates.issue(&["mail.example.org"])?;
    let mut tricks = vec![Trick::None, Trick::Refuse, Trick::Strip];
    for replies in REPLIES {
        tricks.extend([Trick::SamePacket(replies), Trick::NextPacket(replies)]);
    }
    for mode in ["required", "opportunistic"] {
        for trick in &tricks {
            let outcome = trick_upstream(&certificates, &pair, mode, *trick);
            let outcome = outcome.with_context(|| format!("{mode} {trick:?}"))?;
            println!(
                "upstream {mode:<14} {:<60.60} {outcome}",
                format!("{trick:?}")
            );
        }
    }
    Ok(())
}

fn trick_upstream(
    certificates: &Certificates,
    pair: &KeyPair,
    mode: &str,
    trick: Trick,
) -> Result<String> {
    let (port, heard) = upstream(pair, trick)?;
    let names = if mode == "required" {
        let authority = certificates.authority();
        format!("tls_name = \"mail.example.org\"\ntls_ca = {authority:?}\n")
    } else {
        String::new()
    };
    let rest = format!("tls = \"{mode}\"\n{names}");
    let gateway = Gateway::start(&config(port, "none", &rest))?;
    // Until its first probe is through, it says 421; where that never succeeds, for good.
    let tried = || {
        attempt(gateway.port().ok()?)
            .ok()
            .filter(|(code, _)| *code == 250)
    };
    let expected = expected(mode, trick);
    let limit = if expected == Expected::Taken {
        LIMIT
    } else {
        Duration::from_secs(1)
    };
    let accepted = wait_for(limit, tried);
    gateway.stop()?;
    let heard = lock(&heard);
    let in_clear = |verb: &str| {
        let said = |(secure, line): &&(bool, String)| !secure && line.starts_with(verb);
        heard.commands.iter().filter(said).count()
    };
    match (&accepted, expected) {
        (None, Expected::Taken) => bail!("nothing gets through: {heard:?}"),
        (Some(_), Expected::Refused) => {
            bail!("taken over a connection that somebody was in: {heard:?}")
        }
        (Some((_, offer)), _) => {
            ensure!(heard.messages > 0, "acknowledged, and not there");
            ensure!(!offer.contains("EVIL"), "{offer}");
            if matches!(trick, Trick::None) {
                // What the server offers is learnt anew behind TLS (RFC 3207 §4.2).
                ensure!(
                    offer.contains("SIZE 2000") && offer.contains("DSN"),
                    "{offer}"
                );
                ensure!(in_clear("MAIL") == 0, "{heard:?}");
            }
            Ok("taken, as it may be".to_owned())
        }
        (None, _) => {
            ensure!(heard.messages == 0, "a message was taken: {heard:?}");
            ensure!(
                in_clear("MAIL") + in_clear("RCPT") + in_clear("AUTH") == 0,
                "{heard:?}"
            );
            Ok("nothing said, nothing believed".to_owned())
        }
    }
}

/// What may become of the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Taken,
    Refused,
    /// On another connection, in the clear, or not at all: whoever takes that from somebody in the
    /// middle has asked for no more than a favour.
    Either,
}

fn expected(mode: &str, trick: Trick) -> Expected {
    match (mode, trick) {
        (_, Trick::None) | ("opportunistic", Trick::Refuse | Trick::Strip) => Expected::Taken,
        ("opportunistic", _) => Expected::Either,
        _ => Expected::Refused,
    }
}
