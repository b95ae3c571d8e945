//! Limits and records.

use super::super::Allowed::{Folder, Group, ListenOrOff, OutputOrOff, Socket, TokenFile, Word};
use super::super::{Default, Opt};
use super::{count, opt, seconds};

/// `[limits]`
pub(super) const LIMITS: &[Opt] = &[
    opt(
        "sessions_max",
        count(1, 1_000_000),
        Default::Value("10_000"),
        "Sessions outside the pit; over it 421 4.3.2. Known senders have as many places more as there may be connections to upstreams.",
        "Each costs the gateway about 4 KiB and one file descriptor, and one more for mail: raise LimitNOFILE= along \
         with it. Held sessions are counted by `pit.sessions`.",
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
        "5yz replies in one session that isn't authenticated, since its last accepted message; the next \
         ends it with 421. Applied in `enforce`, reported in `observe`.",
        "As Postfix's smtpd_hard_error_limit.",
    ),
    opt(
        "held_unread_max",
        count(512, 4096),
        Default::Value("4096"),
        "Octets that a held session may have read ahead; the rest stays in the kernel. Who sent more \
         behind a message, where that can't be, gets 421.",
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
        "Time for one session in all, but never in the middle of a message that may be accepted; then 421.",
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
        "message_size_max",
        count(0, 1 << 40),
        Default::Value("0"),
        "Largest message in octets that we take, if that is less than the upstream announces; 0 is no limit of our own.",
        "0, since the upstream has a limit already, and two are one to forget.",
    ),
    opt(
        "tls_handshake_timeout",
        seconds(1, 300),
        Default::Value("\"30s\""),
        "Time for a TLS handshake; then the connection is closed.",
        "Three round trips over the slowest line that carries mail take a few seconds.",
    ),
    opt(
        "end_of_data_timeout",
        seconds(600, 1800),
        Default::Value("\"10m\""),
        "How long the upstream may take to answer a whole message; then the client gets 451, which \
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
        "A spread attack of a hundred thousand hosts fits; at 200 octets each at most, the ledger stays \
         below 40 MiB.",
    )
    .restart(),
    opt(
        "known_senders_max",
        count(1, 100_000_000),
        Default::Value("200_000"),
        "Known senders that are remembered; the longest silent go first.",
        "More sources than most servers get wanted mail from in 30 days; at 200 octets each at most, \
         they stay below 40 MiB.",
    )
    .restart(),
];

/// `[log]`
pub(super) const LOG: &[Opt] = &[
    opt(
        "format",
        Word(&["human", "json"]),
        Default::Value("\"human\""),
        "One line for people, or one JSON object a line.",
        "People read it first; programs are set up later.",
    )
    .restart(),
    opt(
        "addresses",
        Word(&["full", "domain", "hash"]),
        Default::Value("\"full\""),
        "How mail addresses are shown, in the log, in records and by `tarpit explain`: as they are; their domain (`*@example.org`); or \
         a keyed hash, the same for the same address until the next start. Addresses of hosts stay.",
        "As mail servers log them: without, nobody finds a message. `domain` is enough to judge a delay.",
    )
    .restart(),
];

