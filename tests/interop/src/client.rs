//! A client that says exactly what a test tells it to, and reports what came back and when.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

/// Longer than anything a test waits for; a reply that takes longer is a failure.
const READ_LIMIT: Duration = Duration::from_secs(60);

/// A connection to a mail server.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A whole reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The reply code.
    pub code: u16,
    /// Its lines, without code and separator.
    pub lines: Vec<String>,
    /// From the moment before the command was sent or, for a reply that was only read, from the
    /// moment at which reading began: a hold may have begun earlier.
    pub after: Duration,
}

impl Reply {
    /// The text, in one line.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.join(" | ")
    }

    /// The reply itself, if it has this code.
    ///
    /// # Errors
    /// When it has another.
    pub fn expect(self, code: u16) -> Result<Self> {
        ensure!(
            self.code == code,
            "expected {code}, got {} {}",
            self.code,
            self.text()
        );
        Ok(self)
    }

    /// The reply itself, if its code begins with this digit.
    ///
    /// # Errors
    /// When it begins with another.
    pub fn expect_class(self, class: u16) -> Result<Self> {
        ensure!(
            self.code / 100 == class,
            "expected {class}yz, got {} {}",
            self.code,
            self.text()
        );
        Ok(self)
    }
}

impl Client {
    /// Connects to `port` on 127.0.0.1.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect(port: u16) -> Result<Self> {
        Self::connect_from(Ipv4Addr::LOCALHOST, port)
    }

    /// Connects from another loopback address: for the gateway, another source.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect_from(source: Ipv4Addr, port: u16) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        socket
            .connect(&server.into())
            .with_context(|| format!("connect {source} to {server}"))?;
        Self::over(TcpStream::from(socket))
    }

    /// Connects to any address, from wherever the system likes.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn connect_to(server: IpAddr, port: u16) -> Result<Self> {
        let stream = TcpStream::connect((server, port));
        Self::over(stream.with_context(|| format!("connect to {server} port {port}"))?)
    }

    fn over(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(READ_LIMIT))?;
        stream.set_write_timeout(Some(READ_LIMIT))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            unread: Vec::new(),
        })
    }

    /// Connects, reads the greeting, says EHLO.
    ///
    /// # Errors
    /// When the server doesn't welcome us.
    pub fn hello(port: u16) -> Result<Self> {
        Self::hello_from(Ipv4Addr::LOCALHOST, port)
    }

    /// As [`Client::hello`], from another loopback address.
    ///
    /// # Errors
    /// When the server doesn't welcome us.
    pub fn hello_from(source: Ipv4Addr, port: u16) -> Result<Self> {
        let mut client = Self::connect_from(source, port)?;
        client.reply()?.expect(220).context("greeting")?;
        client
            .command("EHLO client.example.net")?
            .expect(250)
            .context("EHLO")?;
        Ok(client)
    }

    /// Waits this long for replies from now on, in place of a minute.
    ///
    /// # Errors
    /// When the option can't be set.
    pub fn patience(&self, limit: Duration) -> Result<()> {
        Ok(self.stream.set_read_timeout(Some(limit))?)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the server has closed.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("send")
    }

    /// Sends a command line and reads the reply to it.
    ///
    /// # Errors
    /// When no whole reply comes.
    pub fn command(&mut self, line: &str) -> Result<Reply> {
        let start = Instant::now();
        self.send(format!("{line}\r\n").as_bytes())?;
        let reply = self.reply().with_context(|| format!("after {line:?}"))?;
        Ok(Reply {
            after: start.elapsed(),
            ..reply
        })
    }

    /// Reads one reply.
    ///
    /// # Errors
    /// When the server closes, is silent for a minute, or says what is no reply.
    pub fn reply(&mut self) -> Result<Reply> {
        let start = Instant::now();
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let (code, rest) = line.split_at_checked(3).context("a line without a code")?;
            let code: u16 = code
                .parse()
                .with_context(|| format!("no reply: {line:?}"))?;
            let (separator, text) = rest.split_at_checked(1).unwrap_or((" ", ""));
            lines.push(text.to_owned());
            match separator {
                " " => {
                    return Ok(Reply {
                        code,
                        lines,
                        after: start.elapsed(),
                    });
                }
                "-" => {}
                _ => bail!("no reply: {line:?}"),
            }
        }
    }

    /// A reply, or nothing if the server closed the connection instead.
    ///
    /// # Errors
    /// When it does neither.
    pub fn reply_or_close(&mut self) -> Result<Option<Reply>> {
        if self.unread.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        self.reply().map(Some)
    }

    /// Waits for the server to close; whatever it says before is returned.
    ///
    /// # Errors
    /// When it keeps the connection open for a minute.
    pub fn read_to_close(&mut self) -> Result<String> {
        while self.fill()? > 0 {}
        Ok(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned())
    }

    /// Whether nothing at all comes within `span`.
    ///
    /// # Errors
    /// When the option can't be set.
    pub fn is_silent(&mut self, span: Duration) -> Result<bool> {
        self.patience(span)?;
        let silent = self.unread.is_empty() && self.fill().is_err();
        self.patience(READ_LIMIT)?;
        Ok(silent)
    }

    /// Begins a transaction, up to the 354 of DATA.
    ///
    /// # Errors
    /// When a step is refused.
    pub fn begin(&mut self, from: &str, to: &[&str]) -> Result<()> {
        self.command(&format!("MAIL FROM:<{from}>"))?.expect(250)?;
        for recipient in to {
            self.command(&format!("RCPT TO:<{recipient}>"))?
                .expect(250)?;
        }
        self.command("DATA")?.expect(354)?;
        Ok(())
    }

    /// MAIL, RCPT for each, DATA and `data` (already stuffed and ended by [`crate::stuffed`]).
    /// Returns the reply to end-of-data.
    ///
    /// # Errors
    /// When a step before it is refused.
    pub fn deliver(&mut self, from: &str, to: &[&str], data: &[u8]) -> Result<Reply> {
        self.begin(from, to)?;
        self.send(data)?;
        self.reply()
    }

    /// Sends QUIT and reads the answer.
    ///
    /// # Errors
    /// When it isn't 221.
    pub fn quit(mut self) -> Result<()> {
        self.command("QUIT")?.expect(221)?;
        Ok(())
    }

    /// Sends FIN, and goes on reading.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn close_sending_side(&self) -> Result<()> {
        Ok(self.stream.shutdown(Shutdown::Write)?)
    }

    /// Closes with a reset, as a crashed client's machine does.
    ///
    /// # Errors
    /// When the option can't be set.
    pub fn reset(self) -> Result<()> {
        Socket::from(self.stream)
            .set_linger(Some(Duration::ZERO))
            .context("linger")
    }

    fn line(&mut self) -> Result<String> {
        loop {
            if let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.unread.split_off(end + 2);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.truncate(end);
                return String::from_utf8(line).context("a reply that is not UTF-8");
            }
            ensure!(self.fill()? > 0, "the server closed the connection");
        }
    }

    fn fill(&mut self) -> Result<usize> {
        let mut buffer = [0; 4096];
        // Reads with a time limit are not begun again by themselves when a signal comes in.
        let result = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        match result {
            Ok(count) => {
                self.unread.extend_from_slice(&buffer[..count]);
                Ok(count)
            }
            // A reset is a close, too, for whoever only waits for one.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(0),
            Err(error) => Err(error).context("no reply in time"),
        }
    }
}
