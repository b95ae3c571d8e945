//! The upstream learns who its client is, or the client gets 451: nobody is ever relayed as
//! if they were the gateway (DESIGN.md §2, promise 6).

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use tarpit_interop::{Client, Gateway, Postfix, config, plain, received_part, stuffed};

const CLIENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 7);

/// Sends a message from [`CLIENT`] and returns what Postfix logged.
fn deliver(postfix: &Postfix, gateway: &Gateway) -> Result<String> {
    let mut client = Client::hello_from(CLIENT, gateway.port()?)?;
    let message = plain("identity");
    client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
        .expect(250)?;
    client.quit()?;
    let stored = postfix.wait_mailbox("alice", 1)?;
    assert_eq!(received_part(&stored[0]), message);
    // What the user sees in the header is what the log says.
    let head = String::from_utf8_lossy(&stored[0]).into_owned();
    // The PROXY protocol carries addresses only, so the gateway says EHLO in the client's name.
    assert!(head.contains("from client.example.net ("), "{head}");
    assert!(head.contains("[127.0.0.7]"), "{head}");
    Ok(postfix.log())
}

#[test]
fn by_xclient() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let log = deliver(&postfix, &gateway)?;
    let queued = log
        .lines()
        .find(|line| line.contains(": client="))
        .unwrap_or_default();
    assert!(queued.contains("client=unknown[127.0.0.7]"), "{log}");
    gateway.stop()
}

/// XCLIENT says the name too, and we look up none; behind the PROXY protocol Postfix looks it up. `check` and
/// the recipe say so to whoever restricts clients by name.
#[test]
fn names_are_looked_up_behind_the_proxy_protocol_only() -> Result<()> {
    let restriction = "reject_unknown_client_hostname";
    for (identity, code) in [("xclient", 450), ("proxy-v2", 250)] {
        let postfix = match identity {
            "xclient" => Postfix::server().xclient(),
            _ => Postfix::server().proxy_protocol(),
        };
        let postfix = postfix
            .set("smtpd_peername_lookup", "yes")
            .set("smtpd_client_restrictions", restriction)
            .start()?;
        let gateway = Gateway::start(&config(postfix.port(), identity, ""))?;
        // Its name is in /etc/hosts.
        let mut client = Client::hello_from(Ipv4Addr::LOCALHOST, gateway.port()?)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        client
            .command("RCPT TO:<alice@example.org>")?
            .expect(code)?;
        client.quit()?;
        gateway.stop()?;
    }
    Ok(())
}

#[test]
fn by_the_proxy_protocol() -> Result<()> {
    let postfix = Postfix::server().proxy_protocol().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "proxy-v2", ""))?;
    let log = deliver(&postfix, &gateway)?;
    assert!(log.contains("connect from unknown[127.0.0.7]"), "{log}");
    gateway.stop()
}

#[test]
fn by_the_proxy_protocol_in_text() -> Result<()> {
    let postfix = Postfix::server().proxy_protocol().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "proxy-v1", ""))?;
    let log = deliver(&postfix, &gateway)?;
    assert!(log.contains("connect from unknown[127.0.0.7]"), "{log}");
    gateway.stop()
}

/// `check` tries each way on its own, whatever the configuration says, and judges the choice.
#[test]
fn check_says_which_ways_a_server_takes() -> Result<()> {
    let plain = Postfix::server().start()?;
    let xclient = Postfix::server().xclient().start()?;
    let proxy = Postfix::server().proxy_protocol().start()?;
    for (port, identity, takes, warns) in [
        (plain.port(), "none", "", false),
        (xclient.port(), "none", "xclient", true),
        (xclient.port(), "xclient", "xclient", false),
        (proxy.port(), "proxy-v2", "proxy-v1, proxy-v2", false),
        (proxy.port(), "xclient", "proxy-v1, proxy-v2", true),
    ] {
        let checked = Gateway::check(&config(port, identity, ""))?;
        let said = String::from_utf8_lossy(&checked.stdout).into_owned();
        let list = said
            .lines()
            .find_map(|line| line.split_once("it takes: "))
            .map(|(_, list)| list.to_owned())
            .unwrap_or_default();
        // Whether the address of a client can be the source depends on the machine.
        let list = list.replace(", transparent", "").replace("transparent", "");
        let list = list.replace("none of them", "");
        assert_eq!(list, takes, "{said}");
        let is_warned = said.contains("but it would take");
        assert_eq!(is_warned, warns, "{said}");
    }
    Ok(())
}

