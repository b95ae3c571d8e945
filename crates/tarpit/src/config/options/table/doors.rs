//! Who we are, where mail comes in, and who takes it.

use std::time::Duration;

use super::super::Allowed::{
    Addresses, Domains, Flag, Folder, Hostname, Listen, Name, Server, Time, Word,
};
use super::super::{Default, Opt};
use super::{DELAY, MODES, count, opt, seconds};

/// The keys before the first header.
pub(super) const TOP: &[Opt] = &[
    opt(
        "hostname",
        Hostname,
        Default::Found(
            "\"mx1.example.org\"",
            "the system's name, if it is fully qualified",
        ),
        "Our name, in the greeting, in EHLO to the upstream, and in trace headers.",
        "The system's name is right where Tarpit shares a machine with the mail server, which uses it \
         too. A name without a dot is refused, since RFC 5321 §2.3.5 wants a fully qualified one.",
    ),
    opt(
        "domains",
        Domains,
        Default::Value("[]"),
        "Domains that we accept mail for; a recipient elsewhere gets 550 5.7.1 before the upstream \
         is asked, unless the client is authenticated. Applied in `enforce`, and in every mode with \
         `upstream_relays`; reported in `observe`.",
        "Empty leaves the choice to the upstream, which knows its domains already. List them, and \
         two servers must fail before one of them becomes an open relay.",
    ),
];

/// `[[listener]]`
pub(super) const LISTENER: &[Opt] = &[
    opt(
        "name",
        Name,
        Default::Required("\"mx\""),
        "The listener's name in records. Another name at the same address takes a restart.",
        "No default: records of two listeners must be told apart.",
    ),
    opt(
        "address",
        Listen,
        Default::Required("\"[::]:25\""),
        "Where to listen: an IP address and a port; port 0 takes a free one.",
        "No default: where a gateway is open to is a decision. \"[::]:25\" is every address, IPv4 too.",
    ),
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

/// `[[upstream]]`
pub(super) const UPSTREAM: &[Opt] = &[
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
        "Where the upstream listens: an IP address or host name, and a port. A host name is looked \
         up when the file is read, and IPv4 is preferred where it has both.",
        "No default: a wrong guess would hand mail to a stranger.",
    ),
    opt(
        "identity",
        Word(&["xclient", "proxy-v2", "none"]),
        Default::Value("\"none\""),
        "How the upstream learns who its client is: Postfix's XCLIENT command, the PROXY protocol \
         version 2, or not at all.",
        "Both ways need a setting in the upstream; guessed wrongly, every client would get 451. \
         With \"none\" its SPF checks, block lists and logs see the gateway: choose one of the others.",
    ),
    opt(
        "upstream_relays",
        Flag,
        Default::Value("false"),
        "The upstream may relay for this gateway's address. Needs `domains`.",
        "False, because a server that trusts our address (Postfix trusts loopback unless told otherwise) \
         makes an open relay of every client; Tarpit then opens no listener outside loopback.",
    ),
    opt(
        "connections_max",
        count(1, 100_000),
        Default::Value("80"),
        "Connections to the upstream, idle ones included; over it clients wait, then get 451.",
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
        "A session that is held or idle for longer holds no connection to the upstream.",
        "Honest clients send their next command well within a second or two; letting go costs one \
         connect when they come back, keeping costs a process of the server.",
    ),
    opt(
        "connect_timeout",
        seconds(1, 60),
        Default::Value("\"10s\""),
        "Limit on one TCP connect to the upstream.",
        "It is on this machine or near it, where a connect takes milliseconds. 10 s live through a burst \
         of lost packets, and leave the client, who waits 5 minutes, time for its 451.",
    ),
];

/// `[maildir]`
pub(super) const MAILDIR: &[Opt] = &[
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
