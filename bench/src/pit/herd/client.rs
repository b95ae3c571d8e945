//! One client of the herd: it connects, says EHLO, MAIL and a guess, and then waits.
//!
//! The way of most harvesters: the next guess goes out when the reply has come. It keeps as little
//! as it can, since a hundred thousand of its kind run on the machine that is measured.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustls::{ClientConfig, ClientConnection};

use super::child::Herd;
use super::order::{State, Tally};
use crate::tls;

/// The first port that clients use, and how many there are: above those of services.
const PORTS: (u64, u64) = (10_000, 50_000);

/// Ports that are tried, should somebody else have one.
const TRIES: u64 = 8;

/// A reply is 512 octets a line at most (RFC 5321 §4.5.3.1.5); more than this is no SMTP.
const LINE_MAX: usize = 4096;

/// How all clients of a process behave.
pub(super) struct Manner {
    /// Share of the clients that guess again at once.
    pub(super) answers: f64,
    hold: Duration,
    tls: Option<Arc<ClientConfig>>,
    /// How many octets of the next guess go out with one.
    ahead: usize,
    stepwise: bool,
    helo: String,
    mail: String,
    pad: String,
}

impl Manner {
    pub(super) fn new(herd: &Herd, tls: Option<Arc<ClientConfig>>) -> Self {
        // RFC 5321 §4.5.3.1: 255 octets of a domain, 64 of a local part, 256 of a path.
        let label = "a".repeat(60);
        let domain = [label.as_str(); 3].join(".");
        let (helo, mail, pad) = if herd.long {
            let host = format!("{}.{domain}.example.net", "b".repeat(59));
            let path = format!("{}@{domain}.net", "s".repeat(64));
            (host, path, "x".repeat(50))
        } else {
            let host = "client.example.net".to_owned();
            (host, "guess@client.example.net".to_owned(), String::new())
        };
        Self {
            answers: 1.0,
            hold: Duration::from_millis(herd.hold_ms),
            tls,
            ahead: usize::from(herd.ahead),
            stepwise: herd.stepwise,
            helo: format!("EHLO {helo}\r\n"),
            mail: format!("MAIL FROM:<{mail}>\r\n"),
            pad,
        }
    }

    fn guess(&self, client: u32, number: u32) -> String {
        let pad = &self.pad;
        format!("RCPT TO:<no{pad}{client}-{number}@example.org>\r\n")
    }

    /// Whether this client guesses again; always the same ones, spread over all.
    fn answers(&self, client: u32) -> bool {
        // 618 of 1,000 is the golden ratio, whose multiples spread evenly; 617 has no factor of
        // 1,000, so each remainder comes once.
        f64::from(client % 1000 * 617 % 1000) < self.answers * 1000.0
    }
}

/// What became of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// It is still there.
    Stays,
    /// The server sent it away before it was held.
    Refused,
    /// The connection is over.
    Ended,
}

/// What the next reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Greeting,
    Ehlo,
    StartTls,
    Handshake,
    Mail,
    Guess,
    Nothing,
}

/// One client.
pub(super) struct Client {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    step: Step,
    number: u32,
    guesses: u32,
    asked: Instant,
    /// The beginning of a reply line whose end is still to come.
    rest: Vec<u8>,
}

