//! A dialogue written by hand, over a bare connection or over the pipes of `openssl s_client`.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

use super::tools::limited;
use super::{Form, Letter, Tls, Way};
use crate::stuffed;

/// Sizes of the chunks of one message, over and over: one octet, and whatever cuts lines and their
/// ends apart. None is empty but the last one: Postfix refuses such (551 5.7.1).
const CHUNKS: [usize; 5] = [1, 7, 1000, 65_536, 13];

/// Two ways to the server, and the program in between, if any.
struct Dialogue {
    reader: BufReader<Box<dyn Read + Send>>,
    writer: Box<dyn Write + Send>,
    program: Option<Child>,
}

pub(super) fn send(way: &Way, letters: &[Letter]) -> Result<()> {
    let mut dialogue = Dialogue::open(way)?;
    dialogue.say("EHLO client.example.net\r\n")?;
    let offer = dialogue.expect(250)?;
    let offers = |keyword: &str| {
        offer
            .iter()
            .any(|line| line.split(' ').next() == Some(keyword))
    };
    for letter in letters {
        let (parameters, needs): (_, &[&str]) = match letter.form {
            Form::Plain => ("", &[]),
            Form::Utf8 => (" SMTPUTF8", &["SMTPUTF8"]),
            Form::Chunks => ("", &["CHUNKING"]),
            Form::Binary => (" BODY=BINARYMIME", &["CHUNKING", "BINARYMIME"]),
        };
        for keyword in needs {
            ensure!(offers(keyword), "{keyword} is not offered: {offer:?}");
        }
        let eight = offers("8BITMIME") && letter.form != Form::Binary;
        let body = if eight { " BODY=8BITMIME" } else { "" };
        dialogue.say(&format!(
            "MAIL FROM:<{}>{body}{parameters}\r\n",
            letter.from
        ))?;
        dialogue.expect(250).context("MAIL")?;
        dialogue.say(&format!("RCPT TO:<{}>\r\n", letter.to))?;
        dialogue.expect(250).context("RCPT")?;
        if needs.contains(&"CHUNKING") {
            dialogue.chunks(&letter.message).context("BDAT")?;
        } else {
            dialogue.say("DATA\r\n")?;
            dialogue.expect(354)?;
            dialogue.write(&stuffed(&letter.message))?;
            dialogue.expect(250).context("end of data")?;
        }
    }
    dialogue.say("QUIT\r\n")?;
    dialogue.expect(221)?;
    dialogue.close()
}

impl Dialogue {
    fn open(way: &Way) -> Result<Self> {
        let mut dialogue = match way.tls {
            Tls::Plain => Self::bare(way.source, way.port)?,
            Tls::StartTls => Self::openssl(way, &["-starttls", "smtp"])?,
            Tls::Implicit => Self::openssl(way, &[])?,
        };
        // s_client keeps all replies up to that to STARTTLS to itself.
        if way.tls != Tls::StartTls {
            dialogue.expect(220)?;
        }
        Ok(dialogue)
    }

    fn bare(source: Ipv4Addr, port: u16) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(std::time::Duration::from_secs(100)))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            reader: BufReader::new(Box::new(stream.try_clone()?)),
            writer: Box::new(stream),
            program: None,
        })
    }

    fn openssl(way: &Way, more: &[&str]) -> Result<Self> {
        let mut command: Command = limited("openssl");
        command
            .args([
                "s_client",
                "-quiet",
                "-verify_return_error",
                "-verify_ip",
                "127.0.0.1",
            ])
            .args(["-connect", &format!("127.0.0.1:{}", way.port)])
            .args(["-bind", &way.source.to_string(), "-CAfile"])
            .arg(&way.authority)
            .args(more);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let reader = child.stdout.take().context("no pipe")?;
        let writer = child.stdin.take().context("no pipe")?;
        Ok(Self {
            reader: BufReader::new(Box::new(reader)),
            writer: Box::new(writer),
            program: Some(child),
        })
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.write(text.as_bytes())
    }

    fn write(&mut self, octets: &[u8]) -> Result<()> {
        self.writer.write_all(octets)?;
        Ok(self.writer.flush()?)
    }

    fn chunks(&mut self, message: &[u8]) -> Result<()> {
        let mut rest = message;
        for size in CHUNKS.into_iter().cycle() {
            // RFC 3030 §2: the last one may be empty.
            let last = rest.is_empty();
            let (chunk, after) = rest.split_at(size.min(rest.len()));
            let word = if last { " LAST" } else { "" };
            self.say(&format!("BDAT {}{word}\r\n", chunk.len()))?;
            self.write(chunk)?;
            self.expect(250)?;
            if last {
                return Ok(());
            }
            rest = after;
        }
        bail!("no chunks")
    }

    /// The lines of a reply with this code, without the code.
    fn expect(&mut self, code: u16) -> Result<Vec<String>> {
        let (found, lines) = self.reply()?;
        ensure!(found == code, "expected {code}, got {found} {lines:?}");
        Ok(lines)
    }

    fn reply(&mut self) -> Result<(u16, Vec<String>)> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            ensure!(
                self.reader.read_line(&mut line)? > 0,
                "the connection is closed"
            );
            let line = line.trim_end();
            let (code, rest) = line.split_at_checked(3).context("a line without a code")?;
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !rest.starts_with('-') {
                return Ok((code.parse()?, lines));
            }
        }
    }

    fn close(self) -> Result<()> {
        drop(self.writer);
        if let Some(mut program) = self.program {
            program.wait()?;
        }
        Ok(())
    }
}
