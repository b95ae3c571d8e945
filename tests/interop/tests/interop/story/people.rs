//! Who comes: senders that everybody wants, a mailing list with old names, a harvester, a new partner.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tarpit_interop::{Client, Reply, plain, stuffed};

/// They write to people who are there.
pub(super) const WANTED: [Ipv4Addr; 3] = [
    Ipv4Addr::new(127, 0, 2, 10),
    Ipv4Addr::new(127, 0, 2, 11),
    Ipv4Addr::new(127, 0, 2, 12),
];

/// A mailing list: some of its readers left long ago.
pub(super) const LIST: Ipv4Addr = Ipv4Addr::new(127, 0, 113, 20);

/// It tries names.
pub(super) const HARVESTER: Ipv4Addr = Ipv4Addr::new(127, 51, 100, 7);

/// A partner whose orders come for the first time.
pub(super) const PARTNER: Ipv4Addr = Ipv4Addr::new(127, 0, 113, 44);

/// Connections that the partner opens at once, each with a name of last year.
const ORDERS: usize = 4;

fn come(source: Ipv4Addr, name: &str, from: &str, port: u16) -> Result<Client> {
    let mut client = Client::connect_from(source, port)?;
    client.reply()?.expect(220)?;
    client.command(&format!("EHLO {name}"))?.expect(250)?;
    client
        .command(&format!("MAIL FROM:<{from}>"))?
        .expect(250)?;
    Ok(client)
}

fn rcpt(client: &mut Client, name: &str) -> Result<Reply> {
    client.command(&format!("RCPT TO:<{name}@example.org>"))
}

/// The message, and good-bye.
fn finish(mut client: Client, tag: &str) -> Result<Duration> {
    client.command("DATA")?.expect(354)?;
    client.send(&stuffed(&plain(tag)))?;
    let reply = client.reply()?.expect(250)?;
    client.quit()?;
    Ok(reply.after)
}

/// One message to alice: how long each reply took.
pub(super) fn sends(source: Ipv4Addr, port: u16) -> Result<Vec<Duration>> {
    let [.., last] = source.octets();
    let mut client = come(
        source,
        &format!("mx{last}.example.net"),
        "erin@example.net",
        port,
    )?;
    let known = rcpt(&mut client, "alice")?.expect(250)?;
    Ok(vec![known.after, finish(client, "wanted")?])
}

/// One issue of the list, to so many old names and two readers: how long each old name took.
pub(super) fn issue(port: u16, old: usize) -> Result<Vec<Duration>> {
    let mut client = come(LIST, "lists.example.com", "news@example.com", port)?;
    rcpt(&mut client, "alice")?.expect(250)?;
    let mut waits = Vec::new();
    for number in 0..old {
        let left = rcpt(&mut client, &format!("reader{number}"))?.expect(550)?;
        waits.push(left.after);
    }
    rcpt(&mut client, "bob")?.expect(250)?;
    finish(client, "issue")?;
    Ok(waits)
}

/// So many guesses, of which one is a name: how long each wrong one took.
pub(super) fn harvest(port: u16, guesses: usize) -> Result<Vec<Duration>> {
    let mut client = come(HARVESTER, "mail.example", "x@mail.example", port)?;
    let mut waits = Vec::new();
    for number in 1..guesses {
        let guess = rcpt(&mut client, &format!("info{number}"))?.expect(550)?;
        waits.push(guess.after);
    }
    rcpt(&mut client, "carol")?.expect(250)?;
    client.quit()?;
    Ok(waits)
}

/// The partner's first orders, all at once. Those before the last wait.
pub(super) struct Orders(Vec<Client>);

impl Orders {
    /// The last is for bob, who is there: what it hears.
    pub(super) fn come(port: u16) -> Result<(Self, Reply)> {
        let mut others = Vec::new();
        for number in 0..ORDERS {
            let mut client = come(PARTNER, "orders.example.net", "orders@example.net", port)?;
            client.send(format!("RCPT TO:<clerk{number}@example.org>\r\n").as_bytes())?;
            others.push(client);
        }
        // So that this is the last in the queue.
        std::thread::sleep(Duration::from_millis(200));
        let mut client = come(PARTNER, "orders.example.net", "orders@example.net", port)?;
        let heard = rcpt(&mut client, "bob")?;
        client.quit()?;
        Ok((Self(others), heard))
    }

    /// The others have heard something too.
    pub(super) fn end(self) -> Result<()> {
        for mut client in self.0 {
            let heard = client.reply()?;
            ensure!([450, 550].contains(&heard.code), "{heard:?}");
            client.quit()?;
        }
        Ok(())
    }
}

/// One order, to bob alone.
pub(super) fn order(port: u16) -> Result<Vec<Duration>> {
    let mut client = come(PARTNER, "orders.example.net", "orders@example.net", port)?;
    let known = rcpt(&mut client, "bob")?.expect(250)?;
    Ok(vec![known.after, finish(client, "order")?])
}

/// Somebody who has guessed, and waits.
pub(super) struct Held {
    client: Client,
    since: Instant,
}

impl Held {
    pub(super) fn guesses(source: Ipv4Addr, port: u16) -> Result<Self> {
        let mut client = come(source, "mail.example", "x@mail.example", port)?;
        let since = Instant::now();
        client.send(b"RCPT TO:<sales@example.org>\r\n")?;
        let is_held = client.is_silent(Duration::from_millis(300))?;
        ensure!(is_held, "{source} is not held");
        Ok(Self { client, since })
    }

    /// The refusal has come: how long after the guess, if nobody was busy with something else.
    pub(super) fn hears(mut self) -> Result<Duration> {
        self.client.reply()?.expect(550)?;
        let waited = self.since.elapsed();
        self.client.quit()?;
        Ok(waited)
    }
}
