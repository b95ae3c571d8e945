//! A real Postfix that is killed at the worst moments.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tarpit_interop::{
    Client, Fault, FaultServer, Gateway, Postfix, Stage, config, large, plain, received_part,
    stuffed, wait_for,
};

/// Tries until it is told 250, as a sending server does.
fn deliver_at_last(gateway: &Gateway, message: &[u8]) -> Result<()> {
    let sent = wait_for(Duration::from_secs(30), || {
        let mut client = Client::hello(gateway.port().ok()?).ok()?;
        let reply = client
            .deliver("s@example.net", &["alice@example.org"], &stuffed(message))
            .ok()?;
        (reply.code == 250).then_some(())
    });
    sent.with_context(|| gateway.excerpt())
}

#[test]
fn killed_in_the_middle_of_data() -> Result<()> {
    let mut postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let message = large("half", 4 << 20);
    let wire = stuffed(&message);
    let (first, second) = wire.split_at(wire.len() / 2);

    let mut client = Client::hello(gateway.port()?)?;
    client.begin("s@example.net", &["alice@example.org"])?;
    client.send(first)?;
    postfix.kill();
    client.send(second)?;
    let reply = client.reply()?.expect(451)?;
    // So that both sides can talk about it.
    assert!(reply.text().contains("[tp-"), "{}", reply.text());
    client.command("NOOP")?.expect(250)?;
    drop(client);

    postfix.restart(&[])?;
    deliver_at_last(&gateway, &message)?;
    postfix.wait_queue_empty()?;
    // Once: the half was never taken.
    let stored = postfix.wait_mailbox("alice", 1)?;
    assert!(
        received_part(&stored[0]) == message,
        "the message was changed"
    );
    gateway.stop()
}

/// It committed, died, and said nothing: *unknown*. A retry may deliver twice, never the reverse.
#[test]
fn killed_after_it_took_the_message() -> Result<()> {
    let server = FaultServer::start()?;
    let gateway = Gateway::start(&config(server.port(), "none", ""))?;
    server.fail(Stage::Stored, Fault::Close);
    let message = plain("unknown");
    let mut client = Client::hello(gateway.port()?)?;
    client.begin("s@example.net", &["alice@example.org"])?;
    client.send(&stuffed(&message))?;
    client.reply()?.expect(451)?;
    client.quit()?;
    assert_eq!(server.messages().len(), 1);
    // The gateway must not try again by itself: it has no queue.
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(session.text("messages_accepted"), "0", "{session:?}");
    assert_eq!(server.messages().len(), 1, "the gateway sent it again");
    server.heal();
    deliver_at_last(&gateway, &message)?;
    assert_eq!(server.messages(), [message.clone(), message]);
    gateway.stop()
}

/// EHLO promised 8BITMIME; MAIL used it; the connection that it must go over lacks it.
#[test]
fn restarted_with_fewer_capabilities() -> Result<()> {
    let mut postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::connect(gateway.port()?)?;
    client.reply()?.expect(220)?;
    let offer = client.command("EHLO client.example.net")?.text();
    assert!(offer.contains("8BITMIME"), "{offer}");
    client
        .command("MAIL FROM:<s@example.net> BODY=8BITMIME")?
        .expect(250)?;
    postfix.restart(&[("smtpd_discard_ehlo_keywords", "8bitmime")])?;
    let reply = client.command("RCPT TO:<alice@example.org>")?.expect(451)?;
    assert!(reply.text().starts_with("4.3.0"), "{}", reply.text());
    let relearnt = wait_for(Duration::from_secs(30), || {
        let mut client = Client::connect(gateway.port().ok()?).ok()?;
        client.reply().ok()?.expect(220).ok()?;
        let offer = client.command("EHLO client.example.net").ok()?.text();
        (!offer.contains("8BITMIME")).then_some(())
    });
    relearnt.with_context(|| gateway.excerpt())?;
    // Without the parameter the mail goes through.
    let message = plain("seven");
    deliver_at_last(&gateway, &message)?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    gateway.stop()
}

/// The same for SIZE, seen from the server's side: what it doesn't offer is never sent, and never
/// left out of a MAIL that had it.
#[test]
fn a_parameter_is_never_dropped_in_silence() -> Result<()> {
    let server = FaultServer::start()?;
    let gateway = Gateway::start(&config(server.port(), "none", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    client
        .command("MAIL FROM:<s@example.net> SIZE=1000 BODY=8BITMIME")?
        .expect(250)?;
    server.offer(&["PIPELINING"]);
    server.drop_connections();
    client.command("RCPT TO:<alice@example.org>")?.expect(451)?;
    let sent = server.commands();
    let sent: Vec<_> = sent
        .iter()
        .filter(|line| line.starts_with("MAIL FROM:<s@"))
        .collect();
    assert!(sent.is_empty(), "{sent:?}");
    let relearnt = wait_for(Duration::from_secs(30), || {
        let mut client = Client::connect(gateway.port().ok()?).ok()?;
        client.reply().ok()?.expect(220).ok()?;
        let offer = client.command("EHLO client.example.net").ok()?.text();
        (!offer.contains("SIZE")).then_some(())
    });
    relearnt.with_context(|| gateway.excerpt())?;
    deliver_at_last(&gateway, &plain("without"))?;
    gateway.stop()
}

/// While a session waits in the pit, the upstream may be restarted without harm.
#[test]
fn restarted_under_a_held_session() -> Result<()> {
    let mut postfix = Postfix::server().xclient().start()?;
    let rest = "grace = \"200ms\"\n[tarpit]\nmode = \"enforce\"\ndelay = \"3s\"";
    let gateway = Gateway::start(&config(postfix.port(), "xclient", rest))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    client.send(b"RCPT TO:<nobody@example.org>\r\n")?;
    assert!(client.is_silent(Duration::from_millis(500))?);
    postfix.restart(&[])?;
    client.reply()?.expect(550)?;
    // MAIL and RCPT are replayed on a new connection.
    client.command("DATA")?.expect(354)?;
    let message = plain("replayed");
    client.send(&stuffed(&message))?;
    client.reply()?.expect(250)?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    gateway.stop()
}
