//! What happens on RCPT: filter, debt, room, look-up, answer.

use tarpit_smtp::{EnhancedCode, ForwardPath, Reply, ReplyCode};

use super::billing::give_back;
use super::{Env, Refusal, Session};
use crate::Tick;
use crate::answer::Finding;
use crate::event::{Answer, Ask, Then, Trouble};
use crate::filter::Knowledge;
use crate::ledger::Grant;
use crate::outbox::Outbox;
use crate::policy::{HOLD_TOTAL_MAX, Mode, Offence, REPLY_MAX, Scope};
use crate::record::{HoldEnd, HoldReason, SessionEnd};
use crate::session::state::{After, Asking, Bill, Due, Pending, State, Waiting};

impl Session {
    pub(super) fn rcpt(
        &mut self,
        now: Tick,
        path: &ForwardPath<'_>,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        if self.envelope.is_none() {
            return self.refuse(now, Finding::NeedMail, env, out);
        }
        if self.recipients >= env.policy.recipients_max {
            return self.defer(Finding::TooManyRecipients, out);
        }
        self.recipients = self.recipients.saturating_add(1);
        if self.refusal.is_some() {
            let bill = self.free_bill(env);
            return self.repeat_refusal(now, bill, env, out);
        }
        let knowledge = if self.authenticated {
            Knowledge::Open
        } else {
            env.filter.judge(path)
        };
        let enforced = env.policy.mode == Mode::Enforce;
        if knowledge == Knowledge::ForeignDomain && (enforced || env.filter.is_strict()) {
            return self.refuse(now, Finding::RelayDenied, env, out);
        }
        if knowledge != Knowledge::Open && !enforced {
            self.record.would_refuse = self.record.would_refuse.saturating_add(1);
        }
        let is_role = env.filter.is_role(path);
        let unlisted = enforced && knowledge == Knowledge::Unknown && !is_role;
        let command = Pending::Rcpt {
            path: path.as_str().into(),
            unlisted,
        };
        if is_role {
            return self.look_up(now, command, Bill::Free, env, out);
        }
        self.pay_first(now, command, env, out)
    }

    /// Debts of this session that could not be held when they were made are paid before the next
    /// look-up.
    pub(super) fn pay_first(
        &mut self,
        now: Tick,
        command: Pending,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        if !self.is_billed() || self.free_at <= now || !env.policy.counts() {
            return self.seek_room(now, command, env, out);
        }
        let until = self.free_at.min(now + env.policy.longest_hold());
        let waiting = Waiting {
            command,
            reason: HoldReason::Debt,
            since: now,
            until,
            owed_until: self.free_at,
        };
        if env.policy.enforces() {
            return self.wait(now, waiting, env, out);
        }
        let owed_until = waiting.owed_until;
        self.observe(now, until, HoldReason::Debt, None, owed_until, env, out);
        self.seek_room(now, waiting.command, env, out)
    }

    /// Reserves the price of the guess before it is looked at.
    pub(super) fn seek_room(
        &mut self,
        now: Tick,
        command: Pending,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        if let Some(bill) = self.free_bill(env) {
            return self.look_up(now, command, bill, env, out);
        }
        let (ticket, source, account) = (self.ticket(), self.source, command.account());
        let terms = env.policy.terms(command.offence());
        let enforced = env.policy.enforces();
        // A wait that ended without room is not repeated in the same transaction, so that a long
        // list of recipients is not held once for each. Known senders are never refused unseen.
        let may_wait = enforced && (!self.waited || env.ledger.is_known(now, source));
        let grant = if may_wait {
            env.ledger.request(now, ticket, source, account, &terms)
        } else {
            env.ledger.try_request(now, ticket, source, account, &terms)
        };
        match grant {
            Grant::Granted(reservation) => {
                self.look_up(now, command, Bill::Reserved(reservation), env, out)
            }
            Grant::Wait { until } => {
                let owed_until = now + env.ledger.owed(now, source, account);
                let waiting = Waiting {
                    command,
                    reason: HoldReason::Room,
                    since: now,
                    until,
                    owed_until,
                };
                self.wait(now, waiting, env, out)
            }
            Grant::NoRoom if enforced => self.unseen(&command, out),
            Grant::NoRoom => {
                self.record.unseen = self.record.unseen.saturating_add(1);
                self.look_up(now, command, Bill::Unseen, env, out)
            }
        }
    }

    /// A bill with nothing to reserve; `None` if the ledger is to be asked.
    pub(super) fn free_bill(&self, env: &Env<'_>) -> Option<Bill> {
        match env.policy.scope {
            _ if !self.is_billed() || !env.policy.counts() => Some(Bill::Free),
            Scope::Session => Some(Bill::Session),
            Scope::Source => None,
        }
    }

    fn wait(&mut self, now: Tick, mut waiting: Waiting, env: &Env<'_>, out: &mut Outbox) -> Then {
        let total = waiting.since + HOLD_TOTAL_MAX.saturating_sub(self.record.held);
        let latest = self.began + REPLY_MAX;
        if total <= now {
            self.state = State::Waiting(Box::new(waiting));
            return self.end(now, Finding::HeldTooLong, SessionEnd::Limit, env, out);
        }
        if latest <= now {
            return self.give_up(now, &waiting, env, out);
        }
        waiting.until = waiting.until.min(total).min(latest);
        let until = waiting.until;
        self.state = State::Waiting(Box::new(waiting));
        Then::Hold { until }
    }

    /// The client would not wait for longer (RFC 5321 §4.5.3.2), and comes back later. The bounds
    /// of the configuration keep usual waits far from this.
    fn give_up(&mut self, now: Tick, waiting: &Waiting, env: &Env<'_>, out: &mut Outbox) -> Then {
        if waiting.reason == HoldReason::Room {
            let account = waiting.command.account();
            env.ledger.cancel(now, self.ticket(), self.source, account);
        }
        self.write_waiting(now, waiting, HoldEnd::NoRoom, env, out);
        self.unseen(&waiting.command, out)
    }

    /// A waiting command gets its turn, or waits on.
    pub(super) fn look_again(
        &mut self,
        now: Tick,
        waiting: Waiting,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        if waiting.reason == HoldReason::Debt {
            if now < waiting.until {
                return self.wait(now, waiting, env, out);
            }
            self.free_at = self.free_at.min(now);
            self.write_waiting(now, &waiting, HoldEnd::Paid, env, out);
            return self.seek_room(now, waiting.command, env, out);
        }
        let terms = env.policy.terms(waiting.command.offence());
        let account = waiting.command.account();
        match env
            .ledger
            .poll(now, self.ticket(), self.source, account, &terms)
        {
            Grant::Granted(reservation) => {
                self.write_waiting(now, &waiting, HoldEnd::Paid, env, out);
                self.look_up(now, waiting.command, Bill::Reserved(reservation), env, out)
            }
            Grant::Wait { until } => self.wait(now, Waiting { until, ..waiting }, env, out),
            Grant::NoRoom => {
                self.write_waiting(now, &waiting, HoldEnd::NoRoom, env, out);
                self.unseen(&waiting.command, out)
            }
        }
    }

    /// No answer that tells anything: the same for a valid name as for an invalid one.
    fn unseen(&mut self, command: &Pending, out: &mut Outbox) -> Then {
        self.waited = true;
        self.record.unseen = self.record.unseen.saturating_add(1);
        match command {
            Pending::Rcpt { .. } => self.defer(command.unseen(), out),
            Pending::Auth { .. } => self.tell(command.unseen(), out),
        }
    }

    /// 4yz to RCPT, for our own reasons.
    fn defer(&mut self, finding: Finding, out: &mut Outbox) -> Then {
        self.deferred = true;
        self.record.deferred = self.record.deferred.saturating_add(1);
        self.tell(finding, out)
    }

    fn look_up(
        &mut self,
        now: Tick,
        command: Pending,
        bill: Bill,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match command {
            Pending::Rcpt { unlisted: true, .. } => self.charge(
                now,
                Offence::UnknownRecipient,
                Some(bill),
                Due::Own(Finding::UnknownRecipient),
                env,
                out,
            ),
            Pending::Rcpt { path, .. } => {
                self.state = State::Asking(Asking::Rcpt {
                    path: path.clone(),
                    bill,
                });
                Then::Ask(Ask::Rcpt(path))
            }
            Pending::Auth { mechanism, initial } => {
                self.state = State::Asking(Asking::Auth(bill));
                Then::Ask(Ask::Auth {
                    mechanism: mechanism.as_str(),
                    initial,
                })
            }
        }
    }

    /// What came of a question to the upstream.
    pub(super) fn answered(
        &mut self,
        now: Tick,
        answer: Answer,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Asking(Asking::Rcpt { path, bill }) => {
                self.rcpt_answered(now, path, bill, answer, env, out)
            }
            State::Asking(Asking::Auth(bill)) => self.auth_answered(now, bill, answer, env, out),
            State::Asking(Asking::Data) => self.data_answered(now, answer, env, out),
            other => {
                self.state = other;
                self.rest()
            }
        }
    }

    fn rcpt_answered(
        &mut self,
        now: Tick,
        path: Box<str>,
        bill: Bill,
        answer: Answer,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match answer {
            Answer::Reply(reply) => self.rcpt_replied(now, path, bill, reply, env, out),
            Answer::SenderRefused(reply) => {
                self.refusal = Some(Box::new(Refusal {
                    reply: as_rcpt_reply(reply),
                    whole_session: false,
                }));
                self.repeat_refusal(now, Some(bill), env, out)
            }
            Answer::ServiceRefused(reply) => {
                self.refusal = Some(Box::new(Refusal {
                    reply: as_rcpt_reply(reply),
                    whole_session: true,
                }));
                self.repeat_refusal(now, Some(bill), env, out)
            }
            Answer::Trouble(trouble) => {
                give_back(now, bill, env.ledger);
                self.deferred = true;
                self.record.deferred = self.record.deferred.saturating_add(1);
                self.trouble(trouble, out)
            }
        }
    }

    fn rcpt_replied(
        &mut self,
        now: Tick,
        path: Box<str>,
        bill: Bill,
        reply: Reply,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        if let Some(offence) = rcpt_offence(&reply) {
            self.deferred |= reply.code().is_transient();
            return self.charge(now, offence, Some(bill), Due::Upstream(reply), env, out);
        }
        give_back(now, bill, env.ledger);
        if reply.code().is_positive() {
            self.record.accepted = self.record.accepted.saturating_add(1);
            if let Some(envelope) = &mut self.envelope {
                envelope.accepted.push(path);
            }
        } else {
            self.deferred = true;
            self.record.deferred = self.record.deferred.saturating_add(1);
        }
        self.say(&Due::Upstream(reply), After::Next, out)
    }

    /// The upstream's refusal of MAIL or of the session, as the reply to RCPT. Charged once a
    /// transaction, never as unknown recipients.
    fn repeat_refusal(
        &mut self,
        now: Tick,
        bill: Option<Bill>,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        let Some(refusal) = &self.refusal else {
            return self.tell(Finding::UpstreamTrouble, out);
        };
        let reply = refusal.reply.clone();
        // The original makes every 5yz wait; the ledger does not charge twice for one fault.
        let is_due = !self.sender_charged || env.policy.scope == Scope::Session;
        if reply.code().is_permanent() && is_due {
            self.sender_charged = true;
            return self.charge(
                now,
                Offence::SenderRefused,
                bill,
                Due::Upstream(reply),
                env,
                out,
            );
        }
        if let Some(bill) = bill {
            give_back(now, bill, env.ledger);
        }
        self.deferred |= reply.code().is_transient();
        self.say(&Due::Upstream(reply), After::Next, out)
    }

    /// There is no reply of the upstream: a truthful 4yz.
    pub(super) fn trouble(&mut self, trouble: Trouble, out: &mut Outbox) -> Then {
        let finding = match trouble {
            Trouble::Capacity => Finding::UpstreamBusy,
            Trouble::Identity => Finding::IdentityUntold,
            Trouble::AuthLost => {
                return self.close_with(Finding::AuthLost, SessionEnd::UpstreamLost, out);
            }
            Trouble::Unreachable
            | Trouble::TimedOut
            | Trouble::Closed
            | Trouble::Garbage
            | Trouble::Changed
            | Trouble::Lacks => Finding::UpstreamTrouble,
        };
        self.tell(finding, out)
    }
}

