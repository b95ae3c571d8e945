//! TLS as a client speaks it, without a socket.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use crate::certificate::{NAME, pem};

/// One end of a TLS connection.
pub(crate) struct Secure(ClientConnection);

impl Secure {
    pub(crate) fn new() -> Self {
        let mut roots = RootCertStore::empty();
        let own = rustls::pki_types::CertificateDer::from_pem_slice(pem().0.as_bytes());
        roots.add(own.unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(NAME).unwrap();
        Self(ClientConnection::new(Arc::new(config), name).unwrap())
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Ciphertext that is due.
    pub(crate) fn due(&mut self) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut ciphertext).unwrap();
        }
        ciphertext
    }

    /// Takes ciphertext that came.
    pub(crate) fn take(&mut self, mut ciphertext: &[u8]) -> Result<(), String> {
        while !ciphertext.is_empty() {
            let taken = self.0.read_tls(&mut ciphertext);
            taken.map_err(|error| error.to_string())?;
            let processed = self.0.process_new_packets();
            processed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Appends the plaintext that is there.
    pub(crate) fn read(&mut self, plaintext: &mut Vec<u8>) {
        // "Would block" is the end of what is there.
        let _ = self.0.reader().read_to_end(plaintext);
    }

    pub(crate) fn encrypt(&mut self, mut plaintext: &[u8]) -> Result<Vec<u8>, String> {
        let mut ciphertext = Vec::new();
        while !plaintext.is_empty() {
            let count = self.0.writer().write(plaintext);
            plaintext = &plaintext[count.map_err(|error| error.to_string())?..];
            ciphertext.append(&mut self.due());
        }
        Ok(ciphertext)
    }
}
