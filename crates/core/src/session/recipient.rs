//! What happens on RCPT: filter, debt, room, look-up, answer.

use tarpit_smtp::{EnhancedCode, ForwardPath, RcptParams, Reply, ReplyCode};

use super::billing::give_back;
use super::state::{After, Asking, Bill, Chunks, Due, Pending, State, Waiting};
use super::turn::Turn;
use super::{Env, Refusal, Session};
use crate::answer::Finding;
use crate::envelope::Recipient;
use crate::event::{Answer, Ask, Then, Trouble};
use crate::filter::Knowledge;
use crate::ledger::Grant;
use crate::policy::{Mode, Offence};
use crate::record::{Deed, HoldEnd, HoldReason, Judged, SessionEnd};

impl Session {
    pub(super) fn rcpt(
        &mut self,
        path: &ForwardPath<'_>,
        params: &RcptParams<'_>,
        turn: &mut Turn<'_>,
    ) -> Then {
        let recipient = Recipient::new(path, params);
        if let Some(finding) = self.rcpt_refusal(path, &recipient, turn.env) {
            return self.refuse(finding, turn);
        }
        if self.recipients >= Self::recipients_limit(turn.env) {
            self.record.over_recipients = self.record.over_recipients.saturating_add(1);
            return self.defer(Finding::TooManyRecipients, turn);
        }
        self.recipients = self.recipients.saturating_add(1);
        let is_role = turn.env.filter.is_role(path);
        if self.refusal.is_some() {
            let bill = if is_role {
                Bill::Role
            } else {
                self.bill(turn.env)
            };
            return self.repeat_refusal(bill, turn);
        }
        let knowledge = match turn.env.filter.judge(path) {
            Knowledge::Unknown if is_role => Knowledge::Open,
            _ if self.authenticated => Knowledge::Open,
            knowledge => knowledge,
        };
        self.filtered(path, recipient.into(), knowledge, is_role, turn)
    }

    /// What is wrong with RCPT whoever the recipient is.
    fn rcpt_refusal(
        &self,
        path: &ForwardPath<'_>,
        recipient: &Recipient,
        env: &Env<'_>,
    ) -> Option<Finding> {
        if self.needs_auth(env) {
            return Some(Finding::NeedAuth);
        }
        let Some(envelope) = &self.envelope else {
            return Some(Finding::NeedMail);
        };
        if self.chunks != Chunks::None {
            return Some(Finding::InChunks);
        }
        if let Some(finding) = self.not_announced(recipient.uses) {
            return Some(finding);
        }
        // RFC 6531 §3.4; RFC 6533 §3 for ORCPT.
        let ascii = path.is_ascii() && recipient.params.is_ascii();
        (!ascii && !envelope.is_utf8()).then_some(Finding::NonAsciiRecipient)
    }

    /// What the filter says, in `enforce` done and in `observe` written down.
    fn filtered(
        &mut self,
        path: &ForwardPath<'_>,
        recipient: Box<Recipient>,
        knowledge: Knowledge,
        is_role: bool,
        turn: &mut Turn<'_>,
    ) -> Then {
        let enforced = turn.env.policy.mode == Mode::Enforce;
        let command = |unlisted| Pending::Rcpt {
            recipient,
            unlisted,
        };
        match knowledge {
            Knowledge::Open if is_role => self.look_up(command(false), Bill::Role, turn),
            Knowledge::Open => self.pay_first(command(false), turn),
            Knowledge::ForeignDomain if enforced || turn.env.filter.is_strict() => {
                self.list_refused(path.as_str());
                self.refuse(Finding::RelayDenied, turn)
            }
            Knowledge::Unknown if enforced => self.pay_first(command(true), turn),
            Knowledge::ForeignDomain => {
                self.would_refuse(Finding::RelayDenied, command(false), turn)
            }
            Knowledge::Unknown => {
                self.would_refuse(Finding::UnknownRecipient, command(false), turn)
            }
        }
    }

    /// `observe`: writes down the refusal and its hold; the upstream is asked all the same, and its
    /// answer costs nothing more.
    fn would_refuse(&mut self, finding: Finding, command: Pending, turn: &mut Turn<'_>) -> Then {
        self.record.would_refuse = self.record.would_refuse.saturating_add(1);
        let bill = self.bill(turn.env);
        if let Some(offence) = finding.offence() {
            let deed = match finding {
                Finding::RelayDenied => Deed::Foreign,
                _ => Deed::Unlisted,
            };
            self.note(deed, Judged::WouldRefuse(offence), Some(&bill), turn);
        }
        if let Some(offence) = finding.offence()
            && let Some(free_at) = self.book(offence, bill, turn)
        {
            let until = self.hold_end(turn.now, free_at, turn.env.policy);
            let (reason, code) = (HoldReason::Offence(offence), ReplyCode::new(finding.code()));
            self.observe(reason, code, free_at.since(turn.now), until, turn);
        }
        self.look_up(command, Bill::Free, turn)
    }

