//! A gateway with a certificate, a maildir behind it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use tarpit_gateway::Gateway;
use tarpit_gateway::config::{Certificate, Config, ListenerTls};

use super::events::Record;
pub(crate) use super::sample::LATE;
use super::sample::sample;

/// Stages so far.
static STAGES: AtomicUsize = AtomicUsize::new(0);

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
        let mut config = sample(folder.path());
        config.listeners[0].tls = tls;
        let count = STAGES.fetch_add(1, Ordering::Relaxed);
        config.listeners[0].name = format!("mx {count}").into();
        config.certificates = vec![Certificate {
            chain: folder.path().join("mx.crt"),
            key: folder.path().join("mx.key"),
        }];
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

    /// The record of the session whose client had this address. It is written when the session ends.
    pub(crate) async fn session(&self, client: SocketAddr) -> Record {
        let listeners = self.config.listeners.iter();
        let names: Vec<&str> = listeners.map(|listener| &*listener.name).collect();
        super::records::session(client, &names).await
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
