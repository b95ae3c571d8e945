//! Offence, charge, hold: the only place where a reply is made to wait.

use std::time::Duration;

use tarpit_smtp::ReplyCode;

use super::state::{After, Asking, Bill, Due, Holding, State, Waiting};
use super::{Env, Session};
use crate::Tick;
use crate::answer::Finding;
use crate::event::Then;
use crate::ledger::{Account, Ledger, Terms};
use crate::outbox::Outbox;
use crate::policy::{HOLD_TOTAL_MAX, Mode, Offence, Policy, REPLY_MAX, Scope};
use crate::record::{HoldEnd, HoldReason, HoldRecord, SessionEnd};

impl Policy {
    /// What the ledger needs to know of an offence.
    pub(super) fn terms(&self, offence: Offence) -> Terms {
        Terms {
            price: self.price(offence),
            allowance: self.allowance(),
            hold_max: self.hold_max,
        }
    }
}

impl Session {
    /// Refuses with a 5yz of ours; it costs what the table says.
    pub(super) fn refuse(
        &mut self,
        now: Tick,
        finding: Finding,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        let Some(offence) = finding.offence() else {
            return self.tell(finding, out);
        };
        let bill = self.free_bill(env);
        self.charge(now, offence, bill, Due::Own(finding), env, out)
    }

    /// A refusal that only follows from refusals that were charged already. The feature of KB
    /// 842851 delays every 5yz reply; the ledger does not charge twice for one fault.
    pub(super) fn refuse_again(
        &mut self,
        now: Tick,
        finding: Finding,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match env.policy.scope {
            Scope::Session => self.refuse(now, finding, env, out),
            Scope::Source => self.tell(finding, out),
        }
    }

    /// Books `offence` and lets its reply wait.
    ///
    /// `bill`: how it is paid; `None` books it to the source with no reservation.
    pub(super) fn charge(
        &mut self,
        now: Tick,
        offence: Offence,
        bill: Option<Bill>,
        due: Due,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        self.count(offence);
        match self.book(now, offence, bill, env) {
            None => self.say(&due, After::Next, out),
            Some(free_at) => self.hold(now, offence, free_at, due, env, out),
        }
    }

    /// Books `offence`; the moment at which the account is free, or `None` if it costs nothing.
    pub(super) fn book(
        &mut self,
        now: Tick,
        offence: Offence,
        bill: Option<Bill>,
        env: &Env<'_>,
    ) -> Option<Tick> {
        let terms = env.policy.terms(offence);
        match bill {
            Some(Bill::Free | Bill::Unseen) => None,
            Some(Bill::Session) => {
                self.free_at = self.free_at.max(now) + terms.price;
                Some(self.free_at)
            }
            Some(Bill::Reserved(reservation)) => {
                Some(env.ledger.charge(now, reservation, &terms).free_at)
            }
            None => Some(
                env.ledger
                    .offence(now, self.source, account_of(offence), &terms)
                    .free_at,
            ),
        }
    }

    fn count(&mut self, offence: Offence) {
        let record = &mut self.record;
        record.errors = record.errors.saturating_add(1);
        match offence {
            Offence::UnknownRecipient | Offence::RecipientRefused | Offence::RelayDenied => {
                record.refused = record.refused.saturating_add(1);
            }
            Offence::FailedAuth => record.failed_auth = record.failed_auth.saturating_add(1),
            Offence::SenderRefused | Offence::MessageRefused | Offence::Protocol => {}
        }
    }

    /// Lets `due` wait until the account is free, within all bounds.
    fn hold(
        &mut self,
        now: Tick,
        offence: Offence,
        free_at: Tick,
        due: Due,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        let until = self.hold_end(now, free_at, env.policy);
        if !env.policy.enforces() {
            let reason = HoldReason::Offence(offence);
            self.observe(now, until, reason, due.code(), free_at, env, out);
            return self.say(&due, After::Next, out);
        }
        let (due, after) = self.within_errors(due, env);
        let (due, after, until) = self.within_total(now, due, after, until);
        if until <= now {
            return self.say(&due, after, out);
        }
        let holding = Holding {
            due,
            after,
            offence,
            since: now,
            until,
            free_at,
        };
        self.state = State::Holding(Box::new(holding));
        Then::Hold { until }
    }

    /// Never longer than `hold_max` (scope `source`), nor than a client has to wait (RFC 5321
    /// §4.5.3.2).
    fn hold_end(&self, now: Tick, free_at: Tick, policy: &Policy) -> Tick {
        free_at
            .min(now + policy.longest_hold())
            .min(self.began + REPLY_MAX)
    }

    /// The reply after the last error that a session may make is 421.
    fn within_errors(&self, due: Due, env: &Env<'_>) -> (Due, After) {
        if self.is_billed() && self.record.errors > env.policy.errors_max {
            return (
                Due::Own(Finding::TooManyErrors),
                After::Close(SessionEnd::Limit),
            );
        }
        (due, After::Next)
    }

