//! The conversation with one client: a machine with no socket and no clock.
//!
//! [`Session::handle`] is the only way in. It takes one input at one moment, appends what is to be
//! said to the outbox and returns the one thing to do next. A session is a value: it can be kept,
//! listed, moved to another thread and driven by a test in virtual time. While it waits, it keeps
//! what to say and until when, and nothing else; the buffers belong to the driver.
//!
//! Rejected: an `async fn` that reads, asks and sleeps in a straight line. It reads well, but a
//! future that sleeps keeps every buffer of its busiest phase, can't be listed, and hides a
//! hang-up until the sleep is over.
//!
//! ```text
//!             +---------------------------- reply sent --------------------------+
//!             v                                                                  |
//! Opened -> Command -- RCPT, AUTH --> Waiting --room--> Asking --5yz--> Holding -+
//!             |                                           |                      |
//!             |                                           +--2yz, 4yz------------+
//!             +-- DATA --> Asking --354--> Relaying ------------------------------+
//!             +-- BDAT --> Taking ------------------------------------------------+
//!             +-- STARTTLS --> Securing --> Command, XCLIENT --> Identifying --> greeting
//! ```

mod auth;
mod billing;
mod chunk;
mod command;
mod frozen;
mod hold;
mod introduce;
mod message;
mod offer;
mod recipient;
mod state;
mod tls;
mod turn;

use std::time::Duration;

use tarpit_smtp::{Capabilities, Extensions, LineReader, Reply};

use crate::answer::{self, Finding};
use crate::event::{Admission, Input, Then};
use crate::filter::Filter;
use crate::ledger::{Ledger, Ticket};
use crate::outbox::Outbox;
use crate::policy::{Mode, Policy, REPLY_MAX};
use crate::record::{HoldEnd, HoldReason, SessionEnd, SessionRecord};
use crate::{Door, Envelope, Prefixes, SessionId, Source, Tick};
pub use frozen::NotAtRest;
use state::{After, Chunks, Due, State};
use turn::Turn;

/// What the session may look at while it decides. Borrowed for one call.
#[derive(Clone, Copy, Debug)]
pub struct Env<'a> {
    /// Our name.
    pub hostname: &'a str,
    /// The listener's policy.
    pub policy: &'a Policy,
    /// The accounts of all sources, and who is a known sender.
    pub ledger: &'a Ledger,
    /// What EHLO announces: learnt from the upstream, restricted to what we relay.
    pub capabilities: &'a Capabilities,
    /// Domains and names that we accept mail for.
    pub filter: &'a Filter,
    /// What the listener and the connection allow.
    pub door: Door,
    /// What makes one source.
    pub prefixes: Prefixes,
}

/// One client's session, from accept to close.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    source: Source,
    state: State,
    lines: LineReader,
    /// The client greeted with EHLO.
    esmtp: bool,
    /// What this session's EHLO announced.
    announced: Extensions,
    /// How far a message in chunks is.
    chunks: Chunks,
    /// AUTH succeeded.
    authenticated: bool,
    /// The network is exempt from holds.
    exempt: bool,
    /// The connection is TLS.
    secured: bool,
    /// The client closed its side in a hold.
    half_closed: bool,
    /// End at the next moment at which no message is in progress.
    draining: bool,
    /// A wait for room ended without it in this transaction: the next one is refused at once.
    waited: bool,
    /// The refusal of this transaction's sender was charged.
    sender_charged: bool,
    /// Some RCPT of this transaction got 4yz.
    deferred: bool,
    /// Octets of this message in chunks so far.
    octets: u64,
    /// MAIL commands so far.
    serial: u32,
    /// RCPTs in this transaction.
    recipients: u32,
    /// 5yz replies since the last message that was accepted.
    errors: u32,
    /// When the command that is being answered came.
    began: Tick,
    /// This session's own debt: with scope `session` the whole account, with scope `source` what
    /// was charged at end-of-data and is paid at the next RCPT.
    free_at: Tick,
    envelope: Option<Box<Envelope>>,
    /// The upstream's refusal of MAIL (for the transaction) or of the greeting (for the session).
    refusal: Option<Box<Refusal>>,
    record: Box<SessionRecord>,
}

/// A refusal that stands for more than one command.
#[derive(Debug)]
struct Refusal {
    reply: Reply,
    whole_session: bool,
}

/// What a held session keeps inline. A million of them wait in the pit.
const _: () = assert!(size_of::<Session>() <= 216);

impl Session {
    /// A session that has not greeted yet. `exempt`: the client's network is never held.
    #[must_use]
    pub fn new(id: SessionId, source: Source, exempt: bool) -> Self {
        Self {
            id,
            source,
            state: State::Opening,
            lines: LineReader::new(),
            esmtp: false,
            announced: Extensions::new(),
            chunks: Chunks::None,
            octets: 0,
            authenticated: false,
            exempt,
            secured: false,
            half_closed: false,
            draining: false,
            waited: false,
            sender_charged: false,
            deferred: false,
            serial: 0,
            recipients: 0,
            errors: 0,
            began: Tick::ZERO,
            free_at: Tick::ZERO,
            envelope: None,
            refusal: None,
            record: Box::new(SessionRecord {
                exempt,
                ..SessionRecord::default()
            }),
        }
    }

