//! Who the client is, in front: proxies that are trusted and those that are not, partners that pass
//! through, and what becomes of the message on the way.

use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Certificates, Client, FaultServer, Gateway, Postfix, config, plain, received_part, stuffed,
};

/// A proxy that is trusted; clients of the tests come from elsewhere.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 99);

/// The configuration with this line in its listener.
fn with(port: u16, identity: &str, listener: &str) -> String {
    let name = "name = \"mx\"\n";
    config(port, identity, "").replace(name, &format!("{name}{listener}\n"))
}

/// Greets and delivers one message on a connection that is open.
fn deliver(client: &mut Client, tag: &str) -> Result<()> {
    client.reply()?.expect(220)?;
    client.command("EHLO client.example.net")?.expect(250)?;
    let wire = stuffed(&plain(tag));
    client
        .deliver("s@example.net", &["alice@example.org"], &wire)?
        .expect(250)?;
    Ok(())
}

/// PROXY, version 2, for 203.0.113.9 with a TLV of TLS: version and cipher as HAProxy tells them.
fn version_2() -> Vec<u8> {
    let mut tls = vec![0x01, 0, 0, 0, 0];
    for (kind, text) in [(0x21, &b"TLSv1.3"[..]), (0x23, b"AES256")] {
        tls.extend([kind, 0, u8::try_from(text.len()).unwrap_or(0)]);
        tls.extend(text);
    }
    let mut body = vec![203, 0, 113, 9, 127, 0, 0, 1, 0x12, 0x67, 0, 25, 0x20, 0];
    body.push(u8::try_from(tls.len()).unwrap_or(0));
    body.extend(tls);
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0".to_vec();
    header.push(u8::try_from(body.len()).unwrap_or(0));
    header.extend(body);
    header
}

#[test]
fn a_trusted_proxy_says_who_the_client_is() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set("inet_protocols", "all")
        .start()?;
    let settings = with(
        postfix.port(),
        "xclient",
        "proxy_protocol = [\"127.0.0.99\"]",
    );
    let gateway = Gateway::start(&settings)?;
    for (header, address) in [
        (
            &b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 25\r\n"[..],
            "198.51.100.7",
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 25\r\n",
            "2001:db8::7",
        ),
        (&version_2(), "203.0.113.9"),
    ] {
        let mut client = Client::connect_from(PROXY, gateway.port()?)?;
        client.send(header)?;
        deliver(&mut client, address)?;
        client.quit()?;
        let told = format!("client=unknown[{address}]");
        postfix.wait_log(&told)?;
    }
    let records = gateway.wait_for_records("tarpit::session", 3)?;
    let v2 = records
        .iter()
        .find(|record| record.text("source") == "203.0.113.9")
        .context("no record of the client")?;
    ensure!(v2.text("proxy").starts_with("127.0.0.99:"), "{v2:?}");
    ensure!(v2.text("proxy_tls") == "TLSv1.3 AES256", "{v2:?}");
    gateway.stop()
}

/// A balancer's check of our health has no client: it is served as what it is.
#[test]
fn a_proxy_of_its_own_accord_is_served_as_itself() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let settings = with(
        postfix.port(),
        "xclient",
        "proxy_protocol = [\"127.0.0.99\"]",
    );
    let gateway = Gateway::start(&settings)?;
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for header in [&local[..], b"PROXY UNKNOWN\r\n"] {
        let mut client = Client::connect_from(PROXY, gateway.port()?)?;
        client.send(header)?;
        client.reply()?.expect(220)?;
        client.quit()?;
    }
    // Its checks are many and all alike: what is no session of a client is none in the records.
    let mut client = Client::connect_from(PROXY, gateway.port()?)?;
    client.send(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 25\r\n")?;
    client.reply()?.expect(220)?;
    client.quit()?;
    let records = gateway.wait_for_records("tarpit::session", 1)?;
    ensure!(
        records.len() == 1 && records[0].text("source") == "198.51.100.7",
        "{records:?}"
    );
    gateway.stop()
}

