//! Tables: what is a path, and what it means.

use tarpit_smtp::{ForwardPath, PathError, ReversePath};

#[test]
fn accepted() {
    let label = "l".repeat(63);
    let domain = format!("{label}.{label}.{label}.{}", "l".repeat(63));
    let local = "a".repeat(128);
    let ok = [
        "a@b".to_owned(),
        "a.b+c@example.org".into(),
        ".a..b.@example.org".into(),
        "!#$%&'*+-/=?^_`{|}~@example.org".into(),
        "\"\"@b".into(),
        "\"a@b\"@c".into(),
        "\"a\\\"\\\\\\>\"@c".into(),
        "a@under_score.-x-.example".into(),
        "a@1.2.3.4".into(),
        "a@[1.2.3.4]".into(),
        "a@[ipv6:::1]".into(),
        "a@[IPv6:::ffff:1.2.3.4]".into(),
        "a@[x400:whatever/it;is]".into(),
        format!("{local}@b"),
        format!("{}@{domain}", "a".repeat(62)),
    ];
    for text in &ok {
        let path = ReversePath::parse(text);
        assert_eq!(path.map(|path| path.to_string()), Ok(format!("<{text}>")));
        assert_eq!(
            ForwardPath::parse(text).map(|path| path.as_str()),
            Ok(text.as_str())
        );
    }
}

#[test]
fn refused() {
    let label = "l".repeat(63);
    let domain = format!("{label}.{label}.{label}.{}", "l".repeat(63));
    let local = "a".repeat(128);
    use PathError::{Domain, Local, NoDomain, Route, TooLong};
    for (text, error) in [
        ("a".to_owned(), NoDomain),
        ("\"a\"".into(), NoDomain),
        (" ".into(), Local),
        ("a b@c".into(), Local),
        ("a@".into(), Domain),
        ("\"a\"b@c".into(), Local),
        ("a\"b\"@c".into(), Local),
        ("\"a\tb\"@c".into(), Local),
        ("\"a@b".into(), Local),
        ("a\\@b@c".into(), Local),
        (format!("{local}a@b"), Local),
        ("a@b@c".into(), Domain),
        ("a@b.".into(), Domain),
        ("a@.b".into(), Domain),
        ("a@b..c".into(), Domain),
        ("a@b c".into(), Domain),
        ("a@b:25".into(), Domain),
        (format!("a@{label}l"), Domain),
        (format!("a@{domain}l"), Domain),
        ("a@[1.2.3]".into(), Domain),
        ("a@[1.2.3.04]".into(), Domain),
        ("a@[1.2.3.4".into(), Domain),
        ("a@[::1]".into(), Domain),
        ("a@[IPv6:1]".into(), Domain),
        ("a@[IPv6:fe80::1%1]".into(), Domain),
        ("a@[tag:]".into(), Domain),
        ("a@[-:x]".into(), Domain),
        ("a@[tag:a>]".into(), Domain),
        ("a@[tag:a]b]".into(), Domain),
        (format!("{}@{domain}", "a".repeat(63)), TooLong),
        ("@a".into(), Route),
        ("@:a@b".into(), Route),
        ("@a,:a@b".into(), Route),
        ("@a,b:a@b".into(), Route),
        ("@a b:a@b".into(), Route),
        (format!("@{domain}l:a@b"), Route),
        (format!("@{label}.{domain}:a@b"), Route),
        ("@a:".into(), Local),
    ] {
        assert_eq!(ReversePath::parse(&text), Err(error), "{text:?}");
        assert_eq!(ForwardPath::parse(&text), Err(error), "{text:?}");
    }
}

#[test]
fn special_paths() {
    assert_eq!(ReversePath::parse(""), Ok(ReversePath::Null));
    assert_eq!(ReversePath::Null.to_string(), "<>");
    assert_eq!(ReversePath::parse("postmaster"), Err(PathError::NoDomain));
    assert_eq!(
        ForwardPath::parse("PostMaster"),
        Ok(ForwardPath::Postmaster("PostMaster"))
    );
    assert!(matches!(
        ForwardPath::parse("postmaster@b"),
        Ok(ForwardPath::Mailbox(_))
    ));
    for (text, kept) in [
        ("@a:b@c", "b@c"),
        ("@a.example,@b_2:\"x:y\"@c", "\"x:y\"@c"),
    ] {
        assert_eq!(ForwardPath::parse(text).map(|path| path.as_str()), Ok(kept));
    }
    for (text, local) in [
        ("a.b@c", "a.b"),
        ("\"a.b\"@c", "a.b"),
        ("\"a\\ \\\"b\\\\\"@c", "a \"b\\"),
        ("\"\"@c", ""),
        ("\"\\\"\"@c", "\""),
    ] {
        let Ok(ForwardPath::Mailbox(mailbox)) = ForwardPath::parse(text) else {
            panic!("{text}")
        };
        assert_eq!(mailbox.local_unquoted(), local, "{text}");
        assert_eq!(mailbox.domain(), "c");
    }
}

