//! AUTH: relayed, pinned, never replayed.

use super::*;

#[tokio::test]
async fn an_authenticated_connection_is_pinned() {
    let script = &[
        BARE,
        "
        C: AUTH PLAIN
        S: 334 VXNlcm5hbWU6
        C: AGEAYg==
        S: 235 2.7.0 welcome",
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RSET
        S: 250 reset
        C: QUIT
        S: 221 bye
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(world.auth(None).await, "334 VXNlcm5hbWU6");
    assert!(world.link.is_pinned(), "within the exchange");
    world.link.let_go();
    assert!(world.link.is_connected());
    assert_eq!(
        world.ask(&Ask::AuthLine("AGEAYg==".into()), None).await,
        "235 2.7.0 welcome"
    );
    assert!(world.link.is_pinned());
    world.link.let_go();
    // A new EHLO of the client changes nothing any more.
    world.who.helo = Some("other.example".into());
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.link.close();
    assert!(!world.link.is_connected());
    world.done().await;
}

#[tokio::test]
async fn an_authenticated_connection_that_dies_is_lost() {
    let deaths: [(&str, bool); 4] = [
        ("close", false),
        ("C: MAIL FROM:<s@example.org>\nclose", false),
        (
            "C: MAIL FROM:<s@example.org>\nS: 421 4.4.2 timeout\neof",
            false,
        ),
        ("S: 250 stray\neof", true),
    ];
    for (death, speaks) in deaths {
        let script = &[BARE, "C: AUTH PLAIN AGEAYg==\nS: 235 welcome\n", death];
        let mut world = World::new(Identity::None, &[script]).await;
        assert_eq!(world.auth(Some("AGEAYg==")).await, "235 welcome");
        if speaks {
            world.heard().await;
        }
        for _ in 0..2 {
            assert_eq!(
                world.rcpt(&envelope(1, &[]), "a@x.example").await,
                "auth_lost",
                "{death}"
            );
        }
        world.done().await;
    }
}

#[tokio::test]
async fn an_exchange_that_breaks_is_lost() {
    for death in [
        "close",
        "C: AGEAYg==\nclose",
        "C: AGEAYg==\nS: 354 what\neof",
    ] {
        let script = &[BARE, "C: AUTH PLAIN\nS: 334 ask\n", death];
        let mut world = World::new(Identity::None, &[script]).await;
        assert_eq!(world.auth(None).await, "334 ask");
        assert_eq!(
            world.ask(&Ask::AuthLine("AGEAYg==".into()), None).await,
            "auth_lost",
            "{death}"
        );
        world.done().await;
    }
}

#[tokio::test]
async fn a_failed_auth_leaves_the_connection_to_its_session_only() {
    for failed in ["535 5.7.8 no", "454 4.7.0 later"] {
        let auth = format!("C: AUTH PLAIN AGEAYg==\nS: {failed}\n");
        let script = &[BARE, &auth, MESSAGE, "C: QUIT\nS: 221 bye\neof"];
        let mut world = World::new(Identity::None, &[script]).await;
        world.claim.known = true;
        assert_eq!(world.auth(Some("AGEAYg==")).await, failed);
        assert!(!world.link.is_pinned());
        assert_eq!(world.message(1).await, "250 taken");
        world.link.close();
        closed(&world.upstream).await;
        world.done().await;
    }
}

#[tokio::test]
async fn auth_comes_after_a_reset_and_a_cancel_goes_through() {
    let script = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RSET
        S: 250 reset
        C: AUTH PLAIN =
        S: 334 ask
        C: *
        S: 501 5.7.0 cancelled
        C: AUTH PLAIN
        S: 454 4.7.0 later
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert_eq!(world.auth(Some("=")).await, "334 ask");
    assert_eq!(
        world.ask(&Ask::AuthLine("*".into()), None).await,
        "501 5.7.0 cancelled"
    );
    assert!(!world.link.is_pinned());
    assert_eq!(world.auth(None).await, "454 4.7.0 later");
    world.done().await;
}

/// Nothing was begun yet, so nothing is lost.
#[tokio::test]
async fn auth_on_a_connection_that_died_meanwhile_is_asked_on_a_fresh_one() {
    let first = &[BARE, MAIL, "C: RCPT TO:<a@x.example>\nS: 450 later\nclose"];
    let second = &[BARE, "C: AUTH PLAIN AGEAYg==\nS: 235 welcome\neof"];
    let mut world = World::new(Identity::None, &[first, second]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "450 later"
    );
    assert_eq!(world.auth(Some("AGEAYg==")).await, "235 welcome");
    world.done().await;
}

#[tokio::test]
async fn lost_in_the_middle_of_a_message_is_lost_for_good() {
    let script = &[
        BARE,
        "C: AUTH PLAIN AGEAYg==\nS: 235 welcome\n",
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: DATA
        S: 354 go
        C: hello
        C: .
        close",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(world.auth(Some("AGEAYg==")).await, "235 welcome");
    assert_eq!(world.message(1).await, "closed after the dot");
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "a@x.example").await,
        "auth_lost"
    );
    world.done().await;
}
