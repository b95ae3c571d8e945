//! The client: says its script, is cut or stalls where its point says, and keeps what it was told.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use crate::case::{Case, Registry};
use crate::chance::Pieces;
use crate::point::{Action, Dialogue, Leg};
use crate::script::{Expect, Step};
use crate::stream::Stream;

/// Longer than the grace time of every gateway here ([`crate::world`]).
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// Longer than anything a gateway here has to do; a session that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(45);

/// What a client was told of one message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) mail: Option<u16>,
    pub(crate) rcpt: Vec<Option<u16>>,
    pub(crate) data: Option<u16>,
    pub(crate) end: Option<u16>,
    /// Its MAIL was sent.
    pub(crate) begun: bool,
    /// Its last octet, that of the dot's CRLF, was handed to the system.
    pub(crate) sent: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The script was said to its end.
    Finished,
    /// The client cut it.
    Cut,
    /// The gateway closed it.
    Closed,
    /// The gateway said nothing for longer than anything takes.
    Silent,
}

/// What came of a session.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) told: Vec<Told>,
    /// A refusal of the session as a whole: 421, or in place of the greeting.
    pub(crate) shown_out: Option<u16>,
    pub(crate) ending: Ending,
    /// How long it took.
    pub(crate) took: Duration,
    /// Octets sent and heard.
    pub(crate) sent: u32,
    pub(crate) heard: u32,
}

/// Why it can't go on.
enum Stop {
    /// Nothing more: the connection is gone from our side.
    Cut,
    /// Nothing more is sent; what comes is still read.
    Mute,
    /// The other side is gone.
    Closed,
    Silent,
}

struct Session<'a> {
    case: &'a Arc<Case>,
    stream: Option<Stream>,
    registry: &'a Registry,
    unread: Vec<u8>,
    pieces: Pieces,
    is_due: bool,
    outcome: Outcome,
}

/// Says the script of `case` to the gateway on `port`.
pub(crate) async fn run(case: &Arc<Case>, port: u16, registry: &Registry) -> Outcome {
    let told = case.script.messages.iter().map(|message| Told {
        rcpt: vec![None; message.recipients.len()],
        ..Told::default()
    });
    let mut session = Session {
        case,
        stream: None,
        registry,
        unread: Vec::new(),
        pieces: Pieces::new(case.point.seed.into(), case.point.dialogue == Dialogue::Big),
        is_due: !case.point.leg.is_upstream() && case.point.action != Action::Nothing,
        outcome: Outcome {
            told: told.collect(),
            shown_out: None,
            ending: Ending::Finished,
            took: Duration::ZERO,
            sent: 0,
            heard: 0,
        },
    };
    registry.add(case);
    let start = Instant::now();
    if let Err(stop) = session.talk(port).await {
        session.outcome.ending = match stop {
            Stop::Cut | Stop::Mute => Ending::Cut,
            Stop::Closed => Ending::Closed,
            Stop::Silent => Ending::Silent,
        };
    }
    session.outcome.took = start.elapsed();
    session.outcome
}

/// Many sources, so that the ports of none run out (each rests for a minute after its use).
async fn connect(number: u64, port: u16) -> io::Result<Stream> {
    let [.., high, low] = (number / 1000).to_be_bytes();
    let source = Ipv4Addr::new(127, 9, high, low.max(1));
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((source, 0)))?;
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    Ok(Stream::Plain(stream))
}