impl Pending {
    /// The offence whose price is reserved.
    const fn offence(&self) -> Offence {
        match self {
            Self::Rcpt { .. } => Offence::UnknownRecipient,
            Self::Auth { .. } => Offence::FailedAuth,
        }
    }
}

/// What a reply to RCPT costs, if anything.
fn rcpt_offence(reply: &Reply) -> Option<Offence> {
    let enhanced = reply.enhanced();
    // RFC 3463 §3.2: x.1.1 is "bad destination mailbox address", whatever the class.
    let unknown = enhanced.is_some_and(|code| code.subject == 1 && code.detail == 1);
    if unknown && (reply.code().is_transient() || reply.code().is_permanent()) {
        return Some(Offence::UnknownRecipient);
    }
    if !reply.code().is_permanent() {
        return None;
    }
    // RFC 3463 §3.2: the subject 1 is the address. With no enhanced code, 550, 551 and 553 are
    // what RFC 5321 §4.3.2 gives for it.
    let about_address = match enhanced {
        Some(code) => code.subject == 1,
        None => matches!(reply.code().get(), 550 | 551 | 553),
    };
    Some(if about_address {
        Offence::UnknownRecipient
    } else {
        Offence::RecipientRefused
    })
}

/// RFC 5321 §4.5.3.1.10 makes 552 to RCPT temporary, which a refused MAIL was not.
fn as_rcpt_reply(reply: Reply) -> Reply {
    if reply.code().get() != 552 {
        return reply;
    }
    let Some(code) = ReplyCode::new(550) else {
        return reply;
    };
    reply.with_code(
        code,
        Some(EnhancedCode {
            class: 5,
            subject: 3,
            detail: 4,
        }),
    )
}
