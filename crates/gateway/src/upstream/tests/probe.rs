//! What the upstream is: probes, health, capabilities.

use super::*;
use crate::upstream::{Health, ProbeReport};

const OUTSIDE: &str = "
    C: MAIL FROM:<>
    S: 250 sender ok
    C: RCPT TO:<postmaster@example.com>
";

const LEFT: &str = "
    C: RSET
    S: 250 reset
    C: QUIT
    S: 221 bye
    eof
";

const REFUSED: &str = "S: 554 5.7.1 relay access denied";

fn down(why: Trouble) -> Health {
    Health::Down { why }
}

fn steps(report: &ProbeReport) -> Vec<&'static str> {
    report.steps.iter().map(|(step, _)| *step).collect()
}

#[tokio::test]
async fn an_upstream_that_does_not_relay() {
    let greeting =
        "S: 220 up ESMTP\nC: EHLO gw.example\nS: 250-up|250-SIZE 99|250-STARTTLS|250 HELP\n";
    let world = World::new(Identity::None, &[&[greeting, OUTSIDE, REFUSED, LEFT]]).await;
    assert_eq!(world.upstream.health(), Health::Unknown);
    assert_eq!(world.upstream.capabilities(), None);
    let mut changes = world.upstream.health_changes();
    let report = world.upstream.probe(0).await;
    assert_eq!(world.upstream.health(), Health::Up);
    assert_eq!(*changes.borrow_and_update(), Health::Up);
    assert_eq!(world.upstream.capabilities().unwrap().size, Some(99));
    assert_eq!(report.greeting.as_deref(), Some("220 up ESMTP"));
    assert_eq!(report.announced, ["up", "SIZE 99", "STARTTLS", "HELP"]);
    assert!(report.capabilities.as_ref().unwrap().starttls);
    assert_eq!(report.identity, None);
    assert_eq!(
        report.relay.as_ref().unwrap().0.to_log(),
        "554 5.7.1 relay access denied"
    );
    assert!(!report.relays && report.failure.is_none());
    assert_eq!(steps(&report), ["connect", "greeting", "ehlo"]);
    world.done().await;
}

#[tokio::test]
async fn an_upstream_that_relays() {
    let script: &[&str] = &[BARE, OUTSIDE, "S: 250 2.1.5 ok", LEFT];
    let world = World::new(Identity::None, &[script]).await;
    assert!(world.upstream.probe(0).await.relays);
    assert_eq!(
        world.upstream.health(),
        Health::Relays {
            reply: "250 2.1.5 ok".to_owned()
        }
    );
    assert!(world.upstream.capabilities().is_some());
    world.done().await;

    let server = Scripted::start(&[script]).await;
    let meant = config::Upstream {
        relays: true,
        ..settings(server.address, Identity::None)
    };
    let upstream = Upstream::new(meant, "gw.example".into());
    assert!(upstream.probe(0).await.relays);
    assert_eq!(upstream.health(), Health::Up);
    server.done().await;
}

/// A server can't hide that it relays by refusing the null reverse-path.
#[tokio::test]
async fn an_upstream_that_refuses_the_null_reverse_path() {
    let no_null = "C: MAIL FROM:<>\nS: 550 no bounces\nC: MAIL FROM:<postmaster@gw.example>\n";
    let asked = "S: 250 ok\nC: RCPT TO:<postmaster@example.com>\nS: 250 ok\n";
    let scripts: [&[&str]; 2] = [
        &[BARE, no_null, asked, LEFT],
        &[BARE, no_null, "S: 550 nobody\n", LEFT],
    ];
    let world = World::new(Identity::None, &scripts).await;
    assert!(world.upstream.probe(0).await.relays);
    let report = world.upstream.probe(0).await;
    assert_eq!(report.relay.unwrap().0.to_log(), "550 no bounces");
    assert_eq!(world.upstream.health(), Health::Up);
    world.done().await;
}

#[tokio::test]
async fn the_probe_comes_from_outside() {
    let xclient = "
        S: 220 up
        C: EHLO gw.example
        S: 250-up|250-SIZE|250 XCLIENT NAME ADDR PORT HELO
        C: XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=49152 HELO=gw.example
        S: 220 up
        C: EHLO gw.example
        S: 250-up|250 8BITMIME
    ";
    let world = World::new(Identity::Xclient, &[&[xclient, OUTSIDE, REFUSED, LEFT]]).await;
    let report = world.upstream.probe(0).await;
    assert_eq!(report.identity, Some(Ok(())));
    assert_eq!(
        steps(&report),
        ["connect", "greeting", "ehlo", "xclient", "ehlo"]
    );
    let learnt = world.upstream.capabilities().unwrap();
    assert!(
        learnt.eight_bit_mime && learnt.size.is_none(),
        "of the second EHLO"
    );
    world.done().await;

    let header = "proxy 192.0.2.1:49152 192.0.2.2:25";
    let world = World::new(
        Identity::ProxyV2,
        &[&[header, BARE, OUTSIDE, REFUSED, LEFT]],
    )
    .await;
    assert_eq!(world.upstream.probe(0).await.identity, Some(Ok(())));
    world.done().await;
}