#[test]
fn nobody_else_is_believed() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let settings = with(
        postfix.port(),
        "xclient",
        "proxy_protocol = [\"127.0.0.99\"]",
    );
    let gateway = Gateway::start(&settings)?;
    // A header from a network that is not trusted: closed, and logged.
    let mut client = Client::connect(gateway.port()?)?;
    client.reply()?.expect(220)?;
    client.send(b"PROXY TCP4 198.51.100.7 127.0.0.1 4711 25\r\nEHLO a\r\n")?;
    let said = client.read_to_close()?;
    ensure!(said.is_empty(), "{said}");
    gateway.wait_records(|records| {
        let refused = |text: &str| text.contains("refused a PROXY header");
        records
            .iter()
            .any(|record| refused(&record.text("message")))
            .then_some(())
    })?;
    // No header, or a bad one, from a network that must send one: not a word of SMTP.
    for bytes in [
        &b"EHLO client.example.net\r\n"[..],
        b"PROXY TCP4 1.2.3.4\r\n",
    ] {
        let mut client = Client::connect_from(PROXY, gateway.port()?)?;
        client.send(bytes)?;
        let said = client.read_to_close()?;
        ensure!(said.is_empty(), "{said}");
    }
    // And XCLIENT from somebody who may not say it.
    let mut client = Client::hello(gateway.port()?)?;
    let reply = client.command("XCLIENT ADDR=198.51.100.7")?.expect(550)?;
    ensure!(reply.text().contains("5.7.0"), "{}", reply.text());
    client.quit()?;
    ensure!(!postfix.log().contains("198.51.100.7"), "{}", postfix.log());
    gateway.stop()
}

#[test]
fn a_trusted_filter_says_it_by_xclient() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set("inet_protocols", "all")
        .start()?;
    let gateway = Gateway::start(&with(
        postfix.port(),
        "xclient",
        "xclient = [\"127.0.0.99\"]",
    ))?;
    let mut client = Client::connect_from(PROXY, gateway.port()?)?;
    client.reply()?.expect(220)?;
    let offered = client.command("EHLO filter.example.net")?.expect(250)?;
    ensure!(offered.text().contains("XCLIENT "), "{}", offered.text());
    for (address, more, name) in [
        (
            "198.51.100.7",
            " PORT=4711 NAME=mail.example.net",
            "mail.example.net",
        ),
        // The name before was another client's.
        ("IPV6:2001:db8::7", "", "unknown"),
    ] {
        client
            .command(&format!(
                "XCLIENT ADDR={address}{more} HELO=client.example.net PROTO=ESMTP"
            ))?
            .expect(220)?;
        client.command("EHLO client.example.net")?.expect(250)?;
        let wire = stuffed(&plain("xclient"));
        client
            .deliver("s@example.net", &["alice@example.org"], &wire)?
            .expect(250)
            .with_context(|| format!("{}\n{}", gateway.excerpt(), postfix.log()))?;
        let address = address.trim_start_matches("IPV6:");
        postfix.wait_log(&format!("client={name}[{address}]"))?;
    }
    client.quit()?;
    let records = gateway.wait_for_records("tarpit::session", 1)?;
    ensure!(records[0].text("source") == "2001:db8::/64", "{records:?}");
    ensure!(
        records[0].text("proxy").starts_with("127.0.0.99:"),
        "{records:?}"
    );
    gateway.stop()
}

