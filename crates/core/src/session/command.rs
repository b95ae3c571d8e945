//! From bytes to commands, and the commands that need nobody else.

use tarpit_smtp::{Command, Extensions, LineError, LineStep, MailParams, ReversePath, limits};

use super::Session;
use super::turn::Turn;
use crate::answer::{self, Finding};
use crate::envelope::Envelope;
use crate::event::{Ask, Then};
use crate::record::SessionEnd;
use crate::session::state::{After, Asking, Chunks, Due, State};

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
        let begins = !self.lines.is_discarding();
        match self.lines.next(bytes, limit) {
            LineStep::Partial { consumed } => {
                turn.out.consumed = consumed;
                let is_lost = begins && consumed > 0 && !in_exchange;
                if is_lost && starts_chunk(bytes) {
                    // Too long already, and its end would not tell what it was.
                    return self.unreadable_chunk(turn);
                }
                Then::Read
            }
            LineStep::Bad { error, consumed } => {
                turn.out.consumed = consumed;
                self.began = turn.now;
                if in_exchange {
                    self.auth_line(b"*")
                } else if starts_chunk(bytes) {
                    self.unreadable_chunk(turn)
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
            State::Securing => Then::StartTls,
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
            Err(error) => match error.into() {
                Finding::ChunkUnreadable => self.unreadable_chunk(turn),
                finding => self.refuse(finding, turn),
            },
            Ok(Command::Ehlo(name)) => self.ehlo(name, turn),
            Ok(Command::Helo(name)) => self.helo_command(name, turn),
            Ok(Command::Mail { path, params }) => self.mail(path, &params, turn),
            Ok(Command::Rcpt { path, params }) => self.rcpt(&path, &params, turn),
            Ok(Command::Bdat { size, last }) => self.bdat(size, last, turn.env),
            Ok(Command::StartTls) => self.start_tls(turn),
            Ok(Command::Xclient(claim)) => self.xclient(&claim, turn),
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
        let offer = self.offer(turn.env);
        self.announced = offer.offers();
        turn.out.reply(&offer.to_ehlo(turn.env.hostname));
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
        self.announced = Extensions::new();
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
        if self.needs_auth(turn.env) {
            return self.refuse(Finding::NeedAuth, turn);
        }
        if self.envelope.is_some() {
            return self.refuse(Finding::NestedMail, turn);
        }
        // RFC 9422 §4.1: MAIL counts whatever comes of it.
        self.serial = self.serial.wrapping_add(1);
        let mails_max = turn.env.capabilities.limits.mail_max;
        if mails_max.is_some_and(|most| self.serial > most) {
            return self.end(Finding::TooManyMessages, SessionEnd::Limit, turn);
        }
        if let Some(finding) = self.mail_refusal(&path, params, turn.env) {
            return self.refuse(finding, turn);
        }
        self.reset();
        self.record.sender = Some(path.as_str().into());
        let mut params = *params;
        if params.auth.is_some() && !self.authenticated {
            // RFC 4954 §5: who has not authenticated can't vouch for anybody.
            params.auth = Some("<>");
        }
        self.envelope = Some(Box::new(Envelope::new(self.serial, path, &params)));
        self.tell(Finding::SenderOk, turn)
    }

    /// DATA needs a transaction with a recipient (RFC 5321 §4.1.1.4).
    fn data(&mut self, turn: &mut Turn<'_>) -> Then {
        if self.needs_auth(turn.env) {
            return self.refuse(Finding::NeedAuth, turn);
        }
        if self.chunks != Chunks::None {
            // RFC 3030 §2.
            return self.refuse(Finding::InChunks, turn);
        }
        match self.not_ready() {
            Some(Finding::NoRecipients) => self.refuse_again(Finding::NoRecipients, turn),
            Some(finding) => self.refuse(finding, turn),
            None if self
                .envelope
                .as_ref()
                .is_some_and(|envelope| envelope.binary) =>
            {
                self.refuse(Finding::BinaryNeedsChunks, turn)
            }
            None => {
                self.state = State::Asking(Asking::Data);
                Then::Ask(Ask::Data)
            }
        }
    }

    /// Why there can be no message, if so: neither by DATA nor by BDAT.
    pub(super) fn not_ready(&self) -> Option<Finding> {
        let Some(envelope) = &self.envelope else {
            return Some(Finding::NeedMail);
        };
        if !envelope.accepted.is_empty() {
            return None;
        }
        Some(match (self.recipients, self.deferred) {
            (0, _) => Finding::NeedMail,
            (_, true) => Finding::NoRecipientsNow,
            (_, false) => Finding::NoRecipients,
        })
    }
}

/// Whether octets of a message may follow a line that can't be read.
fn starts_chunk(line: &[u8]) -> bool {
    line.get(..4)
        .is_some_and(|verb| verb.eq_ignore_ascii_case(b"BDAT"))
}
