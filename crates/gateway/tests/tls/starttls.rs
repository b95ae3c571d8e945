//! STARTTLS (RFC 3207), and what is injected before it (CVE-2011-0411 and its kin: the NO STARTTLS
//! list). Whoever sits between client and gateway can add octets while the session is plain; none
//! of them may have an effect once it is not.

use std::time::Duration;

use tarpit_core::policy::Mode;
use tarpit_gateway::config::ListenerTls;

use crate::client::{Client, run};
use crate::stage::Stage;

/// A plain client that has heard what is announced.
fn greeted(address: std::net::SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client.expect("220");
    let announced = client.ask("EHLO plain.example", "250");
    assert!(announced.contains("STARTTLS"), "{announced}");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_begins_anew() {
    let stage = Stage::set(ListenerTls::StartTls, |_| ()).await;
    let address = stage.address();
    let client = run(move || {
        let mut client = greeted(address);
        client.ask("STARTTLS now", "501");
        client.ask("STARTTLS", "220");
        client.secure().unwrap();
        let announced = client.ask("EHLO secure.example", "250");
        assert!(!announced.contains("STARTTLS"), "{announced}");
        client.ask("STARTTLS", "503");
        client.ask("MAIL FROM:<a@example.net>", "250");
        client.ask("RCPT TO:<user@example.org>", "250");
        client.ask("DATA", "354");
        client.ask("Subject: x\r\n\r\nhello\r\n.", "250");
        client.ask("QUIT", "221");
        assert_eq!(client.rest(), b"");
        client.address
    })
    .await;
    assert_eq!(stage.messages("user@example.org").len(), 1);
    let record = stage.session(client).await;
    assert_eq!(record["tls"], "true");
    assert_eq!(record["helo"], "secure.example");
    assert_eq!(record["end"], "quit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_not_secured_halfway() {
    let stage = Stage::set(ListenerTls::StartTls, |_| ()).await;
    let address = stage.address();
    run(move || {
        let mut client = greeted(address);
        client.ask("MAIL FROM:<a@example.net>", "250");
        client.ask("STARTTLS", "503");
        client.ask("RSET", "250");
        client.ask("STARTTLS", "220");
        client.secure().unwrap();
        client.ask("EHLO secure.example", "250");
        client.ask("QUIT", "221");
    })
    .await;
}

/// Everything that could be of use to somebody in the middle.
const INJECTED: &[&str] = &[
    "NOOP\r\n",
    "EHLO evil.example\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<user@example.org>\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<user@example.org>\r\nDATA\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<user@example.org>\r\nDATA\r\nevil\r\n.\r\n",
    "EHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<user@example.org>\r\nBDAT 100 LAST\r\n",
    "EHLO evil.example\r\nAUTH PLAIN\r\n",
    "AUTH LOGIN\r\n",
    "RSET\r\n",
    "QUIT\r\n",
    "STARTTLS\r\n",
    "XCLIENT ADDR=127.0.0.1\r\n",
    "BDAT 5\r\n",
    // The head of a command that the client's own would end.
    "NO",
    "MAIL FROM:<evil@example.net> AUTH=",
    "\r\n",
    "\0",
];

/// In one segment with STARTTLS: read together, and thrown away.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_injected_behind_starttls_has_no_effect() {
    // There is much to be refused, and nothing to be waited for.
    let stage = Stage::set(ListenerTls::StartTls, |config| {
        config.listeners[0].policy.mode = Mode::Off;
    })
    .await;
    for injected in INJECTED {
        let address = stage.address();
        let client = run(move || {
            let mut client = greeted(address);
            client.send_plain(format!("STARTTLS\r\n{injected}").as_bytes());
            client.expect("220");
            client
                .secure()
                .unwrap_or_else(|error| panic!("{injected:?}: {error}"));
            // Each reply is to what the client itself said.
            client.ask("VRFY user", "252");
            client.ask("RCPT TO:<user@example.org>", "503");
            client.ask("EHLO secure.example", "250");
            client.ask("RCPT TO:<user@example.org>", "503");
            client.ask("DATA", "503");
            client.ask("MAIL FROM:<a@example.net>", "250");
            client.ask("QUIT", "221");
            assert_eq!(client.rest(), b"", "{injected:?}");
            client.address
        })
        .await;
        let record = stage.session(client).await;
        assert_eq!(record["helo"], "secure.example", "{injected:?}");
        assert_eq!(record["messages"], "0", "{injected:?}");
    }
    assert!(stage.messages("user@example.org").is_empty());
}

/// Between the 220 and the client's first record: taken for TLS, which it is not.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_injected_before_the_handshake_ends_it() {
    let stage = Stage::set(ListenerTls::StartTls, |_| ()).await;
    for injected in INJECTED {
        let address = stage.address();
        let client = run(move || {
            let mut client = greeted(address);
            client.ask("STARTTLS", "220");
            client.send_plain(injected.as_bytes());
            assert!(client.secure().is_err(), "{injected:?}");
            let said = client.rest();
            let is_reply = said
                .windows(3)
                .any(|code| code.iter().all(u8::is_ascii_digit));
            assert!(!is_reply, "{injected:?}: {said:?}");
            client.address
        })
        .await;
        let record = stage.session(client).await;
        assert_eq!(record["tls"], "false");
        assert_eq!(record["tls_failed"], "found what is no TLS", "{injected:?}");
        assert_eq!(record["messages"], "0");
    }
    assert!(stage.messages("user@example.org").is_empty());
}

/// Commands before STARTTLS in the same segment are answered, and nothing more.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_pipelined_before_it_is_answered_before_it() {
    let stage = Stage::set(ListenerTls::StartTls, |_| ()).await;
    let address = stage.address();
    run(move || {
        let mut client = greeted(address);
        client.send_plain(b"NOOP\r\nSTARTTLS\r\nNOOP\r\nNOOP\r\n");
        client.expect("250");
        client.expect("220");
        client.secure().unwrap();
        client.ask("VRFY user", "252");
        client.ask("QUIT", "221");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_never_begins_is_shown_out() {
    let stage = Stage::set(ListenerTls::StartTls, |config| {
        config.limits.tls_handshake_timeout = Duration::from_millis(100);
    })
    .await;
    let address = stage.address();
    let client = run(move || {
        let mut client = greeted(address);
        client.ask("STARTTLS", "220");
        client.rest();
        client.address
    })
    .await;
    let record = stage.session(client).await;
    assert_eq!(record["tls_failed"], "no TLS within 0 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_there_is_none() {
    let stage = Stage::set(ListenerTls::StartTls, |config| config.certificates.clear()).await;
    let address = stage.address();
    run(move || {
        let mut client = Client::connect(address);
        client.expect("220");
        let announced = client.ask("EHLO a.example", "250");
        assert!(!announced.contains("STARTTLS"), "{announced}");
        client.ask("STARTTLS", "502");
        client.ask("QUIT", "221");
    })
    .await;
}