#[tokio::test]
async fn an_identity_that_cant_be_told() {
    let world = World::new(Identity::Xclient, &[&[BARE, "eof"]]).await;
    let report = world.upstream.probe(0).await;
    assert_eq!(
        report.identity,
        Some(Err("it offers no XCLIENT with ADDR".to_owned()))
    );
    assert_eq!(world.upstream.health(), down(Trouble::Identity));
    assert_eq!(world.upstream.capabilities(), None);
    world.done().await;
}

/// A server that refuses strangers is up; what it offered before is the best there is.
#[tokio::test]
async fn an_upstream_that_refuses_the_outside_client() {
    let script = "
        S: 220 up
        C: EHLO gw.example
        S: 250-up|250-SIZE 7|250 XCLIENT ADDR
        C: XCLIENT ADDR=192.0.2.1
        S: 450 4.7.1 cannot find your hostname
        eof";
    let world = World::new(Identity::Xclient, &[&[script]]).await;
    let report = world.upstream.probe(0).await;
    assert_eq!(
        report.relay.unwrap().0.to_log(),
        "450 4.7.1 cannot find your hostname"
    );
    assert_eq!(world.upstream.health(), Health::Up);
    assert_eq!(world.upstream.capabilities().unwrap().size, Some(7));
    world.done().await;
}

#[tokio::test]
async fn a_failed_refresh_keeps_the_capabilities() {
    let sized = "S: 220 up\nC: EHLO gw.example\nS: 250-up|250 SIZE 99\n";
    let scripts: [&[&str]; 4] = [
        &[sized, OUTSIDE, REFUSED, LEFT],
        &["S: 554 no\neof"],
        &[BARE, OUTSIDE, "close"],
        &[BARE, OUTSIDE, REFUSED, LEFT],
    ];
    let world = World::new(Identity::None, &scripts).await;
    for (health, size) in [
        (Health::Up, Some(99)),
        (down(Trouble::Closed), Some(99)),
        (down(Trouble::Closed), Some(99)),
        (Health::Up, None),
    ] {
        let report = world.upstream.probe(0).await;
        assert_eq!(world.upstream.health(), health);
        assert_eq!(report.failure.is_some(), health != Health::Up);
        assert_eq!(world.upstream.capabilities().unwrap().size, size);
    }
    world.done().await;
}

#[tokio::test]
async fn how_a_name_is_treated() {
    let asked = |reply: &str| {
        format!("{BARE}C: MAIL FROM:<>\nS: 250 ok\nC: RCPT TO:<zq7@example.org>\n{reply}\n{LEFT}")
    };
    let (refused, taken) = (asked("S: 550 5.1.1 no such user"), asked("S: 250 ok"));
    let world = World::new(Identity::None, &[&[&refused], &[&taken], &["close"]]).await;
    for expected in ["550 5.1.1 no such user", "250 ok", "closed"] {
        let treatment = world.upstream.try_name(0, "zq7@example.org").await;
        assert_eq!(
            treatment.map_or_else(
                |trouble| trouble.as_str().to_owned(),
                |(reply, _)| reply.to_log()
            ),
            expected
        );
    }
    assert_eq!(
        world.upstream.health(),
        Health::Unknown,
        "a question about a name is no probe"
    );
    world.done().await;
}

/// Down, back again, and asked at once when traffic has trouble. Waits two seconds: the least time
/// between two probes, twice.
#[tokio::test]
async fn the_watch() {
    // An address of its own: no other test can take the port while nobody listens.
    let listener = tokio::net::TcpListener::bind("127.83.71.1:0")
        .await
        .unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let upstream = Upstream::new(settings(address, Identity::None), "gw.example".into());
    let mut changes = upstream.health_changes();
    let watch = tokio::spawn(Arc::clone(&upstream).watch());
    let mut until = async |health: Health| {
        let seen = tokio::time::timeout(LIMIT, changes.wait_for(|now| *now == health)).await;
        drop(seen.expect("health changes").unwrap());
    };
    until(down(Trouble::Unreachable)).await;
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let scripts: [&[&str]; 2] = [&[BARE, OUTSIDE, REFUSED, LEFT], &["S: 421 4.3.2 no\neof"]];
    let server = Scripted::on(listener, &scripts);
    until(Health::Up).await;
    upstream.note(None, Trouble::Lacks);
    until(down(Trouble::Closed)).await;
    watch.abort();
    server.done().await;
}

/// A 4yz does not say that it won't relay. Such a server is served in the end, but one that was
/// found to relay is not let off by it.
#[tokio::test]
async fn an_upstream_that_does_not_say_whether_it_relays() {
    const LATER: &str = "S: 450 4.2.0 come back later";
    let script: &[&str] = &[BARE, OUTSIDE, LATER, LEFT];
    let world = World::new(Identity::None, &[script; 6]).await;
    for _ in 0..5 {
        world.upstream.probe(0).await;
        assert_eq!(world.upstream.health(), Health::Unknown);
    }
    world.upstream.probe(0).await;
    assert_eq!(world.upstream.health(), Health::Up);
    world.done().await;

    let relays: &[&str] = &[BARE, OUTSIDE, "S: 250 2.1.5 ok", LEFT];
    let world = World::new(Identity::None, &[relays, script]).await;
    for _ in 0..2 {
        world.upstream.probe(0).await;
        assert!(matches!(world.upstream.health(), Health::Relays { .. }));
    }
    world.done().await;
}
