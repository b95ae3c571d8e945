//! Tables: replies and capabilities.

use tarpit_smtp::{
    Capabilities, EnhancedCode, Mechanism, Offer, Reply, ReplyBound, ReplyCode, ReplyError,
    ReplyReader, ReplyStep,
};
use tarpit_smtp::{XclientAttribute, limits};

fn code(code: u16) -> ReplyCode {
    ReplyCode::new(code).unwrap()
}

fn read(text: &[u8]) -> Result<ReplyStep, ReplyError> {
    ReplyReader::new().read(text)
}

fn reply(text: &str) -> Reply {
    match read(text.as_bytes()) {
        Ok(ReplyStep::Done { reply, consumed }) if consumed == text.len() => reply,
        other => panic!("{text}: {other:?}"),
    }
}

fn written(reply: &Reply) -> String {
    let mut out = Vec::new();
    reply.write_to(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn codes() {
    for bad in [0, 25, 199, 600, u16::MAX] {
        assert_eq!(ReplyCode::new(bad), None);
    }
    for (number, kinds) in [
        (250, [true, false, false, false]),
        (354, [false, true, false, false]),
        (421, [false, false, true, false]),
        (599, [false, false, false, true]),
    ] {
        let code = code(number);
        let found = [
            code.is_positive(),
            code.is_intermediate(),
            code.is_transient(),
            code.is_permanent(),
        ];
        assert_eq!(
            (code.get(), code.to_string(), found),
            (number, number.to_string(), kinds)
        );
    }
}

#[test]
fn enhanced_codes() {
    for (text, expected) in [
        ("5.1.1 No such user", Some((5, 1, 1))),
        ("2.0.0", Some((2, 0, 0))),
        ("4.999.123\tx", Some((4, 999, 123))),
        ("5.1.1No", None),
        ("5.1.1.1 x", None),
        ("3.1.1 x", None),
        ("55.1.1 x", None),
        ("5.1 x", None),
        ("5..1 x", None),
        ("5.1. x", None),
        ("5.1000.1 x", None),
        (" 5.1.1 x", None),
        ("", None),
    ] {
        let found = EnhancedCode::parse(text.as_bytes());
        assert_eq!(
            found.map(|code| (code.class, code.subject, code.detail)),
            expected,
            "{text}"
        );
    }
    assert_eq!(
        EnhancedCode {
            class: 5,
            subject: 7,
            detail: 26
        }
        .to_string(),
        "5.7.26"
    );
}

#[test]
fn replies_are_read() {
    let two = reply("550-5.1.1 No such user\r\n550 5.1.1 here\r\n");
    assert_eq!(two.code(), code(550));
    assert_eq!(
        two.enhanced(),
        Some(EnhancedCode {
            class: 5,
            subject: 1,
            detail: 1
        })
    );
    assert_eq!(two.to_log(), "550 5.1.1 No such user / 5.1.1 here");
    assert_eq!(reply("250\r\n"), Reply::new(code(250), ""));
    assert_eq!(reply("250 Ok\n"), Reply::new(code(250), "Ok"));
    assert_eq!(
        reply("250-a\n250-\r\n250\n"),
        Reply::new(code(250), "a\n\n")
    );
    assert_eq!(
        reply("250 a\rb\0c\x1b\td\r\r\n"),
        Reply::new(code(250), "ab?c?\td")
    );
    assert_eq!(
        reply("550 non trouvé\r\n"),
        Reply::new(code(550), "non trouvé")
    );
    assert_eq!(read(b"250-a\r\n"), Ok(ReplyStep::Partial { consumed: 7 }));
    let more = read(b"250 a\r\n354 b\r\n");
    assert_eq!(
        more,
        Ok(ReplyStep::Done {
            reply: Reply::new(code(250), "a"),
            consumed: 7
        })
    );
}

#[test]
fn what_is_no_reply_says_why() {
    let lines = "250-\r\n".repeat(101);
    let long = format!("250 {}", "x".repeat(997));
    let total = format!("250-{}\r\n", "x".repeat(995)).repeat(17);
    for (text, expected) in [
        ("HTTP/1.1 400\r\n", "not a reply: found \"HTTP/1.1 400\""),
        ("\r\n", "not a reply: found \"\""),
        ("25\r\n", "not a reply: found \"25\""),
        ("25O Ok\r\n", "not a reply: found \"25O Ok\""),
        ("199 x\r\n", "not a reply: found \"199 x\""),
        ("600 x\r\n", "not a reply: found \"600 x\""),
        ("2500 x\r\n", "not a reply: found \"2500 x\""),
        ("250\tx\r\n", "not a reply: found \"250\\x09x\""),
        (" 250 x\r\n", "not a reply: found \" 250 x\""),
        ("250-a\r\n550 b\r\n", "found 550 after 250"),
        (&long, "a line of more than 1000 octets"),
        (&lines, "more than 100 lines"),
        (&total, "more than 16384 octets"),
    ] {
        let error = read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let line = format!("250 {}\r\n", "x".repeat(995));
    assert!(
        matches!(read(line.as_bytes()), Ok(ReplyStep::Done { .. })),
        "1000 octets with the CR"
    );
    let crs = "\r".repeat(1001);
    assert_eq!(
        read(crs.as_bytes()),
        Err(ReplyError::TooLong(ReplyBound::Line))
    );
}

/// RFC 4954 §4: a challenge cut to 512 octets would be another challenge.
#[test]
fn challenges_are_longer_than_other_replies() {
    let challenge = format!("334 {}\r\n", "A".repeat(12_000));
    let Ok(ReplyStep::Done { reply, .. }) = read(challenge.as_bytes()) else {
        panic!("not read");
    };
    assert_eq!(written(&reply), challenge);
    let overlong = format!("334 {}\r\n", "A".repeat(12_300));
    assert_eq!(
        read(overlong.as_bytes()),
        Err(ReplyError::TooLong(ReplyBound::Line))
    );
}

#[test]
fn replies_are_written() {
    assert_eq!(written(&Reply::new(code(250), "")), "250 \r\n");
    assert_eq!(
        written(&Reply::new(code(250), "a\nb")),
        "250-a\r\n250 b\r\n"
    );
    assert_eq!(
        written(&Reply::new(code(250), "a\r\nb\0\tc")),
        "250-a?\r\n250 b?\tc\r\n"
    );
    let lines = written(&Reply::new(code(250), &"\n".repeat(200)));
    assert_eq!(lines.lines().count(), limits::REPLY_LINES_MAX);
    let large = Reply::new(code(250), &"x".repeat(limits::REPLY_MAX + 1));
    assert_eq!(
        large.lines().map(<[u8]>::len).sum::<usize>(),
        limits::REPLY_MAX
    );
    for (text, kept) in [
        ("x".repeat(506), 506),
        ("x".repeat(507), 506),
        (format!("{}é", "x".repeat(505)), 505),
        (format!("{}é", "x".repeat(504)), 506),
        (format!("{}😀", "x".repeat(503)), 503),
        (format!("{}😀", "x".repeat(502)), 506),
    ] {
        let line = written(&Reply::new(code(550), &text));
        assert_eq!(line, format!("550 {}\r\n", &text[..kept]));
        assert!(line.len() <= 512);
    }
}

#[test]
fn another_code() {
    let full = EnhancedCode {
        class: 5,
        subject: 3,
        detail: 4,
    };
    let from = reply("552-5.2.2 Full\r\n552-see https://example.org\r\n552 5.2.2 really\r\n");
    let to = from.clone().with_code(code(550), Some(full));
    assert_eq!(
        written(&to),
        "550-5.3.4 Full\r\n550-see https://example.org\r\n550 5.3.4 really\r\n"
    );
    assert_eq!(
        written(&from.with_code(code(451), None)),
        "451-Full\r\n451-see https://example.org\r\n451 really\r\n"
    );
    let plain = reply("552 Full\r\n").with_code(code(550), Some(full));
    assert_eq!(written(&plain), "550 Full\r\n");
}

#[test]
fn capabilities_of_postfix() {
    let found = Capabilities::from_ehlo(&reply(
        "250-mx.example.org\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n250-STARTTLS\r\n\
         250-AUTH PLAIN login EXTERNAL SCRAM-SHA-256-PLUS\r\n250-AUTH=PLAIN CRAM-MD5\r\n\
         250-XCLIENT NAME ADDR PROTO HELO REVERSE_NAME PORT LOGIN DESTADDR DESTPORT X\r\n\
         250-ENHANCEDSTATUSCODES\r\n250-8bitmime\r\n250-DSN\r\n250-dsn\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n",
    ));
    assert!(
        found.pipelining
            && found.eight_bit_mime
            && found.enhanced_status_codes
            && found.starttls
            && found.chunking
    );
    assert_eq!(found.size, Some(10_240_000));
    assert!(
        found
            .auth
            .iter()
            .eq([Mechanism::Plain, Mechanism::Login, Mechanism::CramMd5])
    );
    assert!(
        found
            .xclient
            .iter()
            .eq(XclientAttribute::ALL.iter().copied())
    );
    assert_eq!(found.others, ["VRFY", "ETRN"].map(Box::from));
    let offered = "250-gw.example.org\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n\
        250-AUTH PLAIN LOGIN CRAM-MD5\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n";
    let offer = Offer {
        auth: true,
        ..Offer::default()
    };
    assert_eq!(
        written(&found.restricted(&offer).to_ehlo("gw.example.org")),
        offered
    );
}

#[test]
fn capabilities_of_others() {
    for (text, size) in [
        ("SIZE", 0),
        ("SIZE 0", 0),
        ("size 12", 12),
        ("SIZE x", 0),
        ("SIZE 99999999999999999999", 0),
    ] {
        let found = Capabilities::from_ehlo(&reply(&format!("250-a\r\n250 {text}\r\n")));
        assert_eq!(found.size, Some(size), "{text}");
    }
    let none = Capabilities::default();
    // The first line is a greeting, whatever it says; a refusal announces nothing.
    assert_eq!(Capabilities::from_ehlo(&reply("250 PIPELINING\r\n")), none);
    assert_eq!(
        Capabilities::from_ehlo(&reply("502-a\r\n502 PIPELINING\r\n")),
        none
    );
    assert_eq!(
        Capabilities::from_ehlo(&reply("250-a\r\n250-*\r\n250-\r\n250 -X\r\n")),
        none
    );
    assert_eq!(written(&none.to_ehlo("gw")), "250 gw\r\n");
    let no_limit = Capabilities {
        size: Some(0),
        ..none
    };
    assert_eq!(written(&no_limit.to_ehlo("gw")), "250-gw\r\n250 SIZE\r\n");
    let many: String = (0..99).map(|n| format!("250-X{n}\r\n")).collect();
    let found = Capabilities::from_ehlo(&reply(&format!("{many}250 X\r\n")));
    assert_eq!(found.others.len(), limits::OTHER_CAPABILITIES_MAX);
}
