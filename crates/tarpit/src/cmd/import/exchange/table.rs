//! What becomes of a receive connector's properties, and of TarpitTime.

use super::super::table::{Row, elsewhere, nothing, option};
use super::super::units;
use super::{bound, connections, delay, span};

const TAKEN: &str = "Set it to 0 in Exchange for what comes from Tarpit, or both wait.";

/// One row for each property that has to do with who may come in, how fast, and what it costs.
pub(in crate::cmd::import) const TABLE: &[Row] = &[
    option("Fqdn", ("", 0, "hostname"), units::name, ""),
    option("TarpitInterval", ("tarpit", 0, "delay"), delay, TAKEN),
    option("TarpitTime", ("tarpit", 0, "delay"), delay, TAKEN),
    nothing(
        "AuthTarpitInterval",
        "A failed AUTH costs `delay` here, on an account of its own; there is no second price.",
    ),
    nothing(
        "MaxAcknowledgementDelay",
        "Tarpit never holds the reply to a message: a client that gives up there sends it twice. Exchange goes on waiting for its \
         own reasons, and Tarpit waits with the client.",
    ),
    option(
        "MaxInboundConnectionPerSource",
        ("limits", 0, "sessions_per_source_max"),
        bound,
        "Applied in \"enforce\". Exchange counts too: raise it there for Tarpit unless `identity` is \"transparent\".",
    ),
    option(
        "MaxInboundConnection",
        ("upstream", 0, "connections_max"),
        connections,
        "Four fifths; the rest is for clients that come to Exchange itself.",
    ),
    nothing(
        "MaxInboundConnectionPercentagePerSource",
        "Exchange counts it among its free connections, where Tarpit would be one source: raise it there unless `identity` is \
         \"transparent\".",
    ),
    option(
        "MaxRecipientsPerMessage",
        ("limits", 0, "recipients_max"),
        bound,
        "",
    ),
    option(
        "ConnectionInactivityTimeout",
        ("limits", 0, "command_timeout"),
        span,
        "",
    ),
    nothing(
        "ConnectionTimeout",
        "Exchange ends a connection then, even within a message. `limits.session_timeout` never does, and counts time in the pit \
         too, so it stays at its default.",
    ),
    nothing(
        "MaxProtocolErrors",
        "`limits.errors_max` counts every 5yz, wrong guesses too: with so few, a mailing list with stale names would be cut off.",
    ),
    nothing(
        "MaxLogonFailures",
        "Tarpit has a price for a failed AUTH, and no count of its own; Exchange goes on counting.",
    ),
    nothing(
        "MessageRateLimit",
        "Tarpit has no price for many messages, only for wrong guesses. Exchange goes on counting, by client once `identity` is \
         \"transparent\".",
    ),
    nothing("MessageRateSource", "As MessageRateLimit."),
    nothing(
        "MaxMessageSize",
        "Tarpit learns it from Exchange's answer to EHLO, and announces the same.",
    ),
    nothing(
        "Banner",
        "Tarpit's greeting is its hostname; it says nothing else of itself.",
    ),
    nothing(
        "RequireTLS",
        "Tarpit offers TLS and can't demand it. A server that others send mail to must not (RFC 3207 section 4).",
    ),
    nothing(
        "TlsCertificateName",
        "A certificate of Windows' own store. Export it with its key as PEM for a [[certificate]]; without one clients get no TLS \
         from Tarpit.",
    ),
    elsewhere("Name"),
    elsewhere("Identity"),
    elsewhere("Enabled"),
    elsewhere("Bindings"),
    elsewhere("RemoteIPRanges"),
    elsewhere("PermissionGroups"),
    elsewhere("TransportRole"),
];
