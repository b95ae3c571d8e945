//! One client session's line to the upstream.
//!
//! The connection is made late and let go of early; what the client was told stands in the
//! envelope, and is said again to the next connection. So a session that is held costs the
//! upstream nothing, and a connection that dies between two commands costs the client nothing.
//!
//! Each [`UpstreamLink::ask`] may be dropped half way: a connection with an open question is
//! never used again.

use std::sync::Arc;
use std::time::Duration;

use tarpit_core::{Answer, Ask, Envelope, Recipient, Trouble};
use tarpit_smtp::Reply;
use tokio::time::timeout;

use super::Upstream;
use super::connection::{Auth, Connection, Failure, Standing};
use super::identity::ClientIdentity;
use super::leave::leave;
use super::stock::Claim;

mod chunk;
mod find;
mod message;

pub use chunk::Stopped;

/// Refusals on one connection before it is retired. Servers begin to punish a connection at about
/// ten (Postfix delays its replies from `smtpd_soft_error_limit` = 10 on).
const REFUSALS_MAX: u32 = 5;

/// Replays of accepted recipients within one transaction (DESIGN §4): a client that needs more
/// makes work for the upstream out of nothing.
const REPLAYS_MAX: u8 = 2;

/// One client session's line to the upstream. Small while it holds no connection.
#[derive(Debug)]
pub struct UpstreamLink {
    upstream: Arc<Upstream>,
    connection: Option<Box<Connection>>,
    /// The upstream's refusal of MAIL, for the rest of this transaction.
    refused: Option<Box<(u32, Reply)>>,
    /// The transaction whose MAIL was accepted last.
    placed: Option<u32>,
    /// How often its accepted recipients were said again.
    replays: u8,
    /// The server that was connected last.
    server: Option<u8>,
    /// AUTH succeeded: without that connection nothing goes on.
    authenticated: bool,
    /// The connection no longer takes data; it may have said why.
    spoilt: bool,
    /// The ask that is under way waits for its turn.
    queued: bool,
    /// The client has said DATA right behind the recipient that is asked for.
    data_follows: bool,
}

/// What the line remembers of a transaction whose connection was let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The transaction whose MAIL was accepted last.
    pub serial: u32,
    /// How often its accepted recipients were said again.
    pub replays: u8,
    /// The server that was connected last: what it has accepted, it will accept again.
    pub server: Option<u8>,
}

/// A held session keeps this.
const _: () = assert!(size_of::<UpstreamLink>() <= 40);

/// What is put to the upstream.
#[derive(Clone, Copy)]
enum Question<'a> {
    Rcpt {
        recipient: &'a Recipient,
        /// The client has said DATA right behind it.
        data_follows: bool,
    },
    Data,
    /// Whether the message may come in chunks; 354 stands for yes.
    Chunks,
    Auth {
        mechanism: &'static str,
        initial: Option<&'a str>,
    },
    AuthLine(&'a str),
}

impl<'a> Question<'a> {
    fn of(ask: &'a Ask, data_follows: bool) -> Self {
        match ask {
            Ask::Rcpt(recipient) => Self::Rcpt {
                recipient,
                data_follows,
            },
            Ask::Data => Self::Data,
            Ask::Auth { mechanism, initial } => Self::Auth {
                mechanism,
                initial: initial.as_deref(),
            },
            Ask::AuthLine(text) => Self::AuthLine(text),
        }
    }

    /// Whether message data follows: then nothing is gained by a fresh connection.
    const fn is_message(self) -> bool {
        matches!(self, Self::Data | Self::Chunks)
    }
}

/// Where a connection may come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Anywhere,
    /// The last one was dead although it had looked alive: no more of those.
    New,
}

impl UpstreamLink {
    /// A line without a connection.
    #[must_use]
    pub fn new(upstream: Arc<Upstream>) -> Self {
        Self {
            upstream,
            connection: None,
            refused: None,
            placed: None,
            replays: 0,
            server: None,
            authenticated: false,
            spoilt: false,
            queued: false,
            data_follows: false,
        }
    }

    /// What is to be remembered while the session is nothing but a record.
    #[must_use]
    pub fn placed(&self) -> Option<Placed> {
        self.placed.map(|serial| Placed {
            serial,
            replays: self.replays,
            server: self.server,
        })
    }

    /// Takes up what was remembered.
    pub fn restore(&mut self, placed: Placed) {
        self.placed = Some(placed.serial);
        self.replays = placed.replays;
        // The servers may be others since.
        let servers = self.upstream.servers.len();
        self.server = placed.server.filter(|at| usize::from(*at) < servers);
    }

