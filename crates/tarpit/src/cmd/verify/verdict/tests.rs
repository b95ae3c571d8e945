//! Each case of the verdict.

use tarpit_smtp::ReplyCode;

use super::super::smtp::NoReply;
use super::*;

fn row(step: Step, code: u16, text: &str, millis: u64) -> Row {
    let outcome = Outcome::Reply(Reply::new(ReplyCode::new(code).unwrap(), text));
    Row {
        step,
        command: "COMMAND".to_owned(),
        outcome,
        took: Duration::from_millis(millis),
    }
}

fn opening(millis: u64) -> Vec<Row> {
    vec![
        row(Step::Greeting, 220, "mx", 1),
        row(Step::Hello, 250, "mx", millis),
        row(Step::Mail, 250, "2.1.0 Ok", millis),
    ]
}

/// Unknown and known in turn: code and milliseconds of each.
fn measured(wrong: &[(u16, u64)], right: &[(u16, u64)]) -> Measurements {
    let mut rows = opening(1);
    rows.extend(
        wrong
            .iter()
            .map(|&(code, millis)| row(Step::Unknown, code, "5.1.1 No", millis)),
    );
    rows.extend(
        right
            .iter()
            .map(|&(code, millis)| row(Step::Known, code, "2.1.5 Ok", millis)),
    );
    Measurements {
        rows,
        closings: Vec::new(),
    }
}

#[track_caller]
fn check(measured: &Measurements, is_check: bool, expect: &[&str]) {
    let verdict = judge(measured, "alice@example.test");
    assert_eq!(verdict.is_check, is_check, "{verdict:?}");
    let starts = verdict
        .sentences
        .iter()
        .zip(expect)
        .all(|(found, expect)| found.starts_with(expect));
    assert!(
        starts && verdict.sentences.len() == expect.len(),
        "{verdict:#?}\nexpected {expect:#?}"
    );
}

#[test]
fn no_pit() {
    check(
        &measured(&[(550, 3), (550, 4), (550, 2)], &[(250, 5), (250, 3)]),
        true,
        &[
            "No pit: a no comes as fast as a yes (0.00 s for an unknown name, 0.00 s for the known one, medians).",
            "Yes and no can be told apart by the code (550 and 250), not by the clock.",
        ],
    );
}

#[test]
fn a_pit() {
    check(
        &measured(
            &[(550, 5_003), (550, 5_010), (550, 5_001)],
            &[(250, 2), (250, 3)],
        ),
        true,
        &[
            "A pit of 5.0 s (5.00 s for an unknown name, 0.00 s for the known one, medians).",
            "Yes and no can be told apart by the code (550 and 250), and by the clock: who waits 0.1 s",
        ],
    );
}

#[test]
fn a_pit_that_grows() {
    check(
        &measured(&[(550, 5_000), (550, 10_000), (550, 15_000)], &[(250, 2)]),
        true,
        &[
            "A pit of 10.0 s",
            "The wait grows from refusal to refusal: 5.0, 10.0, 15.0 s.",
            "Yes and no",
        ],
    );
}

#[test]
fn a_yes_that_is_slower() {
    check(
        &measured(&[(550, 2), (550, 3)], &[(250, 900), (250, 950)]),
        true,
        &[
            "No pit: a yes takes longer",
            "Yes and no can be told apart by the code (550 and 250), and by the clock",
        ],
    );
}

#[test]
fn times_that_scatter() {
    check(
        &measured(&[(550, 2), (550, 400), (550, 500)], &[(250, 1), (250, 100)]),
        true,
        &[
            "No clear pit: the times scatter",
            "Yes and no can be told apart by the code",
        ],
    );
}

#[test]
fn a_pit_that_treats_both_alike() {
    check(
        &measured(&[(550, 5_000), (550, 5_020)], &[(250, 5_010), (250, 5_000)]),
        true,
        &[
            "Both answers are slow, and equally so",
            "Yes and no can be told apart by the code (550 and 250), not",
        ],
    );
}

#[test]
fn slow_for_everything() {
    let mut slow = measured(&[(550, 3_000), (550, 3_020)], &[(250, 3_010)]);
    slow.rows.splice(..3, opening(3_000));
    check(
        &slow,
        true,
        &[
            "The server is slow for everything",
            "Yes and no can be told apart by the code",
        ],
    );
}

