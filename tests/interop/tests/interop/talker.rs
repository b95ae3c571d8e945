//! A client that says what a test tells it to, and can speak TLS halfway through.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tarpit_interop::Certificates;

/// The first octet of a TLS alert (RFC 8446 §5.1): what came was no handshake.
const TLS_ALERT: u8 = 21;

/// The client.
pub(crate) struct Talker<S> {
    pub(crate) reader: BufReader<S>,
}

impl<S: Read + Write> Talker<S> {
    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())?;
        Ok(self.reader.get_mut().flush()?)
    }

    /// The last line of the next reply.
    pub(crate) fn reply(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            ensure!(self.reader.read_line(&mut line)? > 0, "closed");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line.trim_end().to_owned());
            }
        }
    }

    pub(crate) fn ask(&mut self, line: &str, code: &str) -> Result<()> {
        self.send(&format!("{line}\r\n"))?;
        let reply = self.reply()?;
        ensure!(reply.starts_with(code), "{line}: {reply}, not {code}");
        Ok(())
    }

    /// What comes until the other side closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        // Closed without a word of TLS is closed, too.
        let _ = self.reader.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

impl Talker<TcpStream> {
    /// Before it has said anything.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            reader: BufReader::new(stream),
        }
    }
}

/// Over TLS.
pub(crate) type Secure = StreamOwned<ClientConnection, TcpStream>;

/// The handshake, with what the client read in the clear left behind.
pub(crate) fn secure(
    talker: Talker<TcpStream>,
    certificates: &Certificates,
) -> Result<Talker<Secure>> {
    match talker.reader.buffer() {
        [] => {}
        [TLS_ALERT, ..] => bail!("refused with an alert"),
        said => bail!("said in the clear: {said:?}"),
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificates.authority())?)?;
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("gate.example.org")?;
    let mut connection = ClientConnection::new(Arc::new(config), name)?;
    let mut stream = talker.reader.into_inner();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(Talker {
        reader: BufReader::new(StreamOwned::new(connection, stream)),
    })
}
