//! A certificate for a run, and clients that trust it.
//!
//! The key is ECDSA on P-256, as certbot makes it. A client of its own for each sender, as life has
//! it: with one for all, a session could be resumed by somebody else, and there would be fewer
//! tickets than senders.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

/// The name in the certificate.
const NAME: &str = "gateway.example.org";

/// Sessions that a client keeps for later: more than a server gives out at once.
const SESSIONS: usize = 16;

/// What clients ask for.
pub(crate) fn name() -> io::Result<ServerName<'static>> {
    ServerName::try_from(NAME).map_err(io::Error::other)
}

/// A client that trusts this certificate.
fn client(certificate: CertificateDer<'static>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// A client that trusts the certificate in this file, and resumes nothing.
pub(crate) fn trusting(chain: &Path) -> Result<Arc<ClientConfig>> {
    let certificate = CertificateDer::from_pem_file(chain);
    let mut client = client(certificate.context("no certificate in the file")?)?;
    client.resumption = Resumption::disabled();
    Ok(Arc::new(client))
}

/// A certificate in files of its own, gone when dropped.
#[derive(Debug)]
pub(crate) struct Certificate {
    folder: TempDir,
    client: ClientConfig,
}

impl Certificate {
    /// A new one.
    pub(crate) fn new() -> Result<Self> {
        let key = KeyPair::generate().context("a key")?;
        let params = CertificateParams::new(vec![NAME.to_owned()])?;
        let certificate = params.self_signed(&key).context("a certificate")?;
        let folder = tempfile::Builder::new()
            .prefix("tarpit-bench-tls-")
            .tempdir()?;
        std::fs::write(folder.path().join("chain.pem"), certificate.pem())?;
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem())?;
        let client = client(certificate.der().clone())?;
        Ok(Self { folder, client })
    }

    /// The certificate's file.
    pub(crate) fn chain(&self) -> PathBuf {
        self.folder.path().join("chain.pem")
    }

    /// Its key's.
    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }

    /// `[[certificate]]` for the gateway.
    pub(crate) fn to_toml(&self) -> String {
        let shown = |path: &Path| path.display().to_string();
        format!(
            "[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n",
            shown(&self.chain()),
            shown(&self.key())
        )
    }

    /// A client, which resumes its sessions or never does.
    pub(crate) fn client(&self, resumes: bool) -> Arc<ClientConfig> {
        let mut client = self.client.clone();
        client.resumption = if resumes {
            Resumption::in_memory_sessions(SESSIONS)
        } else {
            Resumption::disabled()
        };
        Arc::new(client)
    }
}
