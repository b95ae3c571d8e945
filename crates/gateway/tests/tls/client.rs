//! A client that says what it is told to, plainly or by TLS. It blocks, and runs on a thread of its
//! own.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

use crate::stage::LATE;

trait Both: Read + Write + Send {}
impl<T: Read + Write + Send> Both for T {}

/// One connection to the gateway.
pub(crate) struct Client {
    stream: BufReader<Box<dyn Both>>,
    tcp: TcpStream,
    /// By which the session's record names it.
    pub(crate) address: SocketAddr,
}

impl Client {
    /// Connects, and says nothing.
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let tcp = TcpStream::connect(to).unwrap();
        tcp.set_read_timeout(Some(LATE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let own = tcp.try_clone().unwrap();
        Self {
            address: tcp.local_addr().unwrap(),
            stream: BufReader::new(Box::new(own)),
            tcp,
        }
    }

    /// Speaks TLS from here on. What was read ahead is the gateway's mistake.
    pub(crate) fn secure(&mut self) -> Result<Vec<CertificateDer<'static>>, String> {
        assert_eq!(self.stream.buffer(), b"", "said before the handshake");
        let name = ServerName::try_from("mx.example.org").unwrap();
        let connection = ClientConnection::new(Arc::new(config()), name).unwrap();
        let mut stream = StreamOwned::new(connection, self.tcp.try_clone().unwrap());
        while stream.conn.is_handshaking() {
            let io = stream.conn.complete_io(&mut stream.sock);
            io.map_err(|error| error.to_string())?;
        }
        let shown = stream.conn.peer_certificates().unwrap().to_vec();
        self.stream = BufReader::new(Box::new(stream));
        Ok(shown)
    }

    /// Past TLS.
    pub(crate) fn send_plain(&mut self, octets: &[u8]) {
        self.tcp.write_all(octets).unwrap();
    }

    /// `false` once nobody takes it any more.
    pub(crate) fn try_send(&mut self, octets: &[u8]) -> bool {
        self.tcp.write_all(octets).is_ok()
    }

    /// Closes one side, or both.
    pub(crate) fn leave(&self, how: Shutdown) {
        self.tcp.shutdown(how).unwrap();
    }

    /// Breaks off.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.tcp);
        socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    /// What is said from here on waits for more of it, or for the end.
    pub(crate) fn cork(&self) {
        socket2::SockRef::from(&self.tcp)
            .set_tcp_cork(true)
            .unwrap();
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        let stream = self.stream.get_mut();
        stream.write_all(octets).unwrap();
        stream.flush().unwrap();
    }

    /// One reply, all its lines; empty at the end of the connection.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            match self.stream.read_line(&mut reply) {
                Ok(0) | Err(_) => return reply,
                Ok(_) if reply.as_bytes().get(start + 3) == Some(&b'-') => {}
                Ok(_) => return reply,
            }
        }
    }

    /// Says a line, and expects a reply with this code.
    pub(crate) fn ask(&mut self, line: &str, code: &str) -> String {
        self.send(format!("{line}\r\n").as_bytes());
        self.expect(code)
    }

    pub(crate) fn expect(&mut self, code: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(code), "{reply:?}: expected {code}");
        reply
    }

    /// Everything until the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest);
        rest
    }
}

/// Runs a client's part.
pub(crate) async fn run<T: Send + 'static>(part: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(part).await.unwrap()
}

fn config() -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody))
        .with_no_client_auth()
}

#[derive(Debug)]
struct Anybody;

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
        default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
