//! Tables: BDAT, and XCLIENT as a client says it.

use tarpit_smtp::{Command, CommandError, LineReader, LineStep, Verb, XclientAttribute};
use tarpit_smtp::{XclientClaim, limits};

#[test]
fn chunks() {
    for (line, size, last) in [
        ("BDAT 0", 0, false),
        ("BDAT 0 LAST", 0, true),
        ("bdat 86 last", 86, true),
        ("BDAT\t1000  LAST ", 1000, true),
        ("BDAT 00000000000000000012", 12, false),
        ("BDAT 18446744073709551615", u64::MAX, false),
    ] {
        let expected = Ok(Command::Bdat { size, last });
        assert_eq!(Command::parse(line.as_bytes()), expected, "{line}");
    }
    for line in [
        "BDAT",
        "BDAT ",
        "BDAT LAST",
        "BDAT -1",
        "BDAT +1",
        "BDAT 0x10",
        "BDAT 1_0",
        "BDAT 1.0",
        "BDAT 10LAST",
        "BDAT 10 FIRST",
        "BDAT 10 LAST LAST",
        "BDAT 10 11",
        "BDAT 18446744073709551616",
        "BDAT 000000000000000000001",
        "BDAT 10\u{7f}",
    ] {
        let expected = Err(CommandError::Syntax(Verb::Bdat));
        assert_eq!(Command::parse(line.as_bytes()), expected, "{line}");
    }
    assert_eq!(
        Command::parse("BDAT １０".as_bytes()),
        Err(CommandError::NotAscii(Verb::Bdat))
    );
}

/// What follows the line is content: not one octet of it may be used up, whatever it looks like.
#[test]
fn the_line_of_bdat_takes_nothing_of_the_chunk() {
    for chunk in ["\r\n", "\n", "QUIT\r\n", "\0", "\r", ""] {
        let buf = format!("BDAT 5\r\n{chunk}");
        let mut reader = LineReader::new();
        let step = reader.next(buf.as_bytes(), limits::line_limit(buf.as_bytes()));
        let expected = LineStep::Line {
            text: b"BDAT 5",
            consumed: "BDAT 5\r\n".len(),
        };
        assert_eq!(step, expected, "{chunk:?}");
    }
}

fn claim(text: &str) -> Result<XclientClaim<'_>, CommandError> {
    match Command::parse(text.as_bytes())? {
        Command::Xclient(claim) => Ok(claim),
        other => panic!("{other:?}"),
    }
}

#[test]
fn claims() {
    let found = claim(
        "XCLIENT NAME=mx.example.net ADDR=192.0.2.7 PORT=40000 PROTO=ESMTP HELO=a+2Bb LOGIN=caf+C3+A9 \
         DESTADDR=IPV6:2001:db8::1 DESTPORT=25 REVERSE_NAME=[UNAVAILABLE]",
    )
    .unwrap();
    assert!(found.given.iter().eq(XclientAttribute::ALL.iter().copied()));
    let text = |text: Option<tarpit_smtp::Xtext<'_>>| text.map(|text| text.decode().into_owned());
    assert_eq!(text(found.name).as_deref(), Some("mx.example.net"));
    assert_eq!(text(found.helo).as_deref(), Some("a+b"));
    assert_eq!(found.helo.map(|helo| helo.as_xtext()), Some("a+2Bb"));
    assert_eq!(text(found.login).as_deref(), Some("café"));
    assert_eq!(found.reverse_name, None);
    assert_eq!(found.addr, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(found.dest_addr, Some("2001:db8::1".parse().unwrap()));
    assert_eq!((found.port, found.dest_port), (Some(40_000), Some(25)));
    assert_eq!(found.esmtp, Some(true));
}

#[test]
fn claims_in_other_forms() {
    let address = |text: &str| claim(text).map(|claim| claim.addr.map(|addr| addr.to_string()));
    for (text, addr) in [
        ("xclient addr=ipv6:2001:DB8::1", Some("2001:db8::1")),
        ("XCLIENT ADDR=2001:db8::1", Some("2001:db8::1")),
        ("XCLIENT ADDR=IPV6:::ffff:192.0.2.1", Some("192.0.2.1")),
        ("XCLIENT ADDR=[UNAVAILABLE]", None),
        ("XCLIENT ADDR=[tempunavail]\t PROTO=smtp ", None),
    ] {
        assert_eq!(address(text), Ok(addr.map(str::to_owned)), "{text}");
    }
    assert_eq!(claim("XCLIENT PROTO=SMTP").unwrap().esmtp, Some(false));
    let unavailable = claim("XCLIENT NAME=[UNAVAILABLE]").unwrap();
    assert!(unavailable.given.contains(XclientAttribute::Name) && unavailable.name.is_none());
}

#[test]
fn bad_claims() {
    let syntax = CommandError::Syntax(Verb::Xclient);
    for text in ["XCLIENT", "XCLIENT  ", "XCLIENT NAME", "XCLIENT NAME=a b"] {
        assert_eq!(claim(text), Err(syntax), "{text}");
    }
    let long = format!("XCLIENT HELO={}", "h".repeat(256));
    for text in [
        "XCLIENT COLOUR=red",
        "XCLIENT NAME=",
        "XCLIENT NAME=a NAME=a",
        "XCLIENT NAME=[UNAVAILABLE] name=a",
        "XCLIENT NAME=a=b",
        "XCLIENT NAME=a+20b",
        "XCLIENT NAME=a+",
        "XCLIENT NAME=a+0D+0AQUIT",
        "XCLIENT NAME=a+C0+80",
        "XCLIENT NAME=a+E2+80+AE",
        "XCLIENT HELO=a+00",
        "XCLIENT HELO=caf+C3+A9",
        &long,
        "XCLIENT ADDR=localhost",
        "XCLIENT ADDR=192.0.2",
        "XCLIENT ADDR=192.0.2.01",
        "XCLIENT ADDR=IPV6:192.0.2.1",
        "XCLIENT ADDR=IPV6:fe80::1%1",
        "XCLIENT ADDR=[192.0.2.1]",
        "XCLIENT PORT=0",
        "XCLIENT PORT=65536",
        "XCLIENT PORT=+25",
        "XCLIENT DESTPORT=smtp",
        "XCLIENT PROTO=LMTP",
    ] {
        let expected = Err(CommandError::Parameter(Verb::Xclient));
        assert_eq!(claim(text), expected, "{text}");
    }
    assert_eq!(
        claim("XCLIENT NAME=é"),
        Err(CommandError::NotAscii(Verb::Xclient))
    );
}
