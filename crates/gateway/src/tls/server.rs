//! TLS towards clients: the certificate that fits the name they ask for, replaced while we run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::{
    ClientHello, ResolvesServerCert, ServerSessionMemoryCache, UnbufferedServerConnection,
};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, ServerConfig};

use super::aside::Aside;
use super::certificate::{CertificateError, CertificateInfo, Certified};
use super::info::{TlsFailure, TlsInfo};
use super::watch::{Stamp, Warned};
use super::{VERSIONS, provider};
use crate::config::Certificate;
use crate::stream::Stream;

/// Sessions that are kept to be resumed by clients without tickets (TLS 1.2, RFC 5246 §7.3): about
/// 300 octets each. Clients with tickets (RFC 5077, RFC 8446 §2.2) keep their state themselves.
const SESSIONS_KEPT: usize = 4096;

/// Tickets after a TLS 1.3 handshake. A client that opens connections side by side would want more;
/// Postfix gives one as well.
const TICKETS: usize = 1;

/// Certificates by name, and the state that resumption needs.
#[derive(Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
    /// In the order of the configuration: the first is for clients that ask for no name we know.
    pub(super) entries: Mutex<Vec<Entry>>,
}

/// One pair of files and what was read from them last.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) files: Certificate,
    pub(super) certificates: Vec<Arc<Certified>>,
    /// What the files looked like when they were read, whatever came of it.
    pub(super) stamp: Stamp,
    pub(super) warned: Warned,
}

impl Entry {
    fn read(files: &Certificate) -> Result<Self, CertificateError> {
        // Before the reading: a change in between is then noticed.
        let stamp = Stamp::of(files);
        Ok(Self {
            files: files.clone(),
            certificates: Certified::read(files)?,
            stamp,
            warned: Warned::default(),
        })
    }
}

impl ServerTls {
    /// Reads the certificates. The first is shown to clients that ask for no name, or for one that
    /// no certificate has.
    ///
    /// # Errors
    /// [`CertificateError`] for the first that can't be read or does not belong to its key. An
    /// expired one is taken, with a warning.
    ///
    /// # Panics
    /// If the system has no randomness to give.
    pub fn read(files: &[Certificate]) -> Result<Self, CertificateError> {
        let entries: Vec<Entry> = files.iter().map(Entry::read).collect::<Result<_, _>>()?;
        let shown = Arc::new(Shown(ArcSwap::from_pointee(Names::of(&entries))));
        let resolver = Arc::clone(&shown) as Arc<dyn ResolvesServerCert>;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("the provider has cipher suites for both versions")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS_KEPT);
        config.ticketer = Ticketer::new().expect("the system gives randomness");
        config.send_tls13_tickets = TICKETS;
        // It can be replayed, and no mail client sends it (RFC 8446 §8).
        config.max_early_data_size = 0;
        // Sessions wait as their secrets, without the library's buffers (`stream/record.rs`).
        config.enable_secret_extraction = true;
        let tls = Self {
            config: Arc::new(config),
            shown,
            entries: Mutex::new(entries),
        };
        tls.warn_of_dates();
        Ok(tls)
    }

    /// Whether it was made from these files.
    pub(crate) fn is_of(&self, files: &[Certificate]) -> bool {
        let entries = self.entries();
        entries.iter().map(|entry| &entry.files).eq(files)
    }

    /// The certificates in force, in the order of the configuration.
    #[must_use]
    pub fn certificates(&self) -> Vec<(Certificate, CertificateInfo)> {
        let entries = self.entries();
        let of = |entry: &Entry| {
            let files = entry.files.clone();
            let infos = entry.certificates.iter().map(|made| made.info.clone());
            infos.map(|info| (files.clone(), info)).collect::<Vec<_>>()
        };
        entries.iter().flat_map(of).collect()
    }

    /// Reads all files again. Those that are bad are named in the answer, and what was read from
    /// them before stays in force.
    pub(crate) fn reload(&self) -> Vec<CertificateError> {
        let mut refused = Vec::new();
        let mut entries = self.entries();
        for entry in entries.iter_mut() {
            refused.extend(entry.renew());
        }
        self.show(&entries);
        refused
    }

    /// Puts the entries in force.
    pub(super) fn show(&self, entries: &[Entry]) {
        self.shown.0.store(Arc::new(Names::of(entries)));
    }

    pub(super) fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Speaks TLS with a client that is about to. After a failure nothing can be said on `stream`.
    pub(crate) async fn accept(
        &self,
        stream: &mut Stream,
        limit: Duration,
        aside: Option<&Aside>,
    ) -> Result<TlsInfo, TlsFailure> {
        // The library tells the name to nobody but who resolves it, so each connection has a
        // resolver of its own: a dozen counters beside the arithmetic of a handshake.
        let asked = Arc::new(Asked {
            shown: Arc::clone(&self.shown),
            name: OnceLock::new(),
        });
        let mut config = (*self.config).clone();
        config.cert_resolver = Arc::clone(&asked) as Arc<dyn ResolvesServerCert>;
        let connection = UnbufferedServerConnection::new(Arc::new(config))?;
        let describe = |state: &CommonState| TlsInfo::of(state, asked.name.get().cloned());
        let handshake = stream.accept(connection, describe, aside);
        let info = tokio::time::timeout(limit, handshake)
            .await
            .map_err(|_| TlsFailure::TimedOut(limit))??;
        Ok(info)
    }
}

