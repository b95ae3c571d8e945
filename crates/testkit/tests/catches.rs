//! The runner against dialogues that are wrong: a runner that passes them would pass a broken
//! product too.

use tarpit_testkit::{Dialog, play};

const GUESS: &str = "\
# A guess.
open
hello
C: MAIL FROM:<a@b.example>
C: RCPT TO:<nobody@example.org>
S: 250 2.1.0 Sender ok
U: RCPT nobody@example.org => 550 5.1.1 No such user
wait 5s
S: 550 5.1.1 No such user
hold unknown_recipient 550 owed 5s held 5s paid
";

fn fails(text: &str) -> Option<String> {
    play(&Dialog::parse("test", text).unwrap())
        .err()
        .map(|failure| failure.to_string())
}

/// `text` with one piece of [`GUESS`] replaced fails at `line` with `what` in its words.
#[track_caller]
fn check(from: &str, to: &str, line: usize, what: &str) {
    assert!(GUESS.contains(from), "{from:?} is not in the dialogue");
    let failure =
        fails(&GUESS.replace(from, to)).unwrap_or_else(|| panic!("{to:?} passes for {from:?}"));
    assert!(
        failure.starts_with(&format!("test.dialog:{line}: ")) && failure.contains(what),
        "{failure}"
    );
}

#[test]
fn the_right_one_passes() {
    assert_eq!(fails(GUESS), None);
}

#[test]
fn time_is_exact() {
    check("wait 5s", "wait 4.999s", 9, "said nothing");
    check("wait 5s", "wait 5.001s", 8, "does not claim");
    check("wait 5s\n", "", 8, "said nothing");
    check("wait 5s", "wait 5s\nnothing", 9, "does not claim");
}

#[test]
fn words_are_exact() {
    check(
        "S: 550 5.1.1 No such user",
        "S: 550 5.1.1 No such users",
        9,
        "the gateway said",
    );
    check("S: 250 2.1.0 Sender ok\n", "", 7, "does not claim");
    check("S: 550 5.1.1 No such user\n", "", 0, "does not claim");
}

#[test]
fn questions_are_exact() {
    check(
        "U: RCPT nobody@",
        "U: RCPT somebody@",
        7,
        "the machine asks",
    );
    check(
        "U: RCPT nobody@example.org => 550 5.1.1 No such user\n",
        "",
        7,
        "does not know of",
    );
    check(
        "hold unknown",
        "C: RCPT TO:<x@example.org>\nhold unknown",
        0,
        "does not know of",
    );
    check("wait 5s", "wait 5s\nU: DATA => 354 go", 9, "asks nothing");
}

#[test]
fn records_are_exact() {
    check("owed 5s", "owed 4s", 10, "expected hold");
    check("held 5s", "held 6s", 10, "expected hold");
    check("paid", "hang_up", 10, "expected hold");
    check(
        "hold unknown_recipient 550 owed 5s held 5s paid\n",
        "record accepted 1\n",
        10,
        "found 0",
    );
    check(
        "hold unknown",
        "closed quit\nhold unknown",
        10,
        "not closed",
    );
    // Whoever claims one record has to claim all.
    let again = "C: BOO\nwait 5s\nS: 500 5.5.2 Command not recognized [tp-00000001]\n";
    let failure = fails(&format!("{GUESS}{again}")).unwrap();
    assert!(failure.contains("nobody claimed"), "{failure}");
}

#[test]
fn bad_files_are_named_by_line() {
    let wrong = |text: &str| Dialog::parse("test", text).unwrap_err().to_string();
    assert!(wrong("open\n").contains("test.dialog:1: a dialogue begins with a comment"));
    assert!(
        wrong("# x\nopen\nshut\n").contains("test.dialog:3: \"shut\" is no step; allowed: set")
    );
    assert!(
        wrong("# x\nset mode on\nopen\n").contains("found \"on\", allowed: off, observe, enforce")
    );
    assert!(wrong("# x\nopen\nset mode off\n").contains("before the first step"));
    assert!(wrong("# x\nopen\nwait 5\n").contains("no time"));
    assert!(wrong("# x\n").contains("no steps"));
    assert!(wrong("# x\nopen\nrecord colour 1\n").contains("no field"));
    assert!(wrong("# x\nopen\nU: RCPT a@b => !tired\n").contains("no trouble"));
}
