//! What is read only to be thrown away has an end: the session's time holds.

use std::time::{Duration, Instant};

use tarpit_core::policy::Mode;
use tarpit_gateway::config::ListenerTls;

use crate::client::{Client, run};
use crate::stage::{LATE, Stage};

/// Says `before` and `start`, and goes on to send what nobody wants, until somebody says why it is over.
async fn sends_for_ever(before: &'static [(&'static str, &'static str)], start: &'static [u8]) {
    let stage = Stage::set(ListenerTls::Off, |config| {
        config.listeners[0].policy.mode = Mode::Off;
        config.limits.session_timeout = Duration::from_millis(300);
    })
    .await;
    let address = stage.address();
    let client = run(move || {
        let mut client = Client::connect(address);
        client.expect("220");
        for (line, code) in before {
            client.ask(line, code);
        }
        client.send_plain(start);
        let started = Instant::now();
        while client.try_send(b"0123456789\r\n") {
            assert!(started.elapsed() < LATE, "there is no end");
        }
        client.address
    })
    .await;
    assert_eq!(stage.session(client).await["end"], "timed_out");
    assert!(stage.messages("user@example.org").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_of_all_octets_there_are() {
    let before = &[("EHLO a.example", "250")];
    sends_for_ever(before, b"BDAT 18446744073709551615 LAST\r\n").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_refused_already() {
    let before = &[
        ("EHLO a.example", "250"),
        ("MAIL FROM:<a@example.net>", "250"),
        ("RCPT TO:<user@example.org>", "250"),
        ("DATA", "354"),
    ];
    sends_for_ever(before, b"a bare\nline end\r\n").await;
}
