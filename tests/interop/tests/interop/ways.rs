//! Replies that are said in pieces while they are held, and small receive windows: programs that
//! others wrote hear the same refusal, and mail behind it is untouched.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use socket2::{Domain, Socket, Type};
use tarpit_interop::{
    Client, Gateway, Postfix, config, large, plain, python, received_part, stuffed, swaks,
};

/// Long enough for a continuation line, which comes after 3 s.
const DELAY: Duration = Duration::from_secs(4);

const WAYS: [&str; 2] = ["stutter", "continuation"];

fn pit(way: &str, delay: Duration) -> String {
    format!(
        "[tarpit]\nmode = \"enforce\"\ndelay = \"{}s\"\nhold = \"{way}\"\n",
        delay.as_secs()
    )
}

fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}\n{out}\n{err}", output.status)
}

/// One hold in this way, waited out.
fn was_held_by(gateway: &Gateway, way: &str) -> Result<()> {
    let hold = gateway.wait_for_records("tarpit::hold", 1)?.remove(0);
    let found = (hold.text("way"), hold.text("code"), hold.text("end"));
    assert_eq!(found, (way.into(), "550".into(), "paid".into()), "{hold:?}");
    let held = hold.number("held_seconds")?;
    assert!(held >= DELAY.as_secs_f64(), "{hold:?}");
    Ok(())
}

#[test]
fn swaks_takes_it_for_the_refusal_that_it_is() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    for (way, pipeline) in [
        ("stutter", false),
        ("continuation", false),
        ("continuation", true),
    ] {
        let gateway = Gateway::start(&config(postfix.port(), "xclient", &pit(way, DELAY)))?;
        let to = ["--from", "s@example.net", "--to", "nobody@example.org"];
        let pipelined: &[&str] = if pipeline { &["--pipeline"] } else { &[] };
        let output = swaks(gateway.port()?, &[pipelined, &to].concat())?;
        let told = text(&output);
        // 24: swaks's exit code for "all recipients refused".
        ensure!(output.status.code() == Some(24), "{way}: {told}");
        ensure!(
            told.contains("550 5.1.1 <nobody@example.org>"),
            "{way}: {told}"
        );
        let waits = told.matches("550-5.1.1 Please wait").count();
        assert_eq!(waits, if way == "stutter" { 0 } else { 1 }, "{told}");
        was_held_by(&gateway, way)?;
        gateway.stop()?;
    }
    Ok(())
}

/// And it delivers to the others in the same transaction.
#[test]
fn smtplib_goes_on_behind_it() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("message");
    let message = plain("in-pieces");
    fs::write(&file, &message)?;
    for (count, way) in WAYS.into_iter().enumerate() {
        let gateway = Gateway::start(&config(postfix.port(), "xclient", &pit(way, DELAY)))?;
        let port = gateway.port()?.to_string();
        let file = file.to_string_lossy();
        let to = ["nobody@example.org", "alice@example.org"];
        let output = python("send.py", &[&port, &file, "-", to[0], to[1]])?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(
            told,
            "nobody@example.org 550\nalice@example.org 250\n",
            "{way}: {}",
            text(&output)
        );
        was_held_by(&gateway, way)?;
        let stored = postfix.wait_mailbox("alice", count + 1)?;
        assert!(stored.iter().all(|stored| received_part(stored) == message));
        gateway.stop()?;
    }
    Ok(())
}

/// Postfix as the sending server bounces at once, and its author reads why in the notification.
#[test]
fn a_relay_tells_its_author_why() -> Result<()> {
    for way in WAYS {
        let behind = Postfix::server().xclient().start()?;
        let gateway = Gateway::start(&config(behind.port(), "xclient", &pit(way, DELAY)))?;
        let relay = Postfix::relaying_to(gateway.port()?).start()?;
        let mut author = Client::hello(relay.port())?;
        // The notification comes back through the gateway.
        author
            .deliver(
                "bob@example.org",
                &["nobody@example.org"],
                &stuffed(&plain("guess")),
            )?
            .expect(250)?;
        author.quit()?;
        let notification = behind.wait_mailbox("bob", 1)?.remove(0);
        let notification = String::from_utf8_lossy(&notification).into_owned();
        let said = notification
            .split("Diagnostic-Code: smtp;")
            .nth(1)
            .with_context(|| notification.clone())?
            .split("\n\n")
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(notification.contains("Action: failed"), "{notification}");
        assert!(notification.contains("Status: 5.1.1"), "{notification}");
        assert!(
            said.contains("550 5.1.1 <nobody@example.org>"),
            "{way}: {said}"
        );
        relay.wait_queue_empty()?;
        let log = relay.log();
        assert!(!log.contains("status=deferred"), "{log}");
        was_held_by(&gateway, way)?;
        gateway.stop()?;
    }
    Ok(())
}

