//! Tables: the parameters of MAIL and RCPT, what they need, and how they are told to the upstream.

use tarpit_smtp::{Command, CommandError, Extension, Extensions, Verb};

/// The canonical text, and what it needs.
fn mail(params: &str) -> Result<(String, Extensions), CommandError> {
    match Command::parse(format!("MAIL FROM:<a@b> {params}").as_bytes())? {
        Command::Mail { params, .. } => Ok((params.printed().into(), params.uses())),
        other => panic!("{other:?}"),
    }
}

fn rcpt(params: &str) -> Result<(String, Extensions), CommandError> {
    match Command::parse(format!("RCPT TO:<a@b> {params}").as_bytes())? {
        Command::Rcpt { params, .. } => {
            assert_eq!(params.is_empty(), params.printed().is_empty());
            Ok((params.printed().into(), params.uses()))
        }
        other => panic!("{other:?}"),
    }
}

fn set(extensions: &[Extension]) -> Extensions {
    extensions.iter().copied().collect()
}

type Found = Result<(String, Extensions), CommandError>;

/// Each text must come to the text beside it, print to itself from then on, and need these.
fn accepts(parse: fn(&str) -> Found, table: &[(&str, &str, &[Extension])]) {
    for (text, printed, needs) in table {
        let expected = Ok(((*printed).to_owned(), set(needs)));
        assert_eq!(parse(text), expected, "{text}");
        assert_eq!(parse(printed), expected, "{text}, printed");
    }
}

fn refuses(parse: fn(&str) -> Found, error: CommandError, table: &[&str]) {
    for text in table {
        assert_eq!(parse(text), Err(error), "{text}");
    }
}

#[test]
fn parameters_of_mail() {
    use Extension::{
        Auth, BinaryMime, DeliverBy, Dsn, EightBitMime, FutureRelease, MtPriority, RequireTls,
        Size, SmtpUtf8,
    };
    let envid = format!("ENVID={}", "e".repeat(100));
    accepts(
        mail,
        &[
            ("", "", &[]),
            ("smtputf8", " SMTPUTF8", &[SmtpUtf8]),
            ("body=binarymime", " BODY=BINARYMIME", &[BinaryMime]),
            ("BODY=7BIT", " BODY=7BIT", &[EightBitMime]),
            ("Ret=full", " RET=FULL", &[Dsn]),
            ("RET=HDRS ENVID=a+2Bb", " RET=HDRS ENVID=a+2Bb", &[Dsn]),
            (&envid, &format!(" {envid}"), &[Dsn]),
            ("BY=120;R", " BY=120;R", &[DeliverBy]),
            ("by=+000000120;rt", " BY=120;RT", &[DeliverBy]),
            ("BY=-120;N", " BY=-120;N", &[DeliverBy]),
            ("BY=0;NT", " BY=0;NT", &[DeliverBy]),
            ("BY=-999999999;n", " BY=-999999999;N", &[DeliverBy]),
            ("requiretls", " REQUIRETLS", &[RequireTls]),
            ("MT-PRIORITY=-9", " MT-PRIORITY=-9", &[MtPriority]),
            ("mt-priority=0", " MT-PRIORITY=0", &[MtPriority]),
            ("MT-PRIORITY=9", " MT-PRIORITY=9", &[MtPriority]),
            ("HOLDFOR=1", " HOLDFOR=1", &[FutureRelease]),
            ("holdfor=999999999", " HOLDFOR=999999999", &[FutureRelease]),
            (
                "HOLDUNTIL=2026-11-24T17:00:00Z",
                " HOLDUNTIL=2026-11-24T17:00:00Z",
                &[FutureRelease],
            ),
            (
                "AUTH=<> HOLDFOR=5 MT-PRIORITY=1 REQUIRETLS BY=1;R ENVID=x RET=FULL SMTPUTF8 BODY=8BITMIME SIZE=007",
                " SIZE=7 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x BY=1;R REQUIRETLS MT-PRIORITY=1 HOLDFOR=5 AUTH=<>",
                &[
                    Size,
                    EightBitMime,
                    SmtpUtf8,
                    Dsn,
                    DeliverBy,
                    RequireTls,
                    MtPriority,
                    FutureRelease,
                    Auth,
                ],
            ),
        ],
    );
}

