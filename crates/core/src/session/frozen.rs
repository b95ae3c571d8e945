//! A session at rest as octets, and back: for the pit, for keepers, for the next version of the
//! program.
//!
//! Promises: a session that was frozen and thawed goes on exactly as if it had not been; what can't
//! be kept apart from this process (a price that is reserved, half a message at the upstream) is
//! never frozen; octets of another form, torn or made up, are refused, and nothing that is thawed
//! could not have come from a client: paths and parameters are parsed again.
//!
//! A million of these are kept, so most of a record is the names that its client chose. Everything
//! that has its default takes one bit, what follows from something else is not written, moments
//! are distances from each other, and names stand once.
//!
//! ```text
//! form, set of fields, id, source, when the command came, fields (frozen/fields.rs), state
//! ```
//!
//! A change of what is written, or of its order, is a new form ([`FORM`]); a new member of a list
//! takes the next number (`frozen/numbers.rs`), and a new field may come last of all.

mod fields;
mod numbers;
mod record;
mod rest;
mod said;

use std::fmt;

use tarpit_smtp::{Extension, Extensions, LineReader};

use super::Session;
use super::state::{Chunks, State};
use crate::ledger::Ledger;
use crate::octets::{Fault, Reader, Unreadable, put_moment, put_number, put_source};
use crate::{SessionId, Tick};
use fields::{Fields, Writer};
use numbers::Numbered as _;

/// The form of what is written.
const FORM: u8 = 1;

/// The session is not where it can be frozen: it waits for the upstream, for a TLS handshake or for
/// a line of AUTH, half a message is at the upstream, or it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAtRest;

impl fmt::Display for NotAtRest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the session is in the middle of something that only this process can end")
    }
}

impl std::error::Error for NotAtRest {}

impl Session {
    /// Whether [`Session::freeze`] can be done: it wants a command, it is held, or it waits for room.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        let at_rest = matches!(
            self.state,
            State::Command | State::Holding(_) | State::Waiting(_)
        );
        at_rest && self.chunks != Chunks::Begun
    }

    /// Appends the session to `into`. The session itself is to be dropped then: two of them would
    /// answer one client twice. Its place in a queue of the ledger is not lost by that; but if it
    /// goes to a process with another ledger, see [`Session::leave_queue`].
    ///
    /// # Errors
    /// [`NotAtRest`]; nothing is written then.
    pub fn freeze(&self, into: &mut Vec<u8>) -> Result<(), NotAtRest> {
        if !self.is_at_rest() {
            return Err(NotAtRest);
        }
        into.push(FORM);
        let mut fields = Writer::new(into);
        // The first id of a process is a random one: most have 64 bits.
        fields.out.extend_from_slice(&self.id.0.to_be_bytes());
        put_source(fields.out, self.source);
        put_number(fields.out, self.began.as_millis());
        self.put_fields(&mut fields);
        rest::put(fields.out, self);
        fields.finish();
        Ok(())
    }

    /// The session goes to a process with another ledger: whoever waits for room behind it here has
    /// its turn. There [`Input::Resume`](crate::Input::Resume) gives it a place at the end of the
    /// queue, at once if it [waits for room](Session::waits_for_room); it waits for no longer than it
    /// would have as a whole. What its source owes follows by [`Ledger::merge`].
    pub fn leave_queue(&self, now: Tick, ledger: &Ledger) {
        if let State::Waiting(waiting) = &self.state {
            let account = waiting.command.account();
            ledger.cancel(now, self.ticket(), self.source, account);
        }
    }

    /// The session that was frozen, and the octets behind it.
    ///
    /// # Errors
    /// [`Unreadable`]: what was found, where, and what is allowed. The client should hear 421.
    pub fn thaw(octets: &[u8]) -> Result<(Self, &[u8]), Unreadable> {
        let mut from = Reader::new(octets);
        from.version(FORM, "form of the session")?;
        let mut fields = Fields::new(from)?;
        let id = SessionId(u64::from_be_bytes(fields.from.array("id")?));
        let source = fields.from.source("source")?;
        let mut session = Self::new(id, source, false);
        session.began = Tick::from_millis(fields.from.number("moment of the command")?);
        session.take_fields(&mut fields)?;
        let mut from = fields.finish()?;
        rest::take(&mut from, &mut session)?;
        Ok((session, from.rest()))
    }

    /// Those that most held sessions have come first: the set of fields is a number, and short if
    /// it is small.
    fn put_fields(&self, fields: &mut Writer<'_>) {
        fields.flag(self.esmtp);
        fields.number(bits_of(self.announced));
        fields.number(self.recipients);
        fields.number(self.errors);
        record::put_usual(fields, self);
        fields.number(self.serial);
        let free_at = (self.free_at > Tick::ZERO).then_some(self.free_at);
        fields.value(free_at, |out, free_at| put_moment(out, self.began, free_at));
        for is_set in [
            self.secured,
            self.waited,
            self.deferred,
            self.sender_charged,
            self.half_closed,
            self.draining,
            self.exempt,
            self.authenticated,
            self.lines.is_discarding(),
            self.chunks == Chunks::Failed,
        ] {
            fields.flag(is_set);
        }
        fields.number(self.octets);
        fields.value(self.refusal.as_deref(), said::put_refusal);
        record::put_rare(fields, &self.record);
    }

    fn take_fields(&mut self, fields: &mut Fields<'_>) -> Result<(), Unreadable> {
        self.esmtp = fields.flag();
        self.announced = fields.value(take_extensions)?.unwrap_or_default();
        self.recipients = fields.short("recipients")?;
        self.errors = fields.short("errors")?;
        record::take_usual(fields, self)?;
        self.serial = fields.short("number of MAIL")?;
        let began = self.began;
        let free_at = fields.value(|from| from.moment(began, "end of the debt"))?;
        self.free_at = free_at.unwrap_or_default();
        for is_set in [
            &mut self.secured,
            &mut self.waited,
            &mut self.deferred,
            &mut self.sender_charged,
            &mut self.half_closed,
            &mut self.draining,
            &mut self.exempt,
            &mut self.authenticated,
        ] {
            *is_set = fields.flag();
        }
        if fields.flag() {
            self.lines = LineReader::in_overlong_line();
        }
        if fields.flag() {
            self.chunks = Chunks::Failed;
        }
        self.octets = fields.number("octets in chunks")?;
        self.refusal = fields.value(said::take_refusal)?.map(Box::new);
        record::take_rare(fields, &mut self.record)?;
        // The record says these once more.
        self.record.secured = self.secured;
        self.record.exempt = self.exempt;
        self.record.authenticated = self.authenticated;
        if let Some(envelope) = &mut self.envelope {
            envelope.serial = self.serial;
        }
        Ok(())
    }
}

fn bits_of(extensions: Extensions) -> u64 {
    extensions.iter().fold(0, |bits, extension| {
        bits | 1_u64.wrapping_shl(extension.number().into())
    })
}

fn take_extensions(from: &mut Reader<'_>) -> Result<Extensions, Unreadable> {
    let start = *from;
    let found = from.number("extensions")?;
    let known: Extensions = Extension::ALL
        .iter()
        .copied()
        .filter(|extension| found & 1_u64.wrapping_shl(extension.number().into()) != 0)
        .collect();
    if bits_of(known) == found {
        Ok(known)
    } else {
        Err(start.fault("extensions", Fault::Unknown { found }))
    }
}
