//! DATA and its end.

use super::*;

const ASKED: &str = "
    C: RCPT TO:<a@x.example>
    S: 250 a ok
    C: DATA
";

/// A world in which the message data flows, up to `rest` of the script.
async fn flowing(rest: &str) -> World {
    begun(&format!("S: 354 go\n{rest}")).await
}

/// The same where the script says 354 itself.
async fn begun(rest: &str) -> World {
    let script = &[BARE, MAIL, ASKED, rest];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
    world
}

#[tokio::test]
async fn data_goes_through_as_it_is() {
    let mut world = flowing(
        "
        C: Subject: x
        C:
        C: ..dot
        C: last
        C: .
        S: 250 2.0.0 queued as 4XY
        eof",
    )
    .await;
    world
        .link
        .send_data([b"Subject: x\r\n\r", b""], LIMIT)
        .await
        .unwrap();
    world.link.let_go();
    assert!(world.link.is_connected(), "not in the middle of a message");
    world
        .link
        .send_data([b"\n..dot\r\n", b""], LIMIT)
        .await
        .unwrap();
    assert_eq!(world.link.early_reply().await, None);
    let reply = world.link.end_of_data([b"last\r\n", b""], LIMIT).await;
    assert_eq!(ended(reply), "250 2.0.0 queued as 4XY");
    assert!(world.link.is_connected());
    world.done().await;
}

#[tokio::test]
async fn the_answer_to_data_decides() {
    for (said, expected) in [
        ("S: 451 4.3.0 later\neof", "451 4.3.0 later"),
        (
            "S: 554 5.5.1 no valid recipients\neof",
            "554 5.5.1 no valid recipients",
        ),
        ("S: 250 what\neof", "garbage"),
        ("S: 334 what\neof", "garbage"),
    ] {
        let script = &[BARE, MAIL, ASKED, said];
        let mut world = World::new(Identity::None, &[script]).await;
        assert_eq!(
            world.rcpt(&envelope(1, &[]), "a@x.example").await,
            "250 a ok"
        );
        assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, expected);
        assert_eq!(world.link.is_connected(), expected != "garbage");
        assert_eq!(
            ended(world.link.end_of_data([b"", b""], LIMIT).await),
            "closed before the dot",
            "no data flows"
        );
        world.done().await;
    }
}