#[test]
fn bad_parameters_of_mail() {
    refuses(
        mail,
        CommandError::Parameter(Verb::Mail),
        &[
            "SMTPUTF8=yes",
            "SMTPUTF8 smtputf8",
            "REQUIRETLS=1",
            "REQUIRETLS REQUIRETLS",
            "BODY=BINARY",
            "RET=SOME",
            "RET",
            "RET=FULL RET=HDRS",
            "ENVID",
            "ENVID=a+",
            "ENVID=a+0Ab",
            &format!("ENVID={}", "e".repeat(101)),
            "BY=120",
            "BY=120;",
            "BY=;R",
            "BY=120;X",
            "BY=120;RX",
            "BY=120;RTT",
            "BY=0;R",
            "BY=-1;RT",
            "BY=1000000000;N",
            "BY=+-1;N",
            "BY=1;R BY=2;R",
            "MT-PRIORITY=10",
            "MT-PRIORITY=-10",
            "MT-PRIORITY=-0",
            "MT-PRIORITY=+1",
            "MT-PRIORITY=01",
            "MT-PRIORITY",
            "HOLDFOR=0",
            "HOLDFOR=01",
            "HOLDFOR=1000000000",
            "HOLDFOR=-1",
            "HOLDUNTIL=tomorrow",
            "HOLDUNTIL=2026-11-24",
            "HOLDFOR=1 HOLDUNTIL=2026-11-24T17:00:00Z",
            "HOLDFOR=1 HOLDFOR=1",
        ],
    );
    refuses(
        mail,
        CommandError::NotAscii(Verb::Mail),
        &["ENVID=é", "É=1", "SIZE=１"],
    );
    refuses(
        mail,
        CommandError::UnknownParameter(Verb::Mail),
        &["SOLICIT=x", "TRANSID=<x>", "XVERP", "NOTIFY=NEVER", "BY-1"],
    );
}

#[test]
fn parameters_of_rcpt() {
    use Extension::{Dsn, SmtpUtf8};
    let orcpt = format!("ORCPT=rfc822;{}", "o".repeat(493));
    accepts(
        rcpt,
        &[
            ("", "", &[]),
            ("notify=never", " NOTIFY=NEVER", &[Dsn]),
            ("NOTIFY=success", " NOTIFY=SUCCESS", &[Dsn]),
            (
                "NOTIFY=DELAY,failure,SUCCESS",
                " NOTIFY=SUCCESS,FAILURE,DELAY",
                &[Dsn],
            ),
            (
                "ORCPT=rfc822;Bob+2Btag@example.org NOTIFY=FAILURE",
                " NOTIFY=FAILURE ORCPT=rfc822;Bob+2Btag@example.org",
                &[Dsn],
            ),
            (&orcpt, &format!(" {orcpt}"), &[Dsn]),
            (
                "ORCPT=utf-8;b\\x{FC}cher@example.org",
                " ORCPT=utf-8;b\\x{FC}cher@example.org",
                &[Dsn],
            ),
            (
                "ORCPT=UTF-8;bücher@example.org",
                " ORCPT=UTF-8;bücher@example.org",
                &[Dsn, SmtpUtf8],
            ),
            (
                "ORCPT=utf-8;b+C3+BCcher@example.org",
                " ORCPT=utf-8;b+C3+BCcher@example.org",
                &[Dsn],
            ),
        ],
    );
}

#[test]
fn bad_parameters_of_rcpt() {
    refuses(
        rcpt,
        CommandError::Parameter(Verb::Rcpt),
        &[
            "NOTIFY",
            "NOTIFY=ALWAYS",
            "NOTIFY=NEVER,FAILURE",
            "NOTIFY=FAILURE,FAILURE",
            "NOTIFY=FAILURE,",
            "NOTIFY=,",
            "NOTIFY=NEVER NOTIFY=NEVER",
            "ORCPT",
            "ORCPT=rfc822",
            "ORCPT=rfc822;",
            "ORCPT=;a@b",
            "ORCPT=rfc822;a+0Db",
            "ORCPT=rfc822;a+2",
            "ORCPT=rfc822;é@b",
            "ORCPT=rf(c;a@b",
            "ORCPT=utf-8;a\\b",
            "ORCPT=utf-8;a\\x{110000}",
            "ORCPT=utf-8;a\\x{D800}",
            "ORCPT=utf-8;a\\x{0D}",
            "ORCPT=utf-8;a\\x{202E}",
            "ORCPT=utf-8;a\\x{}",
            "ORCPT=utf-8;a\\x{FC",
            "ORCPT=utf-8;a\u{2028}b",
            "ORCPT=utf-8;a\u{85}b",
            "ORCPT=utf-8;a+0A",
            &format!("ORCPT=rfc822;{}", "o".repeat(494)),
            "ORCPT=rfc822;a@b ORCPT=rfc822;a@b",
        ],
    );
    refuses(
        rcpt,
        CommandError::NotAscii(Verb::Rcpt),
        &["NOTIFY=é", "é=1"],
    );
    refuses(
        rcpt,
        CommandError::Syntax(Verb::Rcpt),
        &["ORCPT=rfc822;a=b", "NOTIFY=", "ORCPT=a;b\u{7f}"],
    );
    refuses(
        rcpt,
        CommandError::UnknownParameter(Verb::Rcpt),
        &["RRVS=2014-04-03T23:01:00Z", "SIZE=1", "RET=FULL"],
    );
}