    /// Tells, before a recipient is asked for, that the client has said DATA right behind it, so
    /// that both may go in one write (RFC 2920 §3.1). Holds for the next ask alone.
    ///
    /// Not for who may be guessing: a refused recipient would be two refusals to the upstream.
    pub fn expect_data(&mut self) {
        self.data_follows = true;
    }

    /// Does what the ask needs: connects (waiting for its turn, up to 10 s), tells the client's
    /// identity, says MAIL and the accepted RCPTs, then the command. `limit` bounds the whole.
    ///
    /// Without an envelope, only AUTH can be asked for.
    pub async fn ask(
        &mut self,
        ask: &Ask,
        who: &ClientIdentity,
        claim: Claim,
        envelope: Option<&Envelope>,
        limit: Duration,
    ) -> Answer {
        let data_follows = std::mem::take(&mut self.data_follows);
        self.put(Question::of(ask, data_follows), who, claim, envelope, limit)
            .await
    }

    async fn put(
        &mut self,
        question: Question<'_>,
        who: &ClientIdentity,
        claim: Claim,
        envelope: Option<&Envelope>,
        limit: Duration,
    ) -> Answer {
        if self.authenticated && self.connection.is_none() {
            return Answer::Trouble(Trouble::AuthLost);
        }
        let was_pinned = self.is_pinned();
        self.queued = false;
        let answer = self.answer(question, who, claim, envelope);
        let result = timeout(limit, answer).await;
        let failure = match result {
            Ok(Ok(reply)) => return Answer::Reply(reply),
            Ok(Err(failure)) => failure,
            Err(_) if self.queued => Failure::Unfit(Trouble::Capacity),
            Err(_) => Failure::Broken(Trouble::TimedOut),
        };
        let trouble = match failure {
            Failure::Sender(reply) => return Answer::SenderRefused(reply),
            // What the client was told already can't be taken back by a server that has changed
            // its mind since: it comes back and hears it anew.
            Failure::Service(_) if self.is_promised(envelope) => {
                self.connection = None;
                Trouble::Changed
            }
            Failure::Service(reply) => {
                self.connection = None;
                self.upstream.note_refused(self.server());
                return Answer::ServiceRefused(reply);
            }
            Failure::Unfit(trouble) => {
                self.let_go();
                trouble
            }
            Failure::Broken(trouble) => {
                self.connection = None;
                trouble
            }
        };
        self.upstream.note(self.server(), trouble);
        if was_pinned && self.connection.is_none() {
            return Answer::Trouble(Trouble::AuthLost);
        }
        Answer::Trouble(trouble)
    }

    /// Whether MAIL or a recipient of this transaction was accepted before.
    fn is_promised(&self, envelope: Option<&Envelope>) -> bool {
        envelope.is_some_and(|envelope| {
            self.placed == Some(envelope.serial) || !envelope.accepted.is_empty()
        })
    }

    async fn answer(
        &mut self,
        question: Question<'_>,
        who: &ClientIdentity,
        claim: Claim,
        envelope: Option<&Envelope>,
    ) -> Result<Reply, Failure> {
        if let Question::AuthLine(text) = question {
            return self.auth_line(text).await;
        }
        if let (Some(refused), Some(envelope)) = (&self.refused, envelope)
            && refused.0 == envelope.serial
        {
            return Err(Failure::Sender(refused.1.clone()));
        }
        if !question.is_message() {
            self.retire(envelope);
        }
        let mut origin = Origin::Anywhere;
        loop {
            // What runs ahead belongs to this transaction, which has one client and one name.
            let is_new = !self.is_data_ahead(question, envelope)
                && self.connect(who, claim, envelope, origin).await?;
            match self.say(question, envelope).await {
                // It was alive when last used; what died since is not the client's concern.
                Err(Failure::Broken(Trouble::Closed)) if !is_new && !self.is_pinned() => {
                    self.connection = None;
                    origin = Origin::New;
                }
                result => return result,
            }
        }
    }

    /// Whether the answer is on its way already.
    fn is_data_ahead(&self, question: Question<'_>, envelope: Option<&Envelope>) -> bool {
        matches!(question, Question::Data)
            && matches!(
                (&self.connection, envelope),
                (Some(connection), Some(envelope))
                    if connection.data_ahead && connection.holds(envelope)
            )
    }