/// A partner with a client certificate and a taste for extensions that nobody else knows: its bytes
/// pass untouched, before any SMTP is spoken, and the upstream knows who it is.
#[test]
fn a_partner_passes_through() -> Result<()> {
    let certificates = Certificates::new()?;
    let server = certificates.issue(&["mx.example.org"])?;
    let partner = certificates.issue(&["partner.example.net"])?;
    let postfix = Postfix::server()
        .tls(&server)
        .proxy_protocol()
        .set("smtpd_tls_ask_ccert", "yes")
        .set("smtpd_tls_req_ccert", "yes")
        .set("smtpd_tls_security_level", "encrypt")
        .set("smtpd_tls_received_header", "yes")
        .set(
            "smtpd_tls_CAfile",
            &certificates.authority().display().to_string(),
        )
        .start()?;
    let settings = with(postfix.port(), "proxy-v2", "passthrough = [\"127.0.0.99\"]");
    let gateway = Gateway::start(&settings)?;
    // ETRN is an extension that the gateway never announces.
    let mut client = Client::connect_from(PROXY, gateway.port()?)?;
    client.reply()?.expect(220)?;
    let offered = client.command("EHLO partner.example.net")?.expect(250)?;
    ensure!(offered.text().contains("ETRN"), "{}", offered.text());
    client.quit()?;
    let stranger = Client::hello(gateway.port()?);
    ensure!(stranger.is_err() || !stranger?.command("EHLO a")?.text().contains("ETRN"));

    let letter = String::from_utf8(plain("partner"))?;
    let dialogue = format!(
        "EHLO partner.example.net\r\nMAIL FROM:<s@partner.example.net>\r\nRCPT TO:<alice@example.org>\r\n\
         DATA\r\n{letter}.\r\nQUIT\r\n"
    );
    let mut openssl = Command::new("openssl")
        .args([
            "s_client",
            "-quiet",
            "-starttls",
            "smtp",
            "-bind",
            "127.0.0.99:0",
        ])
        .args(["-verify_return_error", "-CAfile"])
        .arg(certificates.authority())
        .arg("-cert")
        .arg(&partner.chain)
        .arg("-key")
        .arg(&partner.key)
        .args(["-connect", &format!("127.0.0.1:{}", gateway.port()?)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("openssl")?;
    let mut input = openssl.stdin.take().context("no input")?;
    std::io::Write::write_all(&mut input, dialogue.as_bytes())?;
    let stored = postfix.wait_mailbox("alice", 1);
    drop(input);
    let output = openssl.wait_with_output()?;
    let stored = stored.with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    ensure!(received_part(&stored[0]) == plain("partner"));
    let head = String::from_utf8_lossy(&stored[0]).into_owned();
    ensure!(head.contains("Client CN \"partner.example.net\""), "{head}");
    ensure!(head.contains("[127.0.0.99]"), "{head}");
    let passed = gateway.wait_for_records("tarpit::passthrough", 2)?;
    ensure!(
        passed[0].text("client").starts_with("127.0.0.99:"),
        "{passed:?}"
    );
    gateway.stop()
}

/// An extension that nobody here has heard of: the partner sees it, everybody else doesn't.
#[test]
fn a_partner_may_use_extensions_of_its_own() -> Result<()> {
    let server = FaultServer::start()?;
    server.offer(&["PIPELINING", "XPARTNERONLY 7"]);
    let settings = with(server.port(), "none", "passthrough = [\"127.0.0.99\"]");
    let gateway = Gateway::start(&settings)?;
    for (source, sees) in [(PROXY, true), (Ipv4Addr::new(127, 0, 0, 7), false)] {
        let mut client = Client::connect_from(source, gateway.port()?)?;
        client.reply()?.expect(220)?;
        let offered = client.command("EHLO a.example.net")?.expect(250)?;
        ensure!(
            offered.text().contains("XPARTNERONLY") == sees,
            "{source}: {}",
            offered.text()
        );
    }
    gateway.stop()
}

/// The administrator's own files, on both sides of the gateway and on one.
#[test]
fn check_compares_keys_with_the_server() -> Result<()> {
    let certificates = Certificates::new()?;
    let (theirs, other) = (
        certificates.issue(&["mail.example.org"])?,
        certificates.issue(&["gate.example.org"])?,
    );
    let postfix = Postfix::server()
        .tls(&theirs)
        .password("alice", "open sesame")
        .set("smtpd_tls_auth_only", "yes")
        .start()?;
    for (pair, says) in [
        (&theirs, "the same key as ours"),
        (&other, "its key is another than ours"),
    ] {
        let settings = format!(
            "{}\n[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n",
            config(postfix.port(), "none", ""),
            pair.chain.display(),
            pair.key.display()
        );
        let output = Gateway::check(&settings)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(text.contains(says), "{text}");
        ensure!(text.contains("mail.example.org, until "), "{text}");
        ensure!(
            text.contains("AUTH") && text.contains("only over TLS"),
            "{text}"
        );
    }
    Ok(())
}

/// With `trace` each message gets one Received field of ours, which says who the client is.
#[test]
fn a_trace_field_says_who_the_client_is() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "trace", ""))?;
    let client = Ipv4Addr::new(127, 0, 0, 7);
    let mut client = Client::hello_from(client, gateway.port()?)?;
    let message = plain("trace");
    client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
        .expect(250)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    let (head, tail) = message.split_at(10);
    for (octets, last) in [(head, ""), (tail, " LAST")] {
        client.send(format!("BDAT {}{last}\r\n", octets.len()).as_bytes())?;
        client.send(octets)?;
        client.reply()?.expect(250)?;
    }
    client.quit()?;
    for stored in postfix.wait_mailbox("alice", 2)? {
        ensure!(received_part(&stored) == message);
        let text = String::from_utf8_lossy(&stored).into_owned();
        let ours = "Received: from client.example.net ([127.0.0.7])\n\tby gate.example.org with ESMTP id tp-";
        ensure!(text.matches(ours).count() == 1, "{text}");
        ensure!(text.contains("\tfor <alice@example.org>;\n"), "{text}");
    }
    gateway.stop()
}

