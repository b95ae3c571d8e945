//! The servers themselves, without the gateway: what the other tests build on.

use anyhow::{Context as _, Result};
use tarpit_interop::{
    Client, Exim, FaultServer, Postfix, dot_stuffed, large, plain, received_part, stuffed,
};

#[test]
fn postfix_takes_mail() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let mut client = Client::hello(postfix.port())?;
    for message in [plain("one"), dot_stuffed("two")] {
        client
            .deliver(
                "sender@example.net",
                &["alice@example.org"],
                &stuffed(&message),
            )?
            .expect(250)?;
    }
    client
        .command("MAIL FROM:<sender@example.net>")?
        .expect(250)?;
    client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(550)?;
    client.command("RCPT TO:<alice@example.com>")?.expect(454)?;
    client.quit()?;
    let mut stored: Vec<_> = postfix
        .wait_mailbox("alice", 2)?
        .iter()
        .map(|message| received_part(message))
        .collect();
    stored.sort();
    let mut sent = vec![plain("one"), dot_stuffed("two")];
    sent.sort();
    assert_eq!(stored, sent);
    Ok(())
}

#[test]
fn postfix_keeps_its_queue_when_killed() -> Result<()> {
    let mut postfix = Postfix::server().start()?;
    let mut client = Client::hello(postfix.port())?;
    let message = plain("kept");
    client
        .deliver(
            "sender@example.net",
            &["bob@example.org"],
            &stuffed(&message),
        )?
        .expect(250)?;
    postfix.kill();
    assert!(
        Client::connect(postfix.port()).is_err(),
        "something of Postfix survived"
    );
    postfix.restart(&[("smtpd_discard_ehlo_keywords", "size")])?;
    let mut client = Client::connect(postfix.port())?;
    client.reply()?.expect(220)?;
    let offer = client.command("EHLO client.example.net")?.text();
    assert!(!offer.contains("SIZE"), "{offer}");
    assert_eq!(received_part(&postfix.wait_mailbox("bob", 1)?[0]), message);
    Ok(())
}

#[test]
fn postfix_offers_its_mechanisms() -> Result<()> {
    let postfix = Postfix::server().password("alice", "secret").start()?;
    let mut client = Client::connect(postfix.port())?;
    client.reply()?.expect(220)?;
    let offer = client.command("EHLO client.example.net")?;
    let auth = offer
        .lines
        .iter()
        .find(|line| line.starts_with("AUTH "))
        .cloned()
        .unwrap_or_default();
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"] {
        assert!(auth.split(' ').any(|word| word == mechanism), "{auth}");
    }
    // base64 of NUL alice@example.org NUL secret
    let reply = client.command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==")?;
    reply.expect(235).with_context(|| postfix.log())?;
    Ok(())
}

#[test]
fn postfix_relays_to_another() -> Result<()> {
    let server = Postfix::server().start()?;
    let sender = Postfix::relaying_to(server.port())
        .stock_networks()
        .start()?;
    let message = large("relayed", 100_000);
    let mut client = Client::hello(sender.port())?;
    client
        .deliver(
            "sender@example.net",
            &["carol@example.org"],
            &stuffed(&message),
        )?
        .expect(250)?;
    assert_eq!(received_part(&server.wait_mailbox("carol", 1)?[0]), message);
    sender.wait_queue_empty()
}

#[test]
fn exim_takes_mail() -> Result<()> {
    let exim = Exim::start("alice", "secret")?;
    let mut client = Client::hello(exim.port())?;
    let message = dot_stuffed("exim");
    client
        .deliver(
            "sender@example.net",
            &["alice@example.org"],
            &stuffed(&message),
        )?
        .expect(250)?;
    client
        .command("MAIL FROM:<sender@example.net>")?
        .expect(250)?;
    client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(550)?;
    client.command("RCPT TO:<alice@example.com>")?.expect(550)?;
    client.command("RSET")?.expect(250)?;
    client
        .command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==")?
        .expect(235)?;
    client.quit()?;
    assert_eq!(received_part(&exim.wait_mailbox("alice", 1)?[0]), message);
    Ok(())
}

#[test]
fn the_fault_server_works_when_it_is_well() -> Result<()> {
    let server = FaultServer::start()?;
    let mut client = Client::hello(server.port())?;
    let message = plain("fault");
    client
        .deliver(
            "sender@example.net",
            &["user7@example.org"],
            &stuffed(&message),
        )?
        .expect(250)?;
    assert_eq!(server.messages(), [message]);
    assert_eq!(server.connections(), 1);
    client.quit()
}
