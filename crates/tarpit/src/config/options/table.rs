//! The data of the table. Order is the order of the sample and the reference.

use std::time::Duration;

use tarpit_core::policy::REPLY_MAX;

use super::Allowed::{
    Addresses, Count, Domains, File, Flag, Folder, Hostname, Listen, Moment, Name, Network,
    Sentence, Server, Time, Word,
};
use super::{Allowed, Apply, Default, Opt, Sample, Section, Shape};

/// An option that a reload can change.
const fn opt(
    key: &'static str,
    allowed: Allowed,
    default: Default,
    what: &'static str,
    why: &'static str,
) -> Opt {
    Opt {
        key,
        allowed,
        default,
        what,
        why,
        apply: Apply::Reload,
    }
}

impl Opt {
    /// The same, but only a restart can change it.
    const fn restart(mut self) -> Self {
        self.apply = Apply::Restart;
        self
    }
}

const fn seconds(min: u64, max: u64) -> Allowed {
    Time {
        min: Duration::from_secs(min),
        max: Duration::from_secs(max),
    }
}

const fn count(min: u64, max: u64) -> Allowed {
    Count { min, max }
}

const MODES: Allowed = Word(&["off", "observe", "enforce"]);
const DELAY: Allowed = Time {
    min: Duration::ZERO,
    max: REPLY_MAX,
};

/// All options.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "",
        shape: Shape::Top,
        what: "Who we are.",
        sample: Sample::Used,
        options: TOP,
    },
    Section {
        name: "listener",
        shape: Shape::Many,
        what: "Where clients connect. At least one; each may have a mode and a delay of its own.",
        sample: Sample::Used,
        options: LISTENER,
    },
    Section {
        name: "upstream",
        shape: Shape::Many,
        what: "The mail server behind. Exactly one in this version, unless there is a [maildir].",
        sample: Sample::Used,
        options: UPSTREAM,
    },
    Section {
        name: "maildir",
        shape: Shape::Single,
        what: "The built-in maildir, in place of an [[upstream]]: for trying out and for tests.",
        sample: Sample::Commented,
        options: MAILDIR,
    },
    Section {
        name: "recipients",
        shape: Shape::Single,
        what: "Who knows which names exist. Without this, no guess is ever refused, and no pit has work.",
        sample: Sample::Used,
        options: RECIPIENTS,
    },
    Section {
        name: "tarpit",
        shape: Shape::Single,
        what: "The tar pit itself.",
        sample: Sample::Used,
        options: TARPIT,
    },
    Section {
        name: "exempt",
        shape: Shape::Many,
        what: "A network whose sessions never wait: a partner, a monitor, an application of your own. \
               Never a proxy or filter in front of Tarpit: that would exempt everyone behind it.",
        sample: Sample::Commented,
        options: EXEMPT,
    },
    Section {
        name: "source",
        shape: Shape::Single,
        what: "What counts as one source: whose sessions share an account.",
        sample: Sample::Used,
        options: SOURCE,
    },
    Section {
        name: "limits",
        shape: Shape::Single,
        what: "The bounds. What is over a capacity gets a 4yz or 421 reply, never a 5yz, and is counted.",
        sample: Sample::Used,
        options: LIMITS,
    },
    Section {
        name: "log",
        shape: Shape::Single,
        what: "Records, on standard error. The variable TARPIT_LOG sets what is logged.",
        sample: Sample::Used,
        options: LOG,
    },
];

const TOP: &[Opt] = &[
    opt(
        "hostname",
        Hostname,
        Default::Found(
            "\"mx1.example.org\"",
            "the system's name, if it is fully qualified",
        ),
        "Our name, in the greeting, in EHLO to the server behind, and in trace headers.",
        "The system's name is right where Tarpit shares a machine with the mail server, which uses it \
         too. A name without a dot is refused, since RFC 5321 §2.3.5 wants a fully qualified one.",
    ),
    opt(
        "domains",
        Domains,
        Default::Value("[]"),
        "Domains that we accept mail for; a recipient elsewhere gets 550 5.7.1 before the server behind \
         is asked, unless the client is authenticated.",
        "Empty leaves the choice to the server behind, which knows its domains already. List them, and \
         two servers must fail before one of them becomes an open relay.",
    ),
];