/// One source that brings most sessions is named in the log.
#[test]
fn a_proxy_of_ones_own_is_noticed() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "none", ""))?;
    for _ in 0..420 {
        let mut client = Client::connect(gateway.port()?)?;
        client.reply()?.expect(220)?;
        drop(client);
    }
    gateway.wait_records(|records| {
        let named = |text: &str| text.contains("more than half of all sessions");
        records
            .iter()
            .any(|record| named(&record.text("message")))
            .then_some(())
    })?;
    gateway.stop()
}

/// A message that is larger than the client said is given up as it arrives.
#[test]
fn the_size_counts_as_it_arrives() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let limits = "[limits]\nmessage_size_max = 70_000\n";
    let gateway = Gateway::start(&config(postfix.port(), "none", limits))?;
    let mut client = Client::hello(gateway.port()?)?;
    let mut large = plain("large");
    large.extend("..0123456789\r\n".repeat(6000).bytes());
    large.extend(b".\r\n");
    client
        .deliver("s@example.net", &["alice@example.org"], &large)?
        .expect(552)?;
    let small = stuffed(&plain("small"));
    client
        .deliver("s@example.net", &["alice@example.org"], &small)?
        .expect(250)?;
    client.quit()?;
    let stored = postfix.wait_mailbox("alice", 1)?;
    ensure!(stored.len() == 1 && received_part(&stored[0]) == plain("small"));
    gateway.stop()
}

/// A printer that ends its lines with LF alone, where the administrator lets it.
#[test]
fn a_printer_may_end_lines_with_lf() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let gateway = Gateway::start(&with(
        postfix.port(),
        "none",
        "normalize = [\"127.0.0.99\"]",
    ))?;
    let data = b"From: printer\nTo: alice\n\nhello\n.\nstill the same message\n\r\n.\r\n";
    let mut stranger = Client::hello(gateway.port()?)?;
    stranger
        .deliver("p@example.net", &["alice@example.org"], data)?
        .expect(550)?;
    let mut printer = Client::hello_from(PROXY, gateway.port()?)?;
    printer
        .deliver("p@example.net", &["alice@example.org"], data)?
        .expect(250)?;
    printer.quit()?;
    let stored = postfix.wait_mailbox("alice", 1)?;
    let expected =
        b"From: printer\r\nTo: alice\r\n\r\nhello\r\n.\r\nstill the same message\r\n\r\n";
    ensure!(stored.len() == 1);
    let found = received_part(&stored[0]);
    ensure!(found == expected, "{}", String::from_utf8_lossy(&found));
    gateway.stop()
}

/// What goes round in circles ends here, as DATA and in chunks, and the session goes on.
#[test]
fn a_circle_ends() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "none", ""))?;
    let mut client = Client::hello(gateway.port()?)?;
    let mut circle = b"Received: from a by b; some day\r\n".repeat(101);
    circle.extend(plain("circle"));
    let reply = client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&circle))?
        .expect(554)?;
    ensure!(reply.text().contains("5.4.6"), "{}", reply.text());
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    client.send(format!("BDAT {} LAST\r\n", circle.len()).as_bytes())?;
    client.send(&circle)?;
    client.reply()?.expect(554)?;
    let small = stuffed(&plain("small"));
    client
        .deliver("s@example.net", &["alice@example.org"], &small)?
        .expect(250)?;
    client.quit()?;
    let stored = postfix.wait_mailbox("alice", 1)?;
    ensure!(stored.len() == 1 && received_part(&stored[0]) == plain("small"));
    gateway.stop()
}
