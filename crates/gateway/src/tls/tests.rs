//! Handshakes over loopback, with certificates made for the test.

mod certificates;
mod client;
mod server;
mod stream;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion};
use tokio::net::{TcpListener, TcpStream};

use super::client::Anybody;
use super::{ServerTls, VERSIONS, provider};
use crate::config::Certificate;
use crate::stream::Stream;

/// Longer than anything takes that ends at all.
const LIMIT: Duration = Duration::from_secs(10);

/// A certificate and its key, as PEM.
struct Pem {
    chain: String,
    key: String,
}

/// Signed by itself, for these names.
fn own(names: &[&str]) -> Pem {
    own_with(params(names))
}

fn own_with(params: CertificateParams) -> Pem {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Pem {
        chain: certificate.pem(),
        key: key.serialize_pem(),
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    CertificateParams::new(names).unwrap()
}

/// An authority: its certificate, and who signs with its key.
fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut params = params(&[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    (certificate, Issuer::new(params, key))
}

fn signed(params: &CertificateParams, issuer: &Issuer<'static, KeyPair>) -> Pem {
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    Pem {
        chain: certificate.pem(),
        key: key.serialize_pem(),
    }
}

/// A folder with certificates in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        // In the place of what is there, as those do it who renew certificates.
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &path).unwrap();
        path
    }

    fn pair(&self, name: &str, pem: &Pem) -> Certificate {
        Certificate {
            chain: self.write(&format!("{name}.crt"), &pem.chain),
            key: self.write(&format!("{name}.key"), &pem.key),
        }
    }

    /// A server with these certificates.
    fn server(&self, pems: &[Pem]) -> ServerTls {
        let pair = |(index, pem): (usize, &Pem)| self.pair(&index.to_string(), pem);
        let pairs: Vec<Certificate> = pems.iter().enumerate().map(pair).collect();
        ServerTls::read(&pairs).unwrap()
    }
}

fn one_file(path: &Path) -> Certificate {
    Certificate {
        chain: path.to_owned(),
        key: path.to_owned(),
    }
}

/// Both ends of a connection: the server's and the client's.
async fn sockets() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (
        Stream::plain(accepted.unwrap().0),
        Stream::plain(client.unwrap()),
    )
}

/// A client that trusts anybody.
fn anybody(versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth();
    Arc::new(config)
}

fn hello(config: &Arc<ClientConfig>, name: &str) -> ClientConnection {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    ClientConnection::new(Arc::clone(config), name).unwrap()
}

/// Both ends of a connection after the handshake, in any version.
async fn secure() -> (Stream, Stream) {
    secure_by(&anybody(VERSIONS)).await
}

async fn secure_by(config: &Arc<ClientConfig>) -> (Stream, Stream) {
    let tls = Files::new().server(&[own(&["mx.example.org"])]);
    let (mut server, mut client) = sockets().await;
    let (accepted, connected) = tokio::join!(
        tls.accept(&mut server, LIMIT, None),
        client.connect(hello(config, "mx.example.org"))
    );
    accepted.unwrap();
    connected.unwrap();
    (server, client)
}

async fn read(stream: &mut Stream) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(LIMIT, stream.read_into(&mut bytes, 512)).await;
    read.expect("it comes in time").map(|_| bytes)
}
