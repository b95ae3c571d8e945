//! A gateway with a certificate, a maildir behind it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tarpit_core::Prefixes;
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_gateway::Gateway;
use tarpit_gateway::config::{
    BareNewline, Certificate, Config, Delivery, Kind, Limits, Listener, ListenerTls, Maildir,
    Recipients,
};

/// Longer than anything takes that comes at all.
pub(crate) const LATE: Duration = Duration::from_secs(20);

/// Limits that are not what is shown.
const NEVER: Duration = Duration::from_secs(3600);

/// A gateway and its files.
pub(crate) struct Stage {
    pub(crate) gateway: Gateway,
    pub(crate) config: Config,
    folder: tempfile::TempDir,
}

impl Stage {
    /// With TLS of this kind; `change` the rest.
    pub(crate) async fn set(tls: ListenerTls, change: impl FnOnce(&mut Config)) -> Self {
        super::records::keep();
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path(), "mx.example.org");
        let mut config = config(folder.path(), tls);
        change(&mut config);
        Self {
            gateway: Gateway::start(config.clone()).await.unwrap(),
            config,
            folder,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.addresses()[0].1
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The messages that `recipient` got, without the header that the maildir adds.
    pub(crate) fn messages(&self, recipient: &str) -> Vec<Vec<u8>> {
        let new: PathBuf = self.folder().join("mail").join(recipient).join("new");
        let Ok(files) = std::fs::read_dir(new) else {
            return Vec::new();
        };
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .collect()
    }
}

/// Makes a certificate for `name` and puts it in the place of the one that is there.
pub(crate) fn make_certificate(folder: &Path, name: &str) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    std::fs::write(folder.join("mx.crt"), made.cert.pem()).unwrap();
    std::fs::write(folder.join("mx.key"), made.signing_key.serialize_pem()).unwrap();
}

fn config(folder: &Path, tls: ListenerTls) -> Config {
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
            tls,
            auth_plaintext: false,
            bare_newline: BareNewline::Reject,
            normalize: Vec::new(),
            passthrough: Vec::new(),
            proxy_protocol: Vec::new(),
            xclient: Vec::new(),
        }],
        certificates: vec![Certificate {
            chain: folder.join("mx.crt"),
            key: folder.join("mx.key"),
        }],
        deliveries: vec![Delivery::Maildir(Maildir {
            root: folder.join("mail"),
            recipients: vec!["user@example.org".into()],
            size_max: 50_000_000,
        })],
        domains: Vec::new(),
        recipients: Recipients::Upstream,
        exempt: Vec::new(),
        prefixes: Prefixes::default(),
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
