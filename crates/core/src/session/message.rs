//! DATA and what comes of it. The reply to end-of-data is never held: a client that gives up there
//! sends the message twice (RFC 5321 §4.5.3.2.6).

use tarpit_smtp::Reply;

use super::Session;
use super::turn::Turn;
use crate::answer::Finding;
use crate::event::{Answer, DataEnd, Then};
use crate::policy::Offence;
use crate::record::{LISTED_MAX, MessageRecord, SessionEnd};
use crate::session::state::{After, Due, State};

impl Session {
    pub(super) fn data_answered(&mut self, answer: Answer, turn: &mut Turn<'_>) -> Then {
        match answer {
            Answer::Reply(reply) if reply.code().get() == 354 => {
                self.state = State::Relaying;
                let reply = Finding::StartData.reply(self.id);
                turn.out.reply(&reply);
                Then::Relay
            }
            Answer::Reply(reply) | Answer::SenderRefused(reply) | Answer::ServiceRefused(reply) => {
                if !reply.code().is_permanent() {
                    return self.say(&Due::Upstream(reply), After::Next, turn.out);
                }
                let bill = self.bill(turn.env);
                self.charge(Offence::Protocol, bill, Due::Upstream(reply), turn)
            }
            Answer::Trouble(trouble) => self.trouble(trouble, turn),
        }
    }

    /// The message is over, and with it the transaction (RFC 5321 §4.1.1.4).
    pub(super) fn data_ended(&mut self, end: DataEnd, turn: &mut Turn<'_>) -> Then {
        self.state = State::Command;
        match end {
            DataEnd::Reply(reply) => self.message_replied(reply, turn),
            DataEnd::BareNewline => {
                self.charge_unheld(turn);
                self.finish(Finding::BareNewline, After::Next, turn)
            }
            DataEnd::TooLarge => {
                self.charge_unheld(turn);
                self.finish(Finding::TooLarge, After::Next, turn)
            }
            DataEnd::Looped => {
                self.charge_unheld(turn);
                self.finish(Finding::Looped, After::Next, turn)
            }
            // Only chunks are thrown away, and only where the machine said so.
            DataEnd::Discarded => self.finish(Finding::UpstreamTrouble, After::Next, turn),
            DataEnd::Lost {
                after_dot: true, ..
            } => self.finish(Finding::OutcomeUnknown, After::Next, turn),
            DataEnd::Lost { .. } => self.finish(Finding::UpstreamTrouble, After::Next, turn),
            DataEnd::TooSlow => self.finish(
                Finding::DataTooSlow,
                After::Close(SessionEnd::TimedOut),
                turn,
            ),
            DataEnd::Drained => self.finish(
                Finding::ShuttingDown,
                After::Close(SessionEnd::Drained),
                turn,
            ),
            DataEnd::ClientGone { reply } => self.client_gone(reply, turn),
        }
    }

    fn message_replied(&mut self, reply: Reply, turn: &mut Turn<'_>) -> Then {
        self.judge_message(&reply, turn);
        self.write_message(reply.clone(), true);
        self.reset();
        self.say(&Due::Upstream(reply), After::Next, turn.out)
    }

    /// Mail that the upstream accepted makes its source known; a refusal is charged, and paid at
    /// the next RCPT.
    fn judge_message(&mut self, reply: &Reply, turn: &Turn<'_>) {
        if reply.code().is_positive() {
            self.record.messages_accepted = self.record.messages_accepted.saturating_add(1);
            // In every mode: known senders also have a reserve of upstream connections.
            turn.env.ledger.accepted(turn.now, self.source);
            self.errors = 0;
        } else if reply.code().is_permanent() {
            self.charge_unheld(turn);
        }
    }

    fn charge_unheld(&mut self, turn: &Turn<'_>) {
        self.errors = self.errors.saturating_add(1);
        self.record.errors = self.record.errors.saturating_add(1);
        let bill = self.bill(turn.env);
        if let Some(free_at) = self.book(Offence::MessageRefused, bill, turn) {
            self.free_at = self.free_at.max(free_at);
        }
    }

    /// Ends the message with a word of our own.
    fn finish(&mut self, finding: Finding, after: After, turn: &mut Turn<'_>) -> Then {
        self.write_message(finding.reply(self.id), false);
        self.reset();
        self.say(&Due::Own(finding), after, turn.out)
    }

    fn client_gone(&mut self, reply: Option<Reply>, turn: &Turn<'_>) -> Then {
        if reply.is_none() {
            self.record.messages_count = self.record.messages_count.saturating_add(1);
            self.record.messages_aborted = self.record.messages_aborted.saturating_add(1);
        }
        if let Some(reply) = reply {
            self.judge_message(&reply, turn);
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