    /// Debts of this session that could not be held when they were made are paid before the next
    /// look-up.
    fn pay_first(&mut self, command: Pending, turn: &mut Turn<'_>) -> Then {
        let (now, policy) = (turn.now, turn.env.policy);
        if !self.is_billed() || self.free_at <= now || !policy.counts() {
            return self.seek_room(command, turn);
        }
        let until = self.free_at.min(now + policy.longest_hold());
        let owed = self.free_at.since(now);
        if !policy.enforces() {
            self.observe(HoldReason::Debt, None, owed, until, turn);
            return self.seek_room(command, turn);
        }
        let reason = HoldReason::Debt;
        let waiting = Waiting {
            command,
            reason,
            since: now,
            until,
            owed,
        };
        self.wait(waiting, turn)
    }

    /// Reserves the price of the guess before it is looked at.
    pub(super) fn seek_room(&mut self, command: Pending, turn: &mut Turn<'_>) -> Then {
        let bill = self.bill(turn.env);
        if !matches!(bill, Bill::Source) {
            return self.look_up(command, bill, turn);
        }
        let (now, env, account) = (turn.now, turn.env, command.account());
        let terms = env.policy.terms(command.offence());
        let owed = env.ledger.claimed(now, self.source, account);
        // A wait that ended without room is not repeated in the same transaction, so that a long
        // list of recipients is not held once for each. Known senders are never refused unseen.
        let may_wait = !self.waited || env.ledger.is_known(now, self.source);
        let (ticket, source) = (self.ticket(), self.source);
        let grant = if may_wait {
            env.ledger.request(now, ticket, source, account, &terms)
        } else {
            env.ledger.try_request(now, ticket, source, account, &terms)
        };
        match grant {
            Grant::Granted(reservation) => self.look_up(command, Bill::Reserved(reservation), turn),
            Grant::NoRoom => self.unseen(&command, turn),
            Grant::Wait { until } => {
                let waiting = Waiting {
                    command,
                    reason: HoldReason::Room,
                    since: now,
                    until,
                    owed,
                };
                self.wait(waiting, turn)
            }
        }
    }

    /// A waiting command gets its turn, or waits on.
    pub(super) fn look_again(&mut self, waiting: Waiting, turn: &mut Turn<'_>) -> Then {
        if waiting.reason == HoldReason::Debt {
            if turn.now < waiting.until {
                return self.wait(waiting, turn);
            }
            self.free_at = self.free_at.min(turn.now);
            self.write_waiting(&waiting, HoldEnd::Paid, turn);
            return self.seek_room(waiting.command, turn);
        }
        let (now, env, account) = (turn.now, turn.env, waiting.command.account());
        let terms = env.policy.terms(waiting.command.offence());
        match env
            .ledger
            .poll(now, self.ticket(), self.source, account, &terms)
        {
            Grant::Granted(reservation) => {
                self.write_waiting(&waiting, HoldEnd::Paid, turn);
                self.look_up(waiting.command, Bill::Reserved(reservation), turn)
            }
            Grant::Wait { until } => self.wait(Waiting { until, ..waiting }, turn),
            Grant::NoRoom => {
                self.write_waiting(&waiting, HoldEnd::NoRoom, turn);
                self.unseen(&waiting.command, turn)
            }
        }
    }

    /// 4yz to RCPT, for our own reasons.
    pub(super) fn defer(&mut self, finding: Finding, turn: &mut Turn<'_>) -> Then {
        self.count_deferred();
        self.tell(finding, turn)
    }

    fn count_deferred(&mut self) {
        self.deferred = true;
        self.record.deferred = self.record.deferred.saturating_add(1);
    }