#[test]
fn utf8() {
    let long = "é".repeat(64);
    let label = "漢".repeat(59);
    for text in [
        "用户@例子.广告",
        "δοκιμή@παράδειγμα.δοκιμή",
        "jörg.müller+tag@bücher.example",
        "\"jörg m\\\"üller\"@example.org",
        "a@b.ଭାରତ",
        "क\u{94D}\u{200D}ष@example.org",
        "😀@example.org",
        &format!("{long}@b"),
        &format!("a@{label}"),
        "e\u{301}@example.org",
    ] {
        let path = ReversePath::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(path.as_str(), text);
        assert!(!path.is_ascii());
        let path = ForwardPath::parse(text).unwrap();
        assert_eq!(path.to_string(), format!("<{text}>"));
        assert!(!path.is_ascii());
    }
    assert!(ReversePath::Null.is_ascii());
    assert!(ForwardPath::parse("postmaster").unwrap().is_ascii());
    // The Kelvin sign: not the mailbox that needs no domain.
    assert_eq!(ForwardPath::parse("postmaſter"), Err(PathError::NoDomain));
}

#[test]
fn utf8_that_could_be_read_in_two_ways() {
    use PathError::{Domain, Local, TooLong};
    let long = "é".repeat(65);
    let label = "漢".repeat(60);
    for (text, error) in [
        ("a\u{85}b@c", Local),
        ("a\u{2028}b@c", Local),
        ("a\u{2029}b@c", Local),
        ("a\u{A0}b@c", Local),
        ("a\u{3000}b@c", Local),
        ("a\u{202E}b@c", Local),
        ("a\u{2066}b@c", Local),
        ("a\u{200B}b@c", Local),
        ("a\u{FEFF}b@c", Local),
        ("a\u{FFFD}b@c", Local),
        ("a＠b@c", Local),
        ("a＞b@c", Local),
        ("\"a\u{85}b\"@c", Local),
        ("\"a\\é\"@c", Local),
        ("\"a＂b\"@c", Local),
        ("a＠b", Local),
        ("a@b\u{2028}c", Domain),
        ("a@b。c", Domain),
        ("a@b．c", Domain),
        ("a@b｡c", Domain),
        ("a@b．", Domain),
        ("a@ｅxample.org", Domain),
        ("a@examp\u{212A}e.org", Domain),
        ("a@[IPv6：::1]", Domain),
        ("a@[é:x]", Domain),
        ("a@[tag:é]", Domain),
        ("a@b\u{AD}c", Domain),
        ("a@b\u{202C}", Domain),
        (&format!("{long}@b"), Local),
        (&format!("a@{label}"), Domain),
        (&format!("a@{}", "漢.".repeat(70)), Domain),
        (&format!("a@{}", "漢.".repeat(90)), TooLong),
    ] {
        assert_eq!(ReversePath::parse(text), Err(error), "{text:?}");
        assert_eq!(ForwardPath::parse(text), Err(error), "{text:?}");
    }
}

/// Octets that are no UTF-8 never become a path: overlong forms, surrogates, torn characters, Latin-1.
#[test]
fn what_is_no_utf8() {
    use tarpit_smtp::{Command, CommandError, Verb};
    for octets in [
        &b"\xe9"[..],
        b"\xc3",
        b"\x80",
        b"\xc0\x8d",
        b"\xc0\xbe",
        b"\xe0\x80\x8a",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xff",
    ] {
        let mail = [b"MAIL FROM:<a", octets, b"@b>"].concat();
        let expected = Err(CommandError::NotAscii(Verb::Mail));
        assert_eq!(Command::parse(&mail), expected, "{octets:x?}");
        let rcpt = [b"RCPT TO:<a@b", octets, b">"].concat();
        let expected = Err(CommandError::NotAscii(Verb::Rcpt));
        assert_eq!(Command::parse(&rcpt), expected, "{octets:x?}");
    }
}
