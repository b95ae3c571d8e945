//! Floods, and wanted mail beside them: from sources that nobody has heard of, one message a
//! connection, since these are the ones that a flood could slow (DESIGN.md §2, promise 3). Each
//! flood is compared with the same mail before it and after it, in the same run; what was measured
//! is printed (`cargo test ... -- flood --nocapture`).

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Certificates, Client, FaultServer, Gateway, config, wait_for};

mod crowd;
mod few;
mod page;
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

/// They have asked for recipients, which takes a connection to the server, of which there are fewer
/// than of them: who does not read gives it back as who is idle does (DESIGN.md §2, promise 2).
#[test]
fn clients_that_ask_and_never_read() -> Result<()> {
    let rest =
        format!("connections_max = 20\nconnections_reserved = 5\ngrace = \"200ms\"\n{LIMITS}");
    let stage = Stage::set(&rest)?;
    stage.compare("60 clients that ask and never read", || {
        let crowd = Crowd::connect_narrow(stage.port, 60, Sources::new(18))?;
        let start = Instant::now();
        crowd.stuff(
            b"EHLO flood.example.net\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<alice@example.org>\r\n",
        )?;
        let asked = || {
            let commands = stage.server.commands();
            commands.iter().any(|line| line.contains("<alice@")).then_some(())
        };
        wait_for(Duration::from_secs(10), asked).context("nobody asks")?;
        // Less than we wait for a client that does not read: all of them are there still.
        let none = || (stage.server.connections() == 0).then_some(());
        wait_for(Duration::from_secs(40), none)
            .with_context(|| format!("{} connections", stage.server.connections()))?;
        println!("no connection after {:.2} s", start.elapsed().as_secs_f64());
        Ok(crowd)
    })?;
    stage.gateway.stop()
}

/// Each was let in while there were places, and was held where it takes none; then all want out at
/// once. Known senders still find theirs.
#[test]
fn all_out_of_the_pit_at_once() -> Result<()> {
    const PLACES: usize = 100;
    let rest = format!(
        "connections_max = 20\nconnections_reserved = 5\ngrace = \"100ms\"\n[tarpit]\nmode = \"enforce\"\ndelay = \"4s\"\n\
         [limits]\nsessions_max = {PLACES}\nsessions_per_source_max = {PLACES}"
    );
    let stage = Stage::set(&rest)?;
    let mail = Mail::new(stage.port);
    let known = std::net::Ipv4Addr::new(127, 9, 20, 1);
    mail.deliver(known)?;
    let mut crowds = Vec::new();
    for batch in 1..=6 {
        let crowd = Crowd::connect(stage.port, PLACES / 2, Sources::new(19))?;
        crowd.say(
            b"EHLO flood.example.net\r\nMAIL FROM:<s@example.net>\r\nRCPT TO:<guess@example.org>\r\n\
              RCPT TO:<postmaster@example.org>\r\n",
        )?;
        let asked = || {
            let commands = stage.server.commands();
            let guesses = commands.iter().filter(|line| line.contains("<guess@"));
            (guesses.count() >= batch * PLACES / 2).then_some(())
        };
        wait_for(Duration::from_secs(20), asked).context("not all have guessed")?;
        crowds.push(crowd);
    }
    let gone = || crowds.iter().map(Crowd::gone).sum::<Result<usize>>();
    let are_out = || gone().ok().filter(|gone| *gone >= 2 * PLACES);
    wait_for(Duration::from_secs(20), are_out)
        .with_context(|| format!("{:?} were shown out of {}", gone(), 3 * PLACES))?;
    for _ in 0..Mail::MESSAGES {
        mail.deliver(known)?;
    }
    ensure!(gone()? < 3 * PLACES, "nobody was let out");
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