/// What reads an octet now and then, and nothing while it is held, gets all of it too.
#[test]
fn a_client_that_reads_slowly() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    for way in WAYS {
        let gateway = Gateway::start(&config(postfix.port(), "xclient", &pit(way, DELAY)))?;
        let mut slow = raw(gateway.port()?)?;
        let script = "EHLO client.example.net\r\nMAIL FROM:<s@example.net>\r\n\
                      RCPT TO:<nobody@example.org>\r\nRCPT TO:<alice@example.org>\r\nQUIT\r\n";
        slow.write_all(script.as_bytes())?;
        std::thread::sleep(DELAY + Duration::from_secs(1));
        let mut said = Vec::new();
        let mut octet = [0];
        while slow.read(&mut octet)? == 1 {
            said.push(octet[0]);
            std::thread::sleep(Duration::from_millis(2));
        }
        let said = String::from_utf8(said)?;
        let tail = said
            .split_once("250 2.1.0 Sender ok\r\n")
            .with_context(|| said.clone())?
            .1;
        let lines: Vec<&str> = tail.lines().collect();
        let waits = if way == "stutter" { 0 } else { 1 };
        assert_eq!(lines.len(), waits + 3, "{tail}");
        assert!(
            lines[..waits]
                .iter()
                .all(|line| *line == "550-5.1.1 Please wait")
        );
        assert!(
            lines[waits].starts_with("550 5.1.1 <nobody@example.org>"),
            "{tail}"
        );
        assert!(lines[waits + 1].starts_with("250 2.1.5"), "{tail}");
        assert!(lines[waits + 2].starts_with("221 "), "{tail}");
        gateway.stop()?;
    }
    Ok(())
}

/// A connection with the least receive buffer that the system gives, and a small one to send from.
fn raw(port: u16) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_recv_buffer_size(1)?;
    socket.set_send_buffer_size(1)?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.connect(&server.into())?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

const MESSAGE: usize = 10 << 20;

/// What `small_window` is for, and what it must not do.
#[test]
fn a_small_window_grows_again_for_mail() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set("message_size_limit", "20000000")
        .start()?;
    let message = large("window", MESSAGE);
    let wire = stuffed(&message);
    let (mut took, mut ahead) = (Vec::new(), Vec::new());
    for small in [false, true] {
        let rest = format!(
            "{}small_window = {small}\n",
            pit("silent", Duration::from_secs(1))
        );
        let gateway = Gateway::start(&config(postfix.port(), "xclient", &rest))?;
        ahead.push(sent_ahead(gateway.port()?)?);
        let mut client = Client::hello(gateway.port()?)?;
        // Held twice, in a transaction and outside of one.
        client.command("NONSENSE")?.expect(500)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client
            .command("RCPT TO:<nobody@example.org>")?
            .expect(550)?;
        client.command("RSET")?.expect(250)?;
        client.begin("s@example.net", &["alice@example.org"])?;
        let started = Instant::now();
        client.send(&wire)?;
        client.reply()?.expect(250)?;
        took.push(started.elapsed());
        client.quit()?;
        gateway.stop()?;
    }
    let stored = postfix.wait_mailbox("alice", 2)?;
    assert!(stored.iter().all(|stored| received_part(stored) == message));
    let [wide, small] = took[..] else {
        unreachable!("two runs")
    };
    assert!(
        small < wide * 4 + Duration::from_secs(2),
        "{small:?} with a small window, {wide:?} without"
    );
    assert!(
        ahead[1] * 4 < ahead[0],
        "sent ahead in a hold: {ahead:?} octets"
    );
    Ok(())
}

/// How many octets a client gets rid of while it is held.
fn sent_ahead(port: u16) -> Result<usize> {
    let mut client = raw(port)?;
    client.write_all(b"EHLO client.example.net\r\nNONSENSE\r\n")?;
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while !said.ends_with(b"\r\n") || !String::from_utf8_lossy(&said).contains("\r\n250 ") {
        let count = client.read(&mut buffer)?;
        ensure!(count > 0, "closed: {}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&buffer[..count]);
    }
    // The hold has begun, or begins in a moment.
    std::thread::sleep(Duration::from_millis(200));
    client.set_nonblocking(true)?;
    let until = Instant::now() + Duration::from_millis(500);
    let mut sent = 0;
    while Instant::now() < until {
        match client.write(&[b'x'; 4096]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sent)
}
