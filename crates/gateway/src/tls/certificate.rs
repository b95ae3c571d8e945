//! One certificate with its key: read, compared, and what is to be known of it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SupportedCipherSuite};
use x509_parser::extensions::GeneralName;

use super::{pem, provider};
use crate::config::Certificate;

/// Why a certificate or its key was not taken.
#[derive(Debug, thiserror::Error)]
#[error("certificate file {path}: {fault}")]
pub struct CertificateError {
    /// Which file.
    pub path: PathBuf,
    fault: Fault,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("{0}")]
    Io(std::io::Error),
    #[error("found what is no PEM ({0})")]
    Pem(String),
    #[error("found no certificate, at least one is needed")]
    NoCertificate,
    #[error("found no private key, one is needed")]
    NoKey,
    #[error("the private key has a passphrase; allowed: a key without one")]
    Encrypted,
    #[error(
        "found {count} private keys; allowed: one, or, in one file with the certificates, each followed by its own"
    )]
    ManyKeys { count: usize },
    #[error("the private key does not belong to the first certificate")]
    Mismatch,
    #[error("the private key belongs to certificate {place}; the server's own must come first")]
    Order { place: usize },
    #[error("{0}")]
    Unusable(String),
}

impl Fault {
    pub(super) fn of(self, path: &Path) -> CertificateError {
        CertificateError {
            path: path.to_owned(),
            fault: self,
        }
    }
}

/// SHA-256 of a public key (its `SubjectPublicKeyInfo`): what a TLSA record `3 1 1` holds (RFC 6698
/// §2.1). Shown in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl fmt::Display for KeyHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|octet| write!(out, "{octet:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "KeyHash({self})")
    }
}

/// What is to be known of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// Host names that it is for, in lower case; `*.example.org` stands for one label.
    pub names: Vec<Box<str>>,
    /// Seconds since 1970 before which it is not valid yet.
    pub not_before: i64,
    /// Seconds since 1970 after which it is no longer valid.
    pub not_after: i64,
    /// The public key.
    pub key: KeyHash,
}

impl CertificateInfo {
    /// Reads a certificate; `None` if it is none.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        let validity = certificate.validity();
        Some(Self {
            names: names(&certificate),
            not_before: validity.not_before.timestamp(),
            not_after: validity.not_after.timestamp(),
            key: hash(certificate.public_key().raw),
        })
    }

    /// The names in one line, for logs and reports, without control characters: whoever made the
    /// certificate chose them.
    #[must_use]
    pub fn name_list(&self) -> String {
        if self.names.is_empty() {
            return "(no name)".to_owned();
        }
        let shown = self
            .names
            .iter()
            .map(|name| tarpit_smtp::escape(name.as_bytes()).to_string());
        shown.collect::<Vec<_>>().join(", ")
    }
}

/// DNS names of the certificate. The common name counts only where there are none (RFC 9525 §6.3
/// would have it count never, but this is about which certificate to show, not whom to trust).
fn names(certificate: &x509_parser::certificate::X509Certificate<'_>) -> Vec<Box<str>> {
    let lower = |name: &str| name.trim_end_matches('.').to_ascii_lowercase().into();
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<Box<str>> = alternative
        .iter()
        .flat_map(|alternative| &alternative.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(lower(name)),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(common.filter_map(|name| name.as_str().ok()).map(lower));
    }
    names
}

fn hash(public_key: &[u8]) -> KeyHash {
    // The library's own SHA-256, by way of a cipher suite that uses it: one dependency less.
    let sha256 = match TLS13_AES_128_GCM_SHA256 {
        SupportedCipherSuite::Tls12(suite) => suite.common.hash_provider,
        SupportedCipherSuite::Tls13(suite) => suite.common.hash_provider,
    };
    let mut octets = [0; 32];
    octets.copy_from_slice(sha256.hash(public_key).as_ref());
    KeyHash(octets)
}

/// A certificate with its key, ready to be shown.
#[derive(Debug)]
pub(super) struct Certified {
    pub(super) info: CertificateInfo,
    pub(super) key: Arc<CertifiedKey>,
}

impl Certified {
    /// Reads the certificates in `files` (at least one) and compares each with its key.
    pub(super) fn read(files: &Certificate) -> Result<Vec<Arc<Self>>, CertificateError> {
        let pairs = pem::read(files)?;
        let made = pairs.into_iter().map(|pair| Self::of(pair).map(Arc::new));
        let made = made.collect::<Result<_, _>>();
        made.map_err(|fault| fault.of(&files.chain))
    }

    fn of(pair: pem::Pair) -> Result<Self, Fault> {
        let unusable = |error: Error| Fault::Unusable(error.to_string());
        let load = |key| provider().key_provider.load_private_key(key);
        let certified = CertifiedKey::new(pair.chain, load(pair.key).map_err(unusable)?);
        match certified.keys_match() {
            Ok(()) => {}
            Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(misplaced(&certified));
            }
            Err(error) => return Err(unusable(error)),
        }
        let own = certified.end_entity_cert().map_err(unusable)?;
        let info = CertificateInfo::read(own)
            .ok_or_else(|| Fault::Unusable("the first certificate can't be read".to_owned()))?;
        Ok(Self {
            info,
            key: Arc::new(certified),
        })
    }
}

/// The key fits no first certificate; perhaps another.
fn misplaced(certified: &CertifiedKey) -> Fault {
    let Some(key) = certified.key.public_key() else {
        return Fault::Mismatch;
    };
    let key = hash(&key);
    let is_own = |der: &[u8]| CertificateInfo::read(der).is_some_and(|info| info.key == key);
    match certified.cert.iter().position(|der| is_own(der)) {
        Some(index) => Fault::Order { place: index + 1 },
        None => Fault::Mismatch,
    }
}
