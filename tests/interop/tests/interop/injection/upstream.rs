//! The upstream's side: replies behind the 220 to STARTTLS, a server that refuses or hides it.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tarpit_interop::{Certificates, Client, Gateway, KeyPair, config, plain, stuffed, wait_for};

use super::{LIMIT, Talker};

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
