//! Every client through the gateway to every server, with every protection: the table of what
//! works. Each cell prints one line. The same without the gateway shows that a red cell is the
//! gateway's fault, and not that of the tests.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use tarpit_interop::{
    Aiosmtpd, Certificates, Courier, Exim, Gateway, Haraka, KeyPair, Letter, MailServer, OpenSmtpd,
    Postfix, Tls, UTF8_USER, Way, config, dot_stuffed, eight_bit, large, long_lines, plain,
    received_part, tail, wait_message,
};

/// Cells of one server at once. Most of the time goes into starting programs.
const AT_ONCE: usize = 2;

/// What a server can take beside plain mail.
struct Abilities {
    name: &'static str,
    utf8: bool,
    chunks: bool,
    identity: &'static str,
}

/// One cell of the table.
struct Cell {
    courier: Courier,
    way: Way,
}

/// One message: the letter, and what is looked for at the other end.
struct Case {
    what: &'static str,
    tag: String,
    letter: Letter,
}

fn cases(cell: &Cell, server: &Abilities) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: &'static str, make: fn(&str) -> Vec<u8>, utf8: bool, chunks: bool| {
        let tag = format!(
            "{what}.{}.{}.{}",
            cell.courier.name(),
            cell.way.tls.name(),
            cell.way.source
        );
        let (from, to) = if utf8 {
            ("s\u{fc}d@example.net", format!("{UTF8_USER}@example.org"))
        } else {
            ("sender@example.net", "alice@example.org".to_owned())
        };
        cases.push(Case {
            what,
            letter: Letter {
                message: make(&tag),
                from: from.to_owned(),
                to,
                utf8,
                chunks,
            },
            tag,
        });
    };
    add("short", plain, false, false);
    add("dots", dot_stuffed, false, false);
    add("long", long_lines, false, false);
    add("8bit", eight_bit, false, false);
    if server.utf8 && cell.courier.speaks_utf8() {
        add("utf8", plain, true, false);
    }
    if server.chunks && cell.courier.sends_chunks() {
        add("chunks", dot_stuffed, false, true);
    }
    if cell.courier == Courier::Smtplib {
        add("25MiB", |tag| large(tag, 25 << 20), false, false);
    }
    cases
}

/// Sends all messages of a cell, and compares what arrived.
fn run(cell: &Cell, abilities: &Abilities, server: &dyn MailServer) -> Result<String> {
    let cases = cases(cell, abilities);
    let letters: Vec<Letter> = cases.iter().map(|case| case.letter.clone()).collect();
    let relay = cell.courier.send(&cell.way, &letters)?;
    let mut done = String::new();
    for case in &cases {
        let (user, _) = case.letter.to.split_once('@').context("no @")?;
        let stored = wait_message(server, user, &case.tag)
            .with_context(|| format!("the end of the relay's log:\n{}", tail(&relay.log())))?;
        ensure!(
            received_part(&stored) == case.letter.message,
            "{} was changed on the way: {} octets became {}",
            case.what,
            case.letter.message.len(),
            received_part(&stored).len()
        );
        write!(done, " {}", case.what)?;
    }
    Ok(done)
}

/// Runs all cells, a few at once, and prints the table. `seen` says whether the server must have
/// seen the client's own address.
fn table(cells: Vec<Cell>, abilities: &Abilities, server: &dyn MailServer) -> Result<()> {
    let queue = Mutex::new(VecDeque::from(cells));
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(cell) = next(&queue) {
                    let start = Instant::now();
                    let result = run(&cell, abilities, server).and_then(|done| {
                        let seen = cell.way.source.to_string();
                        ensure!(
                            server.log().contains(&seen),
                            "the server never saw {seen}; its log:\n{}",
                            tail(&server.log())
                        );
                        Ok(done)
                    });
                    let line = format!(
                        "{:<11}{:<11}{:<9}",
                        cell.courier.name(),
                        abilities.name,
                        cell.way.tls.name()
                    );
                    match result {
                        Ok(done) => println!("{line}{:.1} s {done}", start.elapsed().as_secs_f64()),
                        Err(error) => {
                            println!("{line}FAILED: {error:#}");
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.push(line);
                        }
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() {
        return Ok(());
    }
    bail!("{} cells failed:\n{}", failed.len(), failed.join("\n"))
}

fn next(queue: &Mutex<VecDeque<Cell>>) -> Option<Cell> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.pop_front()
}

/// Each client by each way, each from an address of its own.
fn cells(certificates: &Certificates, port: impl Fn(Tls) -> Option<u16>) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (column, tls) in (1..).zip(Tls::ALL) {
        for (row, courier) in (1..).zip(Courier::ALL) {
            let Some(port) = port(tls) else { continue };
            cells.push(Cell {
                courier,
                way: Way {
                    port,
                    tls,
                    source: Ipv4Addr::new(127, 0, column, row),
                    authority: certificates.authority(),
                },
            });
        }
    }
    cells
}

