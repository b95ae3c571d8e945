//! From bytes to commands, and the commands that need nobody else.

use tarpit_smtp::{Capabilities, Command, LineError, LineStep, MailParams, ReversePath, limits};

use super::turn::Turn;
use super::{Env, Session};
use crate::answer::{self, Finding};
use crate::envelope::Envelope;
use crate::event::{Ask, Then};
use crate::record::SessionEnd;
use crate::session::state::{After, Asking, Due, State};

/// What of the upstream's capabilities clients get.
#[must_use]
pub fn offered(upstream: &Capabilities) -> Capabilities {
    Capabilities {
        pipelining: upstream.pipelining,
        size: upstream.size,
        auth: upstream.auth,
        enhanced_status_codes: upstream.enhanced_status_codes,
        eight_bit_mime: upstream.eight_bit_mime,
        ..Capabilities::default()
    }
}

impl Session {
    /// Takes one line at most.
    pub(super) fn bytes(&mut self, bytes: &[u8], turn: &mut Turn<'_>) -> Then {
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
                turn.out.consumed = consumed;
                Then::Read
            }
            LineStep::Bad { error, consumed } => {
                turn.out.consumed = consumed;
                self.began = turn.now;
                if in_exchange {
                    self.auth_line(b"*")
                } else {
                    self.bad_line(error, turn)
                }
            }
            LineStep::Line { text, consumed } => {
                turn.out.consumed = consumed;
                self.began = turn.now;
                if in_exchange {
                    self.auth_line(text)
                } else {
                    self.line(text, turn)
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

    fn bad_line(&mut self, error: LineError, turn: &mut Turn<'_>) -> Then {
        let finding = match error {
            LineError::TooLong => Finding::LineTooLong,
            LineError::BareLf | LineError::BareCr | LineError::Nul => Finding::BadLine,
        };
        self.refuse(finding, turn)
    }

    fn line(&mut self, line: &[u8], turn: &mut Turn<'_>) -> Then {
        match Command::parse(line) {
            Err(error) => self.refuse(error.into(), turn),
            Ok(Command::Ehlo(name)) => self.ehlo(name, turn),
            Ok(Command::Helo(name)) => self.helo_command(name, turn),
            Ok(Command::Mail { path, .. }) if !path.is_ascii() => {
                self.refuse(Finding::NotAscii, turn)
            }
            Ok(Command::Mail { path, params }) => self.mail(path, &params, turn),
            Ok(Command::Rcpt { params, .. }) if !params.is_empty() => {
                self.refuse(Finding::UnknownParameter, turn)
            }
            // SMTPUTF8 isn't announced.
            Ok(Command::Rcpt { path, .. }) if !path.is_ascii() => {
                self.refuse(Finding::NotAscii, turn)
            }
            Ok(Command::Rcpt { path, .. }) => self.rcpt(&path, turn),
            // What isn't announced isn't taken.
            Ok(Command::Bdat { .. } | Command::StartTls | Command::Xclient(_)) => {
                self.refuse(Finding::NotImplemented, turn)
            }
            Ok(Command::Data) => self.data(turn),
            Ok(Command::Rset) => {
                self.reset();
                self.tell(Finding::Reset, turn)
            }
            Ok(Command::Noop) => self.tell(Finding::Noop, turn),
            Ok(Command::Help) => self.tell(Finding::Help, turn),
            Ok(Command::Vrfy(_)) => self.tell(Finding::NotVerified, turn),
            Ok(Command::Expn(_)) => self.refuse(Finding::NotImplemented, turn),
            Ok(Command::Auth { mechanism, initial }) => self.auth(mechanism, initial, turn),
            Ok(Command::Quit) => self.say(
                &Due::Own(Finding::Goodbye),
                After::Close(SessionEnd::Quit),
                turn.out,
            ),
        }
    }

    fn ehlo(&mut self, name: &str, turn: &mut Turn<'_>) -> Then {
        self.greeted(name, true);
        let ehlo = offered(turn.env.capabilities).to_ehlo(turn.env.hostname);
        turn.out.reply(&ehlo);
        self.next(turn.out)
    }

    fn helo_command(&mut self, name: &str, turn: &mut Turn<'_>) -> Then {
        self.greeted(name, false);
        turn.out.reply(&answer::helo(turn.env.hostname));
        self.next(turn.out)
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
        path: ReversePath<'_>,
        params: &MailParams<'_>,
        turn: &mut Turn<'_>,
    ) -> Then {
        if self.envelope.is_some() {
            return self.refuse(Finding::NestedMail, turn);
        }
        if let Some(finding) = self.mail_params(params, turn.env) {
            return self.refuse(finding, turn);
        }
        self.reset();
        self.serial = self.serial.wrapping_add(1);
        self.record.sender = Some(path.as_str().into());
        self.envelope = Some(Box::new(Envelope::new(self.serial, path, params)));
        self.tell(Finding::SenderOk, turn)
    }

    /// Only what was announced may be used, and only after EHLO (RFC 5321 §4.1.1.11).
    fn mail_params(&self, params: &MailParams<'_>, env: &Env<'_>) -> Option<Finding> {
        let offered = offered(env.capabilities);
        let uses = params.uses();
        if !offered.offers().contains_all(uses) || (!uses.is_empty() && !self.esmtp) {
            return Some(Finding::UnknownParameter);
        }
        // RFC 1870 §6.1: a limit of 0 states none.
        let limit = offered.size.filter(|limit| *limit > 0)?;
        (params.size? > limit).then_some(Finding::TooLarge)
    }

    /// DATA needs a transaction with a recipient (RFC 5321 §4.1.1.4).
    fn data(&mut self, turn: &mut Turn<'_>) -> Then {
        let Some(envelope) = &self.envelope else {
            return self.refuse(Finding::NeedMail, turn);
        };
        if !envelope.accepted.is_empty() {
            self.state = State::Asking(Asking::Data);
            return Then::Ask(Ask::Data);
        }
        match (self.recipients, self.deferred) {
            (0, _) => self.refuse(Finding::NeedMail, turn),
            (_, true) => self.tell(Finding::NoRecipientsNow, turn),
            (_, false) => self.refuse_again(Finding::NoRecipients, turn),
        }
    }
}
