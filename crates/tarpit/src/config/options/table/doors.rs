//! Who we are, where mail comes in, and who takes it.

use std::time::Duration;

use super::super::Allowed::{
    Addresses, Domains, Flag, Folder, Hostname, Listen, Name, Networks, Pem, Servers, Time, Word,
};
use super::super::{Default, Opt};
use super::{DELAY, MODES, WAYS, count, opt, seconds};

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
         `upstream_relays`; reported in `observe`. Clients may write a name that is not ASCII in either of its forms.",
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
        "upstream",
        Name,
        Default::Unset("\"upstream\"", "the only [[upstream]] takes its mail"),
        "The name of the [[upstream]] that takes its mail. Needed where there are several.",
        "Unset, since most have one.",
    ),
    opt(
        "kind",
        Word(&["mx", "submission"]),
        Default::Value("\"mx\""),
        "Who comes here: other servers, or users, who must authenticate before MAIL (530 5.7.0, free of charge).",
        "Mail from other servers is what a tar pit is for.",
    ),
    opt(
        "tls",
        Word(&["off", "starttls", "implicit"]),
        Default::Unset(
            "\"starttls\"",
            "\"starttls\" where there is a [[certificate]], else \"off\"",
        ),
        "TLS towards clients: never, when they ask for it with STARTTLS, or from the first byte (port 465).",
        "Whoever lists a certificate wants TLS; without one there is none to offer.",
    ),
    opt(
        "auth_plaintext",
        Flag,
        Default::Value("false"),
        "Announce and take AUTH without TLS too.",
        "False, since passwords would cross the network in the clear (RFC 4954 §4). True is for a \
         listener that only loopback or a TLS proxy reaches.",
    ),
    opt(
        "bare_newline",
        Word(&["reject", "normalize"]),
        Default::Value("\"reject\""),
        "What happens to message data with a bare LF: the message is refused, or the LF is passed on as CRLF. \
         Only CRLF . CRLF as it was sent ends a message, either way; a bare CR is always refused.",
        "Servers that disagree about line ends take one message for two (SMTP smuggling). `normalize` changes \
         bytes, the one exception to the promise that they are kept.",
    ),
    opt(
        "normalize",
        Networks,
        Default::Value("[]"),
        "Networks for which `normalize` holds, whatever `bare_newline` says: printers, scripts.",
        "Empty: nobody needs it until a log shows who does.",
    ),
    opt(
        "proxy_protocol",
        Networks,
        Default::Value("[]"),
        "Networks of your own proxies and load balancers, which must begin with a PROXY header (version 1 or 2) and are \
         believed. A header from elsewhere is refused.",
        "Empty: whoever is believed can speak for any address.",
    ),
    opt(
        "xclient",
        Networks,
        Default::Value("[]"),
        "Networks of your own filters, which may say who the client is with XCLIENT, and are believed.",
        "Empty: whoever is believed can speak for any address.",
    ),
    opt(
        "passthrough",
        Networks,
        Default::Value("[]"),
        "Networks whose bytes go to the upstream untouched, before any SMTP is spoken: the strongest exemption, for \
         partners that use client certificates or private extensions.",
        "Empty: nothing is checked or slowed there. The upstream sees the gateway's address, unless its identity is \
         \"proxy-v1\", \"proxy-v2\" or \"transparent\".",
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
    opt(
        "tarpit.hold",
        WAYS,
        Default::Unset("\"stutter\"", "[tarpit] hold holds"),
        "A way to hold of this listener's own.",
        "Unset, so that there is one way. Set it to try another one on one listener.",
    ),
    opt(
        "tarpit.small_window",
        Flag,
        Default::Unset("true", "[tarpit] small_window holds"),
        "A `small_window` of this listener's own.",
        "Unset, so that it is decided in one place.",
    ),
];

