//! From bytes to commands, and the commands that need nobody else.

use tarpit_smtp::{Command, LineError, LineStep, MailParams, ReversePath, limits};

use super::{Env, Session};
use crate::Tick;
use crate::answer::{self, Finding};
use crate::envelope::Envelope;
use crate::event::{Ask, Then};
use crate::outbox::Outbox;
use crate::record::SessionEnd;
use crate::session::state::{After, Asking, Due, State};

impl Session {
    /// Takes one line at most.
    pub(super) fn bytes(
        &mut self,
        now: Tick,
        bytes: &[u8],
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        let in_exchange = matches!(self.state, State::AuthLine(_));
        if !in_exchange && !matches!(self.state, State::Command) {
            return self.rest();
        }
        let limit = if in_exchange {
            limits::AUTH_LINE_MAX
        } else {
            limits::line_limit(bytes)
        };
        match self.lines.next(bytes, limit) {
            LineStep::Partial { consumed } => {
                out.consumed = consumed;
                Then::Read
            }
            LineStep::Bad { error, consumed } => {
                out.consumed = consumed;
                self.began = now;
                if in_exchange {
                    self.auth_line(b"*", out)
                } else {
                    self.bad_line(now, error, env, out)
                }
            }
            LineStep::Line { text, consumed } => {
                out.consumed = consumed;
                self.began = now;
                if in_exchange {
                    self.auth_line(text, out)
                } else {
                    self.line(now, text, env, out)
                }
            }
        }
    }

    /// What the present state waits for, said again.
    pub(super) fn rest(&self) -> Then {
        match &self.state {
            State::Waiting(waiting) => Then::Hold {
                until: waiting.until,
            },
            State::Holding(holding) => Then::Hold {
                until: holding.until,
            },
            State::Relaying => Then::Relay,
            State::Closed => Then::Close,
            _ => Then::Read,
        }
    }

    fn bad_line(&mut self, now: Tick, error: LineError, env: &Env<'_>, out: &mut Outbox) -> Then {
        let finding = match error {
            LineError::TooLong => Finding::LineTooLong,
            LineError::BareLf | LineError::BareCr | LineError::Nul => Finding::BadLine,
        };
        self.refuse(now, finding, env, out)
    }

    fn line(&mut self, now: Tick, line: &[u8], env: &Env<'_>, out: &mut Outbox) -> Then {
        match Command::parse(line) {
            Err(error) => self.refuse(now, error.into(), env, out),
            Ok(Command::Ehlo(name)) => self.ehlo(name, env, out),
            Ok(Command::Helo(name)) => self.helo_command(name, env, out),
            Ok(Command::Mail { path, params }) => self.mail(now, path, &params, env, out),
            Ok(Command::Rcpt { path }) => self.rcpt(now, &path, env, out),
            Ok(Command::Data) => self.data(now, env, out),
            Ok(Command::Rset) => {
                self.reset();
                self.tell(Finding::Reset, out)
            }
            Ok(Command::Noop) => self.tell(Finding::Noop, out),
            Ok(Command::Help) => self.tell(Finding::Help, out),
            Ok(Command::Vrfy(_)) => self.tell(Finding::NotVerified, out),
            Ok(Command::Expn(_)) => self.refuse(now, Finding::NotImplemented, env, out),
            Ok(Command::Auth { mechanism, initial }) => {
                self.auth(now, mechanism, initial, env, out)
            }
            Ok(Command::Quit) => self.say(
                &Due::Own(Finding::Goodbye),
                After::Close(SessionEnd::Quit),
                out,
            ),
        }
    }

    fn ehlo(&mut self, name: &str, env: &Env<'_>, out: &mut Outbox) -> Then {
        self.greeted(name, true);
        out.reply(&env.capabilities.to_ehlo(env.hostname));
        self.next(out)
    }

    fn helo_command(&mut self, name: &str, env: &Env<'_>, out: &mut Outbox) -> Then {
        self.greeted(name, false);
        out.reply(&answer::helo(env.hostname));
        self.next(out)
    }

    /// RFC 5321 §4.1.4: EHLO and HELO begin anew, as RSET does.
    fn greeted(&mut self, name: &str, esmtp: bool) {
        self.reset();
        self.esmtp = esmtp;
        self.record.helo = Some(name.into());
    }

    /// MAIL is answered here: the upstream is connected late, and its refusal is repeated as the
    /// reply to each RCPT. A client that never said HELO is served, as servers do by default.
    fn mail(
        &mut self,
        now: Tick,
        path: ReversePath<'_>,
        params: &MailParams<'_>,
        env: &Env<'_>,
        out: &mut Outbox,
    ) -> Then {
        if self.envelope.is_some() {
            return self.refuse(now, Finding::NestedMail, env, out);
        }
        if let Some(finding) = self.mail_params(params, env) {
            return self.refuse(now, finding, env, out);
        }
        self.reset();
        self.serial = self.serial.wrapping_add(1);
        self.envelope = Some(Box::new(Envelope::new(self.serial, path, params)));
        self.tell(Finding::SenderOk, out)
    }

    /// Only what was announced may be used, and only after EHLO (RFC 5321 §4.1.1.11).
    fn mail_params(&self, params: &MailParams<'_>, env: &Env<'_>) -> Option<Finding> {
        let offered = env.capabilities;
        let unknown = (params.size.is_some() && offered.size.is_none())
            || (params.body.is_some() && !offered.eight_bit_mime)
            || (params.auth.is_some() && offered.auth.is_empty());
        let any = params.size.is_some() || params.body.is_some() || params.auth.is_some();
        if unknown || (any && !self.esmtp) {
            return Some(Finding::UnknownParameter);
        }
        // RFC 1870 §6.1: a limit of 0 states none.
        let limit = offered.size.filter(|limit| *limit > 0)?;
        (params.size? > limit).then_some(Finding::TooLarge)
    }

    /// DATA needs a transaction with a recipient (RFC 5321 §4.1.1.4).
    fn data(&mut self, now: Tick, env: &Env<'_>, out: &mut Outbox) -> Then {
        let Some(envelope) = &self.envelope else {
            return self.refuse(now, Finding::NeedMail, env, out);
        };
        if !envelope.accepted.is_empty() {
            self.state = State::Asking(Asking::Data);
            return Then::Ask(Ask::Data);
        }
        match (self.recipients, self.deferred) {
            (0, _) => self.refuse(now, Finding::NeedMail, env, out),
            (_, true) => self.tell(Finding::NoRecipientsNow, out),
            (_, false) => self.refuse_again(now, Finding::NoRecipients, env, out),
        }
    }
}