/// Whether the transaction outlives a refused DATA is the upstream's secret.
#[tokio::test]
async fn after_a_refused_data_the_transaction_is_made_anew() {
    let script = &[
        BARE,
        MAIL,
        ASKED,
        "
        S: 451 4.3.0 later
        C: RSET
        S: 250 reset",
        MAIL,
        ASKED,
        "
        S: 354 go
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert_eq!(
        world.data(&envelope(1, &["a@x.example"])).await,
        "451 4.3.0 later"
    );
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
    world.done().await;
}

/// An upstream that dies before 354 has seen nothing of the message.
#[tokio::test]
async fn data_on_a_connection_that_died_meanwhile_is_asked_on_a_fresh_one() {
    let first = &[BARE, MAIL, ASKED, "close"];
    let second = &[BARE, MAIL, ASKED, "S: 354 go\neof"];
    let mut world = World::new(Identity::None, &[first, second]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
    world.done().await;
}

/// DESIGN promise 1.
#[tokio::test]
async fn a_yes_before_the_dot_is_no_yes() {
    let mut world = flowing("S: 250 queued\neof").await;
    world.heard().await;
    assert_eq!(
        ended(world.link.end_of_data([b"hello\r\n", b""], LIMIT).await),
        "closed before the dot"
    );
    assert!(!world.link.is_connected());
    world.done().await;
}

#[tokio::test]
async fn a_no_before_the_dot_is_the_answer_and_the_dot_stays_here() {
    let mut world = flowing("S: 552 5.3.4 too big\neof").await;
    world.heard().await;
    assert_eq!(
        ended(world.link.end_of_data([b"hello\r\n", b""], LIMIT).await),
        "552 5.3.4 too big"
    );
    assert!(!world.link.is_connected());
    world.done().await;
}

#[tokio::test]
async fn an_early_no_is_heard_between_blocks() {
    let mut world = flowing("C: hello\nS: 552 5.3.4 too big\neof").await;
    world
        .link
        .send_data([b"hello\r\n", b""], LIMIT)
        .await
        .unwrap();
    world.heard().await;
    let reply = loop {
        // The runtime learns of what came a moment after the system does.
        if let Some(reply) = world.link.early_reply().await {
            break reply;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(reply.to_log(), "552 5.3.4 too big");
    world.link.abort();
    world.done().await;
}

#[tokio::test]
async fn an_upstream_that_speaks_instead_of_reading_is_heard() {
    for (said, expected) in [
        ("S: 552 5.3.4 too big\nwait", Some("552 5.3.4 too big")),
        ("S: 552 5.3.4 too big\nclose", Some("552 5.3.4 too big")),
        ("S: 421 4.3.2 shutting down\nwait", None),
        ("S: 250 what\nwait", None),
        ("close", None),
    ] {
        let mut world = flowing(said).await;
        let block = vec![b'x'; 64 * 1024];
        let trouble = loop {
            if let Err(trouble) = world.link.send_data([&block, b""], LIMIT).await {
                break trouble;
            }
        };
        assert_eq!(trouble, Trouble::Closed);
        let reply = world.link.early_reply().await.map(|reply| reply.to_log());
        assert_eq!(reply.as_deref(), expected, "{said}");
        world.link.abort();
        world.server.go();
        world.done().await;
    }
}

/// What comes in one packet with 354 is not announced again by the system.
#[tokio::test]
async fn an_upstream_that_speaks_with_its_354_is_heard() {
    let mut world = begun("S: 354 go|552 5.3.4 too big\nwait").await;
    let sent = world.link.send_data([b"hello\r\n", b""], LIMIT).await;
    assert_eq!(sent, Err(Trouble::Closed));
    let reply = world.link.early_reply().await.map(|reply| reply.to_log());
    assert_eq!(reply.as_deref(), Some("552 5.3.4 too big"));
    world.link.abort();
    world.server.go();
    world.done().await;
}

#[tokio::test]
async fn abort_closes_without_the_dot() {
    let mut world = flowing("C: hello\neof").await;
    world
        .link
        .send_data([b"hello\r\n", b""], LIMIT)
        .await
        .unwrap();
    world.link.abort();
    assert!(!world.link.is_connected());
    world.done().await;
}

#[tokio::test]
async fn close_in_the_middle_sends_no_dot_either() {
    let mut world = flowing("C: hello\neof").await;
    world
        .link
        .send_data([b"hello\r\n", b""], LIMIT)
        .await
        .unwrap();
    world.link.close();
    world.done().await;
}

#[tokio::test]
async fn no_answer_to_the_dot() {
    for (said, expected) in [
        ("close", "closed after the dot"),
        ("S: 421 4.3.2 no\neof", "451 4.3.0 no"),
        ("S: 354 what\neof", "garbage after the dot"),
        ("S: what\neof", "garbage after the dot"),
    ] {
        let mut world = flowing(&format!("C: hello\nC: .\n{said}")).await;
        let reply = world.link.end_of_data([b"hello\r\n", b""], LIMIT).await;
        assert_eq!(ended(reply), expected, "{said}");
        assert!(!world.link.is_connected());
        world.probe_wanted().await;
        world.done().await;
    }
    let mut world = flowing("C: hello\nC: .\neof").await;
    let reply = world
        .link
        .end_of_data([b"hello\r\n", b""], Duration::from_millis(50))
        .await;
    assert_eq!(ended(reply), "timed_out after the dot");
    world.done().await;
}

#[tokio::test]
async fn an_upstream_that_reads_nothing_is_given_up() {
    let mut world = flowing("wait").await;
    let block = vec![b'x'; 1024 * 1024];
    let trouble = loop {
        if let Err(trouble) = world
            .link
            .send_data([&block, b""], Duration::from_millis(50))
            .await
        {
            break trouble;
        }
    };
    assert_eq!(trouble, Trouble::TimedOut);
    world.link.abort();
    world.server.go();
    world.done().await;
}

/// What the system did not take of end-of-data was not sent: the upstream has no message.
#[tokio::test]
async fn a_message_that_is_stuck_before_the_dot_is_not_unknown() {
    let mut world = flowing("wait").await;
    let block = vec![b'a'; 16 << 20];
    let reply = world
        .link
        .end_of_data([b"\r\n", &block], Duration::from_millis(50))
        .await;
    assert_eq!(ended(reply), "timed_out before the dot");
    world.server.go();
    world.done().await;
}

#[tokio::test]
async fn an_upstream_that_closed_before_the_dot_has_no_message() {
    let mut world = flowing("C: hello\nclose").await;
    world
        .link
        .send_data([b"", b"hello\r\n"], LIMIT)
        .await
        .unwrap();
    world.heard().await;
    let reply = world.link.end_of_data([b"", b"more\r\n"], LIMIT).await;
    assert_eq!(ended(reply), "closed before the dot");
    world.done().await;
}