const LISTENER: &[Opt] = &[
    opt(
        "name",
        Name,
        Default::Required("\"mx\""),
        "The listener's name in records.",
        "No default: records of two listeners must be told apart.",
    )
    .restart(),
    opt(
        "address",
        Listen,
        Default::Required("\"[::]:25\""),
        "Where to listen: an IP address and a port; port 0 takes a free one.",
        "No default: where a gateway is open to is a decision. \"[::]:25\" is every address, IPv4 too.",
    )
    .restart(),
    opt(
        "tarpit.mode",
        MODES,
        Default::Unset("\"enforce\"", "[tarpit] mode holds"),
        "A mode of this listener's own.",
        "Unset, so that there is one place to turn the pit off. Set it to try the pit on one listener.",
    ),
    opt(
        "tarpit.delay",
        DELAY,
        Default::Unset("\"5s\"", "[tarpit] delay holds"),
        "A price of this listener's own.",
        "Unset, so that there is one price. Set it where clients with short time limits connect.",
    ),
];

const UPSTREAM: &[Opt] = &[
    opt(
        "name",
        Name,
        Default::Value("\"upstream\""),
        "The server's name in records.",
        "There is one server in this version, so any name will do.",
    ),
    opt(
        "address",
        Server,
        Default::Required("\"127.0.0.1:10025\""),
        "Where the server behind listens: an IP address or host name, and a port. A host name is looked \
         up when the file is read, and IPv4 is preferred where it has both.",
        "No default: a wrong guess would hand mail to a stranger.",
    ),
    opt(
        "identity",
        Word(&["xclient", "proxy-v2", "none"]),
        Default::Value("\"none\""),
        "How the server behind learns who its client is: Postfix's XCLIENT command, the PROXY protocol \
         version 2, or not at all.",
        "Both ways need a setting in the server behind; guessed wrongly, every client would get 451. \
         With \"none\" its SPF checks, block lists and logs see the gateway: choose one of the others.",
    ),
    opt(
        "upstream_relays",
        Flag,
        Default::Value("false"),
        "The server behind may relay for this gateway's address. Needs `domains`.",
        "False, because a server that trusts our address (Postfix trusts loopback unless told otherwise) \
         makes an open relay of every client; Tarpit then opens no listener outside loopback.",
    ),
    opt(
        "connections_max",
        count(1, 100_000),
        Default::Value("80"),
        "Connections to the server behind, idle ones included; over it clients wait, then get 451.",
        "Postfix runs 100 smtpd processes unless told otherwise; twenty are left for its other clients.",
    ),
    opt(
        "connections_per_source_max",
        count(1, 100_000),
        Default::Value("20"),
        "Of these, how many may work for one source at a time.",
        "Large senders open up to 20 connections (Postfix's default_destination_concurrency_limit).",
    ),
    opt(
        "connections_reserved",
        count(0, 100_000),
        Default::Value("20"),
        "Of `connections_max`, how many are kept for known senders. Less than `connections_max`.",
        "A quarter: strangers that hold all the rest can't keep wanted mail out.",
    ),
    opt(
        "grace",
        Time {
            min: Duration::from_millis(100),
            max: Duration::from_secs(60),
        },
        Default::Value("\"5s\""),
        "A session that is held or idle for longer holds no connection to the server behind.",
        "Honest clients send their next command well within a second or two; letting go costs one \
         connect when they come back, keeping costs a process of the server.",
    ),
    opt(
        "connect_timeout",
        seconds(1, 60),
        Default::Value("\"10s\""),
        "Limit on one TCP connect to the server behind.",
        "It is on this machine or near it, where a connect takes milliseconds. 10 s live through a burst \
         of lost packets, and leave the client, who waits 5 minutes, time for its 451.",
    ),
];

