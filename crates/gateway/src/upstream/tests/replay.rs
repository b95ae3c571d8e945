//! Connections that are let go of, retired, or die: what was accepted is said again.

use super::*;

#[tokio::test]
async fn what_was_let_go_is_replayed_exactly() {
    let first = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RCPT TO:<no@x.example>
        S: 550 5.1.1 no such user
        C: RSET
        S: 250 reset
        C: QUIT
        S: 221 bye
        eof",
    ];
    let second = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RCPT TO:<\"q q\"@x.example>
        S: 250 q ok
        C: DATA
        S: 354 go
        eof",
    ];
    let mut world = World::new(Identity::None, &[first, second]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    let refused = world
        .rcpt(&envelope(1, &["a@x.example"]), "no@x.example")
        .await;
    assert_eq!(refused, "550 5.1.1 no such user");
    world.link.let_go();
    assert!(!world.link.is_connected());
    assert_eq!(
        world
            .rcpt(&envelope(1, &["a@x.example"]), "\"q q\"@x.example")
            .await,
        "250 q ok"
    );
    assert_eq!(
        world
            .data(&envelope(1, &["a@x.example", "\"q q\"@x.example"]))
            .await,
        "354 go"
    );
    world.done().await;
}

#[tokio::test]
async fn another_answer_to_the_replay_ends_it() {
    let leaves = "
        C: RSET
        S: 250 reset
        C: QUIT
        S: 221 bye
        eof";
    let first = &[BARE, MAIL, "C: RCPT TO:<a@x.example>\nS: 250 a ok", leaves];
    let recipient = &[
        BARE,
        MAIL,
        "C: RCPT TO:<a@x.example>\nS: 450 4.2.0 later",
        leaves,
    ];
    let sender = &[
        BARE,
        "C: MAIL FROM:<s@example.org>\nS: 550 no more of you",
        leaves,
    ];
    let mut world = World::new(Identity::None, &[first, recipient, sender]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.link.let_go();
    assert_eq!(
        world
            .rcpt(&envelope(1, &["a@x.example"]), "b@x.example")
            .await,
        "changed"
    );
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "changed");
    world.done().await;
}

#[tokio::test]
async fn the_third_replay_is_refused() {
    let again = |path| {
        format!(
            "{BARE}{MAIL}
            C: RCPT TO:<a@x.example>
            S: 250 a ok
            C: RCPT TO:<{path}>
            S: 550 5.1.1 no
            C: RSET
            S: 250 reset
            C: QUIT
            S: 221 bye
            eof"
        )
    };
    let scripts = [
        again("b@x.example"),
        again("c@x.example"),
        again("d@x.example"),
    ];
    let unasked = format!("{BARE}C: QUIT\nS: 221 bye\neof");
    let other = format!("{BARE}{MAIL}C: RCPT TO:<f@x.example>\nS: 250 f ok\neof");
    let all = [&scripts[0], &scripts[1], &scripts[2], &unasked, &other];
    let all: Vec<[&str; 1]> = all.iter().map(|script| [script.as_str()]).collect();
    let all: Vec<&[&str]> = all.iter().map(|script| &script[..]).collect();
    let mut world = World::new(Identity::None, &all).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    for path in ["b@x.example", "c@x.example", "d@x.example"] {
        assert_eq!(
            world.rcpt(&envelope(1, &["a@x.example"]), path).await,
            "550 5.1.1 no"
        );
        world.link.let_go();
    }
    assert_eq!(
        world
            .rcpt(&envelope(1, &["a@x.example"]), "e@x.example")
            .await,
        "changed"
    );
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "f@x.example").await,
        "250 f ok"
    );
    world.done().await;
}

