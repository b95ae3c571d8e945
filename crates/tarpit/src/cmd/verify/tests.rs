//! The whole check against scripted servers. Delays are real here, and short.

use std::time::Duration;

use super::measure::{Step, measure};
use super::scripted::{Act, Scripted, say, serve};
use super::verdict::{Verdict, judge};
use super::*;

const PIT: Duration = Duration::from_millis(300);

fn plan(limit: Duration) -> Plan {
    let unknown = ["x@example.test", "y@example.test", "z@example.test"]
        .map(str::to_owned)
        .into();
    Plan {
        good: "alice@example.test".to_owned(),
        unknown,
        limit,
    }
}

/// What is the same in most scripts.
fn polite(line: &str) -> Act {
    match line.split(' ').next().unwrap_or_default() {
        "" => say("220 mx.example.test"),
        "EHLO" => say("250-mx.example.test\r\n250 SIZE 1000"),
        "MAIL" => say("250 2.1.0 Ok"),
        "RCPT" if line.contains("ALICE") => say("250 2.1.5 Ok"),
        "RCPT" => say("550 5.1.1 No such user"),
        _ => Act::Leave("221 2.0.0 Bye"),
    }
}

async fn run_against(server: &Scripted, limit: Duration) -> (Vec<String>, Verdict) {
    let (plan, mut table) = (plan(limit), Vec::new());
    let measured = measure(&[server.address], &plan, |row| {
        table.push(line(row, plan.widest_command()));
    })
    .await;
    (table, judge(&measured, &plan.good))
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_pit_is_measured() {
    let server = serve(|line, _| match polite(line) {
        Act::Say(_, text) if text.starts_with("550") => Act::Say(PIT, text),
        act => act,
    })
    .await;
    let (table, verdict) = run_against(&server, LONG).await;
    let steps: Vec<_> = table
        .iter()
        .map(|row| row.split_whitespace().take(4).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        steps[3..5],
        [
            "RCPT TO:<x@example.test> unknown 550",
            "RCPT TO:<alice@example.test> known 250"
        ]
    );
    assert_eq!(table.len(), 8, "{table:#?}");
    assert!(
        verdict.is_check && verdict.sentences[0].starts_with("A pit of 0.3 s"),
        "{verdict:?}"
    );
    assert!(
        verdict.sentences[1].contains("by the clock: who waits"),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn a_server_that_closes_after_two_errors_is_connected_again() {
    // Greeting, EHLO, MAIL, unknown, known, unknown: the seventh line is the last.
    let server = serve(|line, count| match (line.starts_with("RCPT"), count) {
        (true, 6..) => Act::Leave("421 4.7.0 Too many errors"),
        _ => polite(line),
    })
    .await;
    let (table, verdict) = run_against(&server, LONG).await;
    assert!(
        verdict.is_check && verdict.sentences[0].starts_with("No pit"),
        "{verdict:?}\n{table:#?}"
    );
    let closed = "The server closed the connection after 2 refusals; a new one was made.";
    assert_eq!(verdict.sentences.last().unwrap(), closed, "{table:#?}");
}

#[tokio::test]
async fn a_server_that_only_hangs_up_gives_no_check() {
    let server = serve(|line, _| {
        if line.starts_with("RCPT") {
            Act::HangUp
        } else {
            polite(line)
        }
    })
    .await;
    let (table, verdict) = run_against(&server, LONG).await;
    assert!(
        !verdict.is_check && verdict.sentences[0].contains("connection closed, on RCPT"),
        "{verdict:?}"
    );
    assert_eq!(table.len(), 8, "twice four steps: {table:#?}");
}

#[tokio::test]
async fn silence_has_a_limit() {
    let server = serve(|line, _| match polite(line) {
        Act::Say(_, text) if text.starts_with("550") => Act::Say(LONG * 10, text),
        act => act,
    })
    .await;
    let (_, verdict) = run_against(&server, Duration::from_millis(200)).await;
    assert!(
        !verdict.is_check && verdict.sentences[0].contains("no answer, on RCPT"),
        "{verdict:?}"
    );
}

#[tokio::test]
async fn an_old_server_is_greeted_with_helo() {
    let server = serve(|line, _| match line.split(' ').next() {
        Some("EHLO") => say("502 What?"),
        Some("HELO") => say("250 mx"),
        _ => polite(line),
    })
    .await;
    let (table, verdict) = run_against(&server, LONG).await;
    assert!(verdict.is_check && table.len() == 9, "{table:#?}");
}

#[tokio::test]
async fn what_is_no_reply_is_named() {
    let server = serve(|_, _| say("SSH-2.0-OpenSSH_9.9")).await;
    let (table, verdict) = run_against(&server, LONG).await;
    assert!(
        !verdict.is_check && verdict.sentences[0].contains("not an SMTP reply"),
        "{table:?} {verdict:?}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let address = serve(|_, _| Act::HangUp).await.address;
    let measured = measure(&[address], &plan(LONG), |_| {}).await;
    assert!(matches!(
        measured.rows[..],
        [Row {
            step: Step::Greeting,
            outcome: Outcome::Unreachable(_),
            ..
        }]
    ));
    assert!(
        judge(&measured, "a@b").sentences[0].starts_with("No check was possible: can't connect")
    );
}

#[test]
fn an_address_has_a_domain() {
    assert_eq!(domain_of("alice@example.test").unwrap(), "example.test");
    for bad in [
        "alice",
        "",
        "alice@",
        "a b@example.test",
        "a@b>\r\nDATA",
        "<a@b>",
        "postmaster",
    ] {
        let error = domain_of(bad).unwrap_err().to_string();
        assert!(error.contains("allowed is one address"), "{bad:?}: {error}");
    }
}

#[tokio::test]
async fn a_server_has_a_port() {
    assert_eq!(
        resolve("127.0.0.1:25").await.unwrap(),
        ["127.0.0.1:25".parse().unwrap()]
    );
    assert_eq!(
        resolve("[::1]:2525").await.unwrap(),
        ["[::1]:2525".parse().unwrap()]
    );
    for bad in [
        "localhost",
        "localhost:",
        ":25",
        "localhost:0",
        "localhost:65536",
        "::1:25",
        "",
    ] {
        let error = resolve(bad).await.unwrap_err().to_string();
        assert!(
            error.contains("found") && error.contains(":25"),
            "{bad:?}: {error}"
        );
    }
}

#[test]
fn names_are_random_letters() {
    let (one, two) = (random_name(), random_name());
    assert!(
        one != two && one.len() == 16 && one.bytes().all(|letter| letter.is_ascii_lowercase()),
        "{one}"
    );
}