const MAILDIR: &[Opt] = &[
    opt(
        "root",
        Folder,
        Default::Required("\"/var/lib/tarpit/mail\""),
        "Each recipient gets a maildir `root/address/`. Relative to the folder of this file.",
        "No default: mail must not land where nobody looks.",
    ),
    opt(
        "recipients",
        Addresses,
        Default::Required("[\"alice@example.org\", \"bob@example.org\"]"),
        "The addresses that exist.",
        "No default: a maildir that takes every name gives a tar pit nothing to do.",
    ),
    opt(
        "size_max",
        count(65_536, 1 << 40),
        Default::Value("52_428_800"),
        "Largest message in octets, announced with SIZE.",
        "50 MiB, as Exim's default; the large providers send up to about that much. RFC 5321 §4.5.3.1.7 \
         asks for 64 KiB at least.",
    ),
];

const RECIPIENTS: &[Opt] = &[
    opt(
        "source",
        Word(&["upstream", "file"]),
        Default::Value("\"upstream\""),
        "Who says whether a name exists: the server behind, or a file.",
        "The server behind always knows best. A file serves where it takes every name at RCPT and only \
         later finds out that it doesn't exist.",
    ),
    opt(
        "file",
        File,
        Default::Unset(
            "\"recipients.txt\"",
            "no file; it is required with source = \"file\"",
        ),
        "One address a line; `#` starts a comment, `@example.org` takes a whole domain. Read again when \
         it changes. Relative to the folder of this file.",
        "Unset, since the server behind is asked.",
    ),
];

const TARPIT: &[Opt] = &[
    opt(
        "mode",
        MODES,
        Default::Value("\"observe\""),
        "`off` keeps no accounts; `observe` reports what would have waited and delays nothing; \
         `enforce` delays.",
        "KB 842851 was an option to evaluate, then turn on; so is this. Nothing waits before you say so.",
    ),
    opt(
        "delay",
        DELAY,
        Default::Value("\"5s\""),
        "The price of an offence: TarpitTime of KB 842851. 0 turns the pit off.",
        "Five seconds are KB 842851's example and the default of Exchange's own pit. They turn hundreds of \
         guesses a second into twelve a minute, and a client waits for minutes (RFC 5321 §4.5.3.2).",
    ),
    opt(
        "scope",
        Word(&["session", "source"]),
        Default::Value("\"session\""),
        "Whose account is charged: the session's, which is KB 842851's way, or that of its source over \
         all sessions.",
        "With `session` a wanted client waits for its own mistakes only. `source` is far stronger \
         against harvesters; it becomes the default when sources can earn standing.",
    ),
    opt(
        "hold_max",
        seconds(1, 200),
        Default::Value("\"25s\""),
        "The longest hold before one reply, with scope = \"source\"; who owes more gets 450 4.7.1. Not \
         less than any `delay`.",
        "Servers that ask ours whether a sender exists (call-outs) give up at 30 s, as Exim does by \
         default; at 25 s they still get their answer.",
    ),
];

const EXEMPT: &[Opt] = &[
    opt(
        "network",
        Network,
        Default::Required("\"203.0.113.0/24\""),
        "Whose sessions are exempt: an address or a network.",
        "No default: an exemption names whom it is for.",
    ),
    opt(
        "reason",
        Sentence,
        Default::Required("\"ACME's order system\""),
        "Why, for the records and for whoever comes after.",
        "No default: an exemption that nobody can explain is never removed.",
    ),
    opt(
        "until",
        Moment,
        Default::Unset("2027-03-31", "it holds for good"),
        "When it ends: a date (the start of that day, UTC) or a date and time with its offset.",
        "Unset, since a partner may stay a partner. Set it for whatever is being repaired.",
    ),
];

const SOURCE: &[Opt] = &[
    opt(
        "ipv4_prefix",
        count(8, 32),
        Default::Value("32"),
        "Leading bits of an IPv4 address that make a source.",
        "One address: behind it may be many people, but beside it are strangers.",
    )
    .restart(),
    opt(
        "ipv6_prefix",
        count(16, 128),
        Default::Value("64"),
        "Leading bits of an IPv6 address that make a source.",
        "A /64 is the smallest network that a site is given (RFC 6177), and a client picks addresses \
         within it freely (RFC 8981).",
    )
    .restart(),
];

