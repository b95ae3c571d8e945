//! The invariants over generated input: alphabets that are made to hurt, any chunking.

mod invariants;

use proptest::collection::vec;
use proptest::prelude::*;
use tarpit_smtp::{Command, ForwardPath, Reply, ReplyCode, ReplyReader, ReplyStep, ReversePath};

/// Octets of `alphabet`, up to `max` of them.
fn octets(alphabet: &'static [u8], max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(alphabet), 0..max)
}

/// Pieces that end lines, end data, or nearly do.
fn pieces(pieces: &'static [&'static [u8]], max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop::sample::select(pieces), 0..max).prop_map(|some| some.concat())
}

const DATA_PIECES: &[&[u8]] = &[
    b"\r\n",
    b".",
    b"\r\n.\r\n",
    b"text of a line",
    b"\r\n..",
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\0",
    b"\r",
];

const CLEAN_PIECES: &[&[u8]] = &[b"\r\n", b".", b"..", b"text of a line", b"\0", b"\xff"];

const COMMAND_PIECES: &[&[u8]] = &[
    b"MAIL FROM:",
    b"rcpt to:",
    b"EHLO ",
    b"HELO",
    b"AUTH ",
    b"VRFY ",
    b"PLAIN",
    b"DATA",
    b"NOOP ",
    b" ",
    b"\t",
    b"<",
    b">",
    b"<>",
    b"@",
    b"a",
    b"example.org",
    b".",
    b"[192.0.2.1]",
    b"[IPv6:",
    b"::1",
    b"]",
    b"\"",
    b"\\",
    b"@x:",
    b"BDAT ",
    b" LAST",
    b"STARTTLS",
    b"XCLIENT ",
    b" SMTPUTF8",
    b" RET=FULL",
    b" ENVID=x",
    b" BY=",
    b";R",
    b";NT",
    b" REQUIRETLS",
    b" MT-PRIORITY=-3",
    b" HOLDFOR=",
    b" HOLDUNTIL=2026-12-31T00:00:00Z",
    b" NOTIFY=SUCCESS,DELAY",
    b" ORCPT=rfc822;",
    b" ORCPT=utf-8;",
    b"\\x{FC}",
    b"\xe2\x80\xa8",
    b" SIZE=",
    b" BODY=8BITMIME",
    b" AUTH=",
    b"+41",
    b"=",
    b"12",
    b"<a@example.org>",
    b"postmaster",
    b"\xc3\xa9",
    b"\r",
    b"\0",
];

const REPLY_PIECES: &[&[u8]] = &[
    b"250",
    b"550",
    b"-",
    b" ",
    b"\r\n",
    b"\n",
    b"\r",
    b"5.1.1 ",
    b"4.7.0",
    b"text",
    b"\0",
    b"\xc3\xa9",
    b"250-",
    b"250 ",
    b"550-5.7.1 no\r\n",
    b"SIZE 10",
    b"AUTH PLAIN LOGIN",
    b"\t",
    b"9",
    b"250-PIPELINING\r\n",
    b"250-XCLIENT NAME\r\n",
];

const EHLO_PIECES: &[&[u8]] = &[
    b"\n",
    b"\n\n",
    b"\nSIZE ",
    b"100",
    b"9999",
    b" ",
    b"\nLIMITS ",
    b"RCPTMAX=",
    b" MAILMAX=",
    b"\nAUTH PLAIN",
    b" LOGIN",
    b"\nCHUNKING",
    b"\nBINARYMIME",
    b"\n8BITMIME",
    b"\nSMTPUTF8",
    b"\nDELIVERBY ",
    b"\nMT-PRIORITY ",
    b"MIXER",
    b"\nFUTURERELEASE ",
    b"2026-12-31T00:00:00Z",
    b"2026-12-31T00:00:00+01:00",
    b"\nREQUIRETLS",
    b"\nSTARTTLS",
    b"\nXCLIENT NAME ADDR",
    b"\nXSOMETHING",
    b"\xff",
    b"=",
];

