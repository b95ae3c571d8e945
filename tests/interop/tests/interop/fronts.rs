//! A load balancer or proxy in front of the gateway: the server behind it, and the records, still
//! know the real client, never the balancer.

use std::net::Ipv4Addr;

use anyhow::Result;
use tarpit_interop::{
    Certificates, Client, Courier, Form, Front, Gateway, Letter, Postfix, Proxy, Tls, Way,
    dot_stuffed, received_part, wait_message,
};

/// A gateway whose only listener believes 127.0.0.1 when it says, by `trust`, who the client is.
fn gateway(postfix: &Postfix, trust: &str) -> Result<Gateway> {
    Gateway::start(&format!(
        r#"hostname = "gate.example.org"
domains = ["example.org"]

[[listener]]
name = "mx"
address = "127.0.0.1:0"
{trust} = ["127.0.0.1"]

[[upstream]]
name = "behind"
address = "127.0.0.1:{}"
identity = "xclient"
"#,
        postfix.port()
    ))
}

/// Two clients from addresses of their own send by way of `front`; the same bytes and both
/// addresses must be seen behind.
fn clients_are_known(front: Front<'_>, tls: Tls, certificates: &Certificates) -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let trust = match front {
        Front::NginxMail => "xclient",
        _ => "proxy_protocol",
    };
    let gateway = gateway(&postfix, trust)?;
    let proxy = Proxy::start(front, gateway.port()?)?;
    let couriers = [Courier::Curl, Courier::Smtplib];
    for (number, courier) in (1..).zip(couriers) {
        let source = Ipv4Addr::new(127, 0, 9, number);
        let tag = format!("front.{}", courier.name());
        let letter = Letter {
            message: dot_stuffed(&tag),
            from: "sender@example.net".to_owned(),
            to: "alice@example.org".to_owned(),
            form: Form::Plain,
        };
        let way = Way {
            port: proxy.port(),
            tls,
            source,
            authority: certificates.authority(),
        };
        courier.send(&way, std::slice::from_ref(&letter))?;
        let stored = wait_message(&postfix, "alice", &tag)?;
        assert_eq!(received_part(&stored), letter.message, "{tag}");
        postfix.wait_log(&format!("client=unknown[{source}]"))?;
    }
    let sessions = gateway.wait_for_records("tarpit::session", couriers.len())?;
    let mut sources: Vec<String> = sessions
        .iter()
        .filter(|session| session.text("accepted") != "0")
        .map(|session| session.text("source"))
        .collect();
    sources.sort();
    assert_eq!(sources, ["127.0.9.1", "127.0.9.2"]);
    // Health checks are sessions of the balancer's own; no client's is taken for one.
    let own: Vec<_> = sessions
        .iter()
        .filter(|session| session.text("source") == "127.0.0.1")
        .collect();
    assert!(
        own.is_empty() || matches!(front, Front::HaproxyV2),
        "the balancer was taken for a client: {own:?}"
    );
    assert!(
        own.iter().all(|session| session.text("messages") == "0"),
        "{own:?}"
    );
    gateway.stop()
}

#[test]
fn haproxy_with_version_1() -> Result<()> {
    clients_are_known(Front::HaproxyV1, Tls::Plain, &Certificates::new()?)
}

/// Its health checks go on all the time, and count as no client.
#[test]
fn haproxy_with_version_2_and_health_checks() -> Result<()> {
    clients_are_known(Front::HaproxyV2, Tls::Plain, &Certificates::new()?)
}

#[test]
fn haproxy_that_ends_tls() -> Result<()> {
    let certificates = Certificates::new()?;
    let pair = certificates.issue(&["mail.example.org"])?;
    clients_are_known(Front::HaproxySsl(&pair), Tls::Implicit, &certificates)
}

#[test]
fn nginx_as_a_stream_proxy() -> Result<()> {
    clients_are_known(Front::NginxStream, Tls::Plain, &Certificates::new()?)
}

#[test]
fn nginx_as_a_mail_proxy() -> Result<()> {
    clients_are_known(Front::NginxMail, Tls::Plain, &Certificates::new()?)
}

/// Whoever is not listed can't speak for another address, in either way.
#[test]
fn others_are_not_believed() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let stranger = Ipv4Addr::new(127, 0, 9, 9);
    let header = b"PROXY TCP4 198.51.100.7 127.0.0.1 4000 25\r\n";
    let gate = gateway(&postfix, "proxy_protocol")?;
    let mut client = Client::connect_from(stranger, gate.port()?)?;
    client.send(header)?;
    client.send(b"EHLO client.example.net\r\nQUIT\r\n")?;
    let said = client.read_to_close()?;
    assert!(!said.contains("\n250"), "it was served: {said}");
    gate.wait_records(|records| {
        let refused = |text: String| text.contains("127.0.9.9");
        let found = records.iter().find(|record| {
            record.text("message").contains("PROXY")
                && (refused(record.text("client")) || refused(record.text("source")))
        });
        found.map(drop)
    })?;
    gate.stop()?;

    let gate = gateway(&postfix, "xclient")?;
    let mut client = Client::hello_from(stranger, gate.port()?)?;
    let reply = client
        .command("XCLIENT ADDR=198.51.100.7")?
        .expect_class(5)?;
    assert!(reply.text().starts_with("5."), "{}", reply.text());
    client.quit()?;
    assert!(!postfix.log().contains("198.51.100.7"));
    gate.stop()
}