    /// Takes one input and decides. See [`Input`] and [`Then`].
    ///
    /// An input that has no meaning in the present state is a bug of the driver; it is answered by
    /// what the state waits for.
    pub fn handle(&mut self, now: Tick, input: Input<'_>, env: &Env<'_>, out: &mut Outbox) -> Then {
        out.consumed = 0;
        let turn = &mut Turn::new(self.lived(now, env.policy), env, out);
        match input {
            Input::Opened(admission) => self.open(admission, turn),
            Input::Bytes(bytes) => self.bytes(bytes, turn),
            Input::Resume => self.resume(turn),
            Input::Answer(answer) => self.answered(answer, turn),
            Input::DataEnd(end) => self.data_ended(end, turn),
            Input::Secured => self.tls_began(turn),
            Input::Identified {
                source,
                exempt,
                admission,
            } => self.identified(source, exempt, admission, turn),
            Input::TimedOut => self.end(Finding::CommandTimeout, SessionEnd::TimedOut, turn),
            Input::Expired if self.draining => {
                self.end(Finding::ShuttingDown, SessionEnd::Drained, turn)
            }
            Input::Expired => self.end(Finding::SessionTimeout, SessionEnd::TimedOut, turn),
            Input::Gone => self.gone(turn),
            Input::Overrun => self.end(Finding::TooMuchAhead, SessionEnd::Limit, turn),
            Input::Drain => self.drain(turn),
            Input::Shed => self.shed(turn),
            Input::Full => self.end(Finding::Full, SessionEnd::Refused, turn),
        }
    }

    /// In `observe` nothing is waited for, so the session's time runs ahead by what it would have
    /// waited: else debts would pile up that `enforce` would have seen paid.
    fn lived(&self, now: Tick, policy: &Policy) -> Tick {
        match policy.mode {
            // One that waits began to when the mode was `enforce`: it really did.
            Mode::Observe if !self.is_held() => now + self.record.held,
            Mode::Off | Mode::Observe | Mode::Enforce => now,
        }
    }

    fn open(&mut self, admission: Admission, turn: &mut Turn<'_>) -> Then {
        let finding = match admission {
            Admission::Open => {
                self.state = State::Command;
                turn.out.reply(&answer::greeting(turn.env.hostname));
                return Then::Read;
            }
            Admission::Unavailable => Finding::Unavailable,
            Admission::Draining => Finding::ShuttingDown,
            Admission::Full => Finding::Full,
            Admission::SourceFull => Finding::SourceFull,
            Admission::Ourselves => Finding::Ourselves,
        };
        self.close_with(finding, SessionEnd::Refused, turn.out)
    }

    /// Says a 421 of ours and closes. Whatever was reserved is given back.
    fn end(&mut self, finding: Finding, end: SessionEnd, turn: &mut Turn<'_>) -> Then {
        let hold_end = match end {
            // A place that is not there is a limit too, though not one of the session's own.
            SessionEnd::Limit | SessionEnd::Refused => HoldEnd::Limit,
            SessionEnd::Shed => HoldEnd::Shed,
            _ => HoldEnd::Drained,
        };
        let farewell = self.finish_begun(turn.out);
        self.abandon(hold_end, turn);
        if farewell {
            return self.close(end);
        }
        self.close_with(finding, end, turn.out)
    }

    fn close_with(&mut self, finding: Finding, end: SessionEnd, out: &mut Outbox) -> Then {
        out.reply(&finding.reply(self.id));
        self.close(end)
    }

    fn close(&mut self, end: SessionEnd) -> Then {
        self.drop_chunks();
        self.record.end = end;
        self.state = State::Closed;
        Then::Close
    }

    /// A bug of ours: whatever the state is, it is left. The driver calls this when
    /// [`Session::handle`] panicked.
    pub fn break_off(&mut self, now: Tick, env: &Env<'_>, out: &mut Outbox) -> Then {
        self.end(Finding::Bug, SessionEnd::Bug, &mut Turn::new(now, env, out))
    }

    /// The client left. Charges stand, and what is being looked up is charged.
    fn gone(&mut self, turn: &mut Turn<'_>) -> Then {
        let held = self.is_held();
        self.abandon(HoldEnd::HangUp, turn);
        self.close(if held {
            SessionEnd::HangUpHeld
        } else {
            SessionEnd::HangUp
        })
    }

    /// Ends at once where no transaction is in progress, else after it. The driver may have to go
    /// on reading meanwhile.
    fn drain(&mut self, turn: &mut Turn<'_>) -> Then {
        self.draining = true;
        match self.state {
            State::Command if self.envelope.is_some() => Then::Read,
            State::Closed => Then::Close,
            _ => self.end(Finding::ShuttingDown, SessionEnd::Drained, turn),
        }
    }

