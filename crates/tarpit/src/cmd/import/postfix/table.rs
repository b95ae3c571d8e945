//! What becomes of Postfix's settings.

use std::time::Duration;

use super::super::table::{Row, elsewhere, nothing, option};
use super::super::units::{self, Read};

const RATES: &str = "Tarpit has no price for many right commands, only for wrong ones. Postfix goes on counting, and behind \
                     Tarpit all clients are one to it until `identity` is set.";

const CODES: &str = "Nothing to set here: Tarpit takes a 4yz with the enhanced code x.1.1 for an unknown recipient too.";

/// One row for each setting that has to do with who may come in, how fast, and what it costs.
pub(in crate::cmd::import) const TABLE: &[Row] = &[
    option("myhostname", ("", 0, "hostname"), units::name, ""),
    elsewhere("mydomain"),
    elsewhere("myorigin"),
    elsewhere("inet_interfaces"),
    elsewhere("inet_protocols"),
    // Whom it slows.
    option(
        "smtpd_error_sleep_time",
        ("tarpit", 0, "delay"),
        delay,
        "Postfix waits so long after smtpd_soft_error_limit errors of a session; Tarpit from the first wrong guess. Set it to 0 \
         in Postfix for what comes from Tarpit (the recipe does), or both wait.",
    ),
    nothing(
        "smtpd_soft_error_limit",
        "Postfix slows a session after so many errors; Tarpit charges each wrong guess from the first, and a delivered \
         message makes no new start.",
    ),
    option(
        "smtpd_hard_error_limit",
        ("limits", 0, "errors_max"),
        units::bound,
        "",
    ),
    nothing(
        "smtpd_junk_command_limit",
        "Tarpit answers such commands itself, and pauses after 1,024 in a row; Postfix never sees them.",
    ),
    // Bounds.
    option(
        "smtpd_client_connection_count_limit",
        ("limits", 0, "sessions_per_source_max"),
        units::bound,
        "Applied in \"enforce\". Postfix counts too, and behind Tarpit all clients are one to it until `identity` is set.",
    ),
    nothing("smtpd_client_connection_rate_limit", RATES),
    nothing("smtpd_client_message_rate_limit", RATES),
    nothing("smtpd_client_recipient_rate_limit", RATES),
    nothing("smtpd_client_new_tls_session_rate_limit", RATES),
    nothing("smtpd_client_auth_rate_limit", RATES),
    nothing(
        "smtpd_client_event_limit_exceptions",
        "About limits that stay with Postfix. To exempt a network here, add an [[exempt]] for it.",
    ),
    nothing("anvil_*", "About limits that stay with Postfix."),
    option(
        "smtpd_recipient_limit",
        ("limits", 0, "recipients_max"),
        units::bound,
        "",
    ),
    option(
        "default_process_limit",
        ("upstream", 0, "connections_max"),
        units::four_fifths,
        "Four fifths of its processes; the rest is for clients that come to Postfix itself.",
    ),
    option(
        "smtpd_timeout",
        ("limits", 0, "command_timeout"),
        timeout,
        "",
    ),
    nothing(
        "message_size_limit",
        "Tarpit learns it from Postfix's answer to EHLO, and announces the same.",
    ),
    // Domains, recipients, networks.
    elsewhere("mydestination"),
    elsewhere("relay_domains"),
    elsewhere("virtual_alias_domains"),
    elsewhere("virtual_mailbox_domains"),
    elsewhere("virtual_alias_maps"),
    elsewhere("virtual_mailbox_maps"),
    elsewhere("relay_recipient_maps"),
    elsewhere("local_recipient_maps"),
    elsewhere("parent_domain_matches_subdomains"),
    elsewhere("mynetworks"),
    elsewhere("mynetworks_style"),
    elsewhere("smtpd_reject_unlisted_recipient"),
    elsewhere("smtpd_relay_restrictions"),
    elsewhere("smtpd_recipient_restrictions"),
    elsewhere("smtpd_client_restrictions"),
    elsewhere("smtpd_helo_restrictions"),
    elsewhere("smtpd_sender_restrictions"),
    elsewhere("smtpd_data_restrictions"),
    elsewhere("smtpd_end_of_data_restrictions"),
    elsewhere("smtpd_forbid_bare_newline"),
    elsewhere("smtpd_forbid_bare_newline_exclusions"),
    elsewhere("soft_bounce"),
    nothing("unknown_local_recipient_reject_code", CODES),
    nothing("unknown_relay_recipient_reject_code", CODES),
    nothing("unknown_virtual_alias_reject_code", CODES),
    nothing("unknown_virtual_mailbox_reject_code", CODES),
    // Who the client is.
    elsewhere("smtpd_upstream_proxy_protocol"),
    elsewhere("postscreen_upstream_proxy_protocol"),
    elsewhere("smtpd_authorized_xclient_hosts"),
    nothing(
        "postscreen_greet_*",
        "Tarpit does not hold the greeting. postscreen can stay in front of it no longer: choose one of the two for port 25.",
    ),
    nothing(
        "postscreen_dnsbl_*",
        "Tarpit asks no block lists. Postfix's own reject_rbl_client works behind it once `identity` is set.",
    ),
    nothing(
        "postscreen_access_list",
        "Networks in it that are to wait for nothing here get an [[exempt]] each.",
    ),
    nothing(
        "postscreen_*",
        "postscreen tests clients before they reach smtpd; behind Tarpit it would test Tarpit.",
    ),
    // TLS and AUTH.
    elsewhere("smtpd_tls_cert_file"),
    elsewhere("smtpd_tls_key_file"),
    elsewhere("smtpd_tls_eccert_file"),
    elsewhere("smtpd_tls_eckey_file"),
    elsewhere("smtpd_tls_chain_files"),
    elsewhere("smtpd_tls_security_level"),
    elsewhere("smtpd_use_tls"),
    nothing(
        "smtpd_enforce_tls",
        "Tarpit offers TLS and can't demand it. A server that others send mail to must not (RFC 3207 section 4).",
    ),
    nothing(
        "smtpd_tls_ask_ccert",
        "Tarpit asks clients for no certificates; partners that are known by theirs go into `passthrough`.",
    ),
    nothing(
        "smtpd_tls_req_ccert",
        "Tarpit asks clients for no certificates; partners that are known by theirs go into `passthrough`.",
    ),
    nothing(
        "tls_server_sni_maps",
        "Add a [[certificate]] for each; Tarpit chooses by the name that the client asks for.",
    ),
    nothing(
        "smtpd_tls_auth_only",
        "Tarpit announces AUTH over TLS only, unless `auth_plaintext` says otherwise.",
    ),
    nothing(
        "smtpd_tls_mandatory_*",
        "Tarpit speaks TLS 1.2 and 1.3 with the suites of rustls.",
    ),
    nothing("smtpd_tls_protocols", "Tarpit speaks TLS 1.2 and 1.3."),
    nothing(
        "smtpd_sasl_auth_enable",
        "Tarpit passes AUTH on. A failed one costs its source the delay, on an account of its own.",
    ),
    nothing(
        "smtpd_banner",
        "Tarpit's greeting is its hostname; it says nothing else of itself.",
    ),
    nothing(
        "disable_vrfy_command",
        "Tarpit answers VRFY with 252 by itself: it is no oracle.",
    ),
];

fn delay(value: &str) -> Read {
    units::delay(units::time(value, 1), value)
}

fn timeout(value: &str) -> Read {
    let time = units::time(value, 1).filter(|time| *time >= Duration::from_secs(1));
    time.map(units::span).ok_or_else(|| units::no_time(value))
}
