//! A configuration for tests of whole gateways, whether from outside or from within the crate.

use std::path::Path;
use std::time::Duration;

use tarpit_core::Prefixes;
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_gateway::config::{
    Addresses, BareNewline, Config, Delivery, Kind, Limits, Listener, ListenerTls, Maildir,
    Recipients,
};

/// Longer than anything takes that comes at all.
pub(crate) const LATE: Duration = Duration::from_secs(20);

/// Limits that are not what is shown.
const NEVER: Duration = Duration::from_secs(3600);

/// A configuration that a test changes where it matters: one listener without TLS, which holds
/// refusals for 300 ms, and a maildir below `folder` for `user@example.org`.
pub(crate) fn sample(folder: &Path) -> Config {
    Config {
        hostname: "mx.example.org".into(),
        listeners: vec![Listener {
            name: "mx".into(),
            address: ([127, 0, 0, 1], 0).into(),
            policy: Policy {
                mode: Mode::Enforce,
                scope: Scope::Session,
                delay: Duration::from_millis(300),
                hold_max: Duration::from_secs(1),
                recipients_max: 100,
                errors_max: 20,
                way: Way::Silent,
                pace: Duration::ZERO,
            },
            small_window: false,
            delivery: 0,
            kind: Kind::Mx,
            tls: ListenerTls::Off,
            auth_plaintext: false,
            bare_newline: BareNewline::Reject,
            normalize: Vec::new(),
            passthrough: Vec::new(),
            proxy_protocol: Vec::new(),
            xclient: Vec::new(),
        }],
        certificates: Vec::new(),
        deliveries: vec![Delivery::Maildir(Maildir {
            root: folder.join("mail"),
            recipients: vec!["user@example.org".into()],
            size_max: 50_000_000,
        })],
        domains: Vec::new(),
        recipients: Recipients::Upstream,
        exempt: Vec::new(),
        prefixes: Prefixes::default(),
        addresses: Addresses::Full,
        limits: Limits {
            sessions_max: 100,
            sessions_per_source_max: 100,
            held_unread_max: 512,
            command_timeout: NEVER,
            session_timeout: NEVER,
            data_block_timeout: NEVER,
            data_rate_min: 1,
            message_size_max: 0,
            pit_sessions_max: 100_000,
            pit_octets_max: 256 * 1024 * 1024,
            door_debt: Duration::ZERO,
            tls_handshake_timeout: LATE,
            end_of_data_timeout: NEVER,
            drain_timeout: LATE,
            ledger_sources_max: 1000,
            known_senders_max: 1000,
        },
    }
}
