//! Holds: the only place where a session is made to wait.

use std::time::Duration;

use tarpit_smtp::ReplyCode;

use super::Session;
use super::billing::give_back;
use super::state::{After, Asking, Due, Holding, Pending, State, Waiting};
use super::turn::Turn;
use crate::Tick;
use crate::answer::Finding;
use crate::event::Then;
use crate::outbox::Outbox;
use crate::paced::Paced;
use crate::policy::{HOLD_TOTAL_MAX, Offence, Policy, REPLY_MAX, Way};
use crate::record::{Deed, HoldEnd, HoldReason, HoldRecord, Judged, SessionEnd};

/// What is written down of a hold.
pub(super) struct Held {
    pub(super) reason: HoldReason,
    /// The reply that waited, if it was a reply.
    pub(super) code: Option<ReplyCode>,
    pub(super) owed: Duration,
    pub(super) way: Way,
    pub(super) held: Duration,
    pub(super) end: HoldEnd,
}

impl Session {
    /// Lets `due` wait until the account is free, within all bounds.
    pub(super) fn hold(
        &mut self,
        offence: Offence,
        free_at: Tick,
        due: Due,
        turn: &mut Turn<'_>,
    ) -> Then {
        let (now, policy) = (turn.now, turn.env.policy);
        let until = self.hold_end(now, free_at, policy);
        if !policy.enforces() {
            let reason = HoldReason::Offence(offence);
            self.observe(reason, due.code(), free_at.since(now), until, turn);
            return self.say(&due, After::Next, turn.out);
        }
        let (due, after) = self.within_errors(due, policy);
        let (due, after, until) = self.within_total(now, due, after, until);
        if until <= now {
            return self.say(&due, after, turn.out);
        }
        self.state = State::Holding(Box::new(Holding {
            due,
            after,
            offence,
            since: now,
            until,
            free_at,
            way: policy.way,
            pace: u32::try_from(policy.pace.as_millis()).unwrap_or(u32::MAX),
            said: 0,
        }));
        Then::Hold { until }
    }

    /// Never longer than `hold_max` (scope `source`), nor than a client has to wait (RFC 5321
    /// §4.5.3.2).
    pub(super) fn hold_end(&self, now: Tick, free_at: Tick, policy: &Policy) -> Tick {
        free_at
            .min(now + policy.longest_hold())
            .min(self.began + REPLY_MAX)
    }

    /// The reply after the last error that a session may make is 421.
    pub(super) fn within_errors(&self, due: Due, policy: &Policy) -> (Due, After) {
        if policy.enforces() && self.is_billed() && self.errors > policy.errors_max {
            return (
                Due::Own(Finding::TooManyErrors),
                After::Close(SessionEnd::Limit),
            );
        }
        (due, After::Next)
    }

    /// The holds of one session add up to [`HOLD_TOTAL_MAX`], then 421.
    fn within_total(&self, now: Tick, due: Due, after: After, until: Tick) -> (Due, After, Tick) {
        let left = self.hold_left();
        if until.since(now) < left {
            return (due, after, until);
        }
        (
            Due::Own(Finding::HeldTooLong),
            After::Close(SessionEnd::Limit),
            now + left,
        )
    }

    fn hold_left(&self) -> Duration {
        HOLD_TOTAL_MAX.saturating_sub(self.record.held)
    }

    /// Mode `observe`: writes down a hold that would have been, cut to what is left of the
    /// session's sum, and moves the session's time on by it.
    pub(super) fn observe(
        &mut self,
        reason: HoldReason,
        code: Option<ReplyCode>,
        owed: Duration,
        until: Tick,
        turn: &mut Turn<'_>,
    ) {
        let held = until.since(turn.now).min(self.hold_left());
        // Waits that a session would not have lived through aren't counted.
        let would_live = !self.hold_left().is_zero() && self.errors <= turn.env.policy.errors_max;
        if held.is_zero() || !would_live {
            return;
        }
        let end = HoldEnd::Observed;
        let way = if code.is_some() {
            turn.env.policy.way
        } else {
            Way::Silent
        };
        self.write_hold(
            Held {
                reason,
                code,
                owed,
                way,
                held,
                end,
            },
            turn,
        );
        turn.now = turn.now + held;
    }

