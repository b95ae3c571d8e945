//! A gateway with few descriptors, and none.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Client, FaultServer, Gateway, config, plain, stuffed, wait_for};

use super::crowd::{Crowd, Sources, raise_descriptors};
use super::wanted::Mail;

/// What the gateway may open. A fourth is kept for the server behind and for files, and as many as
/// there may be connections to it for known senders.
const ALLOWED: u64 = 300;

const KNOWN: Ipv4Addr = Ipv4Addr::new(127, 9, 18, 1);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 9, 18, 2);

fn start(server: &FaultServer) -> Result<Gateway> {
    raise_descriptors();
    let rest = "connections_max = 20\nconnections_reserved = 5\nconnections_per_source_max = 10\n\
                [limits]\nsessions_per_source_max = 1000";
    Gateway::start_with_descriptors(&config(server.port(), "none", rest), ALLOWED)
}

#[test]
fn a_flood_leaves_descriptors_for_mail() -> Result<()> {
    let server = FaultServer::start()?;
    let gateway = start(&server)?;
    let mail = Mail::new(gateway.port()?);
    mail.deliver(KNOWN)?;
    // In the middle of a message, and before any connection to the server.
    let mut sending = Client::hello_from(STRANGER, gateway.port()?)?;
    sending.begin("s@example.net", &["alice@example.org"])?;
    let mut beginning = Client::hello_from(STRANGER, gateway.port()?)?;

    let crowd = Crowd::connect(gateway.port()?, 400, Sources::new(19))?;
    let (welcome, refused) = crowd.greeted()?;
    println!("of 400, {welcome} were let in and {refused} told to come again");
    ensure!(welcome > 100 && refused > 100, "{welcome} and {refused}");
    mail.deliver(KNOWN)
        .context("a known sender beside the flood")?;
    let wire = stuffed(&plain("in progress"));
    sending.send(&wire)?;
    sending.reply()?.expect(250)?;
    beginning
        .deliver("s@example.net", &["alice@example.org"], &wire)?
        .expect(250)?;
    // What mail has given back in between is soon taken.
    let more = Crowd::connect(gateway.port()?, 50, Sources::new(19))?;
    let (welcome, refused) = more.greeted()?;
    ensure!(refused > 0, "{welcome} more were let in");
    drop((crowd, more));
    wait_for(Duration::from_secs(10), || mail.deliver(STRANGER).ok())
        .context("the flood is over, and strangers are not let in")?;
    ensure!(server.messages().len() == 5, "{}", server.messages().len());
    gateway.stop()
}

#[test]
fn without_any_descriptor_nothing_ends() -> Result<()> {
    let server = FaultServer::start()?;
    let gateway = start(&server)?;
    let port = gateway.port()?;
    // Connected, so that only the way to the server needs a descriptor.
    let mut waiting = Client::hello_from(STRANGER, port)?;
    let mut sending = Client::hello_from(KNOWN, port)?;
    sending.begin("s@example.net", &["alice@example.org"])?;
    let crowd = Crowd::connect(port, 50, Sources::new(20))?;
    crowd.greeted()?;

    gateway.limit_descriptors(40, ALLOWED)?;
    Client::connect_from(STRANGER, port)?
        .reply()
        .context("whoever comes now is told to come again")?
        .expect(421)?;
    waiting.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    waiting.send(b"RCPT TO:<bob@example.org>\r\n")?;
    ensure!(
        waiting.is_silent(Duration::from_millis(500))?,
        "it was answered without a descriptor"
    );
    let wire = stuffed(&plain("without"));
    sending.send(&wire)?;
    sending.reply()?.expect(250)?;

    gateway.limit_descriptors(ALLOWED, ALLOWED)?;
    waiting.reply()?.expect(250)?;
    waiting.command("DATA")?.expect(354)?;
    waiting.send(&wire)?;
    waiting.reply()?.expect(250)?;
    Client::hello_from(STRANGER, port)?.quit()?;
    ensure!(server.messages().len() == 2, "{}", server.messages().len());
    gateway.stop()
}
