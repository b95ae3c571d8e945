//! A thousand sessions at once, each with one accepted recipient: held, idle or dripping data. The
//! server behind holds connections for those that drip, within its bound, and for nobody else
//! (DESIGN.md §2, promise 2).

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Client, FaultServer, Gateway, config, plain, stuffed, wait_for};

const CONNECTIONS_MAX: usize = 20;

/// 20 sources with 20 sessions each, from a network of its own for each kind.
fn ready(port: u16, network: u8, sessions: u8) -> Result<Vec<Client>> {
    let mut clients = Vec::new();
    for number in 0..u16::from(sessions) * 20 {
        let [_, host] = (number % 20).to_be_bytes();
        let source = Ipv4Addr::new(127, 8, network, 1 + host);
        let mut client = Client::hello_from(source, port)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
        clients.push(client);
    }
    Ok(clients)
}

#[test]
fn a_thousand_sessions_and_twenty_connections() -> Result<()> {
    let server = FaultServer::start()?;
    let rest = format!(
        "connections_max = {CONNECTIONS_MAX}\nconnections_per_source_max = 5\nconnections_reserved = 2\n\
         grace = \"100ms\"\n[tarpit]\nmode = \"enforce\"\ndelay = \"20s\""
    );
    let gateway = Gateway::start(&config(server.port(), "none", &rest))?;
    let port = gateway.port()?;

    let mut held = ready(port, 1, 20)?;
    for client in &mut held {
        client.send(b"RCPT TO:<nobody@example.org>\r\n")?;
    }
    let mut idle = ready(port, 2, 20)?;
    ensure!(held.len() + idle.len() == 800);
    let none = || (server.connections() == 0).then_some(());
    wait_for(Duration::from_secs(10), none)
        .with_context(|| format!("{} connections for held and idle", server.connections()))?;

    // They drip: each that got a connection keeps it, the others hear that the server is busy.
    let mut dripping = ready(port, 3, 10)?;
    for client in &mut dripping {
        client.send(b"DATA\r\n")?;
    }
    let (mut flowing, mut busy) = (Vec::new(), 0);
    for mut client in dripping {
        client.patience(Duration::from_secs(60))?;
        let reply = client.reply()?;
        match reply.code {
            354 => flowing.push(client),
            451 => busy += 1,
            _ => anyhow::bail!("{}", reply.text()),
        }
    }
    for client in &mut flowing {
        client.send(b"drip")?;
    }
    ensure!(busy + flowing.len() == 200 && !flowing.is_empty());
    ensure!(
        server.most_connections() <= CONNECTIONS_MAX,
        "{} at once",
        server.most_connections()
    );
    ensure!(flowing.len() <= CONNECTIONS_MAX, "{}", flowing.len());

    // Nobody was forgotten: who dripped ends, who idled goes on.
    let some = flowing.len();
    for mut client in flowing {
        client.send(b"\r\n.\r\n")?;
        client.reply()?.expect(250)?;
    }
    for client in idle.iter_mut().take(40) {
        client.command("DATA")?.expect(354)?;
        client.send(&stuffed(&plain("idle")))?;
        client.reply()?.expect(250)?;
    }
    for client in held.iter_mut().take(40) {
        client.reply()?.expect(550)?;
    }
    ensure!(server.messages().len() == some + 40);
    gateway.stop()
}
