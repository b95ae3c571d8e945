//! What the properties draw from: lines that clients say, answers that upstreams give, policies.

use std::fmt;
use std::time::Duration;

use proptest::prelude::*;
use tarpit_core::filter::{Filter, Names};
use tarpit_core::ledger::LedgerConfig;
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{Answer, Door, Trouble};
use tarpit_smtp::{Capabilities, Reply, ReplyCode, escape};
use tarpit_testkit::Rules;

/// One whole line each. Good and bad names, all verbs, and what is no line at all.
pub(crate) const LINES: &[&[u8]] = &[
    b"EHLO client.example\r\n",
    b"HELO client.example\r\n",
    b"MAIL FROM:<a@b.example>\r\n",
    b"MAIL FROM:<> SIZE=100 BODY=8BITMIME\r\n",
    b"MAIL FROM:<a@b.example> SIZE=99999999\r\n",
    b"MAIL FROM:<a@b.example> X=Y\r\n",
    b"RCPT TO:<good@example.org>\r\n",
    b"RCPT TO:<good2@example.org>\r\n",
    b"RCPT TO:<bad@example.org>\r\n",
    b"RCPT TO:<bad2@example.org>\r\n",
    b"RCPT TO:<unlisted@example.org>\r\n",
    b"RCPT TO:<a@elsewhere.example>\r\n",
    b"RCPT TO:<postmaster>\r\n",
    b"RCPT TO:bad\r\n",
    b"DATA\r\n",
    b".\r\n",
    b"text\r\n",
    b"RSET\r\n",
    b"NOOP\r\n",
    b"VRFY x\r\n",
    b"EXPN x\r\n",
    b"HELP\r\n",
    b"AUTH PLAIN AGE=\r\n",
    b"AUTH LOGIN\r\n",
    b"AUTH EXTERNAL =\r\n",
    b"YWxpY2U=\r\n",
    b"*\r\n",
    b"\r\n",
    b"BOO\r\n",
    b"\xff\xfe\r\n",
    b"NO\0OP\r\n",
    b"QUIT\r\n",
    b"MAIL FROM:<a@b.example> BODY=BINARYMIME RET=HDRS ENVID=x+2By\r\n",
    b"MAIL FROM:<a@b.example> SMTPUTF8\r\n",
    b"MAIL FROM:<\xc3\xa4@b.example>\r\n",
    b"RCPT TO:<good@example.org> NOTIFY=NEVER\r\n",
    b"RCPT TO:<\xc3\xa4@example.org>\r\n",
    b"STARTTLS\r\n",
    b"XCLIENT ADDR=192.0.2.1 NAME=c.example\r\n",
    b"XCLIENT LOGIN=x\r\n",
    b"BDAT x\r\n",
    // No line end in what follows: if it is read as a line, it is one with the next.
    b"BDAT 0\r\n",
    b"BDAT 0 LAST\r\n",
    b"BDAT 5\r\nRSET ",
    b"BDAT 5 LAST\r\nRSET ",
    b"BDAT 5 LAST\r\nRSET ",
];

/// Lines that are bad in what ends them.
pub(crate) const BROKEN: &[&[u8]] = &[
    b"NOOP\n",
    b"MAIL FROM:<a@b.example>\rRCPT TO:<good@example.org>\r\n",
    b"one\n.\n",
];

/// Octets that a failing test prints so that people can read them.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", escape(&self.0))
    }
}

/// What sessions are made of: without these, hardly any random one would come to a guess, a message
/// or an AUTH exchange.
const COMMON: &[&[&[u8]]] = &[
    &[b"EHLO client.example\r\n"],
    &[b"EHLO client.example\r\n", b"AUTH LOGIN\r\n"],
    &[b"RSET\r\n", b"AUTH LOGIN\r\n"],
    &[b"RSET\r\n", b"AUTH PLAIN AGE=\r\n"],
    &[
        b"RSET\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<good@example.org>\r\n",
    ],
    &[
        b"RSET\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<bad@example.org>\r\n",
    ],
    &[
        b"MAIL FROM:<a@b.example>\r\n",
        b"RCPT TO:<bad@example.org>\r\n",
        b"RCPT TO:<bad2@example.org>\r\n",
    ],
    &[b"DATA\r\n"],
    &[b"BDAT 5\r\nRSET ", b"BDAT 5 LAST\r\nRSET "],
    &[b".\r\n"],
];

/// A line of [`LINES`], or a few that belong together.
pub(crate) fn lines() -> impl Strategy<Value = Vec<Octets>> {
    let owned = |lines: &[&[u8]]| {
        lines
            .iter()
            .map(|line| Octets(line.to_vec()))
            .collect::<Vec<_>>()
    };
    prop_oneof![
        prop::sample::select(LINES).prop_map(move |line| owned(&[line])),
        prop::sample::select(COMMON).prop_map(owned),
    ]
}