    /// Lets a command wait before it is looked at.
    pub(super) fn wait(&mut self, mut waiting: Waiting, turn: &mut Turn<'_>) -> Then {
        let total = waiting.since + self.hold_left();
        let latest = self.began + REPLY_MAX;
        if total <= turn.now {
            self.state = State::Waiting(Box::new(waiting));
            return self.end(Finding::HeldTooLong, SessionEnd::Limit, turn);
        }
        if latest <= turn.now {
            return self.give_up(&waiting, turn);
        }
        waiting.until = waiting.until.min(total).min(latest);
        let until = waiting.until;
        self.state = State::Waiting(Box::new(waiting));
        Then::Hold { until }
    }

    /// The client would not wait for longer (RFC 5321 §4.5.3.2), and comes back later. The bounds
    /// of the configuration keep usual waits far from this.
    fn give_up(&mut self, waiting: &Waiting, turn: &mut Turn<'_>) -> Then {
        self.cancel_wait(waiting, turn);
        self.write_waiting(waiting, HoldEnd::NoRoom, turn);
        self.unseen(&waiting.command, turn)
    }

    fn cancel_wait(&self, waiting: &Waiting, turn: &Turn<'_>) {
        if waiting.reason == HoldReason::Room {
            let account = waiting.command.account();
            let ledger = turn.env.ledger;
            ledger.cancel(turn.now, self.ticket(), self.source, account);
        }
    }

    /// A hold is over, there may be room, or nothing is held any more: whoever waited when `enforce`
    /// was left hears its true reply at once.
    pub(super) fn resume(&mut self, turn: &mut Turn<'_>) -> Then {
        let released = !turn.env.policy.enforces();
        match std::mem::replace(&mut self.state, State::Command) {
            State::Holding(holding) if holding.until <= turn.now || released => {
                let end = if holding.until <= turn.now {
                    HoldEnd::Paid
                } else {
                    HoldEnd::Released
                };
                self.write_holding(&holding, end, turn);
                self.say_rest(&holding, turn.out);
                match holding.after {
                    After::Next => self.next(turn.out),
                    After::Close(end) => self.close(end),
                }
            }
            State::Waiting(waiting) if released => {
                self.cancel_wait(&waiting, turn);
                self.write_waiting(&waiting, HoldEnd::Released, turn);
                let mut command = waiting.command;
                if let Pending::Rcpt { unlisted, .. } = &mut command {
                    // Outside of `enforce` the upstream has the word (DESIGN promise 5).
                    *unlisted = false;
                }
                self.seek_room(command, turn)
            }
            State::Waiting(waiting) => self.look_again(*waiting, turn),
            other => {
                self.state = other;
                self.rest()
            }
        }
    }

    /// How the reply is said that is held; `None` if none is. It depends on nothing but the session,
    /// so it can be asked again at any time. The driver tells with [`Session::note_said`] how far it
    /// has come, and then resumes or ends the session as it would without.
    #[must_use]
    pub fn paced(&self) -> Option<Paced> {
        match &self.state {
            State::Holding(holding) => Some(self.pace(holding)),
            _ => None,
        }
    }

    /// So many octets of the [`Session::paced`] text were said in all. What is left of it is said
    /// at the end of the hold, however that comes.
    pub fn note_said(&mut self, octets: u32) {
        if let State::Holding(holding) = &mut self.state {
            holding.said = holding.said.max(octets);
        }
    }

    /// How much of it was said.
    #[must_use]
    pub fn said(&self) -> u32 {
        match &self.state {
            State::Holding(holding) => holding.said,
            _ => 0,
        }
    }

    fn pace(&self, holding: &Holding) -> Paced {
        let reply = holding.due.reply(self.id);
        let times = (holding.since, holding.until);
        Paced::of((holding.way, holding.pace), times, self.secured, &reply)
    }

    /// Says the reply that was held, or what is left of it.
    fn say_rest(&self, holding: &Holding, out: &mut Outbox) {
        if holding.said == 0 {
            return holding.due.print(self.id, out);
        }
        let paced = self.pace(holding);
        let rest = paced.text().get(holding.said as usize..);
        out.bytes.extend_from_slice(rest.unwrap_or_default());
    }

