//! The trace field of the gateway's own (RFC 5321 §4.4), where the upstream is told in that way who
//! its client is.

use tarpit_core::Envelope;

use crate::clock::unix_now;
use crate::config::{Delivery, Identity};
use crate::conn::Conn;
use crate::trace::{protocol, received};

/// The field with its CRLF, if this message gets one.
pub(super) fn head(conn: &Conn) -> Option<String> {
    let config = &conn.live.config;
    let delivery = &config.deliveries[config.listeners[conn.listener].delivery];
    let Delivery::Upstream(upstream) = delivery else {
        return None;
    };
    if upstream.identity != Identity::Trace {
        return None;
    }
    let envelope = conn.session.envelope();
    let accepted = envelope.map(|envelope| &*envelope.accepted);
    let only_path = match accepted {
        Some([only]) => Some(&*only.path),
        _ => None,
    };
    let id = format!("tp-{}", conn.session.id());
    let who = conn.who();
    let uses_utf8 = envelope.is_some_and(Envelope::is_utf8);
    let with = protocol(&who, conn.session.is_authenticated(), uses_utf8);
    let now = unix_now();
    Some(received(&who, with, &config.hostname, &id, only_path, now))
}
