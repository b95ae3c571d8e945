//! Clients that others wrote: swaks, Python's smtplib, and Postfix as the sending server.

use std::fs;
use std::process::Output;

use anyhow::{Result, ensure};
use tarpit_interop::{
    Client, Gateway, Postfix, config, large, plain, python, received_part, stuffed, swaks, wait_for,
};

fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}\n{out}\n{err}", output.status)
}

#[test]
fn swaks_sends() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let port = gateway.port()?;
    let output = swaks(
        port,
        &["--from", "s@example.net", "--to", "alice@example.org"],
    )?;
    ensure!(output.status.success(), text(&output));
    let output = swaks(
        port,
        &[
            "--pipeline",
            "--from",
            "s@example.net",
            "--to",
            "alice@example.org,bob@example.org",
        ],
    )?;
    ensure!(output.status.success(), text(&output));
    // 24: swaks's exit code for "all recipients refused".
    let output = swaks(
        port,
        &["--from", "s@example.net", "--to", "nobody@example.org"],
    )?;
    ensure!(output.status.code() == Some(24), text(&output));
    postfix.wait_mailbox("alice", 2)?;
    postfix.wait_mailbox("bob", 1)?;
    gateway.stop()
}

#[test]
fn smtplib_sends() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("message");
    let message = [plain("smtplib"), "Grüße\r\n.\r\n..\r\n".as_bytes().to_vec()].concat();
    fs::write(&file, &message)?;
    let (port, file) = (
        gateway.port()?.to_string(),
        file.to_string_lossy().into_owned(),
    );
    let output = python(
        "send.py",
        &[
            &port,
            &file,
            "BODY=8BITMIME",
            "alice@example.org",
            "nobody@example.org",
            "bob@example.org",
        ],
    )?;
    ensure!(output.status.success(), text(&output));
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        told,
        "alice@example.org 250\nnobody@example.org 550\nbob@example.org 250\n"
    );
    for user in ["alice", "bob"] {
        assert_eq!(received_part(&postfix.wait_mailbox(user, 1)?[0]), message);
    }
    // smtplib says SIZE=; the upstream's own limit is what it was told.
    assert!(postfix.log().contains("size="), "{}", postfix.log());
    gateway.stop()
}

/// Postfix pipelines, reuses connections, and bounces or keeps mail by what it is told.
#[test]
fn postfix_relays_through_the_gateway() -> Result<()> {
    let behind = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(behind.port(), "xclient", ""))?;
    let sender = Postfix::relaying_to(gateway.port()?).start()?;
    let mut client = Client::hello(sender.port())?;
    let messages: Vec<_> = (0..20)
        .map(|number| large(&format!("n{number}"), 5_000 * number))
        .collect();
    for message in &messages {
        // The null reverse-path, so that the refused recipient makes no mail of its own.
        let to = ["alice@example.org", "nobody@example.org", "bob@example.org"];
        client.deliver("", &to, &stuffed(message))?.expect(250)?;
    }
    client.quit()?;
    for user in ["alice", "bob"] {
        let stored = behind.wait_mailbox(user, messages.len())?;
        let stored: Vec<_> = stored
            .iter()
            .map(|message| received_part(message))
            .collect();
        assert!(
            messages.iter().all(|message| stored.contains(message)),
            "{user} lacks one"
        );
    }
    sender.wait_queue_empty()?;
    let bounced = sender.log().matches("status=bounced").count();
    assert_eq!(bounced, messages.len(), "{}", sender.log());
    assert!(
        !sender.log().contains("status=deferred"),
        "{}",
        sender.log()
    );
    gateway.stop()
}

/// While the upstream is away the sending server keeps the mail, and delivers it afterwards.
#[test]
fn a_sending_server_lives_through_an_outage() -> Result<()> {
    let mut behind = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(behind.port(), "xclient", ""))?;
    let sender = Postfix::relaying_to(gateway.port()?).start()?;
    behind.kill();
    let mut client = Client::hello(sender.port())?;
    let message = plain("patient");
    client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
        .expect(250)?;
    sender.wait_log("status=deferred")?;
    behind.restart(&[])?;
    assert_eq!(received_part(&behind.wait_mailbox("alice", 1)?[0]), message);
    let empty = || sender.queued().is_ok_and(|count| count == 0).then_some(());
    ensure!(
        wait_for(std::time::Duration::from_secs(10), empty).is_some(),
        sender.log()
    );
    assert!(!sender.log().contains("status=bounced"), "{}", sender.log());
    gateway.stop()
}
