//! The ledger as octets, for the process that comes after this one.
//!
//! Debts and known senders go over; reservations and queues don't, since they belong to sessions
//! that end here. What is taken in is merged with what is there: two processes that both charged a
//! source meanwhile know two debts, and the later end of them stands. Moments mean the same in both:
//! ticks count from the start of the machine.
//!
//! ```text
//! form, moment, debts: source, RCPT ms, AUTH ms ... end, known senders: source, silent for ms ... end
//! ```

use super::account::Account as Book;
use super::{Account, Ledger, lock};
use crate::octets::{Fault, Reader, Unreadable, put_number, put_source};
use crate::policy::REPLY_MAX;
use crate::{Source, Tick};

/// The form of what is written.
const FORM: u8 = 1;

/// In place of a source: the list is over. No source begins with it, see [`put_source`].
const END: u8 = u8::MAX;

/// Octets of one entry at most: a source, and two numbers or one.
const ENTRY_MAX: usize = 17 + 10 + 10;

/// Entries that may come between the moment at which a table is measured and that at which it is
/// written. What comes beyond that is of the last milliseconds.
const SLACK: usize = 1_000;

/// What is in a snapshot.
#[derive(Clone, Copy)]
enum Entry {
    Debt(Account, Tick),
    Known(Tick),
}

impl Ledger {
    /// Appends all debts and known senders to `into`. One shard is locked after the other, for less
    /// than a millisecond: the entries are not all of one moment.
    pub fn snapshot(&self, now: Tick, into: &mut Vec<u8>) {
        into.push(FORM);
        put_number(into, now.as_millis());
        for shard in self.shards() {
            let count = lock(shard).len();
            make_room(into, count);
            // Nothing is allocated under the lock.
            let shard = lock(shard);
            for (source, entry) in shard.entries() {
                let debt = |account: &Book| account.free_at().since(now);
                let rcpt = debt(entry.of(Account::Rcpt));
                let auth = debt(entry.of(Account::Auth));
                let has_room = into.capacity().saturating_sub(into.len()) > ENTRY_MAX;
                if has_room && !(rcpt.is_zero() && auth.is_zero()) {
                    put_source(into, source);
                    put_number(into, millis(rcpt));
                    put_number(into, millis(auth));
                }
            }
        }
        into.push(END);
        let count = lock(&self.known).len();
        make_room(into, count);
        let known = lock(&self.known);
        for (source, last) in known.entries() {
            if into.capacity().saturating_sub(into.len()) > ENTRY_MAX {
                put_source(into, source);
                put_number(into, millis(now.since(last)));
            }
        }
        drop(known);
        into.push(END);
    }

    /// Takes in what another process knew; how many entries that were. Nothing is taken if any of
    /// it can't be read. Where both know a source, the later moment stands. The tables keep their
    /// bounds: what matters least is forgotten first, be it here or there.
    ///
    /// # Errors
    /// [`Unreadable`]: what was found, where, and what is allowed.
    pub fn restore(&self, now: Tick, octets: &[u8]) -> Result<usize, Unreadable> {
        walk(octets, |_, _| ())?;
        let mut count = 0_usize;
        walk(octets, |source, entry| {
            count = count.saturating_add(1);
            match entry {
                Entry::Debt(account, free_at) => self.merge(now, source, account, free_at),
                Entry::Known(last) => lock(&self.known).merge(now, source, last),
            }
        })?;
        Ok(count)
    }

    /// A debt that another process has booked: the source is free of debt at `free_at` at the
    /// earliest. Never later than [`REPLY_MAX`] from now, which no hold exceeds: whatever the other
    /// process says, nobody is locked out for longer.
    pub fn merge(&self, now: Tick, source: Source, account: Account, free_at: Tick) {
        let free_at = free_at.min(now + REPLY_MAX);
        if free_at > now {
            self.shard(source).merge(now, source, account, free_at);
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn make_room(into: &mut Vec<u8>, entries: usize) {
    into.reserve(entries.saturating_add(SLACK).saturating_mul(ENTRY_MAX));
}

/// Hands out every entry, in the order in which they stand.
fn walk(octets: &[u8], mut each: impl FnMut(Source, Entry)) -> Result<(), Unreadable> {
    let mut from = Reader::new(octets);
    from.version(FORM, "form of the ledger")?;
    let then = Tick::from_millis(from.number("moment of the snapshot")?);
    while let Some(source) = next(&mut from, "source that owes")? {
        for account in [Account::Rcpt, Account::Auth] {
            let debt = from.number("debt")?;
            if debt > 0 {
                let free_at = Tick::from_millis(then.as_millis().saturating_add(debt));
                each(source, Entry::Debt(account, free_at));
            }
        }
    }
    while let Some(source) = next(&mut from, "known sender")? {
        let silent = from.number("time since the last mail")?;
        let last = Tick::from_millis(then.as_millis().saturating_sub(silent));
        each(source, Entry::Known(last));
    }
    match from.rest() {
        [] => Ok(()),
        [found, ..] => {
            let found = u64::from(*found);
            Err(from.fault("end of the ledger", Fault::Unknown { found }))
        }
    }
}

fn next(from: &mut Reader<'_>, field: &'static str) -> Result<Option<Source>, Unreadable> {
    if from.rest().first() == Some(&END) {
        return from.octet(field).map(|_| None);
    }
    from.source(field).map(Some)
}
