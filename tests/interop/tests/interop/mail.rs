//! Plain mail through the gateway: what the client was told is what happened, and what was
//! acknowledged is in the mailbox, byte for byte.

use anyhow::Result;
use tarpit_interop::{
    Client, Exim, Gateway, Postfix, config, dot_stuffed, large, plain, received_part, stuffed,
};

const MIB: usize = 1 << 20;

#[test]
fn a_message_arrives_as_it_was_sent() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    let messages = [plain("plain"), dot_stuffed("dots")];
    for message in &messages {
        let reply = client.deliver(
            "sender@example.net",
            &["alice@example.org"],
            &stuffed(message),
        )?;
        let reply = reply.expect(250)?;
        // The upstream's own words, its queue id among them: that is how both sides find a message.
        assert!(reply.text().contains("queued as"), "{}", reply.text());
    }
    client.quit()?;
    let mut stored = postfix.wait_mailbox("alice", 2)?;
    stored = stored
        .iter()
        .map(|message| received_part(message))
        .collect();
    assert!(
        messages.iter().all(|message| stored.contains(message)),
        "a message was changed"
    );

    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(session.text("messages_accepted"), "2");
    assert_eq!(session.text("accepted"), "2");
    assert_eq!(session.text("end"), "quit");
    assert!(
        session.text("envelopes").contains("queued as"),
        "{session:?}"
    );
    gateway.stop()
}

#[test]
fn unknown_recipients_do_not_hurt_the_others() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    client
        .command("MAIL FROM:<sender@example.net>")?
        .expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    let refused = client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(550)?;
    assert!(refused.text().starts_with("5.1.1"), "{}", refused.text());
    client.command("RCPT TO:<bob@example.org>")?.expect(250)?;
    client
        .command("RCPT TO:<someone@example.org>")?
        .expect(550)?;
    client.command("DATA")?.expect(354)?;
    let message = plain("some");
    client.send(&stuffed(&message))?;
    client.reply()?.expect(250)?;
    client.quit()?;
    for user in ["alice", "bob"] {
        assert_eq!(received_part(&postfix.wait_mailbox(user, 1)?[0]), message);
    }
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(
        (session.text("accepted"), session.text("refused")),
        ("2".into(), "2".into())
    );
    gateway.stop()
}

/// RFC 2920: a client may send all but the message at once; the replies come in order.
#[test]
fn a_pipelined_transaction() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::connect(gateway.port()?)?;
    client.reply()?.expect(220)?;
    let offer = client.command("EHLO client.example.net")?.expect(250)?;
    for keyword in [
        "PIPELINING",
        "SIZE 52428800",
        "8BITMIME",
        "ENHANCEDSTATUSCODES",
        "CHUNKING",
        "DSN",
    ] {
        assert!(offer.lines.iter().any(|line| line == keyword), "{offer:?}");
    }
    // What the gateway doesn't do must not be offered, though Postfix does.
    for keyword in ["ETRN", "XCLIENT", "VRFY", "STARTTLS"] {
        assert!(
            !offer.lines.iter().any(|line| line.starts_with(keyword)),
            "{offer:?}"
        );
    }
    let mut messages = Vec::new();
    for round in 0..3 {
        client.send(
            b"MAIL FROM:<sender@example.net> SIZE=500 BODY=8BITMIME\r\nRCPT TO:<alice@example.org>\r\n\
              RCPT TO:<nobody@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n",
        )?;
        for code in [250, 250, 550, 250, 354] {
            client.reply()?.expect(code)?;
        }
        let message = plain(&format!("round{round}"));
        // The next transaction's first command rides behind the end of this one.
        client.send(&stuffed(&message))?;
        client.send(b"RSET\r\n")?;
        client.reply()?.expect(250)?;
        client.reply()?.expect(250)?;
        messages.push(message);
    }
    client.quit()?;
    for user in ["alice", "bob"] {
        let stored = postfix.wait_mailbox(user, 3)?;
        let stored: Vec<_> = stored
            .iter()
            .map(|message| received_part(message))
            .collect();
        assert!(
            messages.iter().all(|message| stored.contains(message)),
            "{user} lacks one"
        );
    }
    gateway.stop()
}

#[test]
fn a_message_of_25_mib() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let before = gateway.peak_memory()?;
    let mut client = Client::hello(gateway.port()?)?;
    let message = large("large", 25 * MIB);
    let reply = client.deliver(
        "sender@example.net",
        &["alice@example.org"],
        &stuffed(&message),
    )?;
    reply.expect(250)?;
    client.quit()?;
    // It passes through while it arrives.
    let grown = gateway.peak_memory()?.saturating_sub(before);
    assert!(grown < 4 * MIB as u64, "the gateway grew by {grown} octets");
    // Not assert_eq: nobody wants to see 25 MiB twice.
    assert!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]) == message,
        "the message was changed"
    );
    gateway.stop()
}

