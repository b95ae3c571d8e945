//! DATA and what comes of it. The reply to end-of-data is never held: a client that gives up there
//! sends the message twice (RFC 5321 §4.5.3.2.6).

use tarpit_smtp::Reply;

use super::{Env, Session};
use crate::Tick;
use crate::answer::Finding;
use crate::event::{Answer, DataEnd, Then};
use crate::outbox::Outbox;
use crate::policy::Offence;
use crate::record::{LISTED_MAX, MessageRecord, SessionEnd};
use crate::session::state::{After, Due, State};

impl Session {
    pub(super) fn data_answered(
        &mut self,
        now: Tick,
        answer: Answer,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match answer {
            Answer::Reply(reply) if reply.code().get() == 354 => {
                self.state = State::Relaying;
                out.reply(&Finding::StartData.reply(self.id));
                Then::Relay
            }
            Answer::Reply(reply) | Answer::SenderRefused(reply) | Answer::ServiceRefused(reply) => {
                if !reply.code().is_permanent() {
                    return self.say(&Due::Upstream(reply), After::Next, out);
                }
                let bill = self.free_bill(env);
                self.charge(now, Offence::Protocol, bill, Due::Upstream(reply), env, out)
            }
            Answer::Trouble(trouble) => self.trouble(trouble, out),
        }
    }

    /// The message is over, and with it the transaction (RFC 5321 §4.1.1.4).
    pub(super) fn data_ended(
        &mut self,
        now: Tick,
        end: DataEnd,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        self.state = State::Command;
        match end {
            DataEnd::Reply(reply) => self.message_replied(now, reply, env, out),
            DataEnd::BareNewline => {
                self.charge_unheld(now, env);
                self.finish(Finding::BareNewline, After::Next, out)
            }
            DataEnd::Lost {
                after_dot: true, ..
            } => self.finish(Finding::OutcomeUnknown, After::Next, out),
            DataEnd::Lost { .. } => self.finish(Finding::UpstreamTrouble, After::Next, out),
            DataEnd::TooSlow => self.finish(
                Finding::DataTooSlow,
                After::Close(SessionEnd::TimedOut),
                out,
            ),
            DataEnd::Drained => self.finish(
                Finding::ShuttingDown,
                After::Close(SessionEnd::Drained),
                out,
            ),
            DataEnd::ClientGone { reply } => self.client_gone(now, reply, env),
        }
    }

    fn message_replied(
        &mut self,
        now: Tick,
        reply: Reply,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        self.judge_message(now, &reply, env);
        self.write_message(reply.clone(), true);
        self.reset();
        self.say(&Due::Upstream(reply), After::Next, out)
    }

    /// Mail that the upstream accepted makes its source known; a refusal is charged, and paid at
    /// the next RCPT.
    fn judge_message(&mut self, now: Tick, reply: &Reply, env: &Env<'_>) {
        if reply.code().is_positive() {
            self.record.messages_accepted = self.record.messages_accepted.saturating_add(1);
            // In every mode: known senders also have a reserve of upstream connections.
            env.ledger.accepted(now, self.source);
        } else if reply.code().is_permanent() {
            self.charge_unheld(now, env);
        }
    }

    fn charge_unheld(&mut self, now: Tick, env: &Env<'_>) {
        self.record.errors = self.record.errors.saturating_add(1);
        let bill = self.free_bill(env);
        if let Some(free_at) = self.book(now, Offence::MessageRefused, bill, env) {
            self.free_at = self.free_at.max(free_at);
        }
    }

    /// Ends the message with a word of our own.
    fn finish(&mut self, finding: Finding, after: After, out: &mut Outbox) -> Then {
        self.write_message(finding.reply(self.id), false);
        self.reset();
        self.say(&Due::Own(finding), after, out)
    }

    fn client_gone(&mut self, now: Tick, reply: Option<Reply>, env: &Env<'_>) -> Then {
        if let Some(reply) = reply {
            self.judge_message(now, &reply, env);
            self.write_message(reply, true);
        }
        self.reset();
        self.close(SessionEnd::HangUp)
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
            recipients: envelope.accepted.iter().take(LISTED_MAX).cloned().collect(),
            recipients_count: u32::try_from(envelope.accepted.len()).unwrap_or(u32::MAX),
            reply,
            from_upstream,
        });
    }
}