    fn look_up(&mut self, command: Pending, bill: Bill, turn: &mut Turn<'_>) -> Then {
        match command {
            Pending::Rcpt {
                recipient,
                unlisted: true,
            } => {
                self.list_refused(&recipient.path);
                let due = Due::Own(Finding::UnknownRecipient);
                let act = (Deed::Unlisted, Offence::UnknownRecipient);
                self.charge(act, bill, due, turn)
            }
            Pending::Rcpt { recipient, .. } => {
                let ask = Ask::Rcpt((*recipient).clone());
                self.state = State::Asking(Asking::Rcpt { recipient, bill });
                Then::Ask(ask)
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
    pub(super) fn answered(&mut self, answer: Answer, turn: &mut Turn<'_>) -> Then {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Asking(Asking::Rcpt { recipient, bill }) => {
                self.rcpt_answered(*recipient, bill, answer, turn)
            }
            State::Asking(Asking::Auth(bill)) => self.auth_answered(bill, answer, turn),
            State::Asking(Asking::Data) => self.data_answered(answer, turn),
            other => {
                self.state = other;
                self.rest()
            }
        }
    }

    fn rcpt_answered(
        &mut self,
        recipient: Recipient,
        bill: Bill,
        answer: Answer,
        turn: &mut Turn<'_>,
    ) -> Then {
        let (reply, whole_session) = match answer {
            Answer::Reply(reply) => return self.rcpt_replied(recipient, bill, reply, turn),
            Answer::Trouble(trouble) => {
                self.note(Deed::Rcpt, Judged::Deferred, None, turn);
                give_back(bill, turn);
                self.count_deferred();
                return self.trouble(trouble, turn);
            }
            Answer::SenderRefused(reply) => (reply, false),
            Answer::ServiceRefused(reply) => (reply, true),
        };
        self.refusal = Some(Box::new(Refusal {
            reply: as_rcpt_reply(reply),
            whole_session,
        }));
        self.repeat_refusal(bill, turn)
    }

    fn rcpt_replied(
        &mut self,
        recipient: Recipient,
        bill: Bill,
        reply: Reply,
        turn: &mut Turn<'_>,
    ) -> Then {
        if let Some(offence) = rcpt_offence(&reply) {
            self.deferred |= reply.code().is_transient();
            self.list_refused(&recipient.path);
            let role = matches!(bill, Bill::Role);
            let bill = match bill {
                // The name of a role in a domain that is none of ours is a guess like any other.
                Bill::Role if offence != Offence::UnknownRecipient => self.bill(turn.env),
                bill => bill,
            };
            self.note_as(
                role,
                Deed::Rcpt,
                Judged::Offence(offence),
                Some(&bill),
                turn,
            );
            return self.charge_noted(offence, bill, Due::Upstream(reply), turn);
        }
        let judged = if reply.code().is_positive() {
            Judged::Accepted
        } else {
            Judged::Deferred
        };
        self.note(Deed::Rcpt, judged, Some(&bill), turn);
        give_back(bill, turn);
        if reply.code().is_positive() {
            self.record.accepted = self.record.accepted.saturating_add(1);
            if let Some(envelope) = &mut self.envelope {
                envelope.accepted.push(recipient);
            }
        } else {
            self.count_deferred();
        }
        self.say(&Due::Upstream(reply), After::Next, turn.out)
    }

    /// The upstream's refusal of MAIL or of the session, as the reply to RCPT. Charged once a
    /// transaction, never as unknown recipients; but the feature of KB 842851 makes every 5yz wait.
    fn repeat_refusal(&mut self, bill: Bill, turn: &mut Turn<'_>) -> Then {
        let Some(refusal) = &self.refusal else {
            return self.tell(Finding::UpstreamTrouble, turn);
        };
        let reply = refusal.reply.clone();
        let deed = if refusal.whole_session {
            Deed::Service
        } else {
            Deed::Sender
        };
        if !reply.code().is_permanent() {
            self.note(deed, Judged::Deferred, None, turn);
            give_back(bill, turn);
            self.count_deferred();
            return self.say(&Due::Upstream(reply), After::Next, turn.out);
        }
        let bill = if matches!(bill, Bill::Session) || !self.sender_charged {
            bill
        } else {
            give_back(bill, turn);
            Bill::Free
        };
        // A role name that comes first does not make the others free.
        self.sender_charged |= !matches!(bill, Bill::Role);
        if matches!(bill, Bill::Free) && self.is_billed() {
            // Repeated, not one more error of the client.
            self.note(deed, Judged::Repeated, None, turn);
            self.record.errors = self.record.errors.saturating_add(1);
            self.record.refused = self.record.refused.saturating_add(1);
            return self.say(&Due::Upstream(reply), After::Next, turn.out);
        }
        self.charge(
            (deed, Offence::SenderRefused),
            bill,
            Due::Upstream(reply),
            turn,
        )
    }

    /// There is no reply of the upstream: a truthful 4yz.
    pub(super) fn trouble(&mut self, trouble: Trouble, turn: &mut Turn<'_>) -> Then {
        let record = &mut self.record;
        match trouble {
            Trouble::Capacity => record.upstream_busy = record.upstream_busy.saturating_add(1),
            _ => record.upstream_trouble = record.upstream_trouble.saturating_add(1),
        }
        match Finding::of(trouble) {
            Finding::AuthLost => {
                self.close_with(Finding::AuthLost, SessionEnd::UpstreamLost, turn.out)
            }
            finding => self.tell(finding, turn),
        }
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
    // RFC 3463 §3.2: x.1.7 and x.1.8 are about the sender.
    let sender = enhanced.is_some_and(|code| code.subject == 1 && matches!(code.detail, 7 | 8));
    if sender && reply.code().is_permanent() {
        return Some(Offence::SenderRefused);
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
