//! What a server announces, what is made of it for clients, and the table behind both.

use tarpit_smtp::{Capabilities, Extension, Extensions, Offer, Reply, ReplyCode, TABLE, Treatment};

fn read(lines: &[&str]) -> Capabilities {
    let text = format!("mx.example.org hello\n{}", lines.join("\n"));
    Capabilities::from_ehlo(&Reply::new(ReplyCode::OK, &text))
}

/// The lines of the reply to EHLO, without the first.
fn printed(set: &Capabilities) -> Vec<String> {
    let reply = set.to_ehlo("gw");
    let lines = reply.lines().skip(1);
    lines
        .map(|line| String::from_utf8(line.to_vec()).unwrap())
        .collect()
}

const EVERYTHING: &[&str] = &[
    "PIPELINING",
    "SIZE 1000",
    "LIMITS MAILMAX=5 RCPTMAX=100 RCPTDOMAINMAX=7",
    "STARTTLS",
    "AUTH PLAIN LOGIN",
    "ENHANCEDSTATUSCODES",
    "8BITMIME",
    "DSN",
    "SMTPUTF8",
    "CHUNKING",
    "BINARYMIME",
    "DELIVERBY 60",
    "REQUIRETLS",
    "MT-PRIORITY MIXER",
    "FUTURERELEASE 86400 2026-12-31T00:00:00Z",
    "XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT REVERSE_NAME",
];

#[test]
fn everything_is_read_and_printed() {
    let set = read(EVERYTHING);
    assert_eq!(printed(&set), EVERYTHING);
    assert!(set.others.is_empty());
    assert_eq!(set.offers(), Extension::ALL.iter().copied().collect());
    let small: Vec<String> = EVERYTHING.iter().map(|line| line.to_lowercase()).collect();
    let small: Vec<&str> = small.iter().map(String::as_str).collect();
    let mut small = read(&small);
    // Names of profiles and times are passed on as they are written.
    small.mt_priority.clone_from(&set.mt_priority);
    small.future_release.clone_from(&set.future_release);
    assert_eq!(small, set);
    assert_eq!(Capabilities::default().offers(), Extensions::new());
}

#[test]
fn arguments_in_all_states() {
    for (line, expected) in [
        ("SIZE", Some("SIZE")),
        ("SIZE 0", Some("SIZE")),
        ("SIZE lots", Some("SIZE")),
        ("LIMITS", None),
        ("LIMITS RCPTMAX=0", None),
        (
            "LIMITS RCPTMAX=x MAILMAX=3 NEWMAX=4",
            Some("LIMITS MAILMAX=3"),
        ),
        ("limits rcptmax=3", Some("LIMITS RCPTMAX=3")),
        ("LIMITS RCPTMAX=99999999999", None),
        ("AUTH", None),
        ("AUTH GSSAPI NTLM", None),
        ("AUTH=LOGIN", Some("AUTH LOGIN")),
        ("DELIVERBY", Some("DELIVERBY")),
        ("DELIVERBY soon", Some("DELIVERBY")),
        ("DELIVERBY 240", Some("DELIVERBY 240")),
        ("MT-PRIORITY", Some("MT-PRIORITY")),
        ("MT-PRIORITY STANAG4406", Some("MT-PRIORITY STANAG4406")),
        (
            "MT-PRIORITY NEW_PROFILE-2",
            Some("MT-PRIORITY NEW_PROFILE-2"),
        ),
        ("MT-PRIORITY <x>", None),
        ("FUTURERELEASE", None),
        ("FUTURERELEASE 60", None),
        ("FUTURERELEASE 60 tomorrow", None),
        ("XCLIENT COLOUR", None),
        ("CHUNKING now", Some("CHUNKING")),
        ("CHUNKINGS", None),
    ] {
        let found = printed(&read(&[line]));
        assert_eq!(found.first().map(String::as_str), expected, "{line}");
    }
}

/// An offer that withholds nothing.
const ALL: Offer = Offer {
    starttls: true,
    auth: true,
    require_tls: true,
    size_max: 0,
    recipients_max: 0,
    xclient: false,
    secured: true,
};

