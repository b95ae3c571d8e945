//! XCLIENT in front: a trusted client says who its own client is (Postfix, XCLIENT_README).
//!
//! Promises: from whoever is not trusted it changes nothing; a client whose address is not known is
//! not taken for whoever introduced it; and after it nothing of the session
//! before is left, neither its debt nor its transaction: another client begins at the greeting.

use tarpit_smtp::{XclientAttribute, XclientClaim};

use super::state::State;
use super::turn::Turn;
use super::{Env, Session};
use crate::Source;
use crate::answer::Finding;
use crate::event::{Admission, Introduction, Then};

/// What we announce; nobody may say more (LOGIN would be an authentication that nobody checked).
const TAKEN: [XclientAttribute; 7] = [
    XclientAttribute::Name,
    XclientAttribute::Addr,
    XclientAttribute::Port,
    XclientAttribute::Proto,
    XclientAttribute::Helo,
    XclientAttribute::DestAddr,
    XclientAttribute::DestPort,
];

impl Session {
    pub(super) fn xclient(&mut self, claim: &XclientClaim<'_>, turn: &mut Turn<'_>) -> Then {
        if let Some(finding) = self.xclient_refusal(claim, turn.env) {
            return self.refuse(finding, turn);
        }
        let introduction = Introduction {
            address: claim.addr,
            port: claim.port,
            name: claim.name.map(|name| name.decode().as_ref().into()),
            helo: claim.helo.map(|helo| helo.decode().as_ref().into()),
            esmtp: claim.esmtp,
            local_address: claim.dest_addr,
            local_port: claim.dest_port,
        };
        self.forget_client();
        self.record.introduced = true;
        self.record.helo.clone_from(&introduction.helo);
        // Another address without a name has none: the last one's would be a lie.
        let given = claim.given;
        if given.contains(XclientAttribute::Name) || given.contains(XclientAttribute::Addr) {
            self.record.client_name.clone_from(&introduction.name);
        }
        self.state = State::Identifying;
        Then::Identify(Box::new(introduction))
    }

    fn xclient_refusal(&mut self, claim: &XclientClaim<'_>, env: &Env<'_>) -> Option<Finding> {
        if !env.door.xclient {
            self.record.untrusted_xclient = self.record.untrusted_xclient.saturating_add(1);
            return Some(Finding::NotTrusted);
        }
        if self.envelope.is_some() {
            return Some(Finding::XclientInTransaction);
        }
        if self.authenticated {
            return Some(Finding::XclientAfterAuth);
        }
        if claim.given.contains(XclientAttribute::Addr) && claim.addr.is_none() {
            // The address that stood until now is the proxy's, and nobody is relayed as if it were
            // the proxy (DESIGN promise 6).
            return Some(Finding::IdentityUntold);
        }
        let unknown = claim.given.iter().any(|given| !TAKEN.contains(&given));
        unknown.then_some(Finding::Syntax)
    }

    /// Another client begins, at the greeting.
    pub(super) fn identified(
        &mut self,
        source: Source,
        exempt: bool,
        admission: Admission,
        turn: &mut Turn<'_>,
    ) -> Then {
        if !matches!(self.state, State::Identifying) {
            return self.rest();
        }
        self.source = source;
        self.exempt = exempt;
        self.record.exempt = exempt;
        // The debt of whoever introduced it, and what the upstream said to that one.
        self.free_at = turn.now;
        self.errors = 0;
        self.refusal = None;
        let admission = if self.draining {
            Admission::Draining
        } else {
            admission
        };
        self.open(admission, turn)
    }
}