/// Upstream connections are reused; who came before on one is never who comes now.
#[test]
fn nobody_is_taken_for_another() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let port = gateway.port()?;
    let mut clients = Vec::new();
    for number in 1..=6 {
        clients.push(Client::hello_from(Ipv4Addr::new(127, 0, 6, number), port)?);
    }
    for round in 0..3 {
        for (client, number) in clients.iter_mut().zip(1..) {
            let wire = stuffed(&plain(&format!("from{number}round{round}")));
            let from = format!("s{number}@example.net");
            client
                .deliver(&from, &["alice@example.org"], &wire)?
                .expect(250)?;
        }
    }
    for message in postfix.wait_mailbox("alice", 18)? {
        let text = String::from_utf8_lossy(&message).into_owned();
        let (_, tag) = text.split_once("Subject: from").unwrap_or_default();
        let number = tag.split("round").next().unwrap_or_default();
        assert!(text.contains(&format!("[127.0.6.{number}])")), "{text}");
    }
    drop(clients);
    gateway.stop()
}

#[test]
fn by_xclient_over_ipv6() -> Result<()> {
    let postfix = Postfix::server()
        .xclient()
        .set("inet_protocols", "all")
        .start()?;
    let config = config(postfix.port(), "xclient", "").replace("127.0.0.1:0", "[::1]:0");
    let gateway = Gateway::start(&config)?;
    let mut client = Client::connect_to(Ipv6Addr::LOCALHOST.into(), gateway.port()?)?;
    client.reply()?.expect(220)?;
    client.command("EHLO client.example.net")?.expect(250)?;
    let message = plain("six");
    client
        .deliver("s@example.net", &["alice@example.org"], &stuffed(&message))?
        .expect(250)?;
    client.quit()?;
    assert_eq!(
        received_part(&postfix.wait_mailbox("alice", 1)?[0]),
        message
    );
    assert!(
        postfix.log().contains("client=unknown[::1]"),
        "{}",
        postfix.log()
    );
    gateway.stop()
}

/// With an identity, a server that trusts loopback is no open relay: it sees the client.
#[test]
fn with_an_identity_the_stock_networks_are_safe() -> Result<()> {
    let postfix = Postfix::server().stock_networks().xclient().start()?;
    let everywhere = config(postfix.port(), "xclient", "").replace("127.0.0.1:0", "0.0.0.0:0");
    let gateway = Gateway::start(&everywhere)?;
    assert_eq!(gateway.listening()?.len(), 1, "{}", gateway.excerpt());
    gateway.stop()
}

/// A server that doesn't take the identity: no mail, rather than mail in our name.
#[test]
fn a_server_that_refuses_xclient() -> Result<()> {
    let postfix = Postfix::server().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    refused_for_now(&gateway)?;
    assert!(!postfix.log().contains("RCPT from"), "{}", postfix.log());
    postfix.wait_queue_empty()?;
    assert!(postfix.mailbox("alice")?.is_empty());
    gateway.stop()
}

/// A restart with other settings is found out on the connection, not at the next probe.
#[test]
fn a_server_that_stops_to_take_xclient() -> Result<()> {
    let mut postfix = Postfix::server().xclient().start()?;
    let gateway = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    deliver(&postfix, &gateway)?;
    postfix.restart(&[("smtpd_authorized_xclient_hosts", "")])?;
    refused_for_now(&gateway)?;
    postfix.wait_queue_empty()?;
    assert_eq!(postfix.mailbox("alice")?.len(), 1);
    gateway.stop()
}

/// 421 at the greeting, or 451 at RCPT; never a 250 to RCPT, never a 5yz.
fn refused_for_now(gateway: &Gateway) -> Result<()> {
    let mut client = Client::connect_from(CLIENT, gateway.port()?)?;
    let greeting = client.reply()?;
    if greeting.code == 421 {
        assert!(greeting.text().starts_with("4.3.2"), "{}", greeting.text());
        return Ok(());
    }
    greeting.expect(220)?;
    client.command("EHLO client.example.net")?.expect(250)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    let reply = client.command("RCPT TO:<alice@example.org>")?.expect(451)?;
    assert!(reply.text().starts_with("4.3.0"), "{}", reply.text());
    Ok(())
}