impl Client {
    /// Begins to connect, from `source` within 127.0.0.0/8.
    ///
    /// The port is chosen here: to look for a free one takes the kernel longer the more there are.
    pub(super) fn connect(
        to: SocketAddrV4,
        source: u32,
        connection: u64,
        number: u32,
    ) -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let own = Ipv4Addr::from_bits(0x7f00_0000 | (source & 0x00ff_ffff));
        let mut bound = Err(rustix::io::Errno::ADDRINUSE);
        for again in 0..TRIES {
            let port = PORTS.0 + (connection + again * 7919) % PORTS.1;
            let port = u16::try_from(port).unwrap_or(0);
            bound = rustix::net::bind(&socket, &SocketAddrV4::new(own, port));
            if bound != Err(rustix::io::Errno::ADDRINUSE) {
                break;
            }
        }
        bound?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            stream: TcpStream::from(socket),
            tls: None,
            step: Step::Greeting,
            number,
            guesses: 0,
            asked: Instant::now(),
            rest: Vec::new(),
        })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn is_silent(&self) -> bool {
        self.step == Step::Nothing
    }

    pub(super) fn state(&self) -> State {
        match self.step {
            Step::Guess => State::Held,
            Step::Nothing => State::Silent,
            _ => State::Opening,
        }
    }

    /// Ends the connection by RST.
    pub(super) fn reset(self) {
        // What fails here is gone already.
        let _gone = sockopt::set_socket_linger(&self.stream, Some(Duration::ZERO));
    }

    /// Guesses once more.
    pub(super) fn guess(&mut self, manner: &Manner, tally: &mut Tally) -> Event {
        self.guesses += 1;
        let this = manner.guess(self.number, self.guesses);
        let next = manner.guess(self.number, self.guesses + 1);
        // What was sent ahead isn't sent again.
        let sent = if self.guesses > 1 { manner.ahead } else { 0 };
        let text = format!("{}{}", &this[sent..], &next[..manner.ahead]);
        tally.pass(self.state(), State::Held);
        self.step = Step::Guess;
        self.asked = Instant::now();
        self.say(text.as_bytes(), tally)
    }

    /// Reads what is here and goes on.
    pub(super) fn read(&mut self, manner: &Manner, tally: &mut Tally) -> Event {
        let mut buffer = [0; 4096];
        let read = match self.receive(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Event::Stays,
            Err(error) => return self.over(&error.to_string(), tally),
        };
        if self.step == Step::Handshake {
            return self.shake_hands(manner, tally);
        }
        let Some(said) = buffer.get(..read).filter(|said| !said.is_empty()) else {
            return self.over("closed", tally);
        };
        self.rest.extend_from_slice(said);
        while let Some(end) = memchr::memchr(b'\n', &self.rest) {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if line.get(3) == Some(&b'-') {
                continue;
            }
            let event = self.reply(&line, manner, tally);
            if event != Event::Stays {
                return event;
            }
        }
        if self.rest.is_empty() {
            self.rest = Vec::new();
        } else if self.rest.len() > LINE_MAX {
            return self.over("a reply line without end", tally);
        }
        Event::Stays
    }

    /// The connection is over, or not worth keeping.
    fn over(&self, how: &str, tally: &mut Tally) -> Event {
        if self.state() == State::Opening {
            tally.refused += 1;
            tally.note(&format!("in step {:?}: {how}", self.step));
            Event::Refused
        } else {
            tally.ended += 1;
            tally.note(&format!("while held: {how}"));
            Event::Ended
        }
    }

    fn reply(&mut self, line: &[u8], manner: &Manner, tally: &mut Tally) -> Event {
        let code = line.get(..3).unwrap_or_default();
        match (self.step, code) {
            (Step::Greeting, b"220") => {
                self.step = Step::Ehlo;
                self.say(manner.helo.as_bytes(), tally)
            }
            (Step::Ehlo, b"250") if manner.tls.is_some() && self.tls.is_none() => {
                self.step = Step::StartTls;
                self.say(b"STARTTLS\r\n", tally)
            }
            (Step::StartTls, b"220") => self.begin_tls(manner, tally),
            (Step::Ehlo, b"250") => {
                // MAIL and the first guess in one segment, as RFC 2920 has it; held it is when
                // MAIL has its reply.
                self.step = Step::Mail;
                if manner.stepwise {
                    return self.say(manner.mail.as_bytes(), tally);
                }
                let guess = manner.guess(self.number, 1);
                let next = manner.guess(self.number, 2);
                self.asked = Instant::now();
                let text = format!("{}{guess}{}", manner.mail, &next[..manner.ahead]);
                self.say(text.as_bytes(), tally)
            }
            (Step::Mail, b"250") => {
                if manner.stepwise {
                    return self.guess(manner, tally);
                }
                tally.pass(State::Opening, State::Held);
                self.guesses = 1;
                self.step = Step::Guess;
                Event::Stays
            }
            (Step::Guess, [b'2' | b'5', ..]) => {
                tally.passed += u64::from(code.starts_with(b"2"));
                tally.reply(self.asked.elapsed(), manner.hold);
                if manner.answers(self.number) {
                    return self.guess(manner, tally);
                }
                tally.pass(State::Held, State::Silent);
                self.step = Step::Nothing;
                Event::Stays
            }
            _ => {
                let said = String::from_utf8_lossy(line);
                self.over(said.trim_end(), tally)
            }
        }
    }

    fn begin_tls(&mut self, manner: &Manner, tally: &mut Tally) -> Event {
        let Some(config) = &manner.tls else {
            return self.over("220 to no STARTTLS", tally);
        };
        let client = tls::name().and_then(|name| {
            ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)
        });
        match client {
            Ok(client) => {
                self.tls = Some(Box::new(client));
                self.step = Step::Handshake;
                self.flush(tally)
            }
            Err(error) => self.over(&error.to_string(), tally),
        }
    }

    fn shake_hands(&mut self, manner: &Manner, tally: &mut Tally) -> Event {
        let event = self.flush(tally);
        let is_over = self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking());
        if event != Event::Stays || !is_over {
            return event;
        }
        self.step = Step::Ehlo;
        self.say(manner.helo.as_bytes(), tally)
    }

    /// Octets in the clear, in front of which there may be TLS.
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return self.stream.read(buffer);
        };
        if tls.read_tls(&mut self.stream)? == 0 {
            return Err(io::Error::other("closed"));
        }
        tls.process_new_packets().map_err(io::Error::other)?;
        if self.step == Step::Handshake {
            // Nothing in the clear comes before its end.
            return Ok(0);
        }
        tls.reader().read(buffer)
    }

    fn say(&mut self, text: &[u8], tally: &mut Tally) -> Event {
        let said = match &mut self.tls {
            None => match self.stream.write(text) {
                Ok(written) if written < text.len() => Err(io::Error::other("a short write")),
                written => written.map(drop),
            },
            Some(tls) => tls.writer().write_all(text),
        };
        match said {
            Ok(()) if self.tls.is_some() => self.flush(tally),
            Ok(()) => Event::Stays,
            Err(error) => self.over(&error.to_string(), tally),
        }
    }

    fn flush(&mut self, tally: &mut Tally) -> Event {
        let Some(tls) = &mut self.tls else {
            return Event::Stays;
        };
        while tls.wants_write() {
            if let Err(error) = tls.write_tls(&mut self.stream) {
                return self.over(&error.to_string(), tally);
            }
        }
        Event::Stays
    }
}
