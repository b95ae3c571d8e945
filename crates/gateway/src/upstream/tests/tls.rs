//! TLS with the upstream: off, where it can be had, and always.

use super::script::mx_example;
use super::*;
use crate::config::UpstreamTls;
use crate::upstream::Health;

const OFFERED: &str = "
    S: 220 up
    C: EHLO gw.example
    S: 250-up|250-SIZE 1|250 STARTTLS
";

const SECURED: &str = "
    C: STARTTLS
    S: 220 go
    tls
    C: EHLO gw.example
    S: 250-up|250-SIZE 99|250-REQUIRETLS|250 AUTH PLAIN
";

const ASKED: &str = "
    C: MAIL FROM:<s@example.org>
    S: 250 sender ok
    C: RCPT TO:<a@x.example>
    S: 250 a ok
    eof
";

const PROBED: &str = "
    C: MAIL FROM:<>
    S: 250 sender ok
    C: RCPT TO:<postmaster@example.com>
    S: 554 5.7.1 relay access denied
    C: RSET
    S: 250 reset
    C: QUIT
    S: 221 bye
    eof
";

fn required(name: &str) -> UpstreamTls {
    UpstreamTls::Required {
        ca: Some(mx_example().1.path().to_owned()),
        name: name.into(),
    }
}

async fn world(tls: UpstreamTls, identity: Identity, scripts: &[&[&str]]) -> World {
    let server = Scripted::start(scripts).await;
    let settings = config::Upstream {
        tls,
        ..settings(server.address, identity)
    };
    let upstream = Upstream::new(settings, "gw.example".into());
    World {
        link: UpstreamLink::new(Arc::clone(&upstream)),
        upstream,
        server,
        who: client(),
        claim: claim("192.0.2.7", false),
        limit: LIMIT,
    }
}

async fn answer(tls: UpstreamTls, scripts: &[&[&str]]) -> String {
    let mut world = world(tls, Identity::None, scripts).await;
    let answer = world.rcpt(&envelope(1, &[]), "a@x.example").await;
    world.done().await;
    answer
}

#[tokio::test]
async fn what_is_offered_counts_after_the_handshake() {
    for tls in [UpstreamTls::Opportunistic, required("mx.example")] {
        let is_required = tls != UpstreamTls::Opportunistic;
        let script: &[&str] = &[OFFERED, SECURED, PROBED];
        let world = world(tls, Identity::None, &[script]).await;
        assert_eq!(world.upstream.is_secure(), is_required);
        let report = world.upstream.probe(0).await;
        assert_eq!(report.failure, None);
        let learnt = world.upstream.capabilities().unwrap();
        assert_eq!(learnt.size, Some(99));
        assert!(!learnt.starttls && !learnt.auth.is_empty());
        // RFC 8689: with any certificate there is no knowing who it is.
        assert_eq!(learnt.require_tls, is_required);
        let certificate = report.tls.unwrap().certificate.unwrap();
        assert_eq!(&*certificate.names, ["mx.example".into()]);
        assert!(report.before_tls.unwrap().starttls);
        let steps: Vec<_> = report.steps.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, ["connect", "greeting", "ehlo", "tls", "ehlo"]);
        world.done().await;
    }
}

#[tokio::test]
async fn off_is_off() {
    let said = answer(UpstreamTls::Off, &[&[OFFERED, ASKED]]).await;
    assert_eq!(said, "250 a ok");
}

/// Nothing but EHLO and STARTTLS is ever said in plain.
#[tokio::test]
async fn required_is_never_plain() {
    let refused = "C: STARTTLS\nS: 454 4.7.0 not now\neof";
    let unknown = "C: STARTTLS\nS: 502 5.5.1 what\neof";
    let no_tls = "C: STARTTLS\nS: 220 go|250 hm\neof";
    let dies = "C: STARTTLS\nclose";
    for (script, expected) in [
        ([BARE, "eof"], "tls"),
        ([OFFERED, refused], "tls"),
        ([OFFERED, unknown], "tls"),
        ([OFFERED, dies], "tls"),
        ([OFFERED, no_tls], "garbage"),
    ] {
        let said = answer(required("mx.example"), &[&script]).await;
        assert_eq!(said, expected, "{script:?}");
    }
}

/// The wrong name, and an authority that did not sign it.
#[tokio::test]
async fn required_is_verified() {
    let begun = "C: STARTTLS\nS: 220 go\ntls\n";
    for tls in [
        required("other.example"),
        UpstreamTls::Required {
            ca: Some("/dev/null".into()),
            name: "mx.example".into(),
        },
    ] {
        let has_authority = tls == required("other.example");
        let server = Scripted::start(&[&[OFFERED, begun]]).await;
        let settings = config::Upstream {
            tls,
            ..settings(server.address, Identity::None)
        };
        let upstream = Upstream::new(settings, "gw.example".into());
        let report = upstream.probe(0).await;
        let (trouble, why) = report.failure.unwrap();
        assert_eq!(trouble, Trouble::Tls);
        let why = why.unwrap();
        let says = if has_authority {
            "certificate"
        } else {
            "/dev/null"
        };
        assert!(why.contains(says), "{why}");
        assert_eq!(upstream.health(), Health::Down { why: Trouble::Tls });
        // The server hears of it in its handshake, or nothing at all.
        drop(server);
    }
}