    /// Ends a session that is held or idle; what it owes stays. Between commands nothing is lost by
    /// that, in a transaction neither: the client comes again. What is at the upstream has its own
    /// bounds, and is not broken off.
    fn shed(&mut self, turn: &mut Turn<'_>) -> Then {
        match self.state {
            State::Command if self.chunks == Chunks::Begun => Then::Read,
            State::Command | State::Holding(_) | State::Waiting(_) | State::AuthLine(_) => {
                self.end(Finding::Shed, SessionEnd::Shed, turn)
            }
            _ => self.rest(),
        }
    }

    /// The reply is in the outbox; go on with the next command, or stop if that is due.
    fn next(&mut self, out: &mut Outbox) -> Then {
        self.state = State::Command;
        if self.draining && self.envelope.is_none() {
            return self.close_with(Finding::ShuttingDown, SessionEnd::Drained, out);
        }
        Then::Read
    }

    fn say(&mut self, due: &Due, after: After, out: &mut Outbox) -> Then {
        due.print(self.id, out);
        match after {
            After::Next => self.next(out),
            After::Close(end) => self.close(end),
        }
    }

    /// Says something of ours that costs nothing.
    fn tell(&mut self, finding: Finding, turn: &mut Turn<'_>) -> Then {
        self.say(&Due::Own(finding), After::Next, turn.out)
    }

    /// Forgets the transaction (RFC 5321 §4.1.1.5).
    fn reset(&mut self) {
        self.drop_chunks();
        self.envelope = None;
        self.recipients = 0;
        self.waited = false;
        self.sender_charged = false;
        self.deferred = false;
        if self
            .refusal
            .as_ref()
            .is_some_and(|refusal| !refusal.whole_session)
        {
            self.refusal = None;
        }
    }

    /// Whether offences of this session are booked: never for authenticated sessions and exempt
    /// networks.
    const fn is_billed(&self) -> bool {
        !self.authenticated && !self.exempt
    }

    /// The session's name in the ledger's queues.
    #[must_use]
    pub const fn ticket(&self) -> Ticket {
        Ticket(self.id.0)
    }

    /// The session's short name.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Who is charged.
    #[must_use]
    pub const fn source(&self) -> Source {
        self.source
    }

    /// The transaction so far, if there is one.
    #[must_use]
    pub fn envelope(&self) -> Option<&Envelope> {
        self.envelope.as_deref()
    }

    /// The name of the last EHLO or HELO, and whether it was EHLO.
    #[must_use]
    pub fn helo(&self) -> (Option<&str>, bool) {
        (self.record.helo.as_deref(), self.esmtp)
    }

    /// Whether AUTH succeeded.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether its network is exempt from holds.
    #[must_use]
    pub const fn is_exempt(&self) -> bool {
        self.exempt
    }

    /// Whether it waits: for the end of a hold, or for room.
    const fn is_held(&self) -> bool {
        matches!(self.state, State::Holding(_) | State::Waiting(_))
    }

    /// Whether the session waits for room in the ledger, and so may be named in
    /// [`Ledger::take_woken`].
    #[must_use]
    pub fn waits_for_room(&self) -> bool {
        matches!(&self.state, State::Waiting(waiting) if waiting.reason == HoldReason::Room)
    }

    /// What it is held for now, and since when.
    #[must_use]
    pub fn held_for(&self) -> Option<(HoldReason, Tick)> {
        match &self.state {
            State::Holding(holding) => Some((HoldReason::Offence(holding.offence), holding.since)),
            State::Waiting(waiting) => Some((waiting.reason, waiting.since)),
            _ => None,
        }
    }

    /// Time left for the upstream to answer an [`Ask`](crate::Ask), such that the hold that may
    /// follow still ends within [`REPLY_MAX`] of the command.
    #[must_use]
    pub fn time_to_ask(&self, now: Tick, policy: &Policy) -> Duration {
        let hold = if self.is_billed() && policy.mode == Mode::Enforce {
            policy.longest_hold()
        } else {
            Duration::ZERO
        };
        REPLY_MAX
            .saturating_sub(now.since(self.began))
            .saturating_sub(hold)
            .max(Duration::from_secs(1))
    }

    /// The client closed its side while it was held; its due reply is still tried.
    pub const fn note_half_closed(&mut self) {
        self.half_closed = true;
    }

    /// Which upstream was asked last, for the record.
    pub fn note_upstream(&mut self, name: &str) {
        if self.record.upstream.as_deref() != Some(name) {
            self.record.upstream = Some(name.into());
        }
    }

    /// Time that the driver spent waiting for the upstream, for the record.
    pub fn note_upstream_wait(&mut self, wait: Duration) {
        self.record.upstream_wait = self.record.upstream_wait.saturating_add(wait);
    }

    /// Whether the next line of the client belongs to an AUTH exchange.
    #[must_use]
    pub const fn is_in_auth(&self) -> bool {
        matches!(self.state, State::AuthLine(_))
    }

    /// Whether [`Input::Drain`] came already: the session only finishes its transaction.
    #[must_use]
    pub const fn is_draining(&self) -> bool {
        self.draining
    }

    /// What remains. Complete once [`Then::Close`] was returned.
    #[must_use]
    pub const fn record(&self) -> &SessionRecord {
        &self.record
    }
}
