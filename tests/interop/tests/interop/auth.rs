//! AUTH is relayed: the upstream decides, and each mechanism works as if nobody were between.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Client, Exim, Gateway, Postfix, config, plain, python, stuffed};

/// What may be offered (DESIGN.md §4). EXTERNAL would authenticate the gateway, and the -PLUS
/// mechanisms are bound to a TLS channel that ends here.
fn may_be_relayed(mechanism: &str) -> bool {
    ["PLAIN", "LOGIN", "CRAM-MD5"].contains(&mechanism)
        || mechanism.starts_with("SCRAM-SHA-") && !mechanism.ends_with("-PLUS")
}

/// What `auth.py` printed: the mechanisms offered, and the code of the answer.
fn log_in(
    port: u16,
    mechanism: &str,
    user: &str,
    password: &str,
    file: &[&str],
) -> Result<(String, u16)> {
    let port = port.to_string();
    let arguments = [&[port.as_str(), mechanism, user, password], file].concat();
    let output = python("auth.py", &arguments)?;
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    ensure!(output.status.success(), "{mechanism}: {out}\n{err}");
    let line = |word: &str| {
        let mut lines = out.lines().filter_map(|line| line.strip_prefix(word));
        lines.next().map(str::trim).map(str::to_owned)
    };
    let code = line("code").with_context(|| out.clone().into_owned())?;
    let code = code.split(' ').next().unwrap_or_default().parse()?;
    Ok((line("offered").unwrap_or_default(), code))
}

/// Loopback alone gets here, so that AUTH needs no TLS.
fn with_auth(port: u16, identity: &str, rest: &str) -> String {
    let name = "name = \"mx\"\n";
    config(port, identity, rest).replace(name, &format!("{name}auth_plaintext = true\n"))
}

#[test]
fn each_mechanism_of_postfix() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .password("alice", "open sesame")
        .start()?;
    let gateway = Gateway::start(&with_auth(postfix.port(), "xclient", ""))?;
    let port = gateway.port()?;
    let (offered, _) = log_in(port, "PLAIN", "alice@example.org", "open sesame", &[])?;
    let offered: Vec<&str> = offered.split(' ').filter(|word| !word.is_empty()).collect();
    for mechanism in ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"] {
        assert!(offered.contains(&mechanism), "{offered:?}");
    }
    for mechanism in offered {
        assert!(may_be_relayed(mechanism), "{mechanism} must not be offered");
        // Cyrus takes the realm from the name for PLAIN and LOGIN, and adds it for the others.
        let (_, code) = log_in(port, mechanism, "alice@example.org", "open sesame", &[])
            .with_context(|| postfix.log())?;
        assert_eq!(code, 235, "{mechanism}: {}", postfix.log());
        let (_, code) = log_in(port, mechanism, "alice@example.org", "wrong", &[])?;
        assert_eq!(code, 535, "{mechanism}");
    }
    gateway.stop()
}

/// Who is authenticated may relay, and waits for nothing.
#[test]
fn an_authenticated_client_relays() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .password("alice", "secret")
        // Nothing leaves this machine: what is relayed goes to bob.
        .set(
            "virtual_alias_maps",
            "inline:{bob@example.com=bob@example.org}",
        )
        .start()?;
    let pit = "[tarpit]\nmode = \"enforce\"\ndelay = \"20s\"";
    let gateway = Gateway::start(&with_auth(postfix.port(), "xclient", pit))?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("message");
    fs::write(&file, plain("relayed"))?;
    let file = file.to_string_lossy().into_owned();
    let (_, code) = log_in(
        gateway.port()?,
        "PLAIN",
        "alice@example.org",
        "secret",
        &[file.as_str()],
    )?;
    assert_eq!(code, 235);
    postfix.wait_mailbox("bob", 1)?;

    let mut client = Client::hello(gateway.port()?)?;
    client
        .command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==")?
        .expect(235)?;
    client
        .command("MAIL FROM:<alice@example.org>")?
        .expect(250)?;
    let reply = client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(550)?;
    assert!(
        reply.after.as_secs() < 10,
        "an authenticated client waited: {:?}",
        reply.after
    );
    client.quit()?;

    let sessions = gateway.wait_for_records("tarpit::session", 2)?;
    assert!(
        sessions
            .iter()
            .all(|session| session.text("authenticated") == "true"),
        "{sessions:?}"
    );
    assert!(
        gateway.records_of("tarpit::hold").is_empty(),
        "{}",
        gateway.excerpt()
    );
    gateway.stop()
}

