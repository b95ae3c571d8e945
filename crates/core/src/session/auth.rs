//! AUTH (RFC 4954), relayed: the upstream's answer decides, and the line between both is ours.

use tarpit_smtp::{Mechanism, Reply};

use super::billing::give_back;
use super::state::{After, Asking, Bill, Due, Pending, State};
use super::turn::Turn;
use super::{Env, Session};
use crate::answer::Finding;
use crate::event::{Answer, Ask, Then};
use crate::policy::Offence;
use crate::record::{Deed, Judged};

impl Session {
    pub(super) fn auth(
        &mut self,
        mechanism: &str,
        initial: Option<&str>,
        turn: &mut Turn<'_>,
    ) -> Then {
        match self.auth_allowed(mechanism, turn.env) {
            Err(finding) => self.refuse(finding, turn),
            Ok(mechanism) => {
                let initial = initial.map(Into::into);
                self.seek_room(Pending::Auth { mechanism, initial }, turn)
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
        if !self.may_auth(env) {
            return Err(if env.door.starttls {
                Finding::NeedTls
            } else {
                Finding::AuthNeedsTls
            });
        }
        Mechanism::from_name(mechanism)
            .filter(|mechanism| offered.contains(*mechanism))
            .ok_or(Finding::UnknownMechanism)
    }

    /// One line of the exchange. What is neither base64 nor a cancel is passed on as a cancel, so
    /// that the upstream ends the exchange too (RFC 4954 §4 asks for 501 in both cases).
    pub(super) fn auth_line(&mut self, line: &[u8]) -> Then {
        let State::AuthLine(bill) = std::mem::replace(&mut self.state, State::Command) else {
            return Then::Read;
        };
        self.state = State::Asking(Asking::Auth(bill));
        let line = std::str::from_utf8(line).ok();
        let line = line.filter(|line| is_base64(line.as_bytes()));
        Then::Ask(Ask::AuthLine(line.unwrap_or("*").into()))
    }

    pub(super) fn auth_answered(
        &mut self,
        bill: Bill,
        answer: Answer,
        turn: &mut Turn<'_>,
    ) -> Then {
        match answer {
            Answer::Reply(reply) => self.auth_replied(bill, reply, turn),
            Answer::SenderRefused(reply) | Answer::ServiceRefused(reply) => {
                self.auth_ended(bill, reply, turn)
            }
            Answer::Trouble(trouble) => {
                self.note(Deed::Auth, Judged::Deferred, None, turn);
                give_back(bill, turn);
                self.trouble(trouble, turn)
            }
        }
    }

    fn auth_replied(&mut self, bill: Bill, reply: Reply, turn: &mut Turn<'_>) -> Then {
        match reply.code().get() {
            334 => {
                turn.out.reply(&reply);
                self.state = State::AuthLine(bill);
                Then::Read
            }
            200..=299 => {
                self.note(Deed::Auth, Judged::Accepted, None, turn);
                give_back(bill, turn);
                self.authenticated = true;
                self.record.authenticated = true;
                // Exempt from the moment AUTH succeeds: what was owed is owed by the source.
                self.free_at = turn.now;
                self.say(&Due::Upstream(reply), After::Next, turn.out)
            }
            _ => self.auth_ended(bill, reply, turn),
        }
    }

    /// RFC 4954 §6: a cancel (501), a wrong order (503), a mechanism or a need of something else
    /// (504, 530, 534, 538) are no failed AUTH. They are 5yz all the same.
    fn auth_ended(&mut self, bill: Bill, reply: Reply, turn: &mut Turn<'_>) -> Then {
        let offence = match reply.code().get() {
            500..=504 | 530 | 534 | 538 => Offence::AuthMistake,
            505.. => Offence::FailedAuth,
            _ => {
                self.note(Deed::Auth, Judged::Deferred, None, turn);
                give_back(bill, turn);
                return self.say(&Due::Upstream(reply), After::Next, turn.out);
            }
        };
        self.charge((Deed::Auth, offence), bill, Due::Upstream(reply), turn)
    }
}

/// Whether every octet is of the alphabet of base64 (RFC 4648 §4); whether they decode is for the
/// upstream to say.
pub(super) fn is_base64(text: &[u8]) -> bool {
    text.iter()
        .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'='))
}