/// `[records]`
pub(super) const RECORDS: &[Opt] = &[
    opt(
        "file",
        OutputOrOff,
        Default::Unset(
            "\"/var/lib/tarpit/records.jsonl\"",
            "records.jsonl in STATE_DIRECTORY of the service manager, else no records are kept",
        ),
        "Where the record of each session, hold and judged command is kept, one JSON object a line \
         (docs/records.md), for `tarpit report`, `replay` and `advise`; or `off`. Relative to the folder of this file.",
        "Unset: a service has a place of its own, and a week of records is what tells whether the pit may be turned \
         on. A file that stands here must be writable; if the service's own isn't, that is logged and mail flows.",
    )
    .restart(),
    opt(
        "max_size",
        count(65_536, 1 << 40),
        Default::Value("67_108_864"),
        "Octets of one file; then it is renamed (its time is appended), and the next begins.",
        "64 MiB: some 200,000 lines. A session with a message takes about three.",
    )
    .restart(),
    opt(
        "keep",
        count(1, 10_000),
        Default::Value("8"),
        "Files that are kept beside the one that is written; the oldest goes first.",
        "Half a gigabyte in all: months of a small server, some days of a large one, and a bound under attack.",
    )
    .restart(),
    opt(
        "max_age",
        seconds(3600, 3650 * 86_400),
        Default::Value("\"14d\""),
        "A file goes when its first line is older than this, and `report` shows nothing that is older.",
        "Two weeks: this one, and the one before to compare it with. Addresses of clients and senders are personal \
         data; nobody needs them for longer to judge a delay.",
    )
    .restart(),
];

/// `[admin]`
pub(super) const ADMIN: &[Opt] = &[
    opt(
        "address",
        ListenOrOff,
        Default::Value("\"127.0.0.1:12842\""),
        "Where the page, figures and health are shown, over HTTP. Whoever reaches the address can read the figures, \
         unless there is a token, so keep it on loopback or in a network of your own. The page names sources and \
         senders: on another address than a loopback one it is shown only with a token.",
        "On loopback, as the local pages of other servers: figures that have to be turned on first are missing when \
         they are needed. If this default is taken, that is logged and tried again while Tarpit runs; an address that \
         stands here must be had.",
    ),
    opt(
        "token_file",
        TokenFile,
        Default::Unset(
            "\"/etc/tarpit/token\"",
            "no token is asked for, and the page is shown on loopback alone",
        ),
        "A file with a token in its first line, for all but /livez and /readyz. A browser asks for it as the password \
         of any user; programs send it as Authorization: Bearer. HTTP does not hide it: beyond your own network, put a \
         server with TLS in front.",
        "Unset: on loopback, whoever could ask is on this machine already. A file, since what stands here is shown by \
         `tarpit check`.",
    ),
];

/// `[control]`
pub(super) const CONTROL: &[Opt] = &[
    opt(
        "socket",
        Socket,
        Default::Unset(
            "\"/run/tarpit/control.sock\"",
            "control-PID.sock in the folder of `[keepers] directory`",
        ),
        "The socket by which `tarpit status`, `explain`, `mode` and other commands reach the gateway: \
         docs/control.md. Whoever may connect to it may do all that they can: our user, root, and the group.",
        "Unset, so that several gateways may share a folder: commands find the one that is meant by its \
         configuration file.",
    )
    .restart(),
    opt(
        "group",
        Group,
        Default::Unset("\"adm\"", "the group that Tarpit runs as"),
        "Whose members may connect too, if they can reach the folder. Tarpit must run as a member of it.",
        "Unset: whom an administrator trusts with this is not known here.",
    )
    .restart(),
    opt(
        "directory",
        Folder,
        Default::Unset(
            "\"/var/lib/tarpit\"",
            "STATE_DIRECTORY of the service manager, else the folder of this file",
        ),
        "Where exemptions.toml and mode.toml are kept: what was set by command, so that a reload and a restart \
         keep it.",
        "Unset, since a service has its place; the folder of the configuration is not for it to write in.",
    )
    .restart(),
];

/// `[keepers]`
pub(super) const KEEPERS: &[Opt] = &[opt(
    "directory",
    Folder,
    Default::Unset(
        "\"/run/tarpit\"",
        "RUNTIME_DIRECTORY of the service manager, else /run/tarpit, else XDG_RUNTIME_DIR/tarpit, else a new one among \
         the temporary files",
    ),
    "Where the processes of this gateway find each other by sockets: a new one the keepers of an old one, and `tarpit \
     upgrade` the one that runs. It belongs to the user that Tarpit runs as, and nobody else may write in it.",
    "Unset, since a service has its place. Two gateways of one user need one each, or each takes the other's keepers.",
)
.restart()];
