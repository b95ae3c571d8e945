//! Clients that leave, idle or drip: nothing half is delivered, and the server's connections stay
//! within their caps and are given back.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tarpit_interop::{
    Client, Fault, FaultServer, Gateway, Postfix, Stage, config, large, plain, stuffed, wait_for,
};

/// Waits until the gateway holds `count` connections to the server at most.
fn connections_fall_to(server: &FaultServer, count: usize) -> Result<()> {
    let few = || (server.connections() <= count).then_some(());
    wait_for(Duration::from_secs(20), few).with_context(|| {
        format!(
            "{} upstream connections are still open",
            server.connections()
        )
    })
}

#[test]
fn hanging_up_at_each_stage() -> Result<()> {
    let server = FaultServer::start()?;
    let gateway = Gateway::start(&config(server.port(), "none", "grace = \"300ms\""))?;
    let port = gateway.port()?;
    let wire = stuffed(&large("cut", 2 << 20));
    let half = &wire[..wire.len() / 2];
    let all_but_the_dot = &wire[..wire.len() - 3];
    let mut count = 0;
    for reset in [false, true] {
        for stage in 0..7 {
            let mut client = Client::connect(port)?;
            client.reply()?.expect(220)?;
            if stage >= 1 {
                client.command("EHLO client.example.net")?.expect(250)?;
            }
            if stage >= 2 {
                client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
            }
            if stage >= 3 {
                client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
            }
            if stage >= 4 {
                client.command("DATA")?.expect(354)?;
            }
            match stage {
                5 => client.send(half)?,
                6 => client.send(all_but_the_dot)?,
                _ => {}
            }
            if reset {
                client.reset()?;
            }
            count += 1;
        }
    }
    gateway.wait_for_records("tarpit::session", count)?;
    // Whatever is kept for reuse carries no transaction; a half message never ends in a dot.
    connections_fall_to(&server, 2)?;
    assert_eq!(
        server.messages().len(),
        0,
        "a message was delivered that no client finished"
    );
    let mut client = Client::hello(port)?;
    client
        .deliver(
            "s@example.net",
            &["alice@example.org"],
            &stuffed(&plain("x")),
        )?
        .expect(250)?;
    gateway.stop()
}

