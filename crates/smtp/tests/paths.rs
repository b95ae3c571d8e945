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
