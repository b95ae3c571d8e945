//! MAIL and RCPT, and what the upstream may answer.

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
    let params = MailParams {
        size: Some(10),
        body: Some(tarpit_smtp::Body::EightBitMime),
        ..MailParams::default()
    };
    let envelope = envelope_with(1, &["a@x.example"], &params);
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
async fn an_older_transaction_is_reset_first() {
    let script = &[
        BARE,
        MAIL,
        "
        C: RCPT TO:<a@x.example>
        S: 450 later
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
        "450 later"
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
    let scripts: [&[&str]; 4] = [
        &["S: 554 5.7.1 go away\neof"],
        &["S: 220 up\nC: EHLO gw.example\nS: 450 4.7.1 not today\neof"],
        &["S: 354 what\neof"],
        &["S: 221 bye\neof"],
    ];
    let mut world = World::new(Identity::None, &scripts).await;
    for expected in [
        "service: 554 5.7.1 go away",
        "service: 450 4.7.1 not today",
        "garbage",
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
    let size = MailParams {
        size: Some(10),
        ..MailParams::default()
    };
    let body = MailParams {
        body: Some(tarpit_smtp::Body::SevenBit),
        ..MailParams::default()
    };
    let auth = MailParams {
        auth: Some("<>"),
        ..MailParams::default()
    };
    for (serial, params) in [(1, size), (2, body), (3, auth)] {
        let envelope = envelope_with(serial, &[], &params);
        assert_eq!(world.rcpt(&envelope, "a@x.example").await, "lacks");
        world.probe_wanted().await;
    }
    world.done().await;
}
