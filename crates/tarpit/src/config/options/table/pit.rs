//! The tar pit: which names exist, what a wrong guess costs, who is charged and who is not.

use super::super::Allowed::{File, Flag, Moment, Network, Sentence, Word};
use super::super::{Default, Opt};
use super::{DELAY, MODES, WAYS, count, opt, seconds};

/// `[recipients]`
pub(super) const RECIPIENTS: &[Opt] = &[
    opt(
        "source",
        Word(&["upstream", "file"]),
        Default::Value("\"upstream\""),
        "Who says whether a name exists: the upstream, or a file. Names that the file doesn't have \
         get 550 5.1.1 in `enforce`, and are reported in `observe`.",
        "The upstream always knows best. A file serves where it takes every name at RCPT and only \
         later finds out that it doesn't exist.",
    ),
    opt(
        "file",
        File,
        Default::Unset(
            "\"recipients.txt\"",
            "no file; it is required with source = \"file\"",
        ),
        "One address a line, in UTF-8; `#` starts a comment, `@example.org` takes a whole domain. Read again when \
         it changes. Relative to the folder of this file.",
        "Unset, since the upstream is asked.",
    ),
];

/// `[tarpit]`
pub(super) const TARPIT: &[Opt] = &[
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
        seconds(1, 75),
        Default::Value("\"25s\""),
        "The longest hold before one reply, with scope = \"source\"; who owes more gets 450 4.7.1. Not \
         less than any `delay`.",
        "Servers that ask ours whether a sender exists (call-outs) give up at 30 s, as Exim does by \
         default; at 25 s they still get their answer. At most 75 s: debt, room and reply may each wait \
         for so long, and clients give up at 300 s (RFC 5321 §4.5.3.2).",
    ),
    opt(
        "hold",
        WAYS,
        Default::Value("\"silent\""),
        "How a reply is held. `silent`: nothing is said, then the whole reply. `stutter`: the reply byte by byte, one \
         a second at most, what is left of it at the end. `continuation`: a line `550-5.1.1 Please wait` every 3 s or \
         more, the reply at the end. Over TLS there are at most 8 records for one reply.",
        "Silent costs the least and looks like any slow server. The others keep clients that would give up \
         otherwise; each piece costs us a write, and the first one tells that the answer will be no.",
    ),
    opt(
        "small_window",
        Flag,
        Default::Value("false"),
        "While a session is held, its receive window is as small as the system allows, so that its client can \
         send hardly anything ahead.",
        "False: it costs two more system calls for each hold, and a client that comes out of it starts slowly.",
    ),
];

/// `[pit]`
pub(super) const PIT: &[Opt] = &[
    opt(
        "sessions",
        count(1, 10_000_000),
        Default::Value("100_000"),
        "Sessions in the pit, apart from `limits.sessions_max`. Over it those are shed that teach the least, with \
         421 and their debt kept: the longest held, until nine tenths of this are left. Where descriptors are \
         short, it is less; the log says so at the start.",
        "An attack of 20,000 guesses a second at 5 s each. The kernel keeps about 4 KiB for each, and the gateway \
         a quarter of one: 450 MB when it is full.",
    ),
    opt(
        "memory",
        count(1_048_576, 1_099_511_627_776),
        Default::Value("268_435_456"),
        "Octets of memory that sessions in the pit may take, with what their clients have sent and nobody has read \
         yet (in the kernel, by the page). Over it sessions are shed, as above.",
        "256 MiB: ten times what 100,000 sessions take that have sent nothing ahead and speak no TLS.",
    ),
    opt(
        "door_debt",
        seconds(0, 75),
        Default::Value("\"20s\""),
        "A source that owes so much (what is being looked up for it included) is turned away when it \
         connects: 421 4.7.0 for the price of an accept. With `enforce` and scope = \"source\" only, on listeners \
         for mail from anywhere; never known senders, exempt networks and proxies. 0 turns nobody away.",
        "Four offences of 5 s that it did not wait for. With `hold_max` = 25 s there is no room for another \
         look-up: inside it would hear 450 and nothing else. The door opens again as the debt runs out.",
    ),
];

/// `[[exempt]]`
pub(super) const EXEMPT: &[Opt] = &[
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

/// `[source]`
pub(super) const SOURCE: &[Opt] = &[
    opt(
        "ipv4_prefix",
        count(8, 32),
        Default::Value("32"),
        "Leading bits of an IPv4 address that make a source.",
        "One address: behind it may be many people, but beside it are strangers.",
    ),
    opt(
        "ipv6_prefix",
        count(16, 128),
        Default::Value("64"),
        "Leading bits of an IPv6 address that make a source.",
        "A /64 is the smallest network that a site is given (RFC 6177), and a client picks addresses \
         within it freely (RFC 8981).",
    ),
];