/// What is no failed password is no offence: cancelling, nonsense, asking twice.
#[test]
fn only_a_wrong_password_is_a_failed_auth() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .password("alice", "secret")
        .start()?;
    let gateway = Gateway::start(&with_auth(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    client.command("AUTH LOGIN")?.expect(334)?;
    client.command("*")?.expect(501)?;
    client.command("AUTH EXTERNAL =")?.expect(504)?;
    client
        .command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHdyb25n")?
        .expect(535)?;
    client
        .command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==")?
        .expect(235)?;
    client
        .command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==")?
        .expect(503)?;
    client.quit()?;
    let session = gateway.wait_for_records("tarpit::session", 1)?.remove(0);
    assert_eq!(session.text("auth_failed"), "1", "{session:?}");
    assert_eq!(session.text("authenticated"), "true");
    gateway.stop()
}

/// The upstream connection of an authenticated client is that client's: nobody inherits it.
#[test]
fn nobody_inherits_an_authenticated_connection() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .password("alice", "secret")
        .start()?;
    let gateway = Gateway::start(&with_auth(postfix.port(), "xclient", ""))?;
    let mut first = Client::hello(gateway.port()?)?;
    first
        .command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==")?
        .expect(235)?;
    let wire = stuffed(&plain("own"));
    first
        .deliver("alice@example.org", &["bob@example.org"], &wire)?
        .expect(250)?;
    first.quit()?;
    let mut second = Client::hello(gateway.port()?)?;
    second.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    second
        .command("RCPT TO:<victim@example.com>")?
        .expect(454)?;
    second.command("RCPT TO:<bob@example.org>")?.expect(250)?;
    second.command("DATA")?.expect(354)?;
    second.send(&stuffed(&plain("other")))?;
    second.reply()?.expect(250)?;
    second.quit()?;
    postfix.wait_mailbox("bob", 2)?;
    assert_eq!(
        postfix.log().matches("sasl_username=alice").count(),
        1,
        "{}",
        postfix.log()
    );
    gateway.stop()
}

/// An authenticated connection that dies can't be made again: 421, and no word about it later.
#[test]
fn an_authenticated_connection_that_dies() -> Result<()> {
    let mut postfix = Postfix::server()
        .xclient()
        .password("alice", "secret")
        .start()?;
    let gateway = Gateway::start(&with_auth(postfix.port(), "xclient", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    client
        .command("AUTH PLAIN AGFsaWNlQGV4YW1wbGUub3JnAHNlY3JldA==")?
        .expect(235)?;
    postfix.restart(&[])?;
    client.send(b"MAIL FROM:<alice@example.org>\r\nRCPT TO:<bob@example.org>\r\n")?;
    let told = client.read_to_close()?;
    let last = told.lines().last().unwrap_or_default();
    assert!(last.starts_with("421 4.3.0"), "{told}");
    gateway.stop()
}

#[test]
fn exim_authenticates() -> Result<()> {
    let exim = Exim::start("alice", "secret")?;
    let gateway = Gateway::start(&with_auth(exim.port(), "none", ""))?;
    let port = gateway.port()?;
    for mechanism in ["PLAIN", "LOGIN"] {
        let (offered, code) = log_in(port, mechanism, "alice@example.org", "secret", &[])?;
        assert!(offered.contains(mechanism), "{offered}");
        assert_eq!(code, 235, "{mechanism}: {}", exim.log());
        assert_eq!(
            log_in(port, mechanism, "alice@example.org", "wrong", &[])?.1,
            535,
            "{mechanism}"
        );
    }
    gateway.stop()
}
