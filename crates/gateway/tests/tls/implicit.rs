//! TLS from the first octet (RFC 8314 §3).

use std::time::{Duration, Instant};

use tarpit_gateway::config::ListenerTls;

use crate::client::{Client, run};
use crate::stage::{Stage, make_certificate};

/// More than a few records, with everything that could be mistaken for an end.
fn message() -> String {
    let mut message = String::from("Subject: long\r\n\r\n");
    for line in 0..40_000 {
        let dots = ["", "..", "...x", ". .", "\u{e9}"][line % 5];
        message.push_str(&format!("{dots}{line}\r\n"));
    }
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_as_it_was_sent() {
    let stage = Stage::set(ListenerTls::Implicit, |_| ()).await;
    let address = stage.address();
    let client = run(move || {
        let mut client = Client::connect(address);
        client.secure().unwrap();
        client.expect("220");
        let announced = client.ask("EHLO a.example", "250");
        assert!(!announced.contains("STARTTLS"), "{announced}");
        client.ask("MAIL FROM:<a@example.net>", "250");
        client.ask("RCPT TO:<user@example.org>", "250");
        client.ask("DATA", "354");
        let stuffed = message().replace("\r\n.", "\r\n..");
        client.send(stuffed.as_bytes());
        client.ask(".", "250");
        client.ask("QUIT", "221");
        // The end was said (RFC 8446 §6.1), or this would be an error and not the end.
        assert_eq!(client.rest(), b"");
        client.address
    })
    .await;
    let messages = stage.messages("user@example.org");
    assert_eq!(messages.len(), 1);
    assert!(messages[0].ends_with(message().as_bytes()));
    let record = stage.session(client).await;
    assert_eq!(record["tls"], "true");
    assert_eq!(record["tls_version"], "TLSv1.3");
    assert!(record["tls_cipher"].starts_with("TLS13_"));
    assert_eq!(record["tls_sni"], "mx.example.org");
    assert_eq!(record["tls_resumed"], "false");
    assert_eq!(record["messages_accepted"], "1");
    assert!(!record.contains_key("tls_failed"));
}

/// A held session goes on with the commands that came in one record with the one it is held for,
/// more than it may keep unread otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_held_session_loses_nothing() {
    let stage = Stage::set(ListenerTls::Implicit, |_| ()).await;
    let address = stage.address();
    run(move || {
        let mut client = Client::connect(address);
        client.secure().unwrap();
        client.expect("220");
        client.ask("EHLO a.example", "250");
        let mut pipelined =
            String::from("MAIL FROM:<a@example.net>\r\nRCPT TO:<nobody@example.org>\r\n");
        for _ in 0..60 {
            pipelined.push_str("RCPT TO:<user@example.org>\r\n");
        }
        let started = Instant::now();
        client.send(pipelined.as_bytes());
        client.expect("250");
        client.expect("550");
        assert!(started.elapsed() >= Duration::from_millis(250), "not held");
        for _ in 0..60 {
            client.expect("250");
        }
        client.ask("QUIT", "221");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_commands_get_no_reply() {
    let stage = Stage::set(ListenerTls::Implicit, |_| ()).await;
    let address = stage.address();
    let client = run(move || {
        let mut client = Client::connect(address);
        client
            .send(b"EHLO a.example\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<user@example.org>\r\n");
        let said = client.rest();
        // One alert (RFC 8446 §6).
        assert_eq!(said.first(), Some(&21), "{said:?}");
        assert!(said.len() < 16, "{said:?}");
        client.address
    })
    .await;
    let record = stage.session(client).await;
    assert_eq!(record["tls"], "false");
    assert_eq!(record["tls_failed"], "found what is no TLS");
    assert_eq!(record["messages"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_begins_is_shown_out() {
    let stage = Stage::set(ListenerTls::Implicit, |config| {
        config.limits.tls_handshake_timeout = Duration::from_millis(100);
    })
    .await;
    let address = stage.address();
    let client = run(move || {
        let mut client = Client::connect(address);
        // Nothing but `close_notify`.
        assert_eq!(client.rest(), [21, 3, 3, 0, 2, 1, 0]);
        client.address
    })
    .await;
    let record = stage.session(client).await;
    assert_eq!(record["tls_failed"], "no TLS within 0 s");
    // Its place is free again.
    let free = async {
        while stage.gateway.handle().sessions() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::stage::LATE, free)
        .await
        .unwrap();
}

/// What the client is shown.
async fn shown(stage: &Stage) -> Vec<u8> {
    let address = stage.address();
    run(move || {
        let mut client = Client::connect(address);
        let shown = client.secure().unwrap();
        client.expect("220");
        client.ask("QUIT", "221");
        shown[0].to_vec()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_new_certificates_and_keeps_old_ones() {
    let stage = Stage::set(ListenerTls::Implicit, |_| ()).await;
    let handle = stage.gateway.handle();
    let first = shown(&stage).await;
    make_certificate(stage.folder(), "mx.example.org");
    handle.reload(stage.config.clone()).await.unwrap();
    let second = shown(&stage).await;
    assert_ne!(first, second);
    // The key of nobody: everything else is put in force, and the old pair is shown.
    let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(stage.folder().join("mx.key"), key).unwrap();
    handle.reload(stage.config.clone()).await.unwrap();
    assert_eq!(shown(&stage).await, second);
    // Other files that are bad: nothing is put in force.
    let mut config = stage.config.clone();
    config.certificates[0].key = stage.folder().join("missing.key");
    let error = handle.reload(config).await.unwrap_err().to_string();
    assert!(error.contains("missing.key"), "{error}");
    assert_eq!(shown(&stage).await, second);
}
