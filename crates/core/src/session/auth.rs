//! AUTH (RFC 4954), relayed: the upstream's answer decides, and the line between both is ours.

use tarpit_smtp::{Mechanism, Reply};

use super::billing::give_back;
use super::{Env, Session};
use crate::Tick;
use crate::answer::Finding;
use crate::event::{Answer, Ask, Then};
use crate::outbox::Outbox;
use crate::policy::Offence;
use crate::session::state::{After, Asking, Bill, Due, Pending, State};

impl Session {
    pub(super) fn auth(
        &mut self,
        now: Tick,
        mechanism: &str,
        initial: Option<&str>,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match self.auth_allowed(mechanism, env) {
            Err(finding) => self.refuse(now, finding, env, out),
            Ok(mechanism) => {
                let command = Pending::Auth {
                    mechanism,
                    initial: initial.map(Into::into),
                };
                self.seek_room(now, command, env, out)
            }
        }
    }

    /// RFC 4954 §4: after EHLO, once, outside a transaction, with a mechanism that was announced.
    fn auth_allowed(&self, mechanism: &str, env: &Env<'_>) -> Result<Mechanism, Finding> {
        if !self.esmtp {
            return Err(Finding::NeedEhlo);
        }
        if self.authenticated {
            return Err(Finding::AuthTwice);
        }
        if self.envelope.is_some() {
            return Err(Finding::AuthInTransaction);
        }
        let offered = env.capabilities.auth;
        if offered.is_empty() {
            return Err(Finding::AuthUnavailable);
        }
        Mechanism::from_name(mechanism)
            .filter(|mechanism| offered.contains(*mechanism))
            .ok_or(Finding::UnknownMechanism)
    }

    /// One line of the exchange. What is neither base64 nor a cancel is passed on as a cancel, so
    /// that the upstream ends the exchange too (RFC 4954 §4 asks for 501 in both cases).
    pub(super) fn auth_line(&mut self, line: &[u8], _out: &mut Outbox) -> Then {
        let State::AuthLine(bill) = std::mem::replace(&mut self.state, State::Command) else {
            return Then::Read;
        };
        self.state = State::Asking(Asking::Auth(bill));
        let line = std::str::from_utf8(line)
            .ok()
            .filter(|line| is_base64(line.as_bytes()));
        Then::Ask(Ask::AuthLine(line.unwrap_or("*").into()))
    }

    pub(super) fn auth_answered(
        &mut self,
        now: Tick,
        bill: Bill,
        answer: Answer,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match answer {
            Answer::Reply(reply) => self.auth_replied(now, bill, reply, env, out),
            Answer::SenderRefused(reply) | Answer::ServiceRefused(reply) => {
                self.auth_ended(now, bill, reply, env, out)
            }
            Answer::Trouble(trouble) => {
                give_back(now, bill, env.ledger);
                self.trouble(trouble, out)
            }
        }
    }

    fn auth_replied(
        &mut self,
        now: Tick,
        bill: Bill,
        reply: Reply,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match reply.code().get() {
            334 => {
                out.reply(&reply);
                self.state = State::AuthLine(bill);
                Then::Read
            }
            200..=299 => {
                give_back(now, bill, env.ledger);
                self.authenticated = true;
                self.record.authenticated = true;
                // Exempt from the moment AUTH succeeds: what was owed is owed by the source.
                self.free_at = now;
                self.say(&Due::Upstream(reply), After::Next, out)
            }
            _ => self.auth_ended(now, bill, reply, env, out),
        }
    }

    /// RFC 4954 §6: a cancel (501), a wrong order (503), a mechanism or a need of something else
    /// (504, 530, 534, 538) are no failed AUTH. They are 5yz all the same.
    fn auth_ended(
        &mut self,
        now: Tick,
        bill: Bill,
        reply: Reply,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        match reply.code().get() {
            500..=504 | 530 | 534 | 538 => {
                give_back(now, bill, env.ledger);
                let bill = self.free_bill(env);
                self.charge(now, Offence::Protocol, bill, Due::Upstream(reply), env, out)
            }
            505.. => self.charge(
                now,
                Offence::FailedAuth,
                Some(bill),
                Due::Upstream(reply),
                env,
                out,
            ),
            _ => {
                give_back(now, bill, env.ledger);
                self.say(&Due::Upstream(reply), After::Next, out)
            }
        }
    }
}

/// Whether every octet is of the alphabet of base64 (RFC 4648 §4); whether they decode is for the
/// upstream to say.
fn is_base64(text: &[u8]) -> bool {
    text.iter()
        .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'='))
}