fn direct(abilities: &Abilities, start: fn(&KeyPair) -> Result<Box<dyn MailServer>>) -> Result<()> {
    let certificates = Certificates::new()?;
    let server = start(&certificates.issue(&["mail.example.org"])?)?;
    // With a certificate, it has both.
    let cells = cells(&certificates, |tls| match tls {
        Tls::Plain => Some(server.port()),
        Tls::StartTls => server.implicit_port().map(|_| server.port()),
        Tls::Implicit => server.implicit_port(),
    });
    table(cells, abilities, server.as_ref())
}

fn through(
    abilities: &Abilities,
    start: fn(&KeyPair) -> Result<Box<dyn MailServer>>,
) -> Result<()> {
    let certificates = Certificates::new()?;
    let server = start(&certificates.issue(&["mail.example.org"])?)?;
    let port = match abilities.identity {
        "proxy-v2" => server.proxy_port().context("no port for PROXY")?,
        _ => server.port(),
    };
    let gateway = Gateway::start(&config(port, abilities.identity, ""))?;
    let port = gateway.port()?;
    let cells = cells(&certificates, |tls| (tls == Tls::Plain).then_some(port));
    let result = table(cells, abilities, server.as_ref());
    result.with_context(|| format!("the gateway's log:\n{}", gateway.excerpt()))?;
    gateway.stop()
}

const POSTFIX: Abilities = Abilities {
    name: "Postfix",
    utf8: true,
    chunks: true,
    identity: "xclient",
};

fn postfix(pair: &KeyPair) -> Result<Box<dyn MailServer>> {
    let server = Postfix::server().user(UTF8_USER).xclient().tls(pair);
    Ok(Box::new(server.start()?))
}

const EXIM: Abilities = Abilities {
    name: "Exim",
    utf8: true,
    chunks: true,
    identity: "proxy-v2",
};

fn exim(pair: &KeyPair) -> Result<Box<dyn MailServer>> {
    Ok(Box::new(Exim::start_with_tls("alice", "secret", pair)?))
}

const OPENSMTPD: Abilities = Abilities {
    name: "OpenSMTPD",
    utf8: false,
    chunks: false,
    identity: "proxy-v2",
};

fn opensmtpd(_: &KeyPair) -> Result<Box<dyn MailServer>> {
    Ok(Box::new(OpenSmtpd::server()?))
}

const HARAKA: Abilities = Abilities {
    name: "Haraka",
    utf8: true,
    chunks: false,
    identity: "xclient",
};

fn haraka(pair: &KeyPair) -> Result<Box<dyn MailServer>> {
    Ok(Box::new(Haraka::server(Some(pair))?))
}

const AIOSMTPD: Abilities = Abilities {
    name: "aiosmtpd",
    utf8: true,
    chunks: false,
    identity: "proxy-v2",
};

fn aiosmtpd(pair: &KeyPair) -> Result<Box<dyn MailServer>> {
    Ok(Box::new(Aiosmtpd::server(Some(pair))?))
}

#[test]
fn postfix_direct() -> Result<()> {
    direct(&POSTFIX, postfix)
}

#[test]
fn exim_direct() -> Result<()> {
    direct(&EXIM, exim)
}

#[test]
fn opensmtpd_direct() -> Result<()> {
    direct(&OPENSMTPD, opensmtpd)
}

#[test]
fn haraka_direct() -> Result<()> {
    direct(&HARAKA, haraka)
}

#[test]
fn aiosmtpd_direct() -> Result<()> {
    direct(&AIOSMTPD, aiosmtpd)
}

#[test]
fn postfix_through_the_gateway() -> Result<()> {
    through(&POSTFIX, postfix)
}

#[test]
fn exim_through_the_gateway() -> Result<()> {
    through(&EXIM, exim)
}

#[test]
fn opensmtpd_through_the_gateway() -> Result<()> {
    through(&OPENSMTPD, opensmtpd)
}

#[test]
fn haraka_through_the_gateway() -> Result<()> {
    through(&HARAKA, haraka)
}

#[test]
fn aiosmtpd_through_the_gateway() -> Result<()> {
    through(&AIOSMTPD, aiosmtpd)
}