const LIMITS: &[Opt] = &[
    opt(
        "sessions_max",
        count(1, 1_000_000),
        Default::Value("10_000"),
        "Sessions in all; over it 421 4.3.2.",
        "A thousand misses a second with 5 s each fill half of it. A held session costs the gateway a \
         few hundred octets and one file descriptor: raise LimitNOFILE= along with it.",
    ),
    opt(
        "sessions_per_source_max",
        count(1, 1_000_000),
        Default::Value("100"),
        "Sessions of one source; over it 421 4.7.0. Applied in `enforce`, reported in `observe`.",
        "Large senders stay near 20, and an office behind one address near 50; 100 is a crowd.",
    ),
    opt(
        "recipients_max",
        count(100, 100_000),
        Default::Value("1000"),
        "Recipients of one transaction; more get 452 4.5.3.",
        "As Postfix's smtpd_recipient_limit. Never below 100 (RFC 5321 §4.5.3.1.8).",
    ),
    opt(
        "errors_max",
        count(1, 1000),
        Default::Value("20"),
        "5yz replies in one session that isn't authenticated; the next ends it with 421. Applied in \
         `enforce`, reported in `observe`.",
        "As Postfix's smtpd_hard_error_limit.",
    ),
    opt(
        "held_unread_max",
        count(512, 65_536),
        Default::Value("4096"),
        "Octets that a held session may have read ahead; the rest stays in the kernel.",
        "About a hundred pipelined commands: an honest group of recipients fits, and 10,000 held \
         sessions stay below 40 MiB.",
    ),
    opt(
        "command_timeout",
        seconds(10, 3600),
        Default::Value("\"5m\""),
        "Time for one whole command line, however slowly its octets come; then 421.",
        "RFC 5321 §4.5.3.2.7 asks a server to wait for 5 minutes.",
    ),
    opt(
        "session_timeout",
        seconds(60, 86_400),
        Default::Value("\"30m\""),
        "Time for one session in all, but never in the middle of a message; then 421.",
        "Longer than any honest queue run on one connection, and three times the 10 minutes that the \
         holds of one session may add up to.",
    ),
    opt(
        "data_block_timeout",
        seconds(10, 600),
        Default::Value("\"3m\""),
        "Time for one block of message data; then 421.",
        "RFC 5321 §4.5.3.2.5 gives the sender 3 minutes for each.",
    ),
    opt(
        "data_rate_min",
        count(0, 1_000_000),
        Default::Value("100"),
        "Least average rate of message data in octets a second, once one `data_block_timeout` has \
         passed; 0 is no limit.",
        "A modem line of 9,600 bit/s makes ten times that. There is no limit on DATA as a whole: slow \
         honest mail of 25 MiB exists.",
    ),
    opt(
        "end_of_data_timeout",
        seconds(600, 1800),
        Default::Value("\"10m\""),
        "How long the server behind may take to answer a whole message; then the client gets 451, which \
         means that a retry may deliver twice.",
        "RFC 5321 §4.5.3.2.6: a sender waits for 10 minutes, so giving up sooner makes duplicates.",
    ),
    opt(
        "drain_timeout",
        seconds(1, 1800),
        Default::Value("\"30s\""),
        "How long running transactions may take to finish after SIGTERM.",
        "systemd kills after 90 s by default; most transactions take less than one.",
    ),
    opt(
        "ledger_sources_max",
        count(1, 100_000_000),
        Default::Value("200_000"),
        "Sources in the ledger; the least owing go first. Not less than `sessions_max`.",
        "A spread attack of some ten thousand hosts fits many times; at roughly a hundred octets each \
         the ledger stays near 20 MiB.",
    )
    .restart(),
    opt(
        "known_senders_max",
        count(1, 100_000_000),
        Default::Value("200_000"),
        "Known senders that are remembered; the longest silent go first.",
        "More distinct sources than most servers get wanted mail from in 30 days.",
    )
    .restart(),
];

const LOG: &[Opt] = &[opt(
    "format",
    Word(&["human", "json"]),
    Default::Value("\"human\""),
    "One line for people, or one JSON object a line.",
    "People read it first; programs are set up later.",
)
.restart()];
