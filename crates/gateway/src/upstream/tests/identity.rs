//! Telling the upstream who its client is.

use super::*;

const OFFERED: &str = "
    S: 220 up
    C: EHLO gw.example
    S: 250-up|250-SIZE|250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN
";

const TOLD: &str = "
    C: XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=client.example LOGIN=[UNAVAILABLE]
";

#[tokio::test]
async fn the_ehlo_after_xclient_counts() {
    let script = &[
        OFFERED,
        TOLD,
        "
        S: 220 up
        C: EHLO client.example
        S: 250-up|250-8BITMIME|250 AUTH PLAIN
        C: MAIL FROM:<s@example.org> BODY=8BITMIME
        S: 250 sender ok
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RSET
        S: 250 reset
        C: QUIT
        S: 221 bye
        eof",
    ];
    let mut world = World::new(Identity::Xclient, &[script]).await;
    let eight_bit = MailParams {
        body: Some(tarpit_smtp::Body::EightBitMime),
        ..MailParams::default()
    };
    let body = envelope_with(1, &[], &eight_bit);
    assert_eq!(world.rcpt(&body, "a@x.example").await, "250 a ok");
    // SIZE was offered to us, not to this client.
    let sized = MailParams {
        size: Some(10),
        ..MailParams::default()
    };
    let size = envelope_with(2, &[], &sized);
    assert_eq!(world.rcpt(&size, "a@x.example").await, "lacks");
    world.done().await;
}

#[tokio::test]
async fn an_identity_that_cant_be_told_is_trouble() {
    let scripts: [&[&str]; 5] = [
        &[BARE, "eof"],
        &["S: 220 up\nC: EHLO gw.example\nS: 250-up|250 XCLIENT NAME HELO\neof"],
        &[
            OFFERED,
            TOLD,
            "S: 550 5.7.0 insufficient authorization\neof",
        ],
        &[OFFERED, TOLD, "S: 501 5.5.4 bad HELO syntax\neof"],
        &[OFFERED, TOLD, "S: 502 5.5.1 what\neof"],
    ];
    let mut world = World::new(Identity::Xclient, &scripts).await;
    for _ in 0..5 {
        assert_eq!(
            world.rcpt(&envelope(1, &[]), "a@x.example").await,
            "identity"
        );
        assert!(!world.link.is_connected());
        world.probe_wanted().await;
    }
    world.done().await;
}

#[tokio::test]
async fn a_client_refused_after_xclient_is_refused_service() {
    let scripts: [&[&str]; 2] = [
        &[OFFERED, TOLD, "S: 554 5.7.1 client host rejected\neof"],
        &[
            OFFERED,
            TOLD,
            "S: 220 up\nC: EHLO client.example\nS: 501 5.5.2 bad helo\neof",
        ],
    ];
    let mut world = World::new(Identity::Xclient, &scripts).await;
    for expected in [
        "service: 554 5.7.1 client host rejected",
        "service: 501 5.5.2 bad helo",
    ] {
        assert_eq!(world.rcpt(&envelope(1, &[]), "a@x.example").await, expected);
    }
    world.done().await;
}

#[tokio::test]
async fn a_client_with_another_name_is_told_anew() {
    let told = |name: &str| {
        format!(
            "
            C: XCLIENT ADDR=192.0.2.7 HELO={name}
            S: 220 up
            C: EHLO {name}
            S: 250 up"
        )
    };
    let offered = "S: 220 up\nC: EHLO gw.example\nS: 250-up|250 XCLIENT ADDR HELO\n";
    let asked = "\nC: RCPT TO:<a@x.example>\nS: 250 a ok\n";
    let (old, new) = (told("client.example"), told("other.example"));
    let scripts: [&[&str]; 2] = [
        &[
            offered,
            &old,
            MAIL,
            asked,
            "C: RSET\nS: 250 ok\nC: QUIT\nS: 221 bye\neof",
        ],
        &[offered, &new, MAIL, asked, "eof"],
    ];
    let mut world = World::new(Identity::Xclient, &scripts).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.who.helo = Some("other.example".into());
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.done().await;
}

/// Greeting and EHLO after the PROXY header: the name is the client's too.
const PROXIED: &str = "
    proxy 192.0.2.7:4711 198.51.100.1:25
    S: 220 up
    C: EHLO client.example
";

#[tokio::test]
async fn the_proxy_header_goes_first() {
    let script = &[
        PROXIED,
        "S: 250 up",
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        eof",
    ];
    let mut world = World::new(Identity::ProxyV2, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.done().await;
}

#[tokio::test]
async fn a_server_that_expects_no_proxy_header_is_found_out() {
    let header = "proxy 192.0.2.7:4711 198.51.100.1:25\n";
    let scripts: [(&[&str], &str); 7] = [
        (&[PROXIED, "S: 500 5.5.2 bad syntax\neof"], "identity"),
        (&[PROXIED, "S: 502 5.5.1 what\neof"], "identity"),
        // The header holds a line that says QUIT.
        (&[PROXIED, "S: 221 2.0.0 bye\nclose"], "identity"),
        (&[header, "S: 220 up|500 bad|500 bad\neof"], "identity"),
        (&[header, "S: hello\neof"], "identity"),
        (
            &[PROXIED, "S: 450 4.3.2 later\neof"],
            "service: 450 4.3.2 later",
        ),
        (
            &[PROXIED, "S: 501 5.5.2 bad helo\neof"],
            "service: 501 5.5.2 bad helo",
        ),
    ];
    let all: Vec<&[&str]> = scripts.iter().map(|(script, _)| *script).collect();
    let mut world = World::new(Identity::ProxyV2, &all).await;
    for (_, expected) in scripts {
        assert_eq!(world.rcpt(&envelope(1, &[]), "a@x.example").await, expected);
    }
    world.done().await;
}

/// A client's address and the server's must be of one family; nobody is sent on as if they were us.
#[tokio::test]
async fn no_near_end_of_another_family() {
    let mut world = World::new(Identity::Transparent, &[]).await;
    world.who.address = "[2001:db8::7]:4711".parse().unwrap();
    let answer = world.rcpt(&envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "identity");
    world.done().await;
}

#[tokio::test]
async fn the_proxy_header_in_text_goes_first() {
    let script = &[
        "proxy1 192.0.2.7:4711 198.51.100.1:25\nS: 220 up\nC: EHLO client.example\nS: 250 up\n",
        MAIL,
        "C: RCPT TO:<a@x.example>\nS: 250 a ok\neof",
    ];
    let mut world = World::new(Identity::ProxyV1, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.done().await;
}
