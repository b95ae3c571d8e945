//! Rows about the ledger, TLS with clients, and the program itself.

use super::*;

pub(super) const PROCESS: &[Family] = &[
    Family::new(
        Ledger,
        Gauge,
        "tarpit_ledger_sources",
        "Sources in the ledger: those that owe, or have something looked up.",
        &[],
        |figures, push| one(push, figures.ledger.sources as u64),
    ),
    Family::new(
        Ledger,
        Counter,
        "tarpit_ledger_evicted_total",
        "Debts forgotten before their time, to make place for others.",
        &[],
        |figures, push| one(push, figures.ledger.evicted),
    ),
    Family::new(
        Ledger,
        Counter,
        "tarpit_ledger_unbooked_total",
        "Look-ups and offences that found no place in the ledger, and cost nothing.",
        &[],
        |figures, push| one(push, figures.ledger.unbooked),
    ),
    Family::new(
        Ledger,
        Gauge,
        "tarpit_known_senders",
        "Sources whose mail an upstream accepted within 30 days.",
        &[],
        |figures, push| one(push, figures.ledger.known as u64),
    ),
    Family::new(
        Tls,
        Counter,
        "tarpit_tls_handshakes_total",
        "TLS handshakes with clients.",
        &[words("outcome", || vec!["succeeded", "failed"])],
        |figures, push| {
            let counts = &figures.counts;
            each(
                push,
                &[
                    ("succeeded", counts.tls_handshakes),
                    ("failed", counts.tls_handshakes_failed),
                ],
            );
        },
    ),
    Family::new(
        Tls,
        Counter,
        "tarpit_tls_resumed_total",
        "Of those that succeeded, those that resumed an earlier session.",
        &[],
        |figures, push| one(push, figures.counts.tls_resumed),
    ),
    Family::new(
        Tls,
        Gauge,
        "tarpit_certificate_expiry_timestamp_seconds",
        "When the certificate in force ends, in seconds since 1970.",
        &[
            config("file", "the file it was read from"),
            config("names", "the names it is for"),
        ],
        |figures, push| {
            for certificate in &figures.certificates {
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "exact for seconds of any date that a certificate can have"
                )]
                let end = certificate.not_after as f64;
                push(&[&certificate.file, &certificate.names], Value::Real(end));
            }
        },
    ),
    Family::new(
        Process,
        Gauge,
        "tarpit_build_info",
        "1, with the version that runs.",
        &[config("version", "the version of Tarpit")],
        |_, push| push(&[env!("CARGO_PKG_VERSION")], Value::Count(1)),
    ),
    Family::new(
        Process,
        Gauge,
        "tarpit_draining",
        "1 while the gateway takes no new sessions and lets those that are there end.",
        &[],
        |figures, push| one(push, figures.draining.into()),
    ),
    Family::new(
        Process,
        Gauge,
        "tarpit_config_last_reload_successful",
        "1 if the last change of the configuration was put in force, 0 if the one before stays.",
        &[],
        |figures, push| one(push, figures.reload.successful.into()),
    ),
    Family::new(
        Process,
        Gauge,
        "tarpit_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was put in force, in seconds since 1970.",
        &[],
        |figures, push| one(push, figures.reload.at),
    ),
    Family::new(
        Process,
        Counter,
        "tarpit_records_dropped_total",
        "Lines lost on their way to the record file: the disk was full, or slower than the records.",
        &[],
        |figures, push| one(push, figures.records_dropped),
    ),
    Family::new(
        Process,
        Counter,
        "tarpit_sessions_unreadable_total",
        "Sessions that waited in another process, of another version, and could not be read: they were told 421.",
        &[],
        |figures, push| one(push, figures.counts.sessions_unreadable),
    ),
    Family::new(
        Process,
        Counter,
        "tarpit_panics_total",
        "Sessions that a bug in Tarpit ended.",
        &[],
        |figures, push| one(push, figures.counts.panics),
    ),
    Family::new(
        Process,
        Gauge,
        "process_start_time_seconds",
        "When this process started, in seconds since 1970.",
        &[],
        |figures, push| one(push, figures.process.started),
    ),
    Family::new(
        Process,
        Counter,
        "process_cpu_seconds_total",
        "Processor time, user and system.",
        &[],
        |figures, push| {
            if let Some(spent) = figures.process.cpu_seconds {
                push(&[], Value::Real(spent));
            }
        },
    ),
    Family::new(
        Process,
        Gauge,
        "process_resident_memory_bytes",
        "Memory that is in use.",
        &[],
        |figures, push| maybe(push, figures.process.resident_octets),
    ),
    Family::new(
        Process,
        Gauge,
        "process_virtual_memory_bytes",
        "Address space.",
        &[],
        |figures, push| maybe(push, figures.process.virtual_octets),
    ),
    Family::new(
        Process,
        Gauge,
        "process_open_fds",
        "Open files and sockets.",
        &[],
        |figures, push| maybe(push, figures.process.open_files),
    ),
    Family::new(
        Process,
        Gauge,
        "process_max_fds",
        "How many of them may be open.",
        &[],
        |figures, push| maybe(push, figures.process.max_files),
    ),
];
