//! TLS towards clients and the upstream: certificates by name, handshakes with an end, and what a
//! log or `tarpit check` wants to know of them.
//!
//! What it promises: a handshake has a time limit; a pair of key and certificate that is bad never
//! replaces one that works; session state that is kept for resumption is bounded; early data (TLS
//! 1.3, RFC 8446 §2.3) is never taken, since it can be replayed.
//!
//! What was rejected, and why:
//! - OpenSSL, which mail servers use: its C would stand in the way of hostile bytes. What is lost is
//!   TLS 1.0 and 1.1 (RFC 8996 forbids them); a server that speaks nothing newer fails the handshake and, as
//!   mail servers do, tries again without TLS.
//! - The stream of `tokio-rustls`: see `stream.rs`.
//! - Events of the file system (inotify) to notice new certificates: a file that is replaced by a
//!   symbolic link two folders away, as certbot does, takes three watches; a look each second takes
//!   two system calls.
//! - Asking clients for certificates: partners that need that get `passthrough`.
//! - OCSP stapling: no mail client asks for it, and the largest authority has ended the service.

mod aside;
mod certificate;
mod client;
mod handshakes;
mod info;
mod pem;
mod server;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;

pub(crate) use aside::Aside;
pub use certificate::{CertificateError, CertificateInfo, KeyHash};
pub use client::{ClientTls, ClientTlsError, Peer};
pub(crate) use handshakes::Handshakes;
pub use info::{TlsFailure, TlsInfo};
pub use server::ServerTls;
pub(crate) use watch::watch;

/// Versions that are spoken. RFC 8996 forbids the older ones.
static VERSIONS: &[&rustls::SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// The algorithms. The library's own choice: AES-GCM and ChaCha20-Poly1305 with ECDHE only.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

fn provider() -> Arc<CryptoProvider> {
    Arc::clone(&PROVIDER)
}