#[test]
fn what_clients_get() {
    let set = read(EVERYTHING);
    let offers = |offer: &Offer| set.restricted(offer).offers();
    let upstream = set.offers();
    let without = |extensions: &[Extension]| upstream.minus(extensions.iter().copied().collect());
    // Secured already: no STARTTLS. Not trusted: no XCLIENT, although the upstream trusts us.
    assert_eq!(
        offers(&ALL),
        without(&[Extension::StartTls, Extension::Xclient])
    );
    let plain = Offer {
        secured: false,
        ..ALL
    };
    assert_eq!(
        offers(&plain),
        without(&[Extension::RequireTls, Extension::Xclient])
    );
    let nothing = without(&[
        Extension::StartTls,
        Extension::Xclient,
        Extension::Auth,
        Extension::RequireTls,
    ]);
    assert_eq!(offers(&Offer::default()), nothing);
    let trusted = Offer {
        xclient: true,
        ..Offer::default()
    };
    let bare = Capabilities::default().restricted(&trusted);
    assert_eq!(
        printed(&bare),
        ["XCLIENT NAME ADDR PORT PROTO HELO DESTADDR DESTPORT"]
    );
}

#[test]
fn what_hangs_together_is_offered_together() {
    let offers = |lines: &[&str]| read(lines).restricted(&ALL).offers();
    assert_eq!(offers(&["BINARYMIME"]), Extensions::new());
    assert_eq!(offers(&["SMTPUTF8"]), Extensions::new());
    assert_eq!(
        offers(&["CHUNKING", "BINARYMIME"]).to_string(),
        "CHUNKING BINARYMIME"
    );
    assert_eq!(
        offers(&["8BITMIME", "SMTPUTF8"]).to_string(),
        "8BITMIME SMTPUTF8"
    );
    // STARTTLS is ours: an upstream's isn't passed on, ours needs none of theirs.
    assert_eq!(
        offers(&["STARTTLS", "XSOMETHING", "ETRN"]),
        Extensions::new()
    );
    let own = Capabilities::default().restricted(&Offer {
        starttls: true,
        ..Offer::default()
    });
    assert_eq!(printed(&own), ["STARTTLS"]);
}

#[test]
fn the_smaller_limits_hold() {
    for (theirs, ours, size) in [
        (Some(1000), 0, Some(1000)),
        (Some(1000), 10, Some(10)),
        (Some(10), 1000, Some(10)),
        (Some(0), 1000, Some(1000)),
        (Some(0), 0, Some(0)),
        // SIZE= would have to be dropped on the way.
        (None, 1000, None),
    ] {
        let set = Capabilities {
            size: theirs,
            ..Capabilities::default()
        };
        let offer = Offer {
            size_max: ours,
            ..Offer::default()
        };
        assert_eq!(set.restricted(&offer).size, size, "{theirs:?} {ours}");
    }
    for (line, ours, limits) in [
        ("LIMITS RCPTMAX=100", 0, Some("LIMITS RCPTMAX=100")),
        ("LIMITS RCPTMAX=100", 50, Some("LIMITS RCPTMAX=50")),
        ("LIMITS RCPTMAX=20", 50, Some("LIMITS RCPTMAX=20")),
        ("LIMITS MAILMAX=2", 50, Some("LIMITS MAILMAX=2 RCPTMAX=50")),
        (
            "LIMITS RCPTDOMAINMAX=1 RCPTMAX=9",
            0,
            Some("LIMITS RCPTMAX=9"),
        ),
        ("LIMITS RCPTDOMAINMAX=1", 0, None),
        ("DSN", 50, Some("LIMITS RCPTMAX=50")),
        ("LIMITS", 0, None),
    ] {
        let offer = Offer {
            recipients_max: ours,
            ..Offer::default()
        };
        let found = printed(&read(&[line]).restricted(&offer));
        let found = found.iter().find(|line| line.starts_with("LIMITS"));
        assert_eq!(found.map(String::as_str), limits, "{line} {ours}");
    }
}