const CLAIM_PIECES: &[&[u8]] = &[
    b" ",
    b"NAME=",
    b"ADDR=",
    b"IPV6:",
    b"::1",
    b"192.0.2.1",
    b" PORT=",
    b"25",
    b" PROTO=ESMTP",
    b" HELO=",
    b"[UNAVAILABLE]",
    b"a.example",
    b"+41",
    b"+0D",
    b"+C3+A9",
    b"+",
    b"=",
    b" LOGIN=",
    b" REVERSE_NAME=",
    b"\xc3\xa9",
    b"\0",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lines(stream in octets(b"\r\n\0a", 40)) {
        invariants::line::check(&stream);
    }

    #[test]
    fn data_of_hostile_octets(stream in octets(b"\r\n.a\0", 40)) {
        invariants::data::check(&stream);
    }

    #[test]
    fn data_of_hostile_pieces(stream in pieces(DATA_PIECES, 12), sizes in vec(1_usize..20, 200)) {
        invariants::data::scan(&stream, sizes.into_iter());
    }

    #[test]
    fn normalized_data_of_hostile_octets(stream in octets(b"\r\n.a\0", 40)) {
        invariants::data::check_normalize(&stream);
    }

    #[test]
    fn normalized_data_of_hostile_pieces(stream in pieces(DATA_PIECES, 12), sizes in vec(1_usize..20, 200)) {
        invariants::data::normalize(&stream, sizes.into_iter());
    }

    /// Many replacements in one scan, so that it gives its pieces in several goes.
    #[test]
    fn normalized_data_of_unix(stream in octets(b"\n\n.a", 200), sizes in vec(1_usize..200, 200)) {
        let stream = [&stream[..], b"\r\n.\r\n"].concat();
        invariants::data::normalize(&stream, sizes.into_iter());
    }

    #[test]
    fn content_of_hostile_octets(content in octets(b"\r\n.a\0", 40)) {
        invariants::stuff::check(&content);
    }

    #[test]
    fn clean_content_is_stuffed(content in pieces(CLEAN_PIECES, 60), sizes in vec(1_usize..30, 300)) {
        invariants::stuff::stuff(&content, sizes.into_iter());
    }

    #[test]
    fn clean_data_arrives(stream in pieces(CLEAN_PIECES, 20), sizes in vec(1_usize..30, 300)) {
        let stream = [&stream[..], b"\r\n.\r\n"].concat();
        invariants::data::scan(&stream, sizes.into_iter());
    }

    #[test]
    fn commands(line in pieces(COMMAND_PIECES, 10)) {
        invariants::command::check(&line);
    }

    #[test]
    fn commands_of_any_octets(line in vec(any::<u8>(), 0..60)) {
        invariants::command::check(&line);
    }

    #[test]
    fn replies(stream in pieces(REPLY_PIECES, 14)) {
        invariants::reply::check(&stream);
    }

    #[test]
    fn paths_that_follow_the_grammar_are_accepted(
        local in "[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9]{1,9}){0,3}|\"([ !#-\\[\\]-~]|\\\\[ -~]){0,20}\"",
        domain in "[a-z0-9]{1,20}(\\.[a-z0-9-]{1,20}){0,3}|\\[192\\.0\\.2\\.[0-9]\\]|\\[IPv6:2001:db8::[1-9a-f]{1,4}\\]",
        route in "(@[a-z]{1,9}(,@[a-z]{1,9}\\.[a-z]{2}){0,3}:)?",
    ) {
        let mailbox = format!("{local}@{domain}");
        let mail = format!("MAIL FROM:<{route}{mailbox}>");
        let rcpt = format!("RCPT TO:<{route}{mailbox}>");
        invariants::command::check(mail.as_bytes());
        invariants::command::check(rcpt.as_bytes());
        match (Command::parse(mail.as_bytes()), Command::parse(rcpt.as_bytes())) {
            (
                Ok(Command::Mail { path: ReversePath::Mailbox(from), .. }),
                Ok(Command::Rcpt { path: ForwardPath::Mailbox(to), .. }),
            ) => {
                prop_assert_eq!(from, to);
                prop_assert_eq!((from.as_str(), from.local(), from.domain()), (&*mailbox, &*local, &*domain));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn announcements(first in any::<u8>(), text in pieces(EHLO_PIECES, 40)) {
        invariants::ehlo::check(&[&[first][..], &text].concat());
    }

    #[test]
    fn claims(text in pieces(CLAIM_PIECES, 12)) {
        invariants::command::check(&[b"XCLIENT ", &text[..]].concat());
    }

    #[test]
    fn replies_written_are_read(code in 200_u16..600, lines in vec("[ -~\\t]{0,80}", 1..6)) {
        let reply = Reply::new(ReplyCode::new(code).unwrap(), &lines.join("\n"));
        let mut out = Vec::new();
        reply.write_to(&mut out);
        let consumed = out.len();
        prop_assert_eq!(ReplyReader::new().read(&out), Ok(ReplyStep::Done { reply, consumed }));
    }
}

/// All streams of up to seven octets over the hostile alphabet: small enough to leave nothing to chance.
#[test]
fn data_exhaustively() {
    let alphabet = b"\r\n.a\0";
    for len in 0..=7_u32 {
        for number in 0..5_usize.pow(len) {
            let stream: Vec<u8> = (0..len)
                .map(|at| alphabet[number / 5_usize.pow(at) % 5])
                .collect();
            invariants::data::scan(&stream, std::iter::repeat_n(1, stream.len()));
            invariants::data::scan(&stream, std::iter::repeat_n(3, stream.len()));
            invariants::data::scan(&stream, std::iter::once(stream.len()));
            // One octet more would take half a minute.
            if len < 7 {
                let octets = || std::iter::repeat_n(1, stream.len());
                invariants::data::normalize(&stream, octets());
                invariants::data::normalize(&stream, std::iter::once(stream.len()));
                invariants::stuff::stuff(&stream, octets());
                invariants::stuff::stuff(&stream, std::iter::once(stream.len()));
            }
        }
    }
}
