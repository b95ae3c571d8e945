//! One client and its session.

use std::collections::VecDeque;
use std::time::Duration;

use tarpit_core::record::HoldRecord;
use tarpit_core::{
    Ask, Chunk, DataEnd, Env, Input, Outbox, Paced, Session, SessionId, Source, Then, Tick,
};
use tarpit_smtp::{DataScanner, ScanState};

/// Where a session rests.
#[derive(Debug)]
pub enum Rest {
    /// It wants bytes of the client.
    Read,
    /// It waits.
    Hold {
        /// Until then at the latest.
        until: Tick,
    },
    /// It waits for the upstream's answer.
    Ask(Ask),
    /// It passes message data on.
    Relay(Relay),
    /// It takes a chunk of message data.
    Take(Take),
    /// It waits for the client's TLS handshake.
    Handshake,
    /// It is over.
    Closed,
}

/// A message on its way.
#[derive(Debug, Default)]
pub struct Relay {
    scanner: DataScanner,
    /// What the upstream would have got.
    pub body: Vec<u8>,
    /// The client sent its end of data: the upstream's reply is awaited.
    pub at_end: bool,
    /// The client left after that.
    pub client_gone: bool,
    /// What the client will be told at its end of data, if that is known before.
    pub fate: Option<DataEnd>,
}

impl Relay {
    /// Takes bytes up to the end of the message; what follows stays.
    pub(super) fn take(&mut self, unread: &mut Vec<u8>) {
        while !self.at_end {
            let scan = self.scanner.scan(unread);
            scan.pieces
                .iter()
                .for_each(|piece| self.body.extend_from_slice(piece));
            let state = scan.state;
            let consumed = scan.consumed;
            unread.drain(..consumed);
            match state {
                ScanState::More => return,
                ScanState::Full => {}
                // An upstream that was lost before is what the client hears of.
                ScanState::Bare(_) => {
                    self.fate.get_or_insert(DataEnd::BareNewline);
                }
                ScanState::End => self.at_end = true,
            }
        }
    }
}

/// A chunk on its way.
#[derive(Debug)]
pub struct Take {
    /// What the machine asked for.
    pub chunk: Chunk,
    /// What the upstream would have got of it.
    pub body: Vec<u8>,
    /// Octets that have not come yet.
    pub left: u64,
    /// The client left after the last of them.
    pub client_gone: bool,
    /// What becomes of it, if that is known before its end.
    pub fate: Option<DataEnd>,
}

impl Take {
    pub(super) const fn new(chunk: Chunk) -> Self {
        Self {
            chunk,
            body: Vec::new(),
            left: chunk.size,
            client_gone: false,
            fate: None,
        }
    }

    /// Takes the octets of the chunk; what follows stays. Returns how many it took.
    pub(super) fn take(&mut self, unread: &mut Vec<u8>) -> usize {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = unread.len().min(most);
        let taken = unread.drain(..count);
        if self.chunk.pass {
            self.body.extend(taken);
        }
        self.left -= count as u64;
        count
    }

    /// All its octets are there, and the upstream's reply is awaited.
    #[must_use]
    pub const fn is_asked(&self) -> bool {
        self.left == 0 && self.chunk.pass
    }
}

/// One client and its session.
#[derive(Debug)]
pub struct Peer {
    /// The machine.
    pub session: Session,
    /// Where it rests.
    pub rest: Rest,
    /// What the gateway said and nobody has looked at yet.
    pub said: Vec<u8>,
    /// Holds that ended and nobody has looked at yet.
    pub holds: VecDeque<HoldRecord>,
    /// When it came.
    pub opened: Tick,
    /// When the command that is being answered was taken.
    pub taken: Tick,
    /// When the upstream was asked last.
    pub asked: Tick,
    /// How long the driver lets the upstream take for that.
    pub time_to_answer: Duration,
    pub(super) unread: Vec<u8>,
    pub(super) reading_since: Tick,
    /// When the client reset the connection.
    pub(super) reset: Option<Tick>,
    /// Octets of `unread` that were read together with message data.
    pub(super) ahead: usize,
    pub(super) half_closed: bool,
    /// The reply that is held, if it is said in pieces.
    pub(super) paced: Option<Paced>,
    /// Octets of it that were said.
    pub(super) paced_said: usize,
    /// When the next piece of it is due.
    pub(super) next_piece: Option<Tick>,
    out: Outbox,
    /// The session is frozen and thawed whenever it rests.
    pub(super) freezes: bool,
    /// Whose ledger it is charged in.
    pub(super) home: usize,
}