/// The client says the dot and is gone: the server's answer is still read, and logged.
#[test]
fn hanging_up_after_the_end_of_data() -> Result<()> {
    let server = FaultServer::start()?;
    let gateway = Gateway::start(&config(server.port(), "none", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.begin("s@example.net", &["alice@example.org"])?;
    client.send(&stuffed(&plain("gone")))?;
    drop(client);
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(server.messages(), [plain("gone")]);
    assert!(
        session.text("envelopes").contains("queued as F00D"),
        "{session:?}"
    );
    gateway.stop()
}

/// The same before a real server, which would take a half message for a whole one if anybody
/// said the dot.
#[test]
fn hanging_up_in_data_before_postfix() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let wire = stuffed(&large("cut", 1 << 20));
    for cut in [0, 1, 2, 3, 4, 5, 1000, wire.len() - 1] {
        for reset in [false, true] {
            let mut client = Client::hello(gateway.port()?)?;
            client.begin("s@example.net", &["alice@example.org"])?;
            // The last three octets are the dot and its CRLF.
            client.send(&wire[..wire.len() - 1 - cut])?;
            if reset {
                client.reset()?;
            }
        }
    }
    gateway.wait_for_records("tarpit::session", 16)?;
    postfix.wait_queue_empty()?;
    assert!(postfix.mailbox("alice")?.is_empty(), "{}", postfix.log());
    gateway.stop()
}

/// A reset is noticed while the upstream thinks, too, and its connection is given back.
#[test]
fn hanging_up_while_the_server_thinks() -> Result<()> {
    let server = FaultServer::start()?;
    let gateway = Gateway::start(&config(server.port(), "none", ""))?;
    server.fail(Stage::Rcpt, Fault::Silence);
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.send(b"RCPT TO:<alice@example.org>\r\n")?;
    assert!(client.is_silent(Duration::from_millis(500))?);
    client.reset()?;
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert!(session.number("seconds")? < 10.0, "{session:?}");
    connections_fall_to(&server, 0)?;
    gateway.stop()
}

/// While a session waits in the pit, it holds no connection to the server beyond the grace time.
#[test]
fn held_sessions_hold_no_connection() -> Result<()> {
    let server = FaultServer::start()?;
    let rest = "grace = \"200ms\"\n[tarpit]\nmode = \"enforce\"\ndelay = \"5s\"";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let mut held = Vec::new();
    for number in 0..30 {
        let source = Ipv4Addr::new(127, 0, 7, 1 + number);
        let mut client = Client::hello_from(source, gateway.port()?)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
        client.send(b"RCPT TO:<nobody@example.org>\r\n")?;
        held.push(client);
    }
    let start = Instant::now();
    connections_fall_to(&server, 0)?;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    for client in &mut held {
        client.reply()?.expect(550)?;
        client.command("DATA")?.expect(354)?;
        client.send(&stuffed(&plain("held")))?;
        client.reply()?.expect(250)?;
    }
    assert_eq!(server.messages().len(), 30);
    drop(held);
    gateway.stop()
}

/// Thirty clients stop after RCPT. They hold no connection beyond the grace time, and can go on
/// later all the same.
#[test]
fn idling_after_rcpt() -> Result<()> {
    let server = FaultServer::start()?;
    let rest = "connections_max = 8\nconnections_per_source_max = 4\nconnections_reserved = 2\n\
                grace = \"500ms\"";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let port = gateway.port()?;
    let mut idle = Vec::new();
    for number in 0..30 {
        let source = Ipv4Addr::new(127, 0, 1, 1 + number % 10);
        let mut client = Client::hello_from(source, port)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        // All the others idle on their connections; this one waits for one to be let go.
        client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
        idle.push(client);
    }
    connections_fall_to(&server, 0)?;
    assert!(
        server.most_connections() <= 8,
        "{} at once",
        server.most_connections()
    );
    for (number, client) in idle.iter_mut().enumerate() {
        client.command("DATA")?.expect(354)?;
        client.send(&stuffed(&plain(&format!("idle{number}"))))?;
        client.reply()?.expect(250)?;
    }
    let stored = server.messages();
    assert_eq!(stored.len(), 30);
    assert!((0..30).all(|number| stored.contains(&plain(&format!("idle{number}")))));
    gateway.stop()
}

/// One source drips data on all the connections that it may have; mail of others is not kept out.
#[test]
fn dripping_data() -> Result<()> {
    let server = FaultServer::start()?;
    let rest = "connections_max = 8\nconnections_per_source_max = 4\nconnections_reserved = 2\n\
                [limits]\ndata_block_timeout = \"10s\"\ndata_rate_min = 1000";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let port = gateway.port()?;
    let slow = Ipv4Addr::new(127, 0, 2, 1);
    let mut dripping = Vec::new();
    for _ in 0..4 {
        let mut client = Client::hello_from(slow, port)?;
        client.begin("s@example.net", &["alice@example.org"])?;
        dripping.push(client);
    }
    let start = Instant::now();
    let mut others = 0;
    // An octet now and then, until the gateway has had enough.
    while dripping.iter_mut().all(|client| client.send(b"x").is_ok())
        && start.elapsed() < Duration::from_secs(40)
    {
        let mut other = Client::hello_from(Ipv4Addr::new(127, 0, 2, 2), port)?;
        let begin = Instant::now();
        let wire = stuffed(&plain(&format!("other{others}")));
        other
            .deliver("s@example.net", &["bob@example.org"], &wire)?
            .expect(250)?;
        assert!(
            begin.elapsed() < Duration::from_secs(2),
            "others wait: {:?}",
            begin.elapsed()
        );
        other.quit()?;
        others += 1;
        std::thread::sleep(Duration::from_millis(300));
    }
    assert!(
        start.elapsed() < Duration::from_secs(40),
        "dripping goes on for ever"
    );
    assert!(
        start.elapsed() > Duration::from_secs(9),
        "a slow sender was given no time"
    );
    for mut client in dripping {
        let last = client.read_to_close()?;
        assert!(last.is_empty() || last.starts_with("421 4.4.2"), "{last}");
    }
    assert!(
        server.most_connections() <= 8,
        "{} at once",
        server.most_connections()
    );
    assert_eq!(
        server.messages().len(),
        others,
        "a dripped message was delivered"
    );
    gateway.stop()
}

/// Slow is not dripping: a message that comes at twice the least rate arrives.
#[test]
fn slow_honest_data() -> Result<()> {
    let server = FaultServer::start()?;
    let rest = "[limits]\ndata_block_timeout = \"10s\"\ndata_rate_min = 1000";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.begin("s@example.net", &["alice@example.org"])?;
    let message = large("slow", 40_000);
    for piece in stuffed(&message).chunks(1000) {
        client.send(piece)?;
        std::thread::sleep(Duration::from_millis(350));
    }
    client.reply()?.expect(250)?;
    gateway.stop()
}

/// A hundred clients of one source behind a server that never answers: the caps hold, others pass.
#[test]
fn one_source_can_not_take_all_connections() -> Result<()> {
    let server = FaultServer::start()?;
    let rest = "connections_max = 8\nconnections_per_source_max = 4\nconnections_reserved = 2\n\
                [limits]\ndrain_timeout = \"1s\"";
    let gateway = Gateway::start(&config(server.port(), "none", rest))?;
    let port = gateway.port()?;
    server.fail(Stage::Rcpt, Fault::Silence);
    let mut stuck = Vec::new();
    for _ in 0..30 {
        let mut client = Client::hello_from(Ipv4Addr::new(127, 0, 3, 1), port)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client.send(b"RCPT TO:<alice@example.org>\r\n")?;
        stuck.push(client);
    }
    let four = || (server.connections() >= 4).then_some(());
    wait_for(Duration::from_secs(10), four).context("no connection was made")?;
    server.heal();
    let mut other = Client::hello_from(Ipv4Addr::new(127, 0, 3, 2), port)?;
    let wire = stuffed(&plain("other"));
    other
        .deliver("s@example.net", &["bob@example.org"], &wire)?
        .expect(250)?;
    assert!(
        server.most_connections() <= 5,
        "{} at once",
        server.most_connections()
    );
    drop(stuck);
    gateway.stop()
}
