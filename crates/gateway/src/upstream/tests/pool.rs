//! What becomes of a connection that is let go of.

use super::*;
use crate::upstream::UpstreamStats;

const RESET: &str = "
    C: RSET
    S: 250 reset
";

const LEFT: &str = "
    C: QUIT
    S: 221 bye
    eof
";

/// Waits until the connection that was left is idle.
async fn idle(world: &World) {
    while world.upstream.stats().idle == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_connection_without_refusals_serves_the_next_known_sender() {
    let script = &[BARE, MESSAGE, RESET, MESSAGE, "eof"];
    let mut world = World::new(Identity::None, &[script]).await;
    world.claim.known = true;
    assert_eq!(world.message(1).await, "250 taken");
    world.link.close();
    idle(&world).await;
    assert_eq!(
        world.upstream.stats(),
        UpstreamStats {
            open: 1,
            idle: 1,
            in_use: 0
        }
    );
    world.link = UpstreamLink::new(Arc::clone(&world.upstream));
    world.claim = claim("198.51.100.9", true);
    assert_eq!(world.message(1).await, "250 taken");
    assert_eq!(
        world.upstream.stats(),
        UpstreamStats {
            open: 1,
            idle: 0,
            in_use: 1
        }
    );
    world.link.let_go();
    idle(&world).await;
    let stock = Arc::clone(&world.upstream.stock);
    drop(world.upstream);
    drop(world.link);
    idle_gone(&stock).await;
    world.server.done().await;
}

/// Takes what is idle and drops it.
async fn idle_gone(stock: &Arc<crate::upstream::stock::Stock>) {
    let wanted = crate::upstream::stock::Wish {
        told: Some(crate::upstream::identity::Told::Nothing),
        ..Default::default()
    };
    while stock.counts().1 > 0 {
        drop(stock.take(claim("192.0.2.1", true), wanted.clone()).await);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stranger_gets_a_connection_of_its_own() {
    let first = &[BARE, MESSAGE, "eof"];
    let second = &[
        BARE,
        MAIL,
        "C: RCPT TO:<b@x.example>\nS: 550 5.1.1 no b\neof",
    ];
    let mut world = World::new(Identity::None, &[first, second]).await;
    world.claim.known = true;
    assert_eq!(world.message(1).await, "250 taken");
    world.link.let_go();
    idle(&world).await;
    world.claim.known = false;
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "b@x.example").await,
        "550 5.1.1 no b"
    );
    assert_eq!(
        world.upstream.stats(),
        UpstreamStats {
            open: 2,
            idle: 1,
            in_use: 1
        }
    );
    world.link.abort();
    idle_gone(&world.upstream.stock).await;
    world.done().await;
}

/// The eleventh would wait for Exim's next queue run.
#[tokio::test]
async fn ten_messages_are_enough_for_one_connection() {
    let again = [RESET, MESSAGE].concat().repeat(9);
    let first: &[&str] = &[BARE, MESSAGE, &again, LEFT];
    let mut world = World::new(Identity::None, &[first, &[BARE, MESSAGE, "eof"]]).await;
    world.claim.known = true;
    for serial in 1..=10 {
        assert_eq!(world.message(serial).await, "250 taken");
        world.link.let_go();
    }
    assert_eq!(world.message(11).await, "250 taken");
    world.done().await;
}

/// RFC 9422 §4.1: what goes beyond the limit is refused, and the client would be told so, who has
/// done nothing of the kind.
#[tokio::test]
async fn a_connection_takes_no_more_mail_than_it_said() {
    let limited = "
        S: 220 up
        C: EHLO gw.example
        S: 250-up
        S: 250 LIMITS MAILMAX=2
    ";
    let first: &[&str] = &[limited, MESSAGE, RESET, MESSAGE, LEFT];
    let unused = format!("{MAIL}C: RCPT TO:<a@x.example>\nS: 250 a ok\n");
    let second: &[&str] = &[limited, MESSAGE, &unused, RESET, LEFT];
    let third: &[&str] = &[limited, MESSAGE, "eof"];
    let mut world = World::new(Identity::None, &[first, second, third]).await;
    world.claim.known = true;
    for serial in 1..=3 {
        assert_eq!(world.message(serial).await, "250 taken");
        // Kept or not, it counts.
        if serial == 1 {
            world.link.let_go();
        }
    }
    let begun = envelope(4, &[]);
    assert_eq!(world.rcpt(&begun, "a@x.example").await, "250 a ok");
    assert_eq!(world.message(5).await, "250 taken");
    world.done().await;
}

/// RFC 9422 §4.3: the domains of a connection's recipients add up, whosever they are.
#[tokio::test]
async fn a_connection_that_counts_domains_is_for_one_client() {
    let counts = "
        S: 220 up
        C: EHLO gw.example
        S: 250-up
        S: 250 LIMITS RCPTDOMAINMAX=1
    ";
    let first: &[&str] = &[counts, MESSAGE, LEFT];
    let second: &[&str] = &[counts, MESSAGE, "eof"];
    let mut world = World::new(Identity::None, &[first, second]).await;
    world.claim.known = true;
    assert_eq!(world.message(1).await, "250 taken");
    world.link.let_go();
    assert_eq!(world.message(2).await, "250 taken");
    world.done().await;
}

#[tokio::test]
async fn what_may_not_be_reused_is_left() {
    let refused = format!("{MAIL}C: RCPT TO:<no@x.example>\nS: 550 5.1.1 no\n");
    let dirty = [MESSAGE, &refused, RESET, LEFT].concat();
    let unused = format!("{MAIL}C: RCPT TO:<a@x.example>\nS: 250 a ok\n{RESET}{LEFT}");
    let unresettable = [MESSAGE, "C: RSET\nS: 500 what\neof"].concat();
    let mut world = World::new(
        Identity::None,
        &[
            &[BARE, &dirty],
            &[BARE, &unused],
            &[BARE, &unresettable],
            &[BARE, MESSAGE, "eof"],
        ],
    )
    .await;
    world.claim.known = true;
    assert_eq!(world.message(1).await, "250 taken");
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "no@x.example").await,
        "550 5.1.1 no"
    );
    world.link.let_go();
    assert_eq!(
        world.rcpt(&envelope(3, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.link.let_go();
    assert_eq!(world.message(4).await, "250 taken");
    world.link.let_go();
    // It goes on only where RSET got its 250.
    assert_eq!(world.message(5).await, "250 taken");
    world.done().await;
}

#[tokio::test]
async fn a_pooled_connection_that_died_is_passed_over() {
    for death in [
        "close",
        "S: 421 4.4.2 timeout\nmark\nclose",
        "C: RSET\nclose",
        "C: RSET\nS: 221 bye\neof",
        "C: RSET\nS: 252 perhaps\neof",
        "C: RSET\nS: 250 reset\nC: MAIL FROM:<s@example.org>\nclose",
    ] {
        let first = &[BARE, MESSAGE, "wait\n", death];
        let second = &[BARE, MESSAGE, "eof"];
        let mut world = World::new(Identity::None, &[first, second]).await;
        world.claim.known = true;
        assert_eq!(world.message(1).await, "250 taken");
        world.link.let_go();
        idle(&world).await;
        world.server.go();
        if death.contains("mark") {
            world.server.marked().await;
        }
        assert_eq!(world.message(2).await, "250 taken", "{death}");
        assert_eq!(
            world.upstream.stats(),
            UpstreamStats {
                open: 1,
                idle: 0,
                in_use: 1
            }
        );
        world.done().await;
    }
}

/// It was told of one client, so it serves no other; while that client is there, it may come back.
#[tokio::test]
async fn a_connection_with_an_identity_serves_that_client_only() {
    let greet = |port: u16| {
        format!(
            "proxy 192.0.2.7:{port} 198.51.100.1:25\nS: 220 up\nC: EHLO client.example\nS: 250 up"
        )
    };
    let (proxied, other) = (greet(4711), greet(4712));
    let first: &[&str] = &[&proxied, MESSAGE, RESET, MESSAGE, "eof"];
    let second: &[&str] = &[&other, MESSAGE, LEFT];
    let mut world = World::new(Identity::ProxyV2, &[first, second]).await;
    world.claim.known = true;
    for serial in 1..=2 {
        assert_eq!(world.message(serial).await, "250 taken");
        world.link.let_go();
        idle(&world).await;
    }
    world.who.address.set_port(4712);
    assert_eq!(world.message(3).await, "250 taken");
    assert_eq!(
        world.upstream.stats(),
        UpstreamStats {
            open: 2,
            idle: 1,
            in_use: 1
        }
    );
    world.link.close();
    let told = crate::upstream::identity::Told::of(Identity::ProxyV2, &client());
    let wish = crate::upstream::stock::Wish {
        told: Some(told),
        ..Default::default()
    };
    drop(world.upstream.stock.take(world.claim, wish).await);
    world.done().await;
}

/// One surprise is enough: after it nothing idle is trusted, or the replays would be used up.
#[tokio::test]
async fn after_a_pooled_connection_that_died_a_new_one_is_made() {
    let dying = &[BARE, MESSAGE, "C: RSET\nclose"];
    let untouched = &[BARE, MESSAGE, "eof"];
    let new = &[BARE, MESSAGE, "eof"];
    let mut world = World::new(Identity::None, &[untouched, dying, new]).await;
    world.claim.known = true;
    let mut other = UpstreamLink::new(Arc::clone(&world.upstream));
    assert_eq!(world.message(1).await, "250 taken");
    std::mem::swap(&mut world.link, &mut other);
    assert_eq!(world.message(1).await, "250 taken");
    other.close();
    idle(&world).await;
    world.link.close();
    while world.upstream.stats().idle < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.message(2).await, "250 taken");
    idle_gone(&world.upstream.stock).await;
    world.done().await;
}