impl Session<'_> {
    async fn talk(&mut self, port: u16) -> Result<(), Stop> {
        let stream = connect(self.case.number, port).await;
        let stream = stream.map_err(|_| Stop::Closed)?;
        if let Ok(address) = stream.local_addr() {
            self.registry.add_address(address.to_string(), self.case);
        }
        self.stream = Some(stream);
        for step in &self.case.script.steps {
            if self.is_pointless(step) {
                continue;
            }
            if step.pause {
                sleep(PAUSE).await;
            }
            self.step(step).await?;
        }
        Ok(())
    }

    /// What a sender leaves out, since the message has failed.
    fn is_pointless(&self, step: &Step) -> bool {
        let Some(told) = step.about.map(|message| &self.outcome.told[message]) else {
            return false;
        };
        if step.is_content {
            return told.data != Some(354);
        }
        let is_refused = |code: &Option<u16>| code.is_some_and(|code| code >= 400);
        is_refused(&told.mail) || told.rcpt.iter().all(is_refused) || is_refused(&told.data)
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        let octets: Vec<u8> = step
            .parts
            .iter()
            .flat_map(|part| part.octets.clone())
            .collect();
        let before = self.outcome.sent;
        let result = self.send(&octets).await;
        if matches!(result, Err(Stop::Cut | Stop::Silent)) && self.stream.is_none() {
            self.note_sent(step, before);
            return result;
        }
        let whole = self.note_sent(step, before);
        for part in step.parts.iter().take(whole) {
            if let Some(expect) = part.expect {
                let code = self.reply().await?;
                self.note(expect, code);
                if code == 421 || (expect == Expect::Greeting && code != 220) {
                    self.outcome.shown_out = Some(code);
                    return Err(Stop::Closed);
                }
                if expect == Expect::StartTls && result.is_ok() {
                    self.start_tls().await?;
                }
            }
        }
        if matches!(result, Err(Stop::Mute)) {
            self.read_on().await?;
        }
        result
    }

    async fn start_tls(&mut self) -> Result<(), Stop> {
        let (Some(stream), Some(tls)) = (&mut self.stream, self.registry.tls.get()) else {
            return Err(Stop::Cut);
        };
        match timeout(PATIENCE, stream.secure(tls, true)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Stop::Closed),
            Err(_) => Err(Stop::Silent),
        }
    }

    /// How many parts were sent whole.
    fn note_sent(&mut self, step: &Step, before: u32) -> usize {
        let mut sent = (self.outcome.sent - before) as usize;
        let mut whole = 0;
        for part in &step.parts {
            let Some(left) = sent.checked_sub(part.octets.len()) else {
                break;
            };
            sent = left;
            whole += 1;
            match part.expect {
                Some(Expect::Mail(message)) => self.outcome.told[message].begun = true,
                Some(Expect::End(message)) => self.outcome.told[message].sent = true,
                _ => {}
            }
        }
        whole
    }

    fn note(&mut self, expect: Expect, code: u16) {
        let told = &mut self.outcome.told;
        match expect {
            Expect::Mail(message) => told[message].mail = Some(code),
            Expect::Rcpt(message, number) => told[message].rcpt[number] = Some(code),
            Expect::Data(message) => told[message].data = Some(code),
            // Whatever comes behind it, the message has failed (RFC 3030 §2).
            Expect::Chunk(message) if code >= 400 => {
                told[message].data = told[message].data.or(Some(code));
            }
            Expect::End(message) => {
                told[message].end = Some(code);
                self.case.note_yes();
            }
            Expect::Greeting | Expect::Chunk(_) | Expect::StartTls | Expect::Other => {}
        }
    }

    /// Octets until the cut, if it is due on `leg`.
    fn room(&self, leg: Leg) -> Option<usize> {
        let done = if leg == Leg::ClientSent {
            self.outcome.sent
        } else {
            self.outcome.heard
        };
        (self.is_due && self.case.point.leg == leg)
            .then(|| self.case.point.at.saturating_sub(done) as usize)
    }

    async fn send(&mut self, octets: &[u8]) -> Result<(), Stop> {
        let mut left = octets;
        loop {
            let room = self.room(Leg::ClientSent);
            if room == Some(0) {
                self.act().await?;
                continue;
            }
            if left.is_empty() {
                return Ok(());
            }
            let count = self.pieces.next(left.len()).min(room.unwrap_or(usize::MAX));
            let (now, rest) = left.split_at(count);
            let stream = self.stream.as_mut().ok_or(Stop::Cut)?;
            match timeout(PATIENCE, stream.write_all(now)).await {
                Ok(Ok(())) => {}
                // What it said before it closed is read all the same.
                Ok(Err(_)) => return Err(Stop::Closed),
                Err(_) => return Err(Stop::Silent),
            }
            self.outcome.sent += u32::try_from(count).unwrap_or(u32::MAX);
            left = rest;
            if !left.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The code of the next reply.
    async fn reply(&mut self) -> Result<u16, Stop> {
        loop {
            if let Some((code, length)) = whole_reply(&self.unread) {
                self.unread.drain(..length);
                return Ok(code);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), Stop> {
        let mut room = self.room(Leg::ClientHeard);
        if room == Some(0) {
            self.act().await?;
            room = None;
        }
        let mut buffer = [0; 2048];
        let most = room.unwrap_or(usize::MAX).min(buffer.len());
        let stream = self.stream.as_mut().ok_or(Stop::Cut)?;
        match timeout(PATIENCE, stream.read(&mut buffer[..most])).await {
            Ok(Ok(0) | Err(_)) => Err(Stop::Closed),
            Ok(Ok(count)) => {
                self.outcome.heard += u32::try_from(count).unwrap_or(u32::MAX);
                self.unread.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(_) => Err(Stop::Silent),
        }
    }

    /// After the sending side was closed: to the gateway's own end.
    async fn read_on(&mut self) -> Result<(), Stop> {
        loop {
            match self.read().await {
                Ok(()) => {}
                Err(Stop::Closed) => return Ok(()),
                Err(stop) => return Err(stop),
            }
        }
    }

    /// The cut.
    async fn act(&mut self) -> Result<(), Stop> {
        self.is_due = false;
        self.case.fire();
        match self.case.point.action {
            Action::Stall => {
                sleep(PAUSE).await;
                return Ok(());
            }
            Action::HalfClose => {
                if let Some(stream) = &mut self.stream {
                    // Gone already is as good.
                    let _ = stream.shutdown().await;
                }
                return Err(Stop::Mute);
            }
            Action::Kill => {
                self.case.park().await;
                return Err(Stop::Mute);
            }
            Action::Reset => {
                if let Some(stream) = &self.stream {
                    let _ = stream.set_zero_linger();
                }
            }
            Action::StallClose => sleep(PAUSE).await,
            Action::Close | Action::Nothing | Action::Say(_) | Action::Early(_) => {}
        }
        self.stream = None;
        Err(Stop::Cut)
    }
}

/// The code of the reply at the start of `octets`, and its length.
fn whole_reply(octets: &[u8]) -> Option<(u16, usize)> {
    let mut length = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        if !line.ends_with(b"\n") {
            return None;
        }
        length += line.len();
        if line.get(3) != Some(&b'-') {
            let code = line
                .get(..3)
                .and_then(|code| std::str::from_utf8(code).ok());
            return Some((code.and_then(|code| code.parse().ok()).unwrap_or(0), length));
        }
    }
    None
}
