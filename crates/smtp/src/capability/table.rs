//! The one table of capabilities.

use super::lines::{self, Line};

/// What the gateway does with one capability of an upstream.
#[derive(Clone, Copy, Debug)]
pub struct CapabilityRow {
    /// The keyword, upper case.
    pub keyword: &'static str,
    /// Where it is written down.
    pub source: &'static str,
    /// Whether clients get it.
    pub treatment: Treatment,
    /// What is done with it, or why clients don't get it; one sentence.
    pub what: &'static str,
    /// How it is read and printed; `None` if it is never announced.
    pub(super) line: Option<Line>,
}

/// Whether clients are offered a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Treatment {
    /// Whenever the upstream announces it.
    Offered,
    /// If the upstream announces it and a condition holds, which the row states.
    OfferedIf,
    /// The gateway's own: what the upstream says about it concerns the gateway alone.
    Ours,
    /// Never.
    Never,
}

/// The row of a keyword, which is in upper case.
pub(super) fn row(keyword: &str) -> Option<&'static CapabilityRow> {
    TABLE.iter().find(|row| row.keyword == keyword)
}

const fn read(
    keyword: &'static str,
    source: &'static str,
    treatment: Treatment,
    line: Line,
    what: &'static str,
) -> CapabilityRow {
    CapabilityRow {
        keyword,
        source,
        treatment,
        what,
        line: Some(line),
    }
}

const fn never(keyword: &'static str, source: &'static str, what: &'static str) -> CapabilityRow {
    CapabilityRow {
        keyword,
        source,
        treatment: Treatment::Never,
        what,
        line: None,
    }
}

use Treatment::{Offered, OfferedIf, Ours};

