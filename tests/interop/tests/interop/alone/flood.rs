//! Floods, and wanted mail beside them: from sources that nobody has heard of, one message a
//! connection, since these are the ones that a flood could slow (DESIGN.md §2, promise 3). Each
//! flood is compared with the same mail before it and after it, in the same run; what was measured
//! is printed (`cargo test ... -- flood --nocapture`).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Certificates, Client, FaultServer, Gateway, config, wait_for};

mod crowd;
mod few;
mod wanted;

use crowd::{Crowd, Sources};
use wanted::Mail;

/// A gateway before a server that only stores, and room for descriptors in this process.
struct Stage {
    server: FaultServer,
    gateway: Gateway,
    port: u16,
}

impl Stage {
    fn set(rest: &str) -> Result<Self> {
        crowd::raise_descriptors();
        let server = FaultServer::start()?;
        let gateway = Gateway::start(&config(server.port(), "none", rest))?;
        let port = gateway.port()?;
        Ok(Self {
            server,
            gateway,
            port,
        })
    }

    /// Mail before `flood` is let loose, beside it, and after it has ended.
    fn compare<T>(&self, name: &str, flood: impl FnOnce() -> Result<T>) -> Result<()> {
        let mail = Mail::new(self.port);
        mail.measure()?;
        let before = mail.measure()?;
        let flood = flood()?;
        let beside = mail.measure()?;
        drop(flood);
        let after = mail.measure()?;
        println!(
            "{name}: before {before}, beside {beside}, after {after}: {}",
            beside.over(&before)
        );
        ensure!(
            self.server.messages().len() == 4 * Mail::MESSAGES,
            "{} messages",
            self.server.messages().len()
        );
        let usual = before.median.max(after.median);
        ensure!(
            beside.median <= usual * 4 + Duration::from_millis(20),
            "{name}: {beside} beside {before}"
        );
        ensure!(beside.slowest < Duration::from_secs(3), "{name}: {beside}");
        Ok(())
    }
}

/// Each network of the floods has 250 sources.
const LIMITS: &str = "[limits]\nsessions_per_source_max = 1000";

#[test]
fn connections_that_say_nothing() -> Result<()> {
    let stage = Stage::set(LIMITS)?;
    stage.compare("3,000 silent connections", || {
        Crowd::connect(stage.port, 3000, Sources::new(11))
    })?;
    stage.gateway.stop()
}

#[test]
fn an_octet_a_second() -> Result<()> {
    let stage = Stage::set(LIMITS)?;
    stage.compare("1,000 connections with an octet a second each", || {
        let crowd = Crowd::connect(stage.port, 1000, Sources::new(12))?;
        Ok(crowd.drip(Duration::from_secs(1)))
    })?;
    stage.gateway.stop()
}

#[test]
fn clients_that_never_read() -> Result<()> {
    let stage = Stage::set(LIMITS)?;
    stage.compare("300 clients that send and never read", || {
        let crowd = Crowd::connect(stage.port, 300, Sources::new(13))?;
        crowd.stuff(b"EHLO flood.example.net\r\n")?;
        Ok(crowd)
    })?;
    stage.gateway.stop()
}

/// Each is held for its wrong guess, and has sent one octet more: a page of the kernel's memory.
#[test]
fn held_with_one_unread_octet() -> Result<()> {
    let rest =
        format!("grace = \"100ms\"\n[tarpit]\nmode = \"enforce\"\ndelay = \"60s\"\n{LIMITS}");
    let stage = Stage::set(&rest)?;
    stage.compare("2,000 held with one unread octet", || {
        let mut held = Vec::new();
        // Not more at once than may wait for the server.
        for batch in 1..=5 {
            let crowd = Crowd::connect(stage.port, 400, Sources::new(14))?;
            crowd.say(
                b"EHLO flood.example.net\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<guess@example.org>\r\n",
            )?;
            let asked = || {
                let commands = stage.server.commands();
                let guesses = commands.iter().filter(|line| line.contains("<guess@"));
                (guesses.count() >= batch * 400).then_some(())
            };
            wait_for(Duration::from_secs(60), asked).context("not all have guessed")?;
            crowd.say(b"N")?;
            held.push(crowd);
        }
        Ok(held)
    })?;
    stage.gateway.stop()
}

#[test]
fn coming_and_going() -> Result<()> {
    let stage = Stage::set(LIMITS)?;
    stage.compare("connections that close at once", || {
        Ok(crowd::churn(stage.port, Sources::new(15)))
    })?;
    stage.gateway.stop()
}

/// A recorded first flight costs its sender nothing, and us a key exchange and a signature.
#[test]
fn handshakes() -> Result<()> {
    let certificates = Certificates::new()?;
    let pair = certificates.issue(&["gate.example.org"])?;
    let rest = format!(
        "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n\
         [[certificate]]\nchain = {:?}\nkey = {:?}\n{LIMITS}",
        pair.chain, pair.key
    );
    let stage = Stage::set(&rest)?;
    let port = stage.gateway.port_of("tls")?;
    let hello = crowd::first_flight()?;
    stage.compare("first flights of handshakes", || {
        Ok(crowd::shake_hands(port, Sources::new(16), hello))
    })?;
    stage.gateway.stop()
}

/// A source that owes much is turned away when it comes again; nobody else is.
#[test]
fn deep_debtors_at_the_door() -> Result<()> {
    let rest = "[tarpit]\nmode = \"enforce\"\nscope = \"source\"\ndelay = \"3s\"\nhold_max = \"25s\"\n\
                [pit]\ndoor_debt = \"2s\"";
    let stage = Stage::set(rest)?;
    let [debtor, known, other] = [1, 2, 3].map(|host| std::net::Ipv4Addr::new(127, 9, 17, host));
    Mail::new(stage.port).deliver(known)?;
    let mut guessing = Vec::new();
    for source in [debtor, known] {
        let mut client = Client::hello_from(source, stage.port)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client.send(b"RCPT TO:<guess@example.org>\r\n")?;
        guessing.push(client);
    }
    let refused = || {
        let mut again = Client::connect_from(debtor, stage.port).ok()?;
        let reply = again.reply().ok()?;
        (reply.code == 421).then_some(reply)
    };
    let reply = wait_for(Duration::from_secs(2), refused).context("it was let in")?;
    ensure!(reply.text().starts_with("4.7.0"), "{}", reply.text());
    for _ in 0..50 {
        Client::connect_from(debtor, stage.port)?
            .reply()?
            .expect(421)?;
    }
    Client::hello_from(known, stage.port)?.quit()?;
    Client::hello_from(other, stage.port)?.quit()?;
    for client in &mut guessing {
        client.reply()?.expect(550)?;
    }
    // Its debt is paid.
    Client::hello_from(debtor, stage.port)?.quit()?;
    let told = |record: &&tarpit_interop::Record| {
        record
            .text("message")
            .starts_with("turned away at the door")
    };
    let told = stage.gateway.records().iter().filter(told).count();
    ensure!(told == 1, "{told} lines for those who were turned away");
    stage.gateway.stop()
}