#[test]
fn what_two_servers_have_in_common() {
    let all = read(EVERYTHING);
    let none = Capabilities::default();
    assert_eq!(Capabilities::common(&all, &all), all);
    let limits = Capabilities::common(&all, &none);
    // A limit of one of them binds.
    assert_eq!(
        printed(&limits),
        ["LIMITS MAILMAX=5 RCPTMAX=100 RCPTDOMAINMAX=7"]
    );
    assert_eq!(Capabilities::common(&none, &all), limits);
    for (a, b, both) in [
        ("SIZE 1000", "SIZE 10", Some("SIZE 10")),
        ("SIZE", "SIZE 10", Some("SIZE 10")),
        ("SIZE", "SIZE", Some("SIZE")),
        (
            "AUTH PLAIN LOGIN",
            "AUTH CRAM-MD5 PLAIN",
            Some("AUTH PLAIN"),
        ),
        ("AUTH LOGIN", "AUTH PLAIN", None),
        ("DELIVERBY 60", "DELIVERBY 120", Some("DELIVERBY 120")),
        ("DELIVERBY", "DELIVERBY 120", Some("DELIVERBY 120")),
        (
            "MT-PRIORITY MIXER",
            "MT-PRIORITY MIXER",
            Some("MT-PRIORITY MIXER"),
        ),
        ("MT-PRIORITY MIXER", "MT-PRIORITY NSEP", None),
        (
            "LIMITS RCPTMAX=9 MAILMAX=2",
            "LIMITS RCPTMAX=3",
            Some("LIMITS MAILMAX=2 RCPTMAX=3"),
        ),
        (
            "FUTURERELEASE 60 2026-12-31T00:00:00Z",
            "FUTURERELEASE 90 2026-11-30T00:00:00Z",
            Some("FUTURERELEASE 60 2026-11-30T00:00:00Z"),
        ),
        (
            "FUTURERELEASE 60 2026-12-31T00:00:00Z",
            "FUTURERELEASE 90 2026-12-31T00:00:00+01:00",
            None,
        ),
        ("CHUNKING", "BINARYMIME", None),
        (
            "XCLIENT NAME ADDR",
            "XCLIENT ADDR PORT",
            Some("XCLIENT ADDR"),
        ),
    ] {
        let found = printed(&Capabilities::common(&read(&[a]), &read(&[b])));
        assert_eq!(found.first().map(String::as_str), both, "{a} and {b}");
    }
    let others = Capabilities::common(&read(&["XA", "XB"]), &read(&["XB", "XC"])).others;
    assert_eq!(others, ["XB".into()]);
}

#[test]
fn the_table_is_sound() {
    for (at, row) in TABLE.iter().enumerate() {
        let again = TABLE
            .iter()
            .skip(at + 1)
            .any(|other| other.keyword == row.keyword);
        assert!(!again, "{} stands twice", row.keyword);
        assert_eq!(row.keyword, row.keyword.to_ascii_uppercase());
        assert!(row.what.ends_with('.') && !row.source.is_empty());
        assert!(
            !row.what.contains(['|', '\n']),
            "{} breaks its line",
            row.keyword
        );
        // What we know is in the table, and only that is ever announced.
        let known = Extension::from_name(row.keyword).is_some();
        assert_eq!(known, row.treatment != Treatment::Never, "{}", row.keyword);
    }
    for extension in Extension::ALL {
        assert!(TABLE.iter().any(|row| row.keyword == extension.as_str()));
    }
    let order = TABLE.iter().map(|row| row.keyword);
    let order: Vec<&str> = order.take(EVERYTHING.len()).collect();
    let printed = EVERYTHING.iter().filter_map(|line| line.split(' ').next());
    assert!(printed.eq(order));
}

#[test]
fn the_page_in_docs_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/extensions.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(
        page == tarpit_smtp::extensions_markdown(),
        "docs/extensions.md is out of date: run `cargo xtask generate`"
    );
}
