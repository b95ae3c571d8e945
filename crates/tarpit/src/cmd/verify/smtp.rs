//! The least that a client of SMTP needs: a line out, a reply in, each within a limit on time.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tarpit_smtp::{Reply, ReplyReader, ReplyStep};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// Room for one read. Replies are short.
const READ_LEN: usize = 4096;

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    replies: ReplyReader,
}

/// Why there is no reply. The connection is of no use afterwards.
#[derive(Debug)]
pub(crate) enum NoReply {
    /// The server closed or reset the connection.
    Closed,
    /// It said nothing, or not a whole reply, within the limit.
    TimedOut,
    /// It said what is no reply of SMTP.
    Garbage(String),
}

impl fmt::Display for NoReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection closed"),
            Self::TimedOut => f.write_str("no answer"),
            Self::Garbage(what) => write!(f, "not an SMTP reply: {what}"),
        }
    }
}

impl Client {
    /// Connects, from the address `from` if one is given. The greeting is the first
    /// [`Client::reply`].
    pub(crate) async fn connect(
        to: SocketAddr,
        from: Option<IpAddr>,
        limit: Duration,
    ) -> io::Result<Self> {
        let socket = if to.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let late = |_| io::Error::from(io::ErrorKind::TimedOut);
        let stream = timeout(limit, socket.connect(to))
            .await
            .unwrap_or_else(|late_by| Err(late(late_by)))?;
        // Each command waits for its reply: nothing is gained by holding it back.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
            replies: ReplyReader::new(),
        })
    }

    /// Our own address on this connection.
    pub(crate) fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// Sends `line` with CRLF after it; the reply, and how long it took.
    pub(crate) async fn command(
        &mut self,
        line: &str,
        limit: Duration,
    ) -> (Result<Reply, NoReply>, Duration) {
        self.send(format!("{line}\r\n").as_bytes(), limit).await
    }

    /// Sends octets as they are; the reply, and how long it took.
    pub(crate) async fn send(
        &mut self,
        octets: &[u8],
        limit: Duration,
    ) -> (Result<Reply, NoReply>, Duration) {
        let start = Instant::now();
        let exchange = async {
            // A server may have closed already and still have said why: that is read.
            let _ = self.stream.write_all(octets).await;
            self.read_reply().await
        };
        let outcome = timeout(limit, exchange)
            .await
            .unwrap_or(Err(NoReply::TimedOut));
        (outcome, start.elapsed())
    }

    /// The next reply, which nothing asked for: the greeting.
    pub(crate) async fn reply(&mut self, limit: Duration) -> Result<Reply, NoReply> {
        timeout(limit, self.read_reply())
            .await
            .unwrap_or(Err(NoReply::TimedOut))
    }

    async fn read_reply(&mut self) -> Result<Reply, NoReply> {
        loop {
            match self.replies.read(&self.unread) {
                Ok(ReplyStep::Done { reply, consumed }) => {
                    self.unread.drain(..consumed);
                    return Ok(reply);
                }
                Ok(ReplyStep::Partial { consumed }) => drop(self.unread.drain(..consumed)),
                Err(error) => return Err(NoReply::Garbage(error.to_string())),
            }
            let mut block = [0; READ_LEN];
            match self.stream.read(&mut block).await {
                Ok(0) | Err(_) => return Err(NoReply::Closed),
                Ok(count) => self.unread.extend_from_slice(&block[..count]),
            }
        }
    }
}

/// How we name ourselves: a client without a name of its own gives its address (RFC 5321 §4.1.3).
pub(crate) fn literal(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => format!("[{v4}]"),
        IpAddr::V6(v6) => format!("[IPv6:{v6}]"),
    }
}
