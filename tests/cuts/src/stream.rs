//! A connection, in the clear or over TLS, that can be cut under TLS: without a word of farewell.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tarpit_interop::{Certificates, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// The name in the gateway's certificate.
pub(crate) const NAME: &str = "gate.example.org";

/// What the peers of one world need for TLS.
pub(crate) struct Tls {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) connector: TlsConnector,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Tls")
    }
}

impl Tls {
    /// With one certificate for both servers.
    pub(crate) fn new(certificates: &Certificates, pair: &KeyPair) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(certificates.authority())?)?;
        let client = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let chain = CertificateDer::pem_file_iter(&pair.chain)?.collect::<Result<Vec<_>, _>>()?;
        let server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key)?)?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(server)),
            connector: TlsConnector::from(Arc::new(client)),
        })
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
    /// A handshake failed on it.
    Gone,
}

impl Stream {
    fn tcp(&self) -> io::Result<&TcpStream> {
        match self {
            Self::Plain(tcp) => Ok(tcp),
            Self::Secure(tls) => Ok(tls.get_ref().0),
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp()?.local_addr()
    }

    /// Writes all of it and sends it.
    pub(crate) async fn write_all(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.write_all(octets).await,
            Self::Secure(tls) => {
                tls.write_all(octets).await?;
                tls.flush().await
            }
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer).await,
            Self::Secure(tls) => tls.read(buffer).await,
            Self::Gone => Ok(0),
        }
    }

    pub(crate) async fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read(&mut buffer[filled..]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(())
    }

    /// FIN, without the farewell of TLS.
    pub(crate) async fn shutdown(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(tcp) => tcp.shutdown().await,
            Self::Secure(tls) => tls.get_mut().0.shutdown().await,
            Self::Gone => Ok(()),
        }
    }

    /// Dropping it resets it from now on.
    pub(crate) fn set_zero_linger(&self) -> io::Result<()> {
        self.tcp()?.set_zero_linger()
    }

    /// The handshake, as the client or as the server.
    pub(crate) async fn secure(&mut self, tls: &Tls, as_client: bool) -> io::Result<()> {
        let Self::Plain(tcp) = std::mem::replace(self, Self::Gone) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let secured = if as_client {
            let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
            TlsStream::from(tls.connector.connect(name, tcp).await?)
        } else {
            TlsStream::from(tls.acceptor.accept(tcp).await?)
        };
        *self = Self::Secure(Box::new(secured));
        Ok(())
    }
}
