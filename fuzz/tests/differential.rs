//! The seeds, and one line for each known difference: each must be explained by its row, and by no other.

use std::fs;
use std::path::PathBuf;
use tarpit_fuzz::known::{self, Kind};
use tarpit_fuzz::{check, compare};

#[test]
fn the_seeds_hold() {
    for folder in ["command", "differential"] {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("corpus")
            .join(folder);
        for file in fs::read_dir(folder).unwrap() {
            check(&fs::read(file.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn the_two_agree_on_real_lines() {
    for line in [
        "EHLO mx.example.org",
        "MAIL FROM:<>",
        "MAIL FROM:<a@b.example> SIZE=1000 BODY=8BITMIME",
        "MAIL FROM:<a@b.example> BODY=BINARYMIME RET=HDRS ENVID=QQ314159+2B1 BY=120;RT",
        "MAIL FROM:<jörg@bücher.example> SMTPUTF8 REQUIRETLS MT-PRIORITY=-3 HOLDFOR=60 AUTH=<>",
        "MAIL FROM:<a@b.example> HOLDUNTIL=2026-12-31T23:59:59Z",
        "RCPT TO:<\"a b\"@c.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c.example",
        "RCPT TO:<@x.example,@y.example:a@b.example> NOTIFY=NEVER",
        "RCPT TO:<postmaster>",
        "BDAT 86 LAST",
        "BDAT 86",
        "AUTH PLAIN AGEAYg==",
        "DATA",
        "STARTTLS",
        "QUIT",
    ] {
        assert!(compare(line.as_bytes()).is_none(), "{line}");
    }
}

#[test]
fn known_differences_are_seen() {
    for (line, kind) in [
        (" QUIT", Kind::OursStricter),
        ("ETRN x", Kind::OursStricter),
        ("DATA now", Kind::OursStricter),
        ("MAIL FROM:<a@b>SIZE=1", Kind::OursStricter),
        ("MAIL FROM:<a@b> SIZE=1 SIZE=2", Kind::OursStricter),
        (
            "RCPT TO:<a@b> RRVS=2014-04-03T23:01:00Z",
            Kind::OursStricter,
        ),
        ("EHLO é", Kind::OursStricter),
        ("RCPT TO:<a@[192.0.2.1]>", Kind::TheirsStricter),
        ("RCPT TO:<a..b@c>", Kind::TheirsStricter),
        ("RCPT TO:<a@b> ORCPT=utf-8;a@b", Kind::TheirsStricter),
        ("XCLIENT NAME=a", Kind::TheirsStricter),
        ("EHLO  a", Kind::TheirsStricter),
    ] {
        let row = compare(line.as_bytes()).map(|row| row.kind);
        assert_eq!(row, Some(kind), "{line}");
    }
}

#[test]
fn the_page_in_docs_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/parser-differences.md");
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, known::markdown()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == known::markdown(),
        "set BLESS=1 to write {}",
        path.display()
    );
}
