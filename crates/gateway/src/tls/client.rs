//! TLS towards the upstream: with any certificate, or with one that is verified.
//!
//! Verified means: a chain to an authority in the file, or to one that the system trusts, valid
//! now, and for the name that is asked for. A certificate that stands in the file itself is taken
//! as it is, as long as it is valid and has the name: mail servers on the same network sign their
//! own, and many of these are marked as authorities, which no chain may end in.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::{CertificateError, CertificateInfo};
use super::info::{TlsFailure, TlsInfo};
use super::{VERSIONS, pem, provider};
use crate::config::UpstreamTls;
use crate::stream::Stream;

/// Where systems keep the authorities that they trust: Debian and its kin, Red Hat, SUSE, Alpine
/// and the BSDs. The first that is there counts.
const SYSTEM_CA: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why TLS towards the upstream can't be had.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// The file with the authorities.
    #[error(transparent)]
    File(#[from] CertificateError),
    /// None of its certificates can be trusted.
    #[error("CA file {path}: found no certificate that can be trusted ({error})")]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with the first.
        error: String,
    },
    /// The system has no list of authorities where it is looked for.
    #[error("found no authorities of the system in {}; allowed: a file named by `ca`", SYSTEM_CA.join(", "))]
    NoSystemCa,
    /// What the certificate must be for is no name.
    #[error(
        "found {found:?} as the name of the upstream's certificate; allowed: a host name or an address"
    )]
    Name {
        /// The name.
        found: Box<str>,
    },
}

/// How the upstream is spoken TLS with.
#[derive(Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    /// The name that is asked for, and required.
    name: Option<ServerName<'static>>,
}

/// Who the upstream is, as far as TLS tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What was agreed on.
    pub tls: TlsInfo,
    /// Its certificate, if it can be read.
    pub certificate: Option<CertificateInfo>,
}

impl ClientTls {
    /// Makes what `wanted` asks for; `None` if that is no TLS. Reads files.
    ///
    /// # Errors
    /// [`ClientTlsError`] if the authorities can't be read, or the name is none.
    ///
    /// # Panics
    /// Never: the algorithms are a constant.
    pub fn new(wanted: &UpstreamTls) -> Result<Option<Self>, ClientTlsError> {
        let (verifier, name): (Arc<dyn ServerCertVerifier>, _) = match wanted {
            UpstreamTls::Off => return Ok(None),
            UpstreamTls::Opportunistic => (Arc::new(Anybody), None),
            UpstreamTls::Required { ca, name } => {
                let asked = ServerName::try_from(&**name).map_err(|_| ClientTlsError::Name {
                    found: name.clone(),
                })?;
                (
                    Arc::new(Verified::new(ca.as_deref())?),
                    Some(asked.to_owned()),
                )
            }
        };
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .expect("the provider has cipher suites for both versions")
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Some(Self {
            config: Arc::new(config),
            name,
        }))
    }

    /// Whether the upstream is who it should be, once the handshake has succeeded.
    #[must_use]
    pub const fn verifies(&self) -> bool {
        self.name.is_some()
    }

    /// Speaks TLS with a server that is about to. After a failure nothing can be said on `stream`.
    pub(crate) async fn connect(
        &self,
        stream: &mut Stream,
        limit: Duration,
    ) -> Result<Peer, TlsFailure> {
        let name = match &self.name {
            Some(name) => name.clone(),
            // An address is never sent as a name (RFC 6066 §3); it only tells sessions apart.
            None => stream.tcp().peer_addr()?.ip().to_canonical().into(),
        };
        let connection = rustls::ClientConnection::new(Arc::clone(&self.config), name)?;
        let handshake = stream.connect(connection);
        tokio::time::timeout(limit, handshake)
            .await
            .map_err(|_| TlsFailure::TimedOut(limit))??;
        let connection = stream.connection().ok_or(TlsFailure::HungUp)?;
        let certificates = connection.peer_certificates().unwrap_or_default();
        Ok(Peer {
            tls: TlsInfo::of(connection, None),
            certificate: certificates
                .first()
                .and_then(|der| CertificateInfo::read(der)),
        })
    }
}

/// Any certificate will do. What it signed is not looked at: whoever can stand in the middle has a
/// certificate of their own, and certificates that no library can read are still better than none.
#[derive(Debug)]
pub(super) struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A chain to an authority, or a certificate that is listed itself.
#[derive(Debug)]
struct Verified {
    chains: Arc<WebPkiServerVerifier>,
    /// Certificates in the file of the administrator; none of the system's.
    listed: Vec<CertificateDer<'static>>,
}

impl Verified {
    fn new(ca: Option<&Path>) -> Result<Self, ClientTlsError> {
        let system = || SYSTEM_CA.iter().map(Path::new).find(|path| path.exists());
        let path = ca.or_else(system).ok_or(ClientTlsError::NoSystemCa)?;
        let certificates = pem::read_certificates(path)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map_err(|error| ClientTlsError::Authority {
                path: path.to_owned(),
                error: error.to_string(),
            })?;
        let listed = if ca.is_some() {
            certificates
        } else {
            Vec::new()
        };
        Ok(Self { chains, listed })
    }
}

impl ServerCertVerifier for Verified {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.listed.iter().any(|listed| listed == end_entity) {
            return self
                .chains
                .verify_server_cert(end_entity, intermediates, name, ocsp, now);
        }
        let info =
            CertificateInfo::read(end_entity).ok_or(rustls::CertificateError::BadEncoding)?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if now > info.not_after {
            return Err(rustls::CertificateError::Expired.into());
        }
        if now < info.not_before {
            return Err(rustls::CertificateError::NotValidYet.into());
        }
        rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
