//! What is kept of what was said, and what is not.

use std::collections::hash_map::RandomState;

use tarpit_core::ledger::LedgerConfig;

use super::*;

const SOURCE: Source = Source::V4(1, 32);

fn ledger() -> Ledger {
    let config = LedgerConfig {
        sources_max: 10,
        known_max: 10,
        known_for: Duration::from_secs(60),
    };
    Ledger::new(config, RandomState::new())
}

fn at(seconds: u64) -> Tick {
    Tick::from_millis(seconds * 1000)
}

#[test]
fn secrets_are_not_kept() {
    for (said, shown) in [
        (&b"EHLO a.example\r\n"[..], "EHLO a.example"),
        (b"mail from:<a@b>\r\n", "mail from:<a@b>"),
        (b"AUTH PLAIN AGEAc2VjcmV0\r\n", "AUTH PLAIN (not shown)"),
        (b"AUTH LOGIN\r\n", "AUTH LOGIN"),
        (b"AUTH AGEAc2VjcmV0AGEAc2VjcmV0\r\n", "AUTH (not shown)"),
        (b"AUTH  AGEAc2VjcmV0\r\n", "AUTH (not shown)"),
        (b"AUTH secret\r\n", "AUTH (not shown)"),
        (b"auth plain =\r\n", "AUTH PLAIN (not shown)"),
        (b"c2VjcmV0\r\n", "(no command: 8 octets)"),
        (b"PASS secret\r\n", "(no command: 11 octets)"),
        (b"RSETsecret\r\n", "(no command: 10 octets)"),
        // A message whose DATA was refused.
        (b"Help me, the PIN is 1234\r\n", "Help (not shown)"),
        (b"Mail me the PIN, 1234\r\n", "(no command: 21 octets)"),
        (b"DATA\r\n", "DATA"),
        (b"quit \r\n", "quit"),
    ] {
        assert_eq!(&*command(said, Addresses::Full), shown);
    }
    for (said, shown) in [
        (&b"EHLO bob@a.example\r\n"[..], "EHLO *@a.example"),
        (b"BDAT 7 LAST\r\n", "BDAT 7 LAST"),
    ] {
        assert_eq!(&*command(said, Addresses::Domain), shown);
    }
    for (said, shown) in [
        (&b"MAIL FROM:<> SIZE=1\r\n"[..], "MAIL <>"),
        (b"RCPT TO:<bob@example.org>\r\n", "RCPT <*@example.org>"),
        (
            b"rcpt to:<\"b>o b\"@example.org>\r\n",
            "rcpt <*@example.org>",
        ),
        (b"RCPT TO:<bob>\r\n", "RCPT <*>"),
        (b"RCPT TO:bob@example.org\r\n", "RCPT (not shown)"),
        (b"VRFY bob\r\n", "VRFY (not shown)"),
    ] {
        assert_eq!(&*command(said, Addresses::Domain), shown);
    }
}

/// An address that is cut has no `@` any more to know it by.
#[test]
fn addresses_are_veiled_before_they_are_cut() {
    let name = "x".repeat(300);
    let said = format!("550 5.1.1 <{name}@example.org> unknown");
    let veiled = shown(said.as_bytes(), Addresses::Domain);
    assert_eq!(&*veiled, "550 5.1.1 <*@example.org> unknown");
    let full = shown(said.as_bytes(), Addresses::Full);
    assert!(
        full.ends_with("xx (cut)") && full.len() < LINE_MAX + 10,
        "{full}"
    );
    // Cut where nothing is split: one octet may become four.
    let full = shown(&[0xff; 100], Addresses::Full);
    assert!(full.ends_with("\\xFF (cut)"), "{full}");
}

#[test]
fn nothing_is_kept_while_nobody_looks() {
    let (dialogues, ledger) = (Dialogues::default(), ledger());
    let id = SessionId(7);
    dialogues.begin(id, SOURCE, at(100), &ledger);
    assert_eq!(dialogues.of(id), None);
    dialogues.want(at(100));
    dialogues.begin(id, SOURCE, at(101), &ledger);
    dialogues.note(
        id,
        at(101),
        Heard::Opened,
        0,
        b"220 mx\r\n",
        Addresses::Full,
    );
    dialogues.note(
        id,
        at(102),
        Heard::Line(b"NOOP\r\nQUIT\r\n"),
        6,
        b"250 ok\r\n",
        Addresses::Full,
    );
    dialogues.note(
        id,
        at(103),
        Heard::Secret,
        9,
        b"334 Zm9v\r\n",
        Addresses::Full,
    );
    // Another session of the same place.
    dialogues.note(
        SessionId(7 + 256),
        at(103),
        Heard::Line(b"RSET\r\n"),
        6,
        b"",
        Addresses::Full,
    );
    let found = dialogues.of(SessionId(7)).unwrap();
    let lines: Vec<_> = found
        .lines
        .iter()
        .map(|line| (line.at.as_secs(), &*line.text))
        .collect();
    assert_eq!(
        lines,
        [
            (0, "220 mx"),
            (1, "NOOP"),
            (1, "250 ok"),
            (2, "(not shown)"),
            (2, "334 (not shown)"),
        ]
    );
    dialogues.begin(SessionId(8), SOURCE, at(111), &ledger);
    assert_eq!(dialogues.of(SessionId(8)), None);
}

#[test]
fn a_flood_pushes_out_nobody_and_nothing_grows_without_end() {
    let (dialogues, ledger) = (Dialogues::default(), ledger());
    for second in 0..20 {
        dialogues.want(at(second));
        for number in 0..1000 {
            dialogues.begin(
                SessionId(second * 1000 + number),
                SOURCE,
                at(second),
                &ledger,
            );
        }
    }
    let kept = (0..20_000).filter(|id| dialogues.of(SessionId(*id)).is_some());
    assert_eq!(kept.count(), 20 * 4);
    let first = SessionId(0);
    for _ in 0..1000 {
        dialogues.note(
            first,
            at(1),
            Heard::Line(&[b'x'; 9000]),
            9000,
            &[b'y'; 9000],
            Addresses::Full,
        );
    }
    let found = dialogues.of(first).unwrap();
    assert!(found.cut && found.lines.len() == LINES_MAX);
    assert!(
        found
            .lines
            .iter()
            .all(|line| line.text.len() < LINE_MAX + 10)
    );
}
