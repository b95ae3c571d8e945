//! MAIL, RCPT, replay.

use super::*;

const PIPELINING: &str = "
    S: 220 up
    C: EHLO gw.example
    S: 250-up|250-PIPELINING|250-SIZE 1000|250 8BITMIME
";

#[tokio::test]
async fn asks_one_after_the_other_without_pipelining() {
    let script = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RCPT TO:<b@x.example>
        S: 450 4.2.0 later
        C: RCPT TO:<postmaster>
        S: 251 forwarded
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert!(!world.link.is_connected());
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert!(world.link.is_connected());
    assert_eq!(
        world
            .rcpt(&envelope(1, &["a@x.example"]), "b@x.example")
            .await,
        "450 4.2.0 later"
    );
    assert_eq!(
        world
            .rcpt(&envelope(1, &["a@x.example"]), "postmaster")
            .await,
        "251 forwarded"
    );
    world.done().await;
}

#[tokio::test]
async fn pipelines_where_it_is_offered_and_says_parameters_again() {
    let script = &[
        PIPELINING,
        "
        C: MAIL FROM:<s@example.org> SIZE=10 BODY=8BITMIME
        C: RCPT TO:<a@x.example>
        C: RCPT TO:<b@x.example>
        S: 250 sender ok|250 a ok|550 5.1.1 no b
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    let mut envelope = envelope(1, &["a@x.example"]);
    envelope.size = Some(10);
    envelope.body = Some(tarpit_smtp::Body::EightBitMime);
    assert_eq!(world.rcpt(&envelope, "b@x.example").await, "550 5.1.1 no b");
    world.done().await;
}

#[tokio::test]
async fn many_recipients_go_in_groups() {
    let paths: Vec<String> = (0..70).map(|n| format!("r{n}@x.example")).collect();
    let mut script = String::from("C: MAIL FROM:<s@example.org>\n");
    let (mut heard, mut due) = (1, vec!["250 sender ok".to_owned()]);
    for path in &paths {
        script += &format!("C: RCPT TO:<{path}>\n");
        due.push("250 ok".to_owned());
        heard += 1;
        if heard % 32 == 0 {
            script += &format!("S: {}\n", due.join("|"));
            due.clear();
        }
    }
    script += &format!("S: {}\nC: DATA\nS: 354 go\neof", due.join("|"));
    let mut world = World::new(Identity::None, &[&[PIPELINING, &script]]).await;
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    assert_eq!(world.data(&envelope(1, &paths)).await, "354 go");
    world.done().await;
}

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
        world.upstream.trouble.notified().await;
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
    let ask = Ask::Rcpt("a@x.example".into());
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
    let ask = Ask::Rcpt("a@x.example".into());
    tokio::select! {
        _ = world.link.ask(&ask, &world.who, world.claim, Some(&envelope), LIMIT) => panic!("answered"),
        () = world.server.marked() => {}
    }
    assert_eq!(world.rcpt(&envelope, "b@x.example").await, "250 b ok");
    world.done().await;
}

#[tokio::test]
async fn an_older_transaction_is_reset_first() {
    let script = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RSET
        S: 250 reset",
        MAIL,
        "
        C: RCPT TO:<b@x.example>
        S: 250 b ok
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "b@x.example").await,
        "250 b ok"
    );
    world.done().await;
}

/// A recipient that the upstream has and the client was not told of would get mail that its sender
/// believes refused.
#[tokio::test]
async fn recipients_that_the_client_does_not_know_of_are_reset() {
    let script = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        C: RSET
        S: 250 reset",
        MAIL,
        "
        C: RCPT TO:<b@x.example>
        S: 250 b ok
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "250 a ok"
    );
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "b@x.example").await,
        "250 b ok"
    );
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

#[tokio::test]
async fn a_full_mailbox_is_permanent() {
    let script = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 552-5.2.2 full|552 5.2.2 quite full
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    let answer = world.rcpt(&envelope(1, &[]), "a@x.example").await;
    assert_eq!(answer, "550 5.3.4 full / 5.3.4 quite full");
    world.done().await;
}

#[tokio::test]
async fn a_refused_sender_is_not_asked_for_again_in_this_transaction() {
    let script = &[
        BARE,
        "
        C: MAIL FROM:<s@example.org>
        S: 550 5.7.1 not you
        C: RSET
        S: 250 reset",
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 250 a ok
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    for path in ["a@x.example", "b@x.example"] {
        assert_eq!(
            world.rcpt(&envelope(1, &[]), path).await,
            "sender: 550 5.7.1 not you"
        );
    }
    assert_eq!(
        world.data(&envelope(1, &[])).await,
        "sender: 550 5.7.1 not you"
    );
    assert_eq!(
        world.rcpt(&envelope(2, &[]), "a@x.example").await,
        "250 a ok"
    );
    world.done().await;
}

#[tokio::test]
async fn a_refused_sender_is_refused_in_a_group_too() {
    let script = &[
        PIPELINING,
        "
        C: MAIL FROM:<s@example.org>
        C: RCPT TO:<a@x.example>
        S: 450 4.7.1 greylisted|503 5.5.1 need MAIL
        eof",
    ];
    let mut world = World::new(Identity::None, &[script]).await;
    assert_eq!(
        world.rcpt(&envelope(1, &[]), "a@x.example").await,
        "sender: 450 4.7.1 greylisted"
    );
    world.done().await;
}

#[tokio::test]
async fn a_refusal_of_everybody_is_told_apart() {
    let scripts: [&[&str]; 3] = [
        &["S: 554 5.7.1 go away\neof"],
        &["S: 220 up\nC: EHLO gw.example\nS: 450 4.7.1 not today\neof"],
        &["S: 354 what\neof"],
    ];
    let mut world = World::new(Identity::None, &scripts).await;
    for expected in [
        "service: 554 5.7.1 go away",
        "service: 450 4.7.1 not today",
        "garbage",
    ] {
        assert_eq!(world.rcpt(&envelope(1, &[]), "a@x.example").await, expected);
        assert!(!world.link.is_connected());
    }
    world.done().await;
}

#[tokio::test]
async fn what_is_no_answer_is_garbage() {
    let asked = "C: RCPT TO:<a@x.example>\n";
    for said in ["S: 354 go", "S: hello", "S: 999 what", "S: 250-a|550 b"] {
        let script = &[BARE, MAIL, asked, said, "\neof"];
        let mut world = World::new(Identity::None, &[script]).await;
        assert_eq!(
            world.rcpt(&envelope(1, &[]), "a@x.example").await,
            "garbage",
            "{said}"
        );
        assert!(!world.link.is_connected());
        world.done().await;
    }
}

#[tokio::test]
async fn a_parameter_is_never_dropped() {
    let without = "C: QUIT\nS: 221 bye\neof";
    let scripts: [&[&str]; 3] = [&[BARE, without], &[BARE, without], &[BARE, without]];
    let mut world = World::new(Identity::None, &scripts).await;
    let mut size = envelope(1, &[]);
    size.size = Some(10);
    let mut body = envelope(2, &[]);
    body.body = Some(tarpit_smtp::Body::SevenBit);
    let mut auth = envelope(3, &[]);
    auth.auth = Some("<>".into());
    for envelope in [size, body, auth] {
        assert_eq!(world.rcpt(&envelope, "a@x.example").await, "lacks");
        world.upstream.trouble.notified().await;
    }
    world.done().await;
}
