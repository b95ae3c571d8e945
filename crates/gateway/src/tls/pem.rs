//! PEM files in the layouts that mail servers use, so that their own files serve.
//!
//! - Two files, `fullchain.pem` and `privkey.pem` (certbot), or Exim's `tls_certificate` and
//!   `tls_privatekey`, or Postfix's `smtpd_tls_cert_file` and `smtpd_tls_key_file`.
//! - One file with one key and its chain, in any order.
//! - One file with several keys, each followed by its chain (Postfix, `smtpd_tls_chain_files`): an
//!   ECDSA and an RSA pair for the same names, say.
//!
//! In each chain the server's own certificate comes first (RFC 8446 §4.4.2). Other sections
//! (Diffie-Hellman parameters, text before a section) are passed over.

use std::path::Path;

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::certificate::{CertificateError, Fault};
use crate::config::Certificate;

/// A chain of a hundred certificates is not half of it.
const FILE_MAX: u64 = 1024 * 1024;

/// A key with its certificates, not compared yet.
pub(super) struct Pair {
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) chain: Vec<CertificateDer<'static>>,
}

/// A section that matters here.
enum Section {
    Key(PrivateKeyDer<'static>),
    Certificate(CertificateDer<'static>),
}

/// Reads the pairs that `files` name. At least one.
pub(super) fn read(files: &Certificate) -> Result<Vec<Pair>, CertificateError> {
    let Certificate { chain, key } = files;
    if chain == key {
        return pairs(sections(chain)?).map_err(|fault| fault.of(chain));
    }
    let chain_certificates = certificates(sections(chain)?);
    if chain_certificates.is_empty() {
        return Err(Fault::NoCertificate.of(chain));
    }
    let mut keys = sections(key)?
        .into_iter()
        .filter_map(|section| match section {
            Section::Key(key) => Some(key),
            Section::Certificate(_) => None,
        });
    let first = keys.next().ok_or_else(|| Fault::NoKey.of(key))?;
    let more = keys.count();
    if more > 0 {
        return Err(Fault::ManyKeys { count: more + 1 }.of(key));
    }
    Ok(vec![Pair {
        key: first,
        chain: chain_certificates,
    }])
}

/// Reads the certificates of a file.
pub(super) fn read_certificates(
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found = certificates(sections(path)?);
    if found.is_empty() {
        return Err(Fault::NoCertificate.of(path));
    }
    Ok(found)
}

fn certificates(sections: Vec<Section>) -> Vec<CertificateDer<'static>> {
    let certificate = |section| match section {
        Section::Certificate(certificate) => Some(certificate),
        Section::Key(_) => None,
    };
    sections.into_iter().filter_map(certificate).collect()
}

/// One key: everything else is its chain. Several: each stands before its own.
fn pairs(sections: Vec<Section>) -> Result<Vec<Pair>, Fault> {
    let is_key = |section: &Section| matches!(section, Section::Key(_));
    let keys = sections.iter().filter(|section| is_key(section)).count();
    if keys == 0 {
        return Err(Fault::NoKey);
    }
    if keys > 1 && !sections.first().is_some_and(is_key) {
        return Err(Fault::ManyKeys { count: keys });
    }
    let mut pairs: Vec<Pair> = Vec::with_capacity(keys);
    let mut early = Vec::new();
    for section in sections {
        match (section, pairs.last_mut()) {
            (Section::Key(key), _) => pairs.push(Pair {
                key,
                chain: std::mem::take(&mut early),
            }),
            (Section::Certificate(certificate), Some(pair)) => pair.chain.push(certificate),
            (Section::Certificate(certificate), None) => early.push(certificate),
        }
    }
    if pairs.iter().any(|pair| pair.chain.is_empty()) {
        return Err(Fault::NoCertificate);
    }
    Ok(pairs)
}

fn sections(path: &Path) -> Result<Vec<Section>, CertificateError> {
    let text = text(path).map_err(|error| Fault::Io(error).of(path))?;
    let mut sections = Vec::new();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(&text) {
        let (kind, der) = section.map_err(|error| Fault::Pem(error.to_string()).of(path))?;
        match kind {
            SectionKind::Certificate => sections.push(Section::Certificate(der.into())),
            kind => sections.extend(PrivateKeyDer::from_pem(kind, der).map(Section::Key)),
        }
    }
    let has_key = sections
        .iter()
        .any(|section| matches!(section, Section::Key(_)));
    if !has_key && is_encrypted(&text) {
        return Err(Fault::Encrypted.of(path));
    }
    Ok(sections)
}

fn text(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut text = Vec::new();
    std::fs::File::open(path)?
        .take(FILE_MAX)
        .read_to_end(&mut text)?;
    Ok(text)
}

/// A key with a passphrase: nobody could type it at a start.
fn is_encrypted(text: &[u8]) -> bool {
    let says = |what: &[u8]| text.windows(what.len()).any(|window| window == what);
    says(b"BEGIN ENCRYPTED PRIVATE KEY") || says(b"Proc-Type: 4,ENCRYPTED")
}
