//! The client's side of SMTP, as far as a benchmark needs it: reply codes in, prepared bytes out.
//!
//! It shares no code with the product, so that a mistake there can't hide itself, and it costs as
//! little as can be: what the load takes from the processor is taken from both sides of a ratio.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use crate::tls;

/// A reply line is 512 octets at most (RFC 5321 §4.5.3.1.5), and replies to 100 commands may wait.
const BUFFER: usize = 16 * 1024;

/// Plain or TLS.
trait Stream: AsyncRead + AsyncWrite + Send + std::fmt::Debug {}

impl<S: AsyncRead + AsyncWrite + Send + std::fmt::Debug> Stream for S {}

/// A connection to a server, with what was read ahead.
#[derive(Debug)]
pub(crate) struct Client {
    stream: Pin<Box<dyn Stream>>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// A session of TLS was taken up again.
    pub(crate) is_resumed: bool,
}

impl Client {
    /// Connects from the address `from`, which makes the source of the session.
    pub(crate) async fn connect(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self::on(Box::pin(stream)))
    }

    fn on(stream: Pin<Box<dyn Stream>>) -> Self {
        Self {
            stream,
            buffer: vec![0; BUFFER],
            start: 0,
            end: 0,
            is_resumed: false,
        }
    }

    /// Connects, awaits the greeting and says EHLO.
    pub(crate) async fn open(from: IpAddr, to: SocketAddr) -> io::Result<Self> {
        let mut client = Self::connect(from, to).await?;
        client.expect("the greeting", 220).await?;
        client.send(b"EHLO client.example.net\r\n").await?;
        client.expect("EHLO", 250).await?;
        Ok(client)
    }

    /// The same with STARTTLS, and EHLO again behind it.
    pub(crate) async fn open_tls(
        from: IpAddr,
        to: SocketAddr,
        config: &Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let mut client = Self::open(from, to).await?;
        client.send(b"STARTTLS\r\n").await?;
        client.expect("STARTTLS", 220).await?;
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(tls::name()?, client.stream).await?;
        let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
        let mut client = Self::on(Box::pin(stream));
        client.is_resumed = is_resumed;
        client.send(b"EHLO client.example.net\r\n").await?;
        client.expect("EHLO over TLS", 250).await?;
        Ok(client)
    }

    /// Sends prepared bytes.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        // Over TLS the octets of a write may wait for this.
        self.stream.flush().await
    }

    /// The code of the next reply, its continuation lines skipped.
    pub(crate) async fn reply(&mut self) -> io::Result<u16> {
        loop {
            let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
            if let Some(length) = memchr::memchr(b'\n', unread) {
                let (code, last) = read_line(&unread[..length])?;
                self.start += length + 1;
                if last {
                    return Ok(code);
                }
                continue;
            }
            self.fill().await?;
        }
    }

    /// Awaits a reply that must have the code `wanted`.
    pub(crate) async fn expect(&mut self, what: &str, wanted: u16) -> io::Result<()> {
        match self.reply().await? {
            code if code == wanted => Ok(()),
            code => Err(io::Error::other(format!("{what}: {code}, not {wanted}"))),
        }
    }

    /// Reads until the server closes, so that the server is the one that keeps the port busy.
    pub(crate) async fn closed(mut self) -> io::Result<()> {
        loop {
            match self.stream.read(&mut self.buffer).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // The server closes without a farewell of TLS.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            return Err(io::Error::other("a reply line without end"));
        }
        match self.stream.read(room).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.end += n;
                Ok(())
            }
        }
    }
}

/// Code of a reply line, and whether it is the last of its reply.
fn read_line(line: &[u8]) -> io::Result<(u16, bool)> {
    let digits = line
        .get(..3)
        .and_then(|text| std::str::from_utf8(text).ok());
    match digits.and_then(|text| text.parse().ok()) {
        Some(code) => Ok((code, line.get(3) != Some(&b'-'))),
        None => Err(io::Error::other(format!(
            "not a reply: {:?}",
            String::from_utf8_lossy(line)
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_lines() {
        assert_eq!(read_line(b"250-SIZE 1\r").unwrap(), (250, false));
        assert_eq!(read_line(b"250 2.1.5 Ok\r").unwrap(), (250, true));
        assert_eq!(read_line(b"221\r").unwrap(), (221, true));
        assert!(read_line(b"hello\r").is_err());
        assert!(read_line(b"").is_err());
    }
}
