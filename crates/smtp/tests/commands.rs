//! Tables: what a line is as a command.

use tarpit_smtp::{Body, Command, CommandError, MailParams, PathError, ReversePath, Verb};
use tarpit_smtp::{Mechanism, XclientAttribute};

fn parse(line: &str) -> Result<Command<'_>, CommandError> {
    Command::parse(line.as_bytes())
}

fn mail(inner: &str, params: MailParams<'static>) -> Result<String, CommandError> {
    Ok(format!("{inner} {params:?}"))
}

/// The path without brackets, and the parameters.
fn parse_mail(line: &str) -> Result<String, CommandError> {
    match parse(line)? {
        Command::Mail { path, params } => Ok(format!("{} {params:?}", path.as_str())),
        other => panic!("{line}: {other:?}"),
    }
}

fn parse_rcpt(line: &str) -> Result<String, CommandError> {
    match parse(line)? {
        Command::Rcpt { path, params } => Ok(format!("{}{}", path.as_str(), params.printed())),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn simple_commands() {
    use CommandError::{NotAscii, NotImplemented, Syntax, UnknownVerb};
    for (line, expected) in [
        ("DATA", Ok(Command::Data)),
        ("data", Ok(Command::Data)),
        ("DATA  \t", Ok(Command::Data)),
        ("DATA now", Err(Syntax(Verb::Data))),
        ("RSET", Ok(Command::Rset)),
        ("RSET x", Err(Syntax(Verb::Rset))),
        ("QUIT", Ok(Command::Quit)),
        ("QUIT x", Err(Syntax(Verb::Quit))),
        ("QUIT é", Err(NotAscii(Verb::Quit))),
        ("NOOP", Ok(Command::Noop)),
        ("NOOP é \u{1}", Ok(Command::Noop)),
        ("HELP me", Ok(Command::Help)),
        ("VRFY <a b>", Ok(Command::Vrfy("<a b>"))),
        ("VRFY", Err(Syntax(Verb::Vrfy))),
        ("VRFY  ", Err(Syntax(Verb::Vrfy))),
        ("VRFY a\u{7f}", Err(Syntax(Verb::Vrfy))),
        ("EXPN list", Ok(Command::Expn("list"))),
        ("EXPN é", Ok(Command::Expn("é"))),
        ("STARTTLS", Ok(Command::StartTls)),
        ("STARTTLS now", Err(Syntax(Verb::StartTls))),
        ("ETRN é", Err(NotImplemented(Verb::Etrn))),
        ("", Err(UnknownVerb)),
        (" ", Err(UnknownVerb)),
        (" QUIT", Err(UnknownVerb)),
        ("QUIT\0", Err(UnknownVerb)),
        ("DATA\r", Err(UnknownVerb)),
        ("GET / HTTP/1.1", Err(UnknownVerb)),
        ("\u{16}\u{3}\u{1}", Err(UnknownVerb)),
        ("MAILFROM:<a@b>", Err(UnknownVerb)),
    ] {
        assert_eq!(parse(line), expected, "{line:?}");
    }
}

#[test]
fn greetings() {
    let long = "x".repeat(255);
    for name in [
        "mx.example.org",
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "under_score",
        "192.0.2.1",
        "-",
        "a<b>",
        &long,
    ] {
        assert_eq!(parse(&format!("EHLO {name}")), Ok(Command::Ehlo(name)));
        assert_eq!(parse(&format!("helo\t{name} ")), Ok(Command::Helo(name)));
    }
    for bad in ["", " ", "two words", "a\tb", "a\u{1}", &"x".repeat(256)] {
        assert_eq!(
            parse(&format!("EHLO {bad}")),
            Err(CommandError::Syntax(Verb::Ehlo)),
            "{bad:?}"
        );
        assert_eq!(
            parse(&format!("HELO {bad}")),
            Err(CommandError::Syntax(Verb::Helo)),
            "{bad:?}"
        );
    }
    assert_eq!(
        parse("EHLO mx.exämple.org"),
        Err(CommandError::NotAscii(Verb::Ehlo))
    );
}

#[test]
fn auth() {
    let syntax = Err(CommandError::Syntax(Verb::Auth));
    for (line, expected) in [
        (
            "AUTH PLAIN",
            Ok(Command::Auth {
                mechanism: "PLAIN",
                initial: None,
            }),
        ),
        (
            "auth plain =",
            Ok(Command::Auth {
                mechanism: "plain",
                initial: Some("="),
            }),
        ),
        (
            "AUTH  PLAIN  AGEAYg== ",
            Ok(Command::Auth {
                mechanism: "PLAIN",
                initial: Some("AGEAYg=="),
            }),
        ),
        (
            "AUTH X-UNKNOWN_1 a+/9",
            Ok(Command::Auth {
                mechanism: "X-UNKNOWN_1",
                initial: Some("a+/9"),
            }),
        ),
        ("AUTH", syntax),
        ("AUTH PLAIN a b", syntax),
        ("AUTH PLAIN ===", Err(CommandError::Parameter(Verb::Auth))),
        ("AUTH PLAIN a=b", Err(CommandError::Parameter(Verb::Auth))),
        ("AUTH PLAIN <a>", Err(CommandError::Parameter(Verb::Auth))),
        ("AUTH PL/AIN", syntax),
        ("AUTH ABCDEFGHIJKLMNOPQRSTU", syntax),
        ("AUTH PLAIN \u{e9}", Err(CommandError::NotAscii(Verb::Auth))),
    ] {
        assert_eq!(parse(line), expected, "{line:?}");
    }
}

const NONE: MailParams<'_> = MailParams {
    size: None,
    body: None,
    smtputf8: false,
    ret: None,
    envid: None,
    by: None,
    require_tls: false,
    mt_priority: None,
    hold: None,
    auth: None,
};

/// Holds MAIL with each of these parameters against what it must come to.
fn check_params(table: &[(&str, Result<MailParams<'static>, CommandError>)]) {
    for (params, expected) in table {
        let expected = expected.and_then(|params| mail("a@b", params));
        assert_eq!(
            parse_mail(&format!("MAIL FROM:<a@b> {params}")),
            expected,
            "{params:?}"
        );
    }
}

#[test]
fn size_parameter() {
    let bad = Err(CommandError::Parameter(Verb::Mail));
    let size = |size| {
        Ok(MailParams {
            size: Some(size),
            ..NONE
        })
    };
    check_params(&[
        ("", Ok(NONE)),
        ("SIZE=0", size(0)),
        ("size=1000000  ", size(1_000_000)),
        ("SIZE=00000000000000000012", size(12)),
        ("SIZE=18446744073709551615", size(u64::MAX)),
        ("SIZE=18446744073709551616", bad),
        ("SIZE=000000000000000000001", bad),
        ("SIZE=+1", bad),
        ("SIZE=-1", bad),
        ("SIZE", bad),
        ("SIZE=", Err(CommandError::Syntax(Verb::Mail))),
        ("SIZE=1 SIZE=1", bad),
        ("SIZE=1 size=2", bad),
    ]);
}

#[test]
fn body_and_auth_parameters() {
    let bad = Err(CommandError::Parameter(Verb::Mail));
    let body = |body| MailParams {
        body: Some(body),
        ..NONE
    };
    let auth = |auth| {
        Ok(MailParams {
            auth: Some(auth),
            ..NONE
        })
    };
    let long_auth = format!("AUTH={}", "a".repeat(495));
    check_params(&[
        ("body=8bitmime", Ok(body(Body::EightBitMime))),
        (
            "BODY=7BIT\tSIZE=1",
            Ok(MailParams {
                size: Some(1),
                ..body(Body::SevenBit)
            }),
        ),
        ("BODY=BinaryMime", Ok(body(Body::BinaryMime))),
        ("BODY", bad),
        ("BODY=7BIT BODY=8BITMIME", bad),
        ("AUTH=<>", auth("<>")),
        ("AUTH=e+3Dmc2@example.com", auth("e+3Dmc2@example.com")),
        ("AUTH=a AUTH=a", bad),
        ("AUTH=a+0Ab", bad),
        ("AUTH=a+", bad),
        ("AUTH=a=b", Err(CommandError::Syntax(Verb::Mail))),
        ("AUTH", bad),
        (&long_auth, bad),
    ]);
}

#[test]
fn other_parameters() {
    let unknown = Err(CommandError::UnknownParameter(Verb::Mail));
    let syntax = Err(CommandError::Syntax(Verb::Mail));
    check_params(&[
        ("X-1=~!<", unknown),
        ("-X", syntax),
        ("=1", syntax),
        ("X_Y=1", syntax),
        ("SIZE=1 é", Err(CommandError::NotAscii(Verb::Mail))),
    ]);
}

#[test]
fn mail_and_rcpt_around_the_path() {
    let brackets = || Err(CommandError::Path(Verb::Mail, PathError::Brackets));
    let ok = || mail("a@b", MailParams::default());
    for (line, expected) in [
        ("MAIL FROM:<a@b>", ok()),
        ("mail from:<a@b>", ok()),
        ("MAIL\tFROM: \t<a@b>  ", ok()),
        ("MAIL  FROM:<a@b>", ok()),
        ("MAIL", Err(CommandError::Syntax(Verb::Mail))),
        ("MAIL <a@b>", Err(CommandError::Syntax(Verb::Mail))),
        ("MAIL FROM <a@b>", Err(CommandError::Syntax(Verb::Mail))),
        ("MAIL FROM :<a@b>", Err(CommandError::Syntax(Verb::Mail))),
        ("MAIL TO:<a@b>", Err(CommandError::Syntax(Verb::Mail))),
        (
            "MAIL FROM:",
            Err(CommandError::Path(Verb::Mail, PathError::Missing)),
        ),
        ("MAIL FROM:a@b", brackets()),
        ("MAIL FROM:a@b <c@d>", brackets()),
        ("MAIL FROM:<a@b", brackets()),
        ("MAIL FROM:<a@b>SIZE=1", brackets()),
        ("MAIL FROM:<a@b>,<c@d>", brackets()),
        ("MAIL FROM:<a@b>>", brackets()),
        ("MAIL FROM:<\"a@b>", brackets()),
        ("MAIL FROM:<\"a\\\">", brackets()),
        ("MAIL FROM:<<a@b>>", brackets()),
        (
            "MAIL FROM:<a<b@c>",
            Err(CommandError::Path(Verb::Mail, PathError::Local)),
        ),
        (
            "MAIL FROM:<a\u{1}@b>",
            Err(CommandError::Syntax(Verb::Mail)),
        ),
    ] {
        assert_eq!(parse_mail(line), expected, "{line:?}");
    }
    for (line, expected) in [
        ("RCPT TO:<a@b>", Ok("a@b".to_owned())),
        ("rcpt to: <\"a> \"@b>", Ok("\"a> \"@b".to_owned())),
        (
            "RCPT TO:<>",
            Err(CommandError::Path(Verb::Rcpt, PathError::NullForward)),
        ),
        (
            "RCPT TO:",
            Err(CommandError::Path(Verb::Rcpt, PathError::Missing)),
        ),
        ("RCPT FROM:<a@b>", Err(CommandError::Syntax(Verb::Rcpt))),
        (
            "RCPT TO:<a@b> RRVS=2014-04-03T23:01:00Z",
            Err(CommandError::UnknownParameter(Verb::Rcpt)),
        ),
        ("RCPT TO:<a@b> =", Err(CommandError::Syntax(Verb::Rcpt))),
        ("RCPT TO:<é@b>", Ok("é@b".to_owned())),
    ] {
        assert_eq!(parse_rcpt(line), expected, "{line:?}");
    }
}

#[test]
fn printing_for_the_upstream() {
    use tarpit_smtp::{
        write_auth, write_ehlo, write_helo, write_mail, write_rcpt, write_verb, write_xclient,
    };
    let path = ReversePath::parse("@relay:a@b").unwrap();
    let params = MailParams {
        size: Some(10),
        body: Some(Body::EightBitMime),
        auth: Some("<>"),
        ..NONE
    };
    let mut out = Vec::new();
    write_ehlo(&mut out, "mx.example.org");
    write_helo(&mut out, "mx.example.org");
    write_mail(&mut out, path.as_str(), &params.printed());
    write_mail(&mut out, "", &MailParams::default().printed());
    write_rcpt(&mut out, "postmaster", "");
    write_auth(&mut out, Mechanism::Plain, Some("="));
    write_auth(&mut out, Mechanism::CramMd5, None);
    write_xclient(
        &mut out,
        &[
            (XclientAttribute::Name, "[UNAVAILABLE]"),
            (XclientAttribute::Helo, "a b=+\r\n"),
        ],
    );
    write_verb(&mut out, Verb::Data);
    // From nowhere in this program; it must not become a second command.
    write_rcpt(&mut out, "a@b>\r\nDATA\r\n<", "\r\n");
    let expected = "EHLO mx.example.org\r\nHELO mx.example.org\r\n\
        MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME AUTH=<>\r\nMAIL FROM:<>\r\nRCPT TO:<postmaster>\r\n\
        AUTH PLAIN =\r\nAUTH CRAM-MD5\r\nXCLIENT NAME=[UNAVAILABLE] HELO=a+20b+3D+2B+0D+0A\r\nDATA\r\n\
        RCPT TO:<a@b>??DATA??<>??\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