impl Entry {
    /// Reads the files again; the old certificates stay if the new ones are bad.
    pub(super) fn renew(&mut self) -> Option<CertificateError> {
        self.stamp = Stamp::of(&self.files);
        match Certified::read(&self.files) {
            Ok(certificates) => {
                self.certificates = certificates;
                self.warned = Warned::default();
                None
            }
            Err(error) => Some(error),
        }
    }
}

/// What one client asks for.
#[derive(Debug)]
struct Asked {
    shown: Arc<Shown>,
    name: OnceLock<Box<str>>,
}

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            let _ = self.name.set(name.into());
        }
        self.shown.resolve(hello)
    }
}

/// The certificates in force.
#[derive(Debug)]
struct Shown(ArcSwap<Names>);

#[derive(Debug)]
struct Names {
    /// Exact names, and `*.example.org`. Several: for different algorithms, in the order of the
    /// configuration.
    by_name: HashMap<Box<str>, Vec<Arc<CertifiedKey>>>,
    default: Vec<Arc<CertifiedKey>>,
}

impl Names {
    fn of(entries: &[Entry]) -> Self {
        let mut by_name: HashMap<Box<str>, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for made in entries.iter().flat_map(|entry| &entry.certificates) {
            for name in &made.info.names {
                let keys = by_name.entry(name.clone()).or_default();
                keys.push(Arc::clone(&made.key));
            }
        }
        let first = entries.first().map(|entry| &entry.certificates);
        let keys = first.into_iter().flatten();
        Self {
            by_name,
            default: keys.map(|made| Arc::clone(&made.key)).collect(),
        }
    }

    /// RFC 6066 §3: names are compared without regard to case.
    fn find(&self, name: &str) -> Option<&Vec<Arc<CertifiedKey>>> {
        let name = name.to_ascii_lowercase();
        self.by_name.get(&*name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&*format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = self.0.load();
        let schemes = hello.signature_schemes();
        let fits = |keys: &Vec<Arc<CertifiedKey>>| {
            let fitting = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
            keys.iter().find(fitting).map(Arc::clone)
        };
        // Senders do not verify, most of them: the wrong name is better than no TLS.
        hello
            .server_name()
            .and_then(|name| names.find(name))
            .and_then(fits)
            .or_else(|| fits(&names.default))
    }
}