/// Every capability that the gateway has an opinion on, in the order in which those that are announced are printed. What
/// isn't in here is never announced.
pub const TABLE: &[CapabilityRow] = &[
    read(
        "PIPELINING",
        "RFC 2920",
        Offered,
        lines::PIPELINING,
        "Clients may send commands without waiting; commands to the upstream are sent in groups where it announces this.",
    ),
    read(
        "SIZE",
        "RFC 1870",
        Offered,
        lines::SIZE,
        "The smaller of the upstream's limit and Tarpit's own; held against SIZE= in MAIL and against the message as it arrives.",
    ),
    read(
        "LIMITS",
        "RFC 9422",
        Ours,
        lines::LIMITS,
        "MAILMAX as the upstream says, RCPTMAX the smaller of the upstream's and Tarpit's own, announced too where the upstream states none. RCPTDOMAINMAX isn't announced: the upstream's counts over its own sessions, which Tarpit's clients don't share one to one.",
    ),
    read(
        "STARTTLS",
        "RFC 3207",
        Ours,
        lines::STARTTLS,
        "Each leg has its own: the client's is encrypted with Tarpit's certificate, the upstream's as its option `tls` says.",
    ),
    read(
        "AUTH",
        "RFC 4954",
        OfferedIf,
        lines::AUTH,
        "Over TLS, or where the configuration allows it over a plain connection; the mechanisms that the upstream has and Tarpit can relay. \
         AUTH= in MAIL becomes AUTH=<> unless this client authenticated.",
    ),
    read(
        "ENHANCEDSTATUSCODES",
        "RFC 2034",
        Offered,
        lines::ENHANCED_STATUS_CODES,
        "Replies are passed on with their codes; Tarpit's own replies have them always.",
    ),
    read(
        "8BITMIME",
        "RFC 6152",
        Offered,
        lines::EIGHT_BIT_MIME,
        "BODY= is passed on, and messages are, octet for octet.",
    ),
    read(
        "DSN",
        "RFC 3461",
        Offered,
        lines::DSN,
        "RET, ENVID, NOTIFY and ORCPT are checked and passed on.",
    ),
    read(
        "SMTPUTF8",
        "RFC 6531",
        OfferedIf,
        lines::SMTP_UTF8,
        "If the upstream announces 8BITMIME too, as the RFC wants; addresses that two servers could read in two ways are refused.",
    ),
    read(
        "CHUNKING",
        "RFC 3030 §2",
        Offered,
        lines::CHUNKING,
        "BDAT is relayed chunk by chunk; if the server has lost CHUNKING since it was asked, BDAT becomes DATA where the content allows that.",
    ),
    read(
        "BINARYMIME",
        "RFC 3030 §3",
        OfferedIf,
        lines::BINARY_MIME,
        "If the upstream announces CHUNKING too: only BDAT can carry such a message.",
    ),
    read(
        "DELIVERBY",
        "RFC 2852",
        Offered,
        lines::DELIVER_BY,
        "BY= is checked and passed on.",
    ),
    read(
        "REQUIRETLS",
        "RFC 8689",
        OfferedIf,
        lines::REQUIRE_TLS,
        "If the client's leg is encrypted and the upstream's is too, with a certificate that is verified.",
    ),
    read(
        "MT-PRIORITY",
        "RFC 6710",
        Offered,
        lines::MT_PRIORITY,
        "MT-PRIORITY= is checked and passed on, with the upstream's profile.",
    ),
    read(
        "FUTURERELEASE",
        "RFC 4865",
        Offered,
        lines::FUTURE_RELEASE,
        "HOLDFOR= and HOLDUNTIL= are checked and passed on; it is the upstream that holds the message.",
    ),
    read(
        "XCLIENT",
        "Postfix, XCLIENT_README",
        Ours,
        lines::XCLIENT,
        "Each leg has its own: with the upstream's, Tarpit tells it who the client is; Tarpit's is for the proxies that the configuration trusts.",
    ),
    never(
        "XFORWARD",
        "Postfix, XFORWARD_README",
        "It is for content filters behind a server, not for clients.",
    ),
    never(
        "ETRN",
        "RFC 1985",
        "It starts the server's queue, which is no business of a client on the Internet.",
    ),
    never(
        "ATRN",
        "RFC 2645",
        "It turns the session around: the server would send mail through Tarpit to its client.",
    ),
    never(
        "TURN",
        "RFC 821 §3.8",
        "It turns the session around without a proof of who the client is, and was withdrawn for that.",
    ),
    never(
        "VRFY",
        "RFC 5321 §3.5",
        "Passed on, it would be a free oracle for harvesters; it is answered 252 here.",
    ),
    never(
        "EXPN",
        "RFC 5321 §3.5",
        "Passed on, it would be a free oracle for harvesters; it is answered 502 here.",
    ),
    never("HELP", "RFC 5321 §4.1.1.8", "It is answered here."),
    never(
        "BURL",
        "RFC 4468",
        "The server would fetch message content by itself, past everything that Tarpit checks; it is answered 502.",
    ),
    never(
        "CHECKPOINT",
        "RFC 1845",
        "A transaction could be taken up again in another session, which Tarpit can't follow.",
    ),
    never(
        "CONPERM",
        "RFC 4141",
        "Content could be converted on the way; Tarpit keeps what was sent.",
    ),
    never(
        "CONNEG",
        "RFC 4141",
        "Content could be converted on the way; Tarpit keeps what was sent.",
    ),
    never(
        "NO-SOLICITING",
        "RFC 3865",
        "It marks mail that advertises; Tarpit doesn't know its parameter of MAIL.",
    ),
    never(
        "RRVS",
        "RFC 7293",
        "It asks whether a mailbox has changed hands; Tarpit doesn't know its parameter of RCPT.",
    ),
    never(
        "SUBMITTER",
        "RFC 4405",
        "It belonged to Sender ID, which is no longer in use; Tarpit doesn't know its parameter of MAIL.",
    ),
    never(
        "UTF8SMTP",
        "RFC 5336",
        "SMTPUTF8 took the place of this experiment.",
    ),
    never(
        "XVERP",
        "Postfix, VERP_README",
        "It asks for one return address for each recipient; Tarpit doesn't know its parameter of MAIL.",
    ),
    never(
        "X-ANONYMOUSTLS",
        "Microsoft Exchange",
        "Exchange servers encrypt with it among themselves; passthrough is the way for such a partner.",
    ),
    never(
        "X-EXPS",
        "Microsoft Exchange",
        "Exchange servers authenticate with it among themselves, bound to a connection that ends here; passthrough is the way for such a partner.",
    ),
    never(
        "XEXCH50",
        "Microsoft Exchange",
        "Only Exchange knows what its blocks of data hold; it is for Exchange servers of one organisation.",
    ),
    never(
        "X-LINK2STATE",
        "Microsoft Exchange",
        "It is for Exchange servers of one organisation.",
    ),
    never(
        "XRDST",
        "Microsoft Exchange",
        "It is for Exchange servers of one organisation.",
    ),
    never(
        "XSHADOW",
        "Microsoft Exchange",
        "It is for Exchange servers of one organisation.",
    ),
    never(
        "XSHADOWREQUEST",
        "Microsoft Exchange",
        "It is for Exchange servers of one organisation.",
    ),
    never(
        "XPROXY",
        "Microsoft Exchange",
        "It is for Exchange servers of one organisation.",
    ),
    never(
        "XPROXYFROM",
        "Microsoft Exchange",
        "It is for Exchange servers of one organisation.",
    ),
    never(
        "XOORG",
        "Microsoft Exchange",
        "It says for which organisation a server speaks, which a client certificate must prove; passthrough is the way for such a partner.",
    ),
];
