//! Signals: SIGTERM drains, SIGHUP reloads whole or not at all.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tarpit_interop::{
    Client, Gateway, Postfix, Signal, config, plain, received_part, stuffed, wait_for,
};

const PIT: &str = "[tarpit]\nmode = \"enforce\"\ndelay = \"60s\"\nhold_max = \"75s\"";

/// No new sessions; holds are cut short with 421; who is between transactions is told 421; a
/// message on its way is finished and acknowledged.
#[test]
fn sigterm_drains() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let mut gateway = Gateway::start(&config(postfix.port(), "xclient", PIT))?;
    let port = gateway.port()?;
    let mut idle = Client::hello(port)?;
    let mut held = Client::hello(port)?;
    held.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    held.send(b"RCPT TO:<nobody@example.org>\r\n")?;
    let mut sending = Client::hello(port)?;
    sending.begin("s@example.net", &["alice@example.org"])?;
    let message = plain("last");
    let wire = stuffed(&message);
    sending.send(&wire[..wire.len() / 2])?;
    assert!(held.is_silent(Duration::from_millis(500))?);

    let start = Instant::now();
    gateway.signal(Signal::TERM)?;
    held.reply()?.expect(421)?;
    idle.reply()?.expect(421)?;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    let refused = || match Client::connect(port) {
        Err(_) => Some(()),
        Ok(mut client) => client
            .reply()
            .ok()
            .filter(|reply| reply.code == 421)
            .map(drop),
    };
    wait_for(Duration::from_secs(5), refused).context("new sessions are still taken")?;
    assert!(gateway.runs(), "it ended in the middle of a message");

    sending.send(&wire[wire.len() / 2..])?;
    sending.reply()?.expect(250)?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    gateway.wait(Duration::from_secs(20))
}

/// A second signal ends it at once.
#[test]
fn a_second_sigterm_does_not_wait() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let mut gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let mut sending = Client::hello(gateway.port()?)?;
    sending.begin("s@example.net", &["alice@example.org"])?;
    sending.send(b"Subject: never finished\r\n")?;
    gateway.signal(Signal::TERM)?;
    assert!(sending.is_silent(Duration::from_millis(300))?);
    gateway.signal(Signal::TERM)?;
    assert!(wait_for(Duration::from_secs(5), || (!gateway.runs()).then_some(())).is_some());
    // The message was not finished, so nobody has it.
    drop(sending);
    postfix.wait_queue_empty()?;
    assert!(postfix.mailbox("alice")?.is_empty());
    Ok(())
}

/// Seconds until a new session's unknown recipient is answered.
fn refusal(gateway: &Gateway) -> Result<Duration> {
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    let reply = client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(550)?;
    Ok(reply.after)
}

/// Reloads until a new session's refusal takes as long as `fits` wants.
fn reload(gateway: &Gateway, config: &str, fits: impl Fn(Duration) -> bool) -> Result<()> {
    gateway.configure(config)?;
    gateway.signal(Signal::HUP)?;
    let changed = || refusal(gateway).ok().filter(|took| fits(*took)).map(drop);
    wait_for(Duration::from_secs(20), changed).with_context(|| gateway.excerpt())
}

#[test]
fn sighup_reloads_whole_or_not_at_all() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let second = Duration::from_secs(1);
    let observe = config(postfix.port(), "xclient", "[tarpit]\nmode = \"observe\"");
    let enforce = config(
        postfix.port(),
        "xclient",
        "[tarpit]\nmode = \"enforce\"\ndelay = \"1s\"",
    );
    let gateway = Gateway::start(&observe)?;
    let port = gateway.port()?;
    let mut across = Client::hello(port)?;
    across.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    assert!(refusal(&gateway)? < second / 2);

    reload(&gateway, &enforce, |took| took >= second)?;
    // The same socket: port 0 stays what it was, and no connection was refused meanwhile.
    assert_eq!(gateway.listening()?.len(), 1);
    assert_eq!(gateway.listening()?[0].port(), port);
    // Sessions live through it.
    across.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    across.command("DATA")?.expect(354)?;
    across.send(&stuffed(&plain("across")))?;
    across.reply()?.expect(250)?;

    // A mistake anywhere: nothing of it is taken.
    gateway.configure(&observe.replace("observe", "obsreve"))?;
    gateway.signal(Signal::HUP)?;
    let said = || gateway.log().contains("obsreve").then_some(());
    wait_for(Duration::from_secs(10), said).with_context(|| gateway.excerpt())?;
    assert!(
        gateway.log().contains("the old configuration stays"),
        "{}",
        gateway.excerpt()
    );
    assert!(refusal(&gateway)? >= second);

    reload(&gateway, &observe, |took| took < second / 2)?;
    gateway.stop()
}
