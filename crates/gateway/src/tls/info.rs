//! What came of a handshake, for logs, metrics and `tarpit check`.

use std::io::{self, ErrorKind};
use std::time::Duration;

use rustls::{AlertDescription, CommonState, Error, HandshakeKind, ProtocolVersion};

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// `TLSv1.3`
    pub version: &'static str,
    /// `TLS13_AES_256_GCM_SHA384`
    pub cipher: &'static str,
    /// The server's name that the client asked for, if it did.
    pub sni: Option<Box<str>>,
    /// Whether an earlier session was resumed.
    pub resumed: bool,
}

impl TlsInfo {
    pub(super) fn of(connection: &CommonState, sni: Option<Box<str>>) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "unknown",
        };
        let suite = connection.negotiated_cipher_suite();
        Self {
            version,
            cipher: suite
                .and_then(|suite| suite.suite().as_str())
                .unwrap_or("unknown"),
            sni,
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
        }
    }
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// It was not finished within this time.
    #[error("no TLS within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The peer left.
    #[error("the peer hung up")]
    HungUp,
    /// What came is no TLS.
    #[error("found what is no TLS")]
    NoTls,
    /// The peer sent plain octets where only TLS may come: somebody may have injected them
    /// (CVE-2011-0411).
    #[error("found plain octets behind the reply to STARTTLS")]
    Injected,
    /// The peer did not like ours: it said this.
    #[error("the peer refused: {}", .0.as_str().unwrap_or("unknown alert"))]
    Alert(AlertDescription),
    /// The peer's certificate is not the one that is asked for.
    #[error("certificate refused: {0}")]
    Certificate(rustls::CertificateError),
    /// There is no certificate to show.
    #[error("there is no certificate")]
    NoCertificate,
    /// The gateway stopped meanwhile.
    #[error("the gateway stopped")]
    Stopped,
    /// Anything else that makes TLS impossible.
    #[error("{0}")]
    Other(Error),
}

impl TlsFailure {
    /// The word for logs and metrics.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::TimedOut(_) => "timed_out",
            Self::HungUp => "hung_up",
            Self::NoTls => "no_tls",
            Self::Injected => "injected",
            Self::Alert(_) => "refused_by_peer",
            Self::Certificate(_) => "certificate",
            Self::NoCertificate => "no_certificate",
            Self::Stopped => "stopped",
            Self::Other(_) => "protocol",
        }
    }
}

impl From<Error> for TlsFailure {
    fn from(error: Error) -> Self {
        match error {
            Error::InvalidMessage(_) => Self::NoTls,
            Error::AlertReceived(alert) => Self::Alert(alert),
            Error::InvalidCertificate(error) => Self::Certificate(error),
            error => Self::Other(error),
        }
    }
}

/// What the handshake of a stream says.
impl From<io::Error> for TlsFailure {
    fn from(error: io::Error) -> Self {
        if error.kind() != ErrorKind::InvalidData {
            return Self::HungUp;
        }
        match error.downcast::<Error>() {
            Ok(error) => error.into(),
            Err(_) => Self::HungUp,
        }
    }
}