impl Peer {
    pub(super) fn new(id: SessionId, source: Source, exempt: bool, now: Tick) -> Self {
        Self {
            session: Session::new(id, source, exempt),
            rest: Rest::Read,
            said: Vec::new(),
            holds: VecDeque::new(),
            opened: now,
            taken: now,
            asked: now,
            time_to_answer: Duration::ZERO,
            unread: Vec::new(),
            reading_since: now,
            reset: None,
            ahead: 0,
            half_closed: false,
            paced: None,
            paced_said: 0,
            next_piece: None,
            out: Outbox::default(),
            freezes: false,
            home: 0,
        }
    }

    /// Takes the next line that the gateway said, without its CRLF.
    pub fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.said.windows(2).position(|pair| pair == b"\r\n")?;
        let line = self.said.drain(..end).collect();
        self.said.drain(..2);
        Some(line)
    }

    /// Whether nothing more can come of it: it is closed, or its client has left.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.reset.is_some() || self.half_closed || matches!(self.rest, Rest::Closed)
    }

    /// Whether the client has reset the connection: it hears nothing more.
    #[must_use]
    pub const fn is_reset(&self) -> bool {
        self.reset.is_some()
    }

    /// Bytes of the client that were not looked at yet.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.unread
    }

    /// The question that is open: `.` for the reply to end-of-data, `BDAT 5 LAST` for that to a
    /// chunk.
    #[must_use]
    pub fn question(&self) -> Option<String> {
        match &self.rest {
            Rest::Ask(ask) => Some(super::question_of(ask)),
            Rest::Relay(relay) if relay.at_end => Some(".".to_owned()),
            Rest::Take(take) if take.is_asked() => {
                let last = if take.chunk.last { " LAST" } else { "" };
                Some(format!("BDAT {}{last}", take.chunk.size))
            }
            _ => None,
        }
    }

    /// A hold begins.
    pub(super) fn begin_hold(&mut self) {
        self.paced = self.session.paced().filter(Paced::is_in_pieces);
        self.paced_said = 0;
        self.next_piece = self.paced.as_ref().map(|paced| paced.next_at(0));
    }

    /// Says what is due of the reply that is held.
    pub(super) fn say_piece(&mut self, now: Tick) {
        let Some(paced) = &self.paced else {
            return;
        };
        let piece = paced.piece(now, self.paced_said);
        self.said.extend_from_slice(piece);
        self.paced_said += piece.len();
        self.next_piece = Some(paced.next_at(self.paced_said));
        let said = u32::try_from(self.paced_said).expect("a reply is no longer than that");
        self.session.note_said(said);
        if self.freezes {
            self.freeze_and_thaw();
            assert_eq!(self.session.paced().as_ref(), self.paced.as_ref());
            assert_eq!(self.session.said(), said);
        }
    }

    pub(super) fn consumed(&self) -> usize {
        self.out.consumed
    }

    pub(super) fn handle(&mut self, now: Tick, input: Input<'_>, env: &Env<'_>) -> Then {
        let is_bytes = matches!(input, Input::Bytes(_));
        let then = self.session.handle(now, input, env, &mut self.out);
        if is_bytes && (!matches!(then, Then::Read) || !self.out.bytes.is_empty()) {
            self.taken = now;
        }
        if matches!(then, Then::Ask(_)) {
            self.asked = now;
            self.time_to_answer = self.session.time_to_ask(now, env.policy);
        }
        if self.reset.is_some() {
            // Nobody hears it.
            self.out.bytes.clear();
        }
        self.said.append(&mut self.out.bytes);
        self.holds.extend(self.out.holds.drain(..));
        if self.freezes {
            self.freeze_and_thaw();
        }
        then
    }

    /// As if the session had been handed to another process: what is behind it stays behind it, and
    /// nothing of it changes.
    pub(super) fn freeze_and_thaw(&mut self) {
        const BEHIND: &[u8] = b"what is behind it";
        let mut octets = Vec::new();
        if self.session.freeze(&mut octets).is_err() {
            assert!(octets.is_empty() && !self.session.is_at_rest());
            return;
        }
        octets.extend_from_slice(BEHIND);
        let (thawed, rest) = match Session::thaw(&octets) {
            Ok(thawed) => thawed,
            Err(error) => panic!("{error}: {:?}", self.session),
        };
        assert_eq!(rest, BEHIND);
        assert_eq!(format!("{thawed:?}"), format!("{:?}", self.session));
        self.session = thawed;
    }
}
