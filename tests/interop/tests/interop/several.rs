//! Several real servers of one upstream, and TLS on the way to them.

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Certificates, Client, Gateway, Postfix, Record, plain, received_part, stuffed,
};

fn config(ports: [u16; 2], rest: &str) -> String {
    let [first, second] = ports;
    format!(
        "hostname = \"gate.example.org\"\ndomains = [\"example.org\"]\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
         [[upstream]]\naddress = [\"127.0.0.1:{first}\", \"127.0.0.1:{second}\"]\n{rest}\n"
    )
}

fn deliver(port: u16, tag: &str) -> Result<()> {
    let mut client = Client::hello(port)?;
    let wire = stuffed(&plain(tag));
    client
        .deliver("s@example.net", &["alice@example.org"], &wire)?
        .expect(250)?;
    client.quit()
}

/// Waits until servers were found well so many times. One that is slow at its first probe gets no mail
/// before the next one; the other does.
fn came_up(gateway: &Gateway, times: usize) -> Result<()> {
    gateway.wait_records(|records| {
        let up = |record: &&Record| record.text("message") == "the upstream is up";
        (records.iter().filter(up).count() >= times).then_some(())
    })
}

/// Killed, the first one costs no client anything; back again, it has the mail again.
#[test]
fn a_server_that_dies_costs_nothing() -> Result<()> {
    let mut first = Postfix::server().start()?;
    let second = Postfix::server().start()?;
    let gateway = Gateway::start(&config([first.port(), second.port()], ""))?;
    let port = gateway.port()?;
    deliver(port, "one")?;
    first.wait_mailbox("alice", 1)?;
    // A transaction that stands on the first one goes over as a whole.
    let mut client = Client::hello(port)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    first.kill();
    client.command("RCPT TO:<bob@example.org>")?.expect(250)?;
    client.command("DATA")?.expect(354)?;
    let message = plain("whole");
    client.send(&stuffed(&message))?;
    client.reply()?.expect(250)?;
    client.quit()?;
    for user in ["alice", "bob"] {
        let stored = second.wait_mailbox(user, 1)?;
        ensure!(received_part(&stored[0]) == message, "changed on the way");
    }
    for number in 0..20 {
        deliver(port, &format!("away{number}"))?;
    }
    second.wait_mailbox("alice", 21)?;
    first.restart(&[])?;
    // Both at the start, and now.
    came_up(&gateway, 3)?;
    deliver(port, "back")?;
    first.wait_mailbox("alice", 2)?;
    gateway.stop()
}

/// A real server's own 421 (too many connections at once) sends mail to the other one.
#[test]
fn a_server_that_says_421() -> Result<()> {
    let busy = Postfix::server()
        .set("smtpd_client_connection_count_limit", "1")
        .set("smtpd_client_event_limit_exceptions", "")
        .start()?;
    let other = Postfix::server().start()?;
    let gateway = Gateway::start(&config([busy.port(), other.port()], ""))?;
    let port = gateway.port()?;
    // It takes the one connection that the busy one has for this address.
    let _holder = Client::hello(busy.port())?;
    for number in 0..3 {
        deliver(port, &format!("busy{number}"))?;
    }
    other.wait_mailbox("alice", 3)?;
    ensure!(busy.mailbox("alice")?.is_empty(), "{}", busy.log());
    gateway.stop()
}

/// Verified, or no mail: by the right name and authority it goes encrypted; by another not at all.
#[test]
fn required_tls_is_verified() -> Result<()> {
    let certificates = Certificates::new()?;
    let pair = certificates.issue(&["mail.example.org"])?;
    let server = || {
        Postfix::server()
            .tls(&pair)
            .set("smtpd_tls_loglevel", "1")
            .set("smtpd_tls_security_level", "encrypt")
            .start()
    };
    let (first, second) = (server()?, server()?);
    let ports = [first.port(), second.port()];
    let rest = |name: &str, authority: &std::path::Path| {
        format!(
            "tls = \"required\"\ntls_name = \"{name}\"\ntls_ca = \"{}\"",
            authority.display()
        )
    };
    let right = config(ports, &rest("mail.example.org", &certificates.authority()));
    let gateway = Gateway::start(&right)?;
    came_up(&gateway, 2)?;
    deliver(gateway.port()?, "secret")?;
    first
        .wait_mailbox("alice", 1)
        .with_context(|| gateway.log())?;
    first.wait_log("TLS connection established from")?;
    gateway.stop()?;

    let stranger = Certificates::new()?;
    for wrong in [
        rest("other.example.org", &certificates.authority()),
        rest("mail.example.org", &stranger.authority()),
    ] {
        let gateway = Gateway::start(&config(ports, &wrong))?;
        let mut client = Client::connect(gateway.port()?)?;
        client.reply()?.expect(421)?;
        ensure!(gateway.log().contains("certificate"), "{}", gateway.log());
        gateway.stop()?;
    }
    Ok(())
}

/// XCLIENT is said behind TLS, the PROXY header before everything.
#[test]
fn the_client_is_told_through_tls() -> Result<()> {
    let certificates = Certificates::new()?;
    let pair = certificates.issue(&["mail.example.org"])?;
    let server = || {
        Postfix::server()
            .tls(&pair)
            .set("smtpd_tls_security_level", "encrypt")
    };
    let tls = format!(
        "tls = \"required\"\ntls_name = \"mail.example.org\"\ntls_ca = \"{}\"",
        certificates.authority().display()
    );
    for identity in ["xclient", "proxy-v1", "proxy-v2"] {
        let postfix = match identity {
            "xclient" => server().xclient().start()?,
            _ => server().proxy_protocol().start()?,
        };
        let config = tarpit_interop::config(postfix.port(), identity, &tls);
        let gateway = Gateway::start(&config)?;
        let mut client =
            Client::hello_from(std::net::Ipv4Addr::new(127, 0, 0, 7), gateway.port()?)?;
        client
            .deliver(
                "s@example.net",
                &["alice@example.org"],
                &stuffed(&plain(identity)),
            )?
            .expect(250)?;
        client.quit()?;
        postfix.wait_mailbox("alice", 1)?;
        postfix.wait_log("client=unknown[127.0.0.7]")?;
        gateway.stop()?;
    }
    Ok(())
}

/// Any certificate will do, and none.
#[test]
fn opportunistic_tls() -> Result<()> {
    let certificates = Certificates::new()?;
    let pair = certificates.issue(&["whoever.example.net"])?;
    let first = Postfix::server()
        .tls(&pair)
        .set("smtpd_tls_loglevel", "1")
        .start()?;
    let second = Postfix::server().start()?;
    let rest = "tls = \"opportunistic\"\nbalance = \"least-connections\"";
    let gateway = Gateway::start(&config([first.port(), second.port()], rest))?;
    for number in 0..4 {
        deliver(gateway.port()?, &format!("either{number}"))?;
    }
    // Equals take turns.
    first.wait_mailbox("alice", 2)?;
    second.wait_mailbox("alice", 2)?;
    first.wait_log("TLS connection established from")?;
    gateway.stop()
}