    /// The question itself, on the connection that is there.
    async fn say(
        &mut self,
        question: Question<'_>,
        envelope: Option<&Envelope>,
    ) -> Result<Reply, Failure> {
        let Some(connection) = &mut self.connection else {
            return Err(Trouble::Closed.into());
        };
        if let Question::Auth { mechanism, initial } = question {
            let reply = connection.auth(mechanism, initial).await?;
            self.authenticated = connection.auth == Auth::Done;
            return Ok(reply);
        }
        let Some(envelope) = envelope else {
            return Err(Failure::Unfit(Trouble::Changed));
        };
        let before = self.placed == Some(envelope.serial) || !envelope.accepted.is_empty();
        if self.placed != Some(envelope.serial) {
            self.replays = 0;
        }
        if before && !envelope.accepted.is_empty() && !connection.holds(envelope) {
            if self.replays >= REPLAYS_MAX {
                return Err(Failure::Unfit(Trouble::Changed));
            }
            self.replays += 1;
        }
        let mut data_followed = false;
        let result = match question {
            Question::Rcpt {
                recipient,
                data_follows,
            } => {
                data_followed = data_follows;
                let asked = connection.rcpt(envelope, before, recipient, data_follows);
                asked.await
            }
            Question::Chunks => connection.begin_chunks(envelope, before).await,
            _ => connection.data(envelope, before).await,
        };
        match &result {
            Ok(_) => self.placed = Some(envelope.serial),
            Err(Failure::Sender(reply)) => {
                self.refused = Some(Box::new((envelope.serial, reply.clone())));
            }
            Err(_) => {}
        }
        self.spoilt = false;
        let is_answered = !matches!(result, Err(Failure::Broken(_)));
        if data_followed && is_answered && connection.is_lost_ahead() {
            self.connection = None;
        }
        result
    }

    async fn auth_line(&mut self, text: &str) -> Result<Reply, Failure> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(Trouble::AuthLost.into());
        };
        if connection.auth != Auth::Exchange || !connection.wire.is_quiet() {
            return Err(Trouble::AuthLost.into());
        }
        let reply = connection.auth_line(text).await?;
        self.authenticated = connection.auth == Auth::Done;
        Ok(reply)
    }

    /// Leaves a connection on which much was refused, unless that would use up what an idle client
    /// may need. Only before a look-up: DATA gains nothing from a fresh connection.
    fn retire(&mut self, envelope: Option<&Envelope>) {
        let Some(connection) = &self.connection else {
            return;
        };
        let costs_replay = envelope
            .is_some_and(|envelope| !envelope.accepted.is_empty() && connection.holds(envelope));
        if connection.refusals >= REFUSALS_MAX && !(costs_replay && self.replays + 1 >= REPLAYS_MAX)
        {
            self.let_go();
        }
    }

    /// Closes without the dot: the only way to abort DATA.
    pub fn abort(&mut self) {
        self.connection = None;
    }

    /// Lets go of the connection because the session is held or idle. Returns at once: the
    /// connection is left in the background, or kept for its next use. Does nothing if the
    /// connection is pinned by AUTH or takes message data.
    pub fn let_go(&mut self) {
        let may_leave = |connection: &mut Box<Connection>| {
            !connection.is_pinned() && connection.standing != Standing::Data
        };
        if let Some(connection) = self.connection.take_if(may_leave) {
            leave(&self.upstream.stock, connection, true);
        }
    }

    /// The session is over.
    pub fn close(&mut self) {
        let Some(connection) = self.connection.take() else {
            return;
        };
        // Within an exchange QUIT would be read as a part of it.
        if connection.auth != Auth::Exchange {
            // A connection that was told of this session serves no other.
            let keep = connection.told.outlives_session();
            leave(&self.upstream.stock, connection, keep);
        }
    }

    /// Gives up a message of which the upstream has got a part. Nothing happens if there is none.
    pub fn abort_message(&mut self) {
        if self.is_in_message() {
            self.abort();
        }
    }

    /// Whether the upstream has got a part of a message.
    #[must_use]
    pub fn is_in_message(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.standing == Standing::Data)
    }

    /// Whether there is an upstream connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The near end of the connection.
    #[cfg(test)]
    pub(super) fn near_end(&self) -> Option<std::net::SocketAddr> {
        self.connection.as_ref()?.wire.near_end()
    }

    /// Whether something came on the connection that nobody asked for, its end included.
    #[cfg(test)]
    pub(super) fn hears_something(&mut self) -> bool {
        self.connection
            .as_mut()
            .is_some_and(|connection| !connection.wire.is_quiet())
    }

    /// Whether AUTH succeeded: without its connection nothing goes on.
    #[must_use]
    pub const fn is_authenticated(&self) -> bool {
        self.authenticated
    }

    /// Whether the connection can't be let go of: within an AUTH exchange, and after 235.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_pinned())
    }
}