#[test]
fn a_body_of_8_bits() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    let mut message = plain("eight");
    for byte in (1..=255_u8).filter(|byte| !b"\r\n".contains(byte)) {
        message.extend_from_slice(&[b'<', byte, b'>']);
    }
    message.extend_from_slice("\r\nGrüße, 世界\r\n".as_bytes());
    client
        .command("MAIL FROM:<sender@example.net> BODY=8BITMIME")?
        .expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    client.command("DATA")?.expect(354)?;
    client.send(&stuffed(&message))?;
    client.reply()?.expect(250)?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    gateway.stop()
}

/// RFC 5321 §2.3.8: CRLF and nothing else ends a line. Servers differ on the rest, which is how
/// messages are smuggled.
#[test]
fn ambiguous_line_ends_never_reach_the_server() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let smuggled =
        "MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\nsmuggled\r\n";
    for end in [
        "\n.\n",
        "\r\n.\n",
        "\n.\r\n",
        "\r.\r",
        "\r\n.\r",
        "\r.\r\n",
        "\n.\r",
        "\r\n\0.\n",
    ] {
        let mut client = Client::hello(gateway.port()?)?;
        client.begin("sender@example.net", &["alice@example.org"])?;
        client.send(format!("Subject: x\r\n\r\nbody{end}{smuggled}.\r\n").as_bytes())?;
        let reply = client.reply()?.expect(550)?;
        assert!(
            reply.text().starts_with("5.6.11"),
            "{end:?}: {}",
            reply.text()
        );
        client.quit()?;
    }
    postfix.wait_queue_empty()?;
    assert!(postfix.mailbox("alice")?.is_empty() && postfix.mailbox("bob")?.is_empty());
    gateway.stop()
}

/// The upstream's refusal of MAIL is kept, and repeated as the reply to each RCPT (DESIGN.md §4).
#[test]
fn a_refused_sender() -> Result<()> {
    let refuse = "inline:{{evil@example.net = REJECT 5.7.1 go away}}";
    let postfix = Postfix::server()
        .xclient()
        .set(
            "smtpd_sender_restrictions",
            &format!("check_sender_access {refuse}"),
        )
        .set("smtpd_delay_reject", "no")
        .start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    client
        .command("MAIL FROM:<evil@example.net>")?
        .expect(250)?;
    for recipient in ["alice", "nobody", "bob"] {
        let reply = client
            .command(&format!("RCPT TO:<{recipient}@example.org>"))?
            .expect(554)?;
        assert!(reply.text().contains("go away"), "{}", reply.text());
    }
    client.command("DATA")?.expect_class(5)?;
    // The next sender is not punished for this one.
    client.command("RSET")?.expect(250)?;
    let message = plain("innocent");
    client
        .deliver(
            "sender@example.net",
            &["alice@example.org"],
            &stuffed(&message),
        )?
        .expect(250)?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    gateway.stop()
}

/// A refusal at the end of the data passes as it is.
#[test]
fn a_refused_message() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set(
            "header_checks",
            "regexp:{{/^Subject: spam/ REJECT we do not like it}}",
        )
        .start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    let reply = client.deliver(
        "s@example.net",
        &["alice@example.org"],
        &stuffed(&plain("spam")),
    )?;
    assert!(reply.expect(550)?.text().contains("we do not like it"));
    let message = plain("ham");
    client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
        .expect(250)?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    gateway.stop()
}

#[test]
fn a_message_over_the_limit() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set("message_size_limit", "100000")
        .start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    client
        .command("MAIL FROM:<sender@example.net> SIZE=100001")?
        .expect(552)?;
    // Without the parameter it is found out on the way, by the upstream.
    let message = stuffed(&large("over", 300_000));
    client
        .deliver("sender@example.net", &["alice@example.org"], &message)?
        .expect(552)?;
    let message = plain("under");
    client
        .deliver(
            "sender@example.net",
            &["alice@example.org"],
            &stuffed(&message),
        )?
        .expect(250)?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    gateway.stop()
}

/// Exim answers in other words, punishes other things, and knows no XCLIENT.
#[test]
fn exim_behind() -> Result<()> {
    let exim = Exim::start("alice", "secret")?;
    let gateway = Gateway::start(&config(exim.port(), "none", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    let messages = [dot_stuffed("exim1"), large("exim2", 2 * MIB)];
    for message in &messages {
        client
            .command("MAIL FROM:<sender@example.net>")?
            .expect(250)?;
        client
            .command("RCPT TO:<nobody@example.org>")?
            .expect(550)?;
        client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
        client.command("DATA")?.expect(354)?;
        client.send(&stuffed(message))?;
        client.reply()?.expect(250)?;
    }
    client.quit()?;
    let stored = exim.wait_mailbox("alice", 2)?;
    let stored: Vec<_> = stored
        .iter()
        .map(|message| received_part(message))
        .collect();
    assert!(
        messages.iter().all(|message| stored.contains(message)),
        "a message was changed"
    );
    gateway.stop()
}
