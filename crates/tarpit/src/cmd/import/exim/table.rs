//! What becomes of Exim's settings, and of those in Debian's update-exim4.conf.conf.

use super::super::table::{Row, elsewhere, nothing, option};
use super::super::units::{self, Read};

const TLS: &str = "Tarpit speaks TLS 1.2 and 1.3 with the suites of rustls, and asks clients for no certificates.";

const RATES: &str = "Exim slows each command of a client that says many, right or wrong. Tarpit has a price for wrong ones \
                     only, which doesn't grow. Take it out of Exim for what comes from Tarpit: there it would slow wanted mail.";

const ACLS: &str = "About limits of Exim's that count all clients as one until `identity` is set.";

/// One row for each setting that has to do with who may come in, how fast, and what it costs.
pub(in crate::cmd::import) const TABLE: &[Row] = &[
    option("primary_hostname", ("", 0, "hostname"), units::name, ""),
    elsewhere("local_interfaces"),
    elsewhere("daemon_smtp_ports"),
    elsewhere("tls_on_connect_ports"),
    elsewhere("hosts_proxy"),
    option(
        "smtp_accept_max",
        ("upstream", 0, "connections_max"),
        units::four_fifths,
        "Four fifths; the rest is for clients that come to Exim itself.",
    ),
    option(
        "smtp_accept_max_per_host",
        ("limits", 0, "sessions_per_source_max"),
        units::bound,
        "Applied in \"enforce\". Exim counts too, and behind Tarpit all clients are one to it until `identity` is set.",
    ),
    option(
        "smtp_accept_queue_per_connection",
        ("upstream", 0, "messages_per_connection_max"),
        units::bound,
        "More on one connection would wait for Exim's next queue run.",
    ),
    nothing(
        "smtp_accept_reserve",
        "Tarpit keeps connections for known senders (`connections_reserved`), not for listed hosts.",
    ),
    nothing(
        "smtp_reserve_hosts",
        "Tarpit keeps connections for known senders (`connections_reserved`), not for listed hosts.",
    ),
    nothing(
        "smtp_load_reserve",
        "Tarpit doesn't look at the load; Exim goes on doing it.",
    ),
    nothing("smtp_accept_max_nonmail*", ACLS),
    nothing("smtp_accept_max_per_connection", ACLS),
    nothing("smtp_accept_queue", ACLS),
    nothing("smtp_ratelimit_*", RATES),
    nothing(
        "smtp_max_synprot_errors",
        "Exim counts mistakes in syntax alone; `limits.errors_max` counts every 5yz, wrong guesses too, so the number would \
         mean something else.",
    ),
    nothing(
        "smtp_max_unknown_commands",
        "Exim counts unknown commands alone; `limits.errors_max` counts every 5yz, so the number would mean something else.",
    ),
    option(
        "recipients_max",
        ("limits", 0, "recipients_max"),
        units::bound,
        "",
    ),
    nothing(
        "recipients_max_reject",
        "Tarpit says 452 to recipients beyond the limit (RFC 5321 section 4.5.3.1.10), and delivers to the others.",
    ),
    option(
        "smtp_receive_timeout",
        ("limits", 0, "command_timeout"),
        timeout,
        "",
    ),
    nothing(
        "message_size_limit",
        "Tarpit learns it from Exim's answer to EHLO, and announces the same.",
    ),
    nothing(
        "host_lookup",
        "Tarpit looks up no names. Exim goes on doing it, for the right client once `identity` is \"proxy-v2\".",
    ),
    nothing(
        "host_reject_connection",
        "Exim sees Tarpit connect; with `identity` = \"proxy-v2\" it sees the client, and refuses it as before.",
    ),
    nothing(
        "smtp_banner",
        "Tarpit's greeting is its hostname; it says nothing else of itself.",
    ),
    elsewhere("acl_smtp_*"),
    elsewhere("tls_advertise_hosts"),
    elsewhere("tls_certificate"),
    elsewhere("tls_privatekey"),
    nothing("tls_require_ciphers", TLS),
    nothing("tls_verify_*", TLS),
    nothing("tls_try_verify_hosts", TLS),
    nothing("tls_dhparam", TLS),
    // Debian's own file.
    elsewhere("dc_other_hostnames"),
    elsewhere("dc_local_interfaces"),
    elsewhere("dc_relay_domains"),
    elsewhere("dc_relay_nets"),
    nothing(
        "dc_minimaldns",
        "Tarpit looks up no names of clients, so there is nothing to save.",
    ),
];

fn timeout(value: &str) -> Read {
    units::time(value, 1)
        .map(units::span)
        .ok_or_else(|| units::no_time(value))
}
