//! A server turns a connection away at its greeting: whom that is about, and whether for good.

use super::*;

/// Of the client it knows nothing, so it refuses us: the other one may not. For good the client is
/// refused only if all do.
#[tokio::test]
async fn a_refusal_of_ours_at_the_greeting() {
    let asked = takes("a");
    let refuses: &[&str] = &["S: 554 5.7.1 not you\neof"];
    let first: &[&[&str]] = &[UP, refuses, refuses, refuses];
    let second: &[&[&str]] = &[UP, &[BARE, MAIL, &asked, "eof"], refuses, &["close"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let mut link = group.link();
    for expected in ["250 a ok", "service: 554 5.7.1 not you", "closed"] {
        let answer = rcpt(&mut link, &envelope(1, &[]), "a@x.example").await;
        assert_eq!(answer, expected);
        link = group.link();
    }
    assert!(!group.upstream.servers()[0].is_passed_over);
    group.done().await;
}

/// One refuses us, and the other was not asked: it is busy, or away and may come back.
#[tokio::test]
async fn a_refusal_of_one_is_not_the_word_of_all() {
    let refuses: &[&str] = &["S: 554 5.7.1 not you\neof"];
    let asked = takes("a");
    let first: &[&[&str]] = &[UP, refuses];
    let second: &[&[&str]] = &[&["close"]];
    let group = Group::probed(Balance::Order, &[first, second]).await;
    let answer = rcpt(&mut group.link(), &envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "unreachable", "the other one is away");
    group.done().await;

    let first: &[&[&str]] = &[&[BARE, MAIL, &asked, "eof"], refuses];
    let second: &[&[&str]] = &[&[BARE, MAIL, &asked, "eof"]];
    let mut group = Group::new(Balance::LeastConnections, &[first, second]).await;
    let settings = config::Upstream {
        connections_reserved: 0,
        connections_max: 1,
        ..group.upstream.config.clone()
    };
    group.upstream = Upstream::new(settings, "gw.example".into());
    let mut links = [group.link(), group.link(), group.link()];
    for link in &mut links[..2] {
        let answer = rcpt(link, &envelope(1, &[]), "a@x.example").await;
        assert_eq!(answer, "250 a ok");
    }
    links[0].abort();
    tokio::time::pause();
    let answer = rcpt(&mut links[2], &envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "capacity", "the other one is busy");
    drop(links);
    group.done().await;
}

/// What a server says of the client, the next would say too; and if not, nobody should be able to
/// choose.
#[tokio::test]
async fn a_refusal_of_the_client_is_the_answer() {
    let told = "proxy 192.0.2.7:4711 198.51.100.1:25\n";
    let outside = "proxy 192.0.2.1:49152 192.0.2.2:25\n";
    let up: &[&str] = &[outside, BARE, REFUSES_RELAY];
    let first: &[&[&str]] = &[up, &[told, "S: 554 5.7.1 not you\neof"]];
    let group = Group::of(Identity::ProxyV2, Balance::Order, &[first, &[up]]).await;
    group.upstream.probe_all().await;
    let answer = rcpt(&mut group.link(), &envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "service: 554 5.7.1 not you");
    group.done().await;
}