    /// Before a hold ends early: a reply that was begun is said to its end (RFC 5321 §4.2.1), one
    /// that was not is left out. Whether it was a farewell, to which nothing can be added.
    pub(super) fn finish_begun(&self, out: &mut Outbox) -> bool {
        match &self.state {
            State::Holding(holding) if holding.said > 0 => {
                self.say_rest(holding, out);
                matches!(holding.after, After::Close(_))
            }
            _ => false,
        }
    }

    /// The session ends in whatever it was doing: gives back what was reserved, leaves the queue,
    /// and closes the books on a hold. Charges stand. Who leaves while a guess is being looked up
    /// pays for it: it was made, and the upstream had the work.
    pub(super) fn abandon(&mut self, end: HoldEnd, turn: &mut Turn<'_>) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Holding(holding) => self.write_holding(&holding, end, turn),
            State::Waiting(waiting) => {
                self.cancel_wait(&waiting, turn);
                self.note(waiting.command.deed(), Judged::Left, None, turn);
                self.write_waiting(&waiting, end, turn);
            }
            State::Asking(Asking::Rcpt { bill, .. }) if end == HoldEnd::HangUp => {
                let judged = Judged::LeftAsking(Offence::UnknownRecipient);
                self.note(Deed::Rcpt, judged, Some(&bill), turn);
                self.book(Offence::UnknownRecipient, bill, turn);
            }
            State::Asking(Asking::Auth(bill)) if end == HoldEnd::HangUp => {
                let judged = Judged::LeftAsking(Offence::FailedAuth);
                self.note(Deed::Auth, judged, Some(&bill), turn);
                self.book(Offence::FailedAuth, bill, turn);
            }
            State::AuthLine(bill)
            | State::Asking(Asking::Auth(bill) | Asking::Rcpt { bill, .. }) => {
                give_back(bill, turn);
            }
            _ => {}
        }
    }

    /// A reply that the driver has said whole was held until it was due, however late that is told here.
    fn write_holding(&mut self, holding: &Holding, end: HoldEnd, turn: &mut Turn<'_>) {
        let is_said = holding.said > 0 && self.pace(holding).text().len() <= holding.said as usize;
        let over = if is_said {
            turn.now.min(holding.until)
        } else {
            turn.now
        };
        let held = Held {
            reason: HoldReason::Offence(holding.offence),
            code: holding.due.code(),
            owed: holding.free_at.since(holding.since),
            way: holding.way,
            held: over.since(holding.since),
            end,
        };
        self.write_hold(held, turn);
    }

    pub(super) fn write_waiting(&mut self, waiting: &Waiting, end: HoldEnd, turn: &mut Turn<'_>) {
        let held = Held {
            reason: waiting.reason,
            code: None,
            owed: waiting.owed,
            way: Way::Silent,
            held: turn.now.since(waiting.since),
            end,
        };
        self.write_hold(held, turn);
    }

    fn write_hold(&mut self, held: Held, turn: &mut Turn<'_>) {
        let end = match held.end {
            HoldEnd::Paid if self.half_closed => HoldEnd::HalfClosed,
            end => end,
        };
        self.record.holds = self.record.holds.saturating_add(1);
        self.record.held = self.record.held.saturating_add(held.held);
        turn.out.holds.push(HoldRecord {
            session: self.id,
            source: self.source,
            reason: held.reason,
            mode: turn.env.policy.mode,
            code: held.code,
            owed: held.owed,
            way: held.way,
            held: held.held,
            end,
        });
    }

    /// No answer that tells anything: the same for a valid name as for an invalid one.
    pub(super) fn unseen(&mut self, command: &Pending, turn: &mut Turn<'_>) -> Then {
        self.waited = true;
        self.note(command.deed(), Judged::Unseen, None, turn);
        self.record.unseen = self.record.unseen.saturating_add(1);
        match command {
            Pending::Rcpt { .. } => self.defer(command.unseen(), turn),
            Pending::Auth { .. } => self.tell(command.unseen(), turn),
        }
    }
}
