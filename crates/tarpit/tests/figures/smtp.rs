//! A client that says one line and reads one reply at a time, plain or by TLS.

use std::io::{BufRead as _, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::process::PATIENCE;

pub(crate) struct Client<S = TcpStream>(BufReader<S>)
where
    S: Read + Write;

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.reply(), "220");
        client
    }

    /// In the name of a client, by the PROXY protocol.
    pub(crate) fn connect_as(address: SocketAddr, client: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "PROXY TCP4 {client} 127.0.0.1 1025 25\r\n").unwrap();
        let mut client = Self(BufReader::new(stream));
        assert_eq!(client.reply(), "220");
        client
    }

    /// After a PROXY header, as somebody who may be refused.
    pub(crate) fn come(address: SocketAddr, header: &str) -> Option<Self> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "{header}\r\n").unwrap();
        let mut client = Self(BufReader::new(stream));
        (client.hear()? == 220).then_some(client)
    }

    /// Speaks TLS after a 220 to STARTTLS.
    pub(crate) fn secure(self) -> Client<StreamOwned<ClientConnection, TcpStream>> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
            .with_no_client_auth();
        let name = ServerName::try_from("mx1.example.org").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        Client(BufReader::new(StreamOwned::new(
            connection,
            self.0.into_inner(),
        )))
    }

    /// The socket alone.
    pub(crate) fn into_socket(self) -> TcpStream {
        self.0.into_inner()
    }
}

impl<S: Read + Write> Client<S> {
    /// The code of the next reply.
    pub(crate) fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.get(..3).unwrap_or("").to_owned();
            }
        }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        write!(self.0.get_mut(), "{line}\r\n").unwrap();
    }

    pub(crate) fn say(&mut self, line: &str) -> String {
        self.tell(line);
        self.reply()
    }

    /// The code of the next reply; `None` if the session is over, by a 421 or without a word.
    pub(crate) fn hear(&mut self) -> Option<u16> {
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => {
                    let kind = error.kind();
                    let is_late = matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    assert!(!is_late, "no reply");
                    return None;
                }
            }
            if line.as_bytes().get(3) != Some(&b'-') {
                let code: Option<u16> = line.get(..3)?.parse().ok();
                return code.filter(|code| *code != 421);
            }
        }
    }

    /// As [`Self::tell`], to somebody who may have ended the session.
    pub(crate) fn put(&mut self, line: &str) -> Option<()> {
        write!(self.0.get_mut(), "{line}\r\n").ok()
    }

    /// As [`Self::say`], to somebody who may end the session.
    pub(crate) fn ask(&mut self, line: &str) -> Option<u16> {
        self.put(line)?;
        self.hear()
    }

    /// Says each line and expects its reply.
    pub(crate) fn talk(&mut self, lines: &[(&str, &str)]) {
        for (line, reply) in lines {
            assert_eq!(self.say(line), *reply, "{line}");
        }
    }
}

/// Which certificate it is does not matter here.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
