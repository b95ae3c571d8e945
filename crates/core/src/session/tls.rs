//! STARTTLS (RFC 3207), as far as it is talk; the handshake is the driver's.
//!
//! Promise: nothing that was said or sent before the handshake has an effect after it. The machine
//! forgets, and the driver throws away what it had read (CVE-2011-0411).

use tarpit_smtp::Extension;

use super::Env;
use super::Session;
use super::state::State;
use super::turn::Turn;
use crate::answer::Finding;
use crate::event::Then;

impl Session {
    pub(super) fn start_tls(&mut self, turn: &mut Turn<'_>) -> Then {
        match self.tls_refusal(turn.env) {
            Some(finding) => self.refuse(finding, turn),
            None => {
                turn.out.reply(&Finding::ReadyForTls.reply(self.id));
                self.state = State::Securing;
                Then::StartTls
            }
        }
    }

    /// RFC 3207 §4 and §4.2; after AUTH there is nothing left to protect, and the upstream
    /// connection belongs to whoever authenticated.
    fn tls_refusal(&self, env: &Env<'_>) -> Option<Finding> {
        if self.secured {
            Some(Finding::TlsTwice)
        } else if self.envelope.is_some() {
            Some(Finding::TlsInTransaction)
        } else if self.authenticated {
            Some(Finding::TlsAfterAuth)
        } else if env.door.starttls {
            None
        } else if self.announced.contains(Extension::StartTls) {
            Some(Finding::TlsUnavailable)
        } else {
            Some(Finding::NotImplemented)
        }
    }

    /// RFC 3207 §4.2: what was learnt from the client before the handshake is forgotten, and it has
    /// to say EHLO again.
    pub(super) fn tls_began(&mut self, turn: &mut Turn<'_>) -> Then {
        if !matches!(self.state, State::Securing) {
            return self.rest();
        }
        self.forget_client();
        self.note_secured();
        self.next(turn.out)
    }

    /// As if the client had just come.
    pub(super) fn forget_client(&mut self) {
        self.reset();
        self.lines = tarpit_smtp::LineReader::new();
        self.esmtp = false;
        self.announced = tarpit_smtp::Extensions::new();
        self.record.helo = None;
    }

    /// The connection is TLS: from its first octet, before
    /// [`Input::Opened`](crate::Input::Opened).
    pub fn note_secured(&mut self) {
        self.secured = true;
        self.record.secured = true;
    }

    /// Whether the connection is TLS.
    #[must_use]
    pub const fn is_secured(&self) -> bool {
        self.secured
    }
}