/// What an attacker puts behind the 220 is no answer to anything (CVE-2011-0411 and its kin).
#[tokio::test]
async fn plain_replies_behind_the_220_are_never_believed() {
    for injected in ["220 go|250 injected", "220 go|554 5.7.1 injected"] {
        let script = format!("C: STARTTLS\nS: {injected}\neof");
        for tls in [UpstreamTls::Opportunistic, required("mx.example")] {
            let said = answer(tls, &[&[OFFERED, &script]]).await;
            assert_eq!(said, "garbage", "{injected}");
        }
    }
    // In a packet of its own it is found in the handshake.
    let later = "C: STARTTLS\nS: 220 go\nS: 250 injected\nclose";
    let said = answer(required("mx.example"), &[&[OFFERED, later]]).await;
    assert!(said == "tls" || said == "garbage", "{said}");
}

#[tokio::test]
async fn opportunistic_goes_on_without() {
    let refused = "C: STARTTLS\nS: 454 4.7.0 not now\n";
    let said = answer(UpstreamTls::Opportunistic, &[&[OFFERED, refused, ASKED]]).await;
    assert_eq!(said, "250 a ok", "on the same connection (RFC 3207 §4)");
    let said = answer(UpstreamTls::Opportunistic, &[&[BARE, ASKED]]).await;
    assert_eq!(said, "250 a ok");
    for failed in ["C: STARTTLS\nS: 220 go\nclose", "C: STARTTLS\nclose"] {
        let scripts: [&[&str]; 2] = [&[OFFERED, failed], &[OFFERED, ASKED]];
        let said = answer(UpstreamTls::Opportunistic, &scripts).await;
        assert_eq!(said, "250 a ok", "{failed}");
    }
}

/// After a failure it is not tried again for each client, but the next probe tries.
#[tokio::test]
async fn opportunistic_tries_again_in_time() {
    let failed: &[&str] = &[OFFERED, "C: STARTTLS\nS: 220 go\nclose"];
    let plain: &[&str] = &[OFFERED, ASKED];
    let probed: &[&str] = &[OFFERED, SECURED, PROBED];
    let secured: &[&str] = &[OFFERED, SECURED, ASKED];
    let scripts = [failed, plain, plain, probed, secured];
    let mut world = world(UpstreamTls::Opportunistic, Identity::None, &scripts).await;
    for _ in 0..2 {
        assert_eq!(
            world.rcpt(&envelope(1, &[]), "a@x.example").await,
            "250 a ok"
        );
        world.link.abort();
    }
    world.upstream.probe(0).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.done().await;
}

/// The PROXY header comes before everything, XCLIENT after TLS.
#[tokio::test]
async fn the_client_is_told_in_the_right_place() {
    let proxied = "proxy1 192.0.2.7:4711 198.51.100.1:25\nS: 220 up\nC: EHLO client.example\n\
                   S: 250-up|250 STARTTLS\nC: STARTTLS\nS: 220 go\ntls\nC: EHLO client.example\nS: 250 up\n";
    let xclient = "S: 220 up\nC: EHLO gw.example\nS: 250-up|250-STARTTLS|250 XCLIENT PORT\nC: STARTTLS\nS: 220 go\n\
                   tls\nC: EHLO gw.example\nS: 250-up|250 XCLIENT ADDR\nC: XCLIENT ADDR=192.0.2.7\nS: 220 up\n\
                   C: EHLO client.example\nS: 250 up\n";
    for (identity, script) in [(Identity::ProxyV1, proxied), (Identity::Xclient, xclient)] {
        let mut world = world(required("mx.example"), identity, &[&[script, ASKED]]).await;
        assert_eq!(
            world.rcpt(&envelope(1, &[]), "a@x.example").await,
            "250 a ok"
        );
        world.done().await;
    }
}

/// A kept connection is as quiet behind TLS as before it: session tickets are not words.
#[tokio::test]
async fn connections_with_tls_are_kept_and_reused() {
    let reset = "C: RSET\nS: 250 reset\n";
    let script: &[&str] = &[OFFERED, SECURED, MESSAGE, reset, MESSAGE, "eof"];
    let mut world = world(required("mx.example"), Identity::None, &[script]).await;
    world.claim.known = true;
    assert_eq!(world.message(1).await, "250 taken");
    world.link.close();
    while world.upstream.stats().idle == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.message(2).await, "250 taken");
    world.link.abort();
    world.done().await;
}

/// A server that speaks LMTP has no single reply to end-of-data.
#[tokio::test]
async fn lmtp_is_refused() {
    let greets = "S: 220 box.example LMTP Cyrus ready\neof";
    let knows = "S: 220 box.example ready\nC: EHLO gw.example\nS: 500 5.5.1 unknown\n\
                 C: LHLO gw.example\nS: 250 box.example\neof";
    let neither = "S: 220 box.example ready\nC: EHLO gw.example\nS: 500 5.5.1 unknown\n\
                   C: LHLO gw.example\nS: 500 5.5.1 unknown\neof";
    let named = "S: 220 lmtp.example.org ESMTP to LMTP\nC: EHLO gw.example\nS: 250 ok\n";
    let scripts: [&[&str]; 4] = [&[greets], &[knows], &[neither], &[named, PROBED]];
    let world = World::new(Identity::None, &scripts).await;
    for is_lmtp in [true, true, false] {
        let report = world.upstream.probe(0).await;
        let (_, why) = report.failure.unwrap();
        assert_eq!(why.unwrap().contains("LMTP"), is_lmtp);
        assert!(matches!(world.upstream.health(), Health::Down { .. }));
    }
    assert_eq!(world.upstream.probe(0).await.failure, None);
    world.done().await;
}