/// `[[upstream]]`
pub(super) const UPSTREAM: &[Opt] = &[
    opt(
        "name",
        Name,
        Default::Value("\"upstream\""),
        "Its name in records, and for listeners that name theirs.",
        "Most have one, so any name will do; several need names of their own.",
    ),
    opt(
        "address",
        Servers,
        Default::Required("\"127.0.0.1:10025\""),
        "Where the upstream listens: an IP address or host name, and a port; or a list, where several servers \
         take the same mail. A host name is looked up when the file is read, and IPv4 is preferred where it has both.",
        "No default: a wrong guess would hand mail to a stranger.",
    ),
    opt(
        "balance",
        Word(&["order", "least-connections"]),
        Default::Value("\"order\""),
        "Which of several servers gets the next connection: the first that is healthy and has one free \
         (`connections_max`), or the healthy one with the fewest connections.",
        "In order, a second server stands by, as a second MX does.",
    ),
    opt(
        "tls",
        Word(&["off", "opportunistic", "required"]),
        Default::Value("\"off\""),
        "TLS towards the upstream, by STARTTLS: never; where it is offered, with any certificate; or always, with a \
         certificate that is verified (`tls_name`, `tls_ca`).",
        "Off, since most upstreams are on this machine. Over a network that others share, use \"required\".",
    ),
    opt(
        "tls_name",
        Hostname,
        Default::Unset(
            "\"mail.example.org\"",
            "none; it is required with tls = \"required\"",
        ),
        "The name that the upstream's certificate must have.",
        "Unset: an address has no name that could be checked.",
    ),
    opt(
        "tls_ca",
        Pem,
        Default::Unset(
            "\"/etc/ssl/certs/ca-certificates.crt\"",
            "the authorities that the system trusts",
        ),
        "A file with the authorities that may have signed it, in PEM; a self-signed certificate is its own. Relative \
         to the folder of this file.",
        "Unset: certificates for names on the Internet are signed by those.",
    ),
    opt(
        "identity",
        Word(&[
            "xclient",
            "proxy-v1",
            "proxy-v2",
            "transparent",
            "trace",
            "none",
        ]),
        Default::Value("\"none\""),
        "How the upstream learns who its client is: Postfix's XCLIENT command; a header of the PROXY protocol, version \
         1 or 2; the client's own address as the source of our connection (Linux, needs routing and CAP_NET_ADMIN); \
         a Received header in each message; or not at all. XCLIENT tells no name in DNS unless a filter in front has \
         said it: Postfix then calls the client `unknown`, and restrictions by name (reject_unknown_client_hostname) \
         refuse it; behind the PROXY protocol Postfix looks the name up itself.",
        "All but the last two need a setting elsewhere; guessed wrongly, every client would get 451. \
         With \"trace\" and \"none\" its SPF checks, block lists and logs see the gateway: choose one of the others.",
    ),
    opt(
        "upstream_relays",
        Flag,
        Default::Value("false"),
        "The upstream may relay for this gateway's address. Needs `domains`.",
        "False, because a server that trusts our address (Postfix trusts loopback unless told otherwise) \
         makes an open relay of every client; Tarpit then serves \
         this machine's own programs only: listeners on loopback without proxy_protocol and xclient.",
    ),
    opt(
        "connections_max",
        count(1, 100_000),
        Default::Value("80"),
        "Connections to each of its servers, idle ones included; over it clients wait, then get 451.",
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
        "messages_per_connection_max",
        count(1, 100_000),
        Default::Value("10"),
        "Messages on one connection before other sessions get another.",
        "Exim delivers only the first ten of a connection at once (smtp_accept_queue_per_connection) and leaves the \
         rest to its next queue run, half an hour away as Debian sets it up. Postfix has no such limit: raise it there.",
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

/// `[[certificate]]`
pub(super) const CERTIFICATE: &[Opt] = &[
    opt(
        "chain",
        Pem,
        Default::Required("\"/etc/letsencrypt/live/mx1.example.org/fullchain.pem\""),
        "The certificate and the authorities between, in PEM. Read again when it changes. Relative to the folder of this file.",
        "No default: nobody has a certificate without having asked for it.",
    ),
    opt(
        "key",
        Pem,
        Default::Unset(
            "\"/etc/letsencrypt/live/mx1.example.org/privkey.pem\"",
            "it stands in the file of the chain",
        ),
        "Its private key, in PEM.",
        "Unset: Postfix's smtpd_tls_chain_files has both in one file.",
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