#[test]
fn any_name_is_accepted() {
    check(
        &measured(&[(250, 2), (250, 2)], &[(250, 2)]),
        true,
        &[
            "It accepts any name: recipient filtering is off, so no guess is ever refused at RCPT and a pit will never fire.",
        ],
    );
    check(
        &measured(&[(250, 5_000), (250, 5_000)], &[(250, 2)]),
        true,
        &[
            "It accepts any name",
            "Yet names that exist can be told by the clock: 5.00 s",
        ],
    );
}

#[test]
fn some_names_are_accepted() {
    check(
        &measured(&[(250, 2), (550, 2), (550, 2)], &[(250, 2)]),
        true,
        &["No pit", "Yes and no", "It accepted 1 of 3 made-up names."],
    );
}

#[test]
fn the_good_address_is_refused_too() {
    check(
        &measured(&[(550, 5_000)], &[(550, 5_000)]),
        false,
        &[
            "The server refuses the good address too (550 2.1.5 Ok): alice@example.test does not",
            "A refusal takes 5.00 s",
        ],
    );
    check(
        &measured(&[(554, 2)], &[(554, 2)]),
        false,
        &["The server refuses the good address too"],
    );
}

#[test]
fn greylisting() {
    check(
        &measured(&[(450, 2)], &[(450, 2)]),
        false,
        &[
            "The server puts off the good address too",
            "An unknown name was put off",
        ],
    );
    check(
        &measured(&[(550, 2)], &[(451, 2)]),
        false,
        &["The server puts off the good address too"],
    );
}

#[test]
fn answers_that_change() {
    check(
        &measured(&[(550, 5_000), (450, 25_000)], &[(250, 2), (450, 2)]),
        true,
        &[
            "A pit of 15.0 s",
            "The wait grows",
            "Yes and no",
            "It did not take the known name each time: 1 of 2 answers were 450",
            "An unknown name was put off, not refused (450 5.1.1 No).",
        ],
    );
}

#[test]
fn closings_and_a_slow_greeting_are_remarked_upon() {
    let mut closed = measured(&[(550, 2), (550, 2)], &[(250, 2)]);
    closed.closings = vec![2, 1];
    closed.rows[0].took = Duration::from_millis(6_000);
    check(
        &closed,
        true,
        &[
            "No pit",
            "Yes and no",
            "The greeting took 6.0 s.",
            "The server closed the connection after 2 refusals (2 times in all); a new one was made.",
        ],
    );
}

#[test]
fn no_check_says_why() {
    let mut rows = opening(1);
    rows[2] = row(
        Step::Mail,
        530,
        "5.7.0 Must issue a STARTTLS command first",
        1,
    );
    let refused = Measurements {
        rows,
        closings: Vec::new(),
    };
    check(
        &refused,
        false,
        &["No check was possible: the server takes mail only after TLS or AUTH (530 5.7.0 Must"],
    );

    let mut rows = opening(1);
    rows.push(row(Step::Unknown, 550, "5.1.1 No", 1));
    let (outcome, took) = (Outcome::None(NoReply::TimedOut), Duration::from_secs(300));
    rows.push(Row {
        step: Step::Known,
        command: "RCPT TO:<a@b>".to_owned(),
        outcome,
        took,
    });
    let silent = Measurements {
        rows,
        closings: Vec::new(),
    };
    check(
        &silent,
        false,
        &["No check was possible: no answer, on RCPT TO:<a@b>."],
    );

    let (outcome, took) = (Outcome::None(NoReply::Closed), Duration::ZERO);
    let wants_tls = Measurements {
        rows: vec![Row {
            step: Step::Greeting,
            command: "connect, greeting".to_owned(),
            outcome,
            took,
        }],
        closings: Vec::new(),
    };
    check(
        &wants_tls,
        false,
        &["No check was possible: connection closed, on connect, greeting. If the port speaks TLS"],
    );

    let greeting = vec![row(Step::Greeting, 554, "5.7.1 Listed", 1)];
    let listed = Measurements {
        rows: greeting,
        closings: Vec::new(),
    };
    check(
        &listed,
        false,
        &["No check was possible: the server takes no connection from here (554 5.7.1 Listed)."],
    );
    check(
        &Measurements::default(),
        false,
        &["No check was possible: there was nothing to ask."],
    );
}

#[test]
fn medians() {
    for (times, expect) in [
        (&[][..], 0),
        (&[7], 7),
        (&[9, 1], 5),
        (&[9, 1, 2], 2),
        (&[4, 1, 2, 9], 3),
    ] {
        let mut times: Vec<_> = times
            .iter()
            .map(|&millis| Duration::from_millis(millis))
            .collect();
        assert_eq!(
            middle(&mut times),
            Duration::from_millis(expect),
            "{times:?}"
        );
    }
}