/// However the connection died since it was last used, the client does not notice.
#[tokio::test]
async fn a_connection_that_died_meanwhile_is_replaced() {
    let asked = "C: RCPT TO:<a@x.example>\nS: 250 a ok\n";
    let deaths = [
        "close",
        "S: 421 4.4.2 timeout\neof",
        "C: RCPT TO:<b@x.example>\nclose",
        "C: RCPT TO:<b@x.example>\nS: 421 4.3.2 shutting down\neof",
        // A yes that nobody asked for is no yes to the next question.
        "S: 250 stray\neof",
    ];
    for death in deaths {
        let first = &[BARE, MAIL, asked, death];
        let second = &[
            BARE,
            MAIL,
            asked,
            "
            C: RCPT TO:<b@x.example>
            S: 550 5.1.1 no b
            eof",
        ];
        let mut world = World::new(Identity::None, &[first, second]).await;
        assert_eq!(
            world.rcpt(&envelope(1, &[]), "a@x.example").await,
            "250 a ok"
        );
        if !death.contains("C:") {
            world.heard().await;
        }
        let answer = world
            .rcpt(&envelope(1, &["a@x.example"]), "b@x.example")
            .await;
        assert_eq!(answer, "550 5.1.1 no b", "{death}");
        world.done().await;
    }
}

#[tokio::test]
async fn a_reply_too_many_makes_a_connection_dead() {
    let first = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok|250 what
        eof",
    ];
    let second = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: DATA
        S: 354 go
        eof",
    ];
    let mut world = World::new(Identity::None, &[first, second]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
    world.done().await;
}

#[tokio::test]
async fn a_new_connection_that_dies_is_trouble() {
    let scripts: [&[&str]; 3] = [
        &[BARE, MAIL, "C: RCPT TO:<a@x.example>\nclose"],
        &[BARE, "C: MAIL FROM:<s@example.org>\nS: 421 4.3.2 no\neof"],
        &["S: 421 too many connections\neof"],
    ];
    let mut world = World::new(Identity::None, &scripts).await;
    for _ in 0..3 {
        assert_eq!(world.rcpt(&envelope(1, &[]), "a@x.example").await, "closed");
        assert!(!world.link.is_connected());
        world.probe_wanted().await;
    }
    world.done().await;
}

#[tokio::test]
async fn nobody_there() {
    let mut world = World::new(Identity::None, &[&["close"]]).await;
    assert_eq!(world.rcpt(&envelope(1, &[]), "a@x.example").await, "closed");
    let address = world.server.address;
    world.server.done().await;
    let upstream = Upstream::new(settings(address, Identity::None), "gw.example".into());
    let mut link = UpstreamLink::new(upstream);
    let ask = Ask::Rcpt(Recipient::plain("a@x.example"));
    let answer = link
        .ask(
            &ask,
            &world.who,
            world.claim,
            Some(&envelope(1, &[])),
            LIMIT,
        )
        .await;
    assert_eq!(shown(&answer), "unreachable");
}

#[tokio::test]
async fn a_slow_upstream_is_given_up_and_its_late_answer_is_none() {
    let first = &[BARE, MAIL, "C: RCPT TO:<a@x.example>\neof"];
    let second = &[BARE, MAIL, "C: RCPT TO:<b@x.example>\nS: 250 b ok\neof"];
    let mut world = World::new(Identity::None, &[first, second]).await;
    world.limit = Duration::from_millis(50);
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "timed_out"
    );
    world.limit = LIMIT;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "b@x.example").await,
        "250 b ok"
    );
    world.done().await;
}

#[tokio::test]
async fn a_dropped_question_takes_its_connection_along() {
    let first = &[BARE, MAIL, "C: RCPT TO:<a@x.example>\nmark\neof"];
    let second = &[BARE, MAIL, "C: RCPT TO:<b@x.example>\nS: 250 b ok\neof"];
    let mut world = World::new(Identity::None, &[first, second]).await;
    let envelope = envelope(1, &[]);
    let ask = Ask::Rcpt(Recipient::plain("a@x.example"));
    tokio::select! {
        _ = world.link.ask(&ask, &world.who, world.claim, Some(&envelope), LIMIT) => panic!("answered"),
        () = world.server.marked() => {}
    }
    assert_eq!(world.rcpt(&envelope, "b@x.example").await, "250 b ok");
    world.done().await;
}