    /// The holds of one session add up to [`HOLD_TOTAL_MAX`], then 421.
    fn within_total(&self, now: Tick, due: Due, after: After, until: Tick) -> (Due, After, Tick) {
        let left = HOLD_TOTAL_MAX.saturating_sub(self.record.held);
        if until.since(now) < left {
            return (due, after, until);
        }
        (
            Due::Own(Finding::HeldTooLong),
            After::Close(SessionEnd::Limit),
            now + left,
        )
    }

    /// Mode `observe`: writes down a hold that would have been, cut to what is left of the
    /// session's sum, and goes on as if it had been waited out.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of a hold that never becomes one"
    )]
    pub(super) fn observe(
        &mut self,
        now: Tick,
        until: Tick,
        reason: HoldReason,
        code: Option<ReplyCode>,
        free_at: Tick,
        env: &Env<'_>,
        out: &mut Outbox,
    ) {
        self.free_at = now + self.free_at.since(until);
        let left = HOLD_TOTAL_MAX.saturating_sub(self.record.held);
        let held = until.since(now).min(left);
        if held.is_zero() || !self.would_live(env.policy) {
            return;
        }
        let (end, mode) = (HoldEnd::Observed, env.policy.mode);
        self.write_hold(reason, code, free_at.since(now), held, end, out, mode);
    }

    /// Whether the session would still be there in `enforce`: waits that it would not have lived
    /// through aren't counted.
    fn would_live(&self, policy: &Policy) -> bool {
        self.record.held < HOLD_TOTAL_MAX && self.record.errors <= policy.errors_max
    }

    /// A hold is over, or there may be room.
    pub(super) fn resume(&mut self, now: Tick, env: &Env<'_>, out: &mut Outbox) -> Then {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Holding(holding) if holding.until <= now => {
                self.write_holding(now, &holding, HoldEnd::Paid, env, out);
                self.say(&holding.due, holding.after, out)
            }
            State::Waiting(waiting) => self.look_again(now, *waiting, env, out),
            other => {
                self.state = other;
                self.rest()
            }
        }
    }

    /// The session ends in whatever it was doing: gives back what was reserved, leaves the queue,
    /// and closes the books on a hold. Charges stand.
    pub(super) fn abandon(&mut self, now: Tick, env: &Env<'_>, out: &mut Outbox, end: HoldEnd) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Holding(holding) => self.write_holding(now, &holding, end, env, out),
            State::Waiting(waiting) => {
                if waiting.reason == HoldReason::Room {
                    env.ledger
                        .cancel(now, self.ticket(), self.source, waiting.command.account());
                }
                self.write_waiting(now, &waiting, end, env, out);
            }
            State::AuthLine(bill)
            | State::Asking(Asking::Auth(bill) | Asking::Rcpt { bill, .. }) => {
                give_back(now, bill, env.ledger);
            }
            _ => {}
        }
    }

    fn write_holding(
        &mut self,
        now: Tick,
        holding: &Holding,
        end: HoldEnd,
        env: &Env<'_>,
        out: &mut Outbox,
    ) {
        let reason = HoldReason::Offence(holding.offence);
        let owed = holding.free_at.since(holding.since);
        let held = now.since(holding.since);
        self.write_hold(
            reason,
            holding.due.code(),
            owed,
            held,
            end,
            out,
            env.policy.mode,
        );
    }

    pub(super) fn write_waiting(
        &mut self,
        now: Tick,
        waiting: &Waiting,
        end: HoldEnd,
        env: &Env<'_>,
        out: &mut Outbox,
    ) {
        let owed = waiting.owed_until.since(waiting.since);
        let held = now.since(waiting.since);
        self.write_hold(waiting.reason, None, owed, held, end, out, env.policy.mode);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one record, written from three kinds of hold"
    )]
    pub(super) fn write_hold(
        &mut self,
        reason: HoldReason,
        code: Option<ReplyCode>,
        owed: Duration,
        held: Duration,
        end: HoldEnd,
        out: &mut Outbox,
        mode: Mode,
    ) {
        self.record.holds = self.record.holds.saturating_add(1);
        self.record.held = self.record.held.saturating_add(held);
        let (session, source) = (self.id, self.source);
        out.holds.push(HoldRecord {
            session,
            source,
            reason,
            mode,
            code,
            owed,
            held,
            end,
        });
    }
}

/// Gives back what was reserved for a look-up that was no offence.
pub(super) fn give_back(now: Tick, bill: Bill, ledger: &Ledger) {
    if let Bill::Reserved(reservation) = bill {
        ledger.release(now, reservation);
    }
}

/// RCPT debt and AUTH debt are kept apart, so that a phone with an old password can't keep its
/// office from getting mail.
const fn account_of(offence: Offence) -> Account {
    match offence {
        Offence::FailedAuth => Account::Auth,
        _ => Account::Rcpt,
    }
}
