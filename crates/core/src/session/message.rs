//! DATA and what comes of it. The reply to end-of-data is never held: a client that gives up there
//! sends the message twice (RFC 5321 §4.5.3.2.6).

use tarpit_smtp::Reply;

use super::Session;
use super::turn::Turn;
use crate::answer::Finding;
use crate::event::{Answer, DataEnd, Then};
use crate::policy::Offence;
use crate::record::{Deed, Judged, LISTED_MAX, MessageRecord, SessionEnd};
use crate::session::state::{After, Chunks, Due, State};

/// How message data ended, in the terms of what is said.
pub(super) enum Ended {
    /// The upstream's word.
    Reply(Reply),
    /// Ours.
    Own(Finding, After),
    /// Nothing came of it; the octets were thrown away.
    Discarded,
    /// There is nobody to tell. The upstream's reply, if there was one.
    Gone(Option<Reply>),
}

impl From<DataEnd> for Ended {
    fn from(end: DataEnd) -> Self {
        let own = |finding| Self::Own(finding, After::Next);
        match end {
            DataEnd::Reply(reply) => Self::Reply(reply),
            DataEnd::Discarded => Self::Discarded,
            DataEnd::BareNewline => own(Finding::BareNewline),
            DataEnd::TooLarge => own(Finding::TooLarge),
            DataEnd::Looped => own(Finding::Looped),
            DataEnd::Lost {
                after_dot: true, ..
            } => own(Finding::OutcomeUnknown),
            DataEnd::Lost { trouble, .. } => own(Finding::of(trouble)),
            DataEnd::TooSlow => Self::Own(Finding::DataTooSlow, After::Close(SessionEnd::TimedOut)),
            DataEnd::Drained => Self::Own(Finding::ShuttingDown, After::Close(SessionEnd::Drained)),
            DataEnd::ClientGone { reply } => Self::Gone(reply),
        }
    }
}

impl Session {
    pub(super) fn data_answered(&mut self, answer: Answer, turn: &mut Turn<'_>) -> Then {
        match answer {
            Answer::Reply(reply) if reply.code().get() == 354 => {
                self.state = State::Relaying;
                Finding::StartData.write_to(self.id, &mut turn.out.bytes);
                Then::Relay
            }
            Answer::Reply(reply) | Answer::SenderRefused(reply) | Answer::ServiceRefused(reply) => {
                if !reply.code().is_permanent() {
                    return self.say(&Due::Upstream(reply), After::Next, turn.out);
                }
                let bill = self.bill(turn.env);
                let act = (Deed::Command, Offence::Protocol);
                self.charge(act, bill, Due::Upstream(reply), turn)
            }
            Answer::Trouble(trouble) => self.trouble(trouble, turn),
        }
    }

    /// The message data is over: all of it, or a chunk.
    pub(super) fn data_ended(&mut self, end: DataEnd, turn: &mut Turn<'_>) -> Then {
        match std::mem::replace(&mut self.state, State::Command) {
            State::Taking(taking) => self.chunk_ended(taking, end, turn),
            _ => self.end_message(end.into(), true, turn),
        }
    }

    /// The message is over, and with it the transaction (RFC 5321 §4.1.1.4); but after a chunk that
    /// was not the last, the transaction waits for RSET.
    pub(super) fn end_message(&mut self, end: Ended, over: bool, turn: &mut Turn<'_>) -> Then {
        let (due, after) = match end {
            Ended::Reply(reply) => (Due::Upstream(reply), After::Next),
            Ended::Own(finding, after) => (Due::Own(finding), after),
            // Only chunks are thrown away, and only where the machine said so.
            Ended::Discarded => (Due::Own(Finding::UpstreamTrouble), After::Next),
            Ended::Gone(reply) => return self.client_gone(reply, turn),
        };
        match &due {
            Due::Upstream(reply) => {
                self.judge_message(reply, turn);
                self.write_message(reply.clone(), true);
            }
            Due::Own(finding) => {
                if finding.code() >= 500 {
                    self.charge_unheld(turn);
                } else {
                    self.note(Deed::Message, Judged::Deferred, None, turn);
                }
                self.write_message(finding.reply(self.id), false);
            }
        }
        if over {
            self.reset();
        }
        self.say(&due, after, turn.out)
    }

    /// Mail that the upstream accepted makes its source known; a refusal is charged, and paid at
    /// the next RCPT.
    fn judge_message(&mut self, reply: &Reply, turn: &mut Turn<'_>) {
        if reply.code().is_positive() {
            self.note(Deed::Message, Judged::Accepted, None, turn);
            self.record.messages_accepted = self.record.messages_accepted.saturating_add(1);
            // In every mode: known senders also have a reserve of upstream connections.
            turn.env.ledger.accepted(turn.now, self.source);
            self.errors = 0;
        } else if reply.code().is_permanent() {
            self.charge_unheld(turn);
        } else {
            self.note(Deed::Message, Judged::Deferred, None, turn);
        }
    }

    fn charge_unheld(&mut self, turn: &mut Turn<'_>) {
        let bill = self.bill(turn.env);
        let judged = Judged::Offence(Offence::MessageRefused);
        self.note(Deed::Message, judged, Some(&bill), turn);
        self.errors = self.errors.saturating_add(1);
        self.record.errors = self.record.errors.saturating_add(1);
        if let Some(free_at) = self.book(Offence::MessageRefused, bill, turn) {
            self.free_at = self.free_at.max(free_at);
        }
    }

    fn client_gone(&mut self, reply: Option<Reply>, turn: &mut Turn<'_>) -> Then {
        match reply {
            None => self.count_aborted(),
            Some(reply) => {
                self.judge_message(&reply, turn);
                self.write_message(reply, true);
            }
        }
        self.chunks = Chunks::None;
        self.reset();
        self.close(SessionEnd::HangUp)
    }

    /// A message that the client broke off.
    pub(super) fn count_aborted(&mut self) {
        self.record.messages_count = self.record.messages_count.saturating_add(1);
        self.record.messages_aborted = self.record.messages_aborted.saturating_add(1);
    }

    fn write_message(&mut self, reply: Reply, from_upstream: bool) {
        self.record.messages_count = self.record.messages_count.saturating_add(1);
        let Some(envelope) = &self.envelope else {
            return;
        };
        if self.record.messages.len() >= LISTED_MAX {
            return;
        }
        self.record.messages.push(MessageRecord {
            reverse_path: envelope.reverse_path.clone(),
            recipients: envelope
                .accepted
                .iter()
                .take(LISTED_MAX)
                .map(|recipient| recipient.path.clone())
                .collect(),
            recipients_count: u32::try_from(envelope.accepted.len()).unwrap_or(u32::MAX),
            reply,
            from_upstream,
        });
    }
}