/// Failures are printed whole, so no file is needed to find them again.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        max_shrink_iters: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// A policy, within what the configuration allows.
pub(crate) fn policy() -> impl Strategy<Value = Policy> {
    let mode =
        prop_oneof![1 => Just(Mode::Off), 1 => Just(Mode::Observe), 4 => Just(Mode::Enforce)];
    let scope = prop_oneof![1 => Just(Scope::Session), 2 => Just(Scope::Source)];
    let times = prop_oneof![
        Just((0, 25)),
        Just((1, 1)),
        Just((5, 25)),
        Just((5, 7)),
        Just((40, 80)),
        Just((100, 200)),
        Just((200, 200))
    ];
    let limits = (
        prop_oneof![Just(2_u32), Just(100)],
        prop_oneof![Just(1_u32), Just(20), Just(1000)],
    );
    let way =
        prop_oneof![2 => Just(Way::Silent), 1 => Just(Way::Stutter), 1 => Just(Way::Continuation)];
    (mode, scope, times, limits, way).prop_map(
        |(mode, scope, (delay, hold_max), (recipients_max, errors_max), way)| Policy {
            mode,
            scope,
            delay: Duration::from_secs(delay),
            hold_max: Duration::from_secs(hold_max),
            recipients_max,
            errors_max,
            way,
            pace: way.pace(),
        },
    )
}

/// A world of one policy.
pub(crate) fn rules(policy: Policy, listed: bool) -> Rules {
    let ehlo = "upstream\nPIPELINING\nSIZE 1000000\n8BITMIME\nSMTPUTF8\nDSN\nCHUNKING\n\
                BINARYMIME\nAUTH PLAIN LOGIN";
    let names: [Box<str>; 4] =
        ["good", "good2", "bad", "bad2"].map(|name| format!("{name}@example.org").into());
    Rules {
        hostname: "mx.example.org".to_owned(),
        policy,
        capabilities: Capabilities::from_ehlo(&reply(250, ehlo)),
        filter: Filter::new(
            vec!["example.org".into()],
            listed.then(|| Names::new(names)),
            false,
        ),
        door: Door {
            auth_plain: true,
            starttls: true,
            xclient: true,
            ..Door::default()
        },
        implicit_tls: false,
        command_timeout: Duration::from_secs(300),
        session_timeout: Duration::from_secs(3600),
        // Whether more was read behind a message than is kept depends on how it came.
        held_unread_max: usize::MAX,
        grace: Duration::from_secs(5),
        ledger: LedgerConfig {
            sources_max: 1000,
            known_max: 1000,
            known_for: Duration::from_secs(30 * 86_400),
        },
    }
}

/// A reply.
pub(crate) fn reply(code: u16, text: &str) -> Reply {
    Reply::new(ReplyCode::new(code).unwrap(), text)
}

/// What comes of a question: anything that the contract allows for it.
pub(crate) fn answer(question: &str) -> Vec<Answer> {
    let trouble = [
        Trouble::Unreachable,
        Trouble::TimedOut,
        Trouble::Closed,
        Trouble::Garbage,
        Trouble::Capacity,
        Trouble::Identity,
        Trouble::Changed,
        Trouble::Lacks,
        Trouble::Relays,
        Trouble::AuthLost,
    ];
    let mut answers: Vec<Answer> = trouble.into_iter().map(Answer::Trouble).collect();
    let codes: &[(u16, &str)] = match question.split(' ').next().unwrap_or_default() {
        "RCPT" => &[
            (250, "2.1.5 Ok"),
            (250, "2.1.5 Ok"),
            (550, "5.1.1 No"),
            (550, "5.1.1 No"),
            (550, "5.7.1 No"),
            (450, "4.1.1 No"),
            (451, "4.3.0 No"),
            (552, "No"),
        ],
        "DATA" => &[
            (354, "Go"),
            (354, "Go"),
            (354, "Go"),
            (354, "Go"),
            (451, "No"),
            (554, "No"),
            (503, "No"),
        ],
        _ => &[
            (334, "eA=="),
            (334, "eA=="),
            (235, "2.7.0 Ok"),
            (535, "5.7.8 No"),
            (535, "5.7.8 No"),
            (454, "4.7.0 No"),
            (501, "No"),
            (504, "No"),
            (534, "No"),
        ],
    };
    let replies = codes.iter().map(|(code, text)| reply(*code, text));
    answers.extend(replies.map(Answer::Reply));
    let honest: &[(u16, &str)] = match question.split(' ').next().unwrap_or_default() {
        "RCPT" if question.contains("bad") => &[(550, "5.1.1 No")],
        "RCPT" => &[(250, "2.1.5 Ok")],
        "DATA" => &[(354, "Go")],
        _ => &[(334, "eA=="), (535, "5.7.8 No"), (235, "2.7.0 Ok")],
    };
    // Half of all answers, lest hardly any transaction got anywhere.
    let honest = honest
        .iter()
        .map(|(code, text)| Answer::Reply(reply(*code, text)));
    answers.extend(honest.cycle().take(24));
    if question.starts_with("RCPT") {
        answers.extend(
            [(550, "5.7.1 No"), (552, "5.2.3 No"), (451, "4.3.0 No")]
                .map(|(code, text)| Answer::SenderRefused(reply(code, text))),
        );
        answers.push(Answer::ServiceRefused(reply(554, "5.7.1 No")));
    }
    answers
}