#[tokio::test]
async fn after_five_refusals_a_fresh_connection_is_used() {
    let mut first = String::from(MAIL);
    for n in 1..=5 {
        first += &format!("C: RCPT TO:<no{n}@x.example>\nS: 550 5.1.1 no {n}\n");
    }
    first += "C: RSET\nS: 250 reset\nC: QUIT\nS: 221 bye\neof";
    let second = &[BARE, MAIL, "C: RCPT TO:<yes@x.example>\nS: 250 yes\neof"];
    let mut world = World::new(Identity::None, &[&[BARE, &first], second]).await;
    for n in 1..=5 {
        let answer = world
            .rcpt(&envelope(1, &[]), &format!("no{n}@x.example"))
            .await;
        assert_eq!(answer, format!("550 5.1.1 no {n}"));
    }
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "yes@x.example").await,
        "250 yes"
    );
    world.done().await;
}

/// Retiring must not use up the replay that an idle client may need, and DATA needs no fresh
/// connection.
#[tokio::test]
async fn the_last_replay_is_not_spent_on_retiring() {
    let refused = |script: &mut String, from: usize| {
        for n in from..from + 5 {
            *script += &format!("C: RCPT TO:<no{n}@x.example>\nS: 550 5.1.1 no\n");
        }
    };
    let accepted = "C: RCPT TO:<a@x.example>\nS: 250 a ok\n";
    let (mut first, mut second) = (
        format!("{BARE}{MAIL}{accepted}"),
        format!("{BARE}{MAIL}{accepted}"),
    );
    refused(&mut first, 0);
    first += "C: RSET\nS: 250 reset\nC: QUIT\nS: 221 bye\neof";
    refused(&mut second, 5);
    refused(&mut second, 10);
    second += "C: DATA\nS: 354 go\neof";
    let mut world = World::new(Identity::None, &[&[&first], &[&second]]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    for n in 0..15 {
        let path = format!("no{n}@x.example");
        assert_eq!(
            world.rcpt(&envelope(1, &["a@x.example"]), &path).await,
            "550 5.1.1 no"
        );
    }
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "354 go");
    world.done().await;
}

/// The connection that is left counts until it is closed; the next one waits for that.
#[tokio::test]
async fn one_connection_is_enough() {
    let first = &[
        BARE,
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
    let second = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RCPT TO:<b@x.example>
        S: 250 b ok
        eof",
    ];
    let server = Scripted::start(&[first, second]).await;
    let settings = config::Upstream {
        connections_max: 1,
        connections_per_source_max: 1,
        connections_reserved: 0,
        ..settings(server.address, Identity::None)
    };
    let mut link = UpstreamLink::new(Upstream::new(settings, "gw.example".into()));
    let (who, claim) = (client(), claim("192.0.2.7", false));
    for (accepted, path) in [(&[][..], "a@x.example"), (&["a@x.example"], "b@x.example")] {
        let envelope = envelope(1, accepted);
        let ask = Ask::Rcpt(Recipient::plain(path));
        let answer = link.ask(&ask, &who, claim, Some(&envelope), LIMIT).await;
        assert!(shown(&answer).starts_with("250"), "{answer:?}");
        if accepted.is_empty() {
            link.let_go();
        }
    }
    drop(link);
    server.done().await;
}

/// A server that would have nothing to do with the client at a replay does not make a permanent
/// refusal of what was accepted before.
#[tokio::test]
async fn a_greeting_refused_at_a_replay_is_no_refusal() {
    let first = &[
        BARE,
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
    let second = &["S: 554 5.7.1 go away\neof"];
    let mut world = World::new(Identity::None, &[first, second]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.link.let_go();
    assert_eq!(world.data(&envelope(1, &["a@x.example"])).await, "changed");
    world.done().await;
}
