//! What an offence costs, and who pays.

use std::time::Duration;

use super::Session;
use super::state::{After, Bill, Due};
use super::turn::Turn;
use crate::answer::Finding;
use crate::event::Then;
use crate::ledger::{Account, Terms};
use crate::policy::{Offence, Policy, Scope};
use crate::record::{ACTS_MAX, ActRecord, Deed, Judged, LISTED_MAX, LISTED_OCTETS_MAX};
use crate::{Env, Tick};

impl Policy {
    /// What the ledger needs to know of an offence.
    pub(crate) fn terms(&self, offence: Offence) -> Terms {
        Terms {
            price: self.price(offence),
            allowance: self.allowance(),
            hold_max: self.hold_max,
        }
    }
}

impl Session {
    /// Refuses with a 5yz of ours; it costs what the table says.
    pub(super) fn refuse(&mut self, finding: Finding, turn: &mut Turn<'_>) -> Then {
        let Some(offence) = finding.offence() else {
            return self.tell(finding, turn);
        };
        let deed = match offence {
            _ if self.is_in_message() => Deed::Chunk,
            Offence::RelayDenied => Deed::Foreign,
            Offence::AuthMistake => Deed::AuthMistake,
            _ => Deed::Command,
        };
        let bill = self.bill(turn.env);
        self.charge((deed, offence), bill, Due::Own(finding), turn)
    }

    /// A refusal that only follows from refusals that were charged already. The feature of KB
    /// 842851 delays every 5yz reply; the ledger does not charge twice for one fault.
    pub(super) fn refuse_again(&mut self, finding: Finding, turn: &mut Turn<'_>) -> Then {
        match turn.env.policy.scope {
            Scope::Session => {
                let Some(offence) = finding.offence() else {
                    return self.tell(finding, turn);
                };
                let bill = self.bill(turn.env);
                let due = Due::Own(finding);
                self.charge((Deed::FollowUp, offence), bill, due, turn)
            }
            Scope::Source => {
                self.note(Deed::FollowUp, Judged::Repeated, None, turn);
                self.record.errors = self.record.errors.saturating_add(1);
                self.tell(finding, turn)
            }
        }
    }

    /// How an offence is paid for which nothing was reserved.
    ///
    /// In `observe` each session pays for itself, also with scope `source`: traffic that is not
    /// slowed would run up debts that `enforce` never sees. So what is reported is a lower bound:
    /// that sessions of one source wait for each other is not foreseen.
    pub(super) fn bill(&self, env: &Env<'_>) -> Bill {
        match env.policy.scope {
            _ if !self.is_billed() || !env.policy.counts() => Bill::Free,
            Scope::Source if env.policy.enforces() => Bill::Source,
            Scope::Session | Scope::Source => Bill::Session,
        }
    }

    /// Books `offence` and lets its reply wait.
    pub(super) fn charge(
        &mut self,
        (deed, offence): (Deed, Offence),
        bill: Bill,
        due: Due,
        turn: &mut Turn<'_>,
    ) -> Then {
        self.note(deed, Judged::Offence(offence), Some(&bill), turn);
        self.charge_noted(offence, bill, due, turn)
    }

    /// The same for what is written down already.
    pub(super) fn charge_noted(
        &mut self,
        offence: Offence,
        bill: Bill,
        due: Due,
        turn: &mut Turn<'_>,
    ) -> Then {
        self.count(offence);
        match self.book(offence, bill, turn) {
            None => self.say(&due, After::Next, turn.out),
            Some(free_at) if self.is_in_message() => {
                // The upstream never waits in the pit, and it has half a message: paid at the next
                // RCPT.
                self.free_at = self.free_at.max(free_at);
                let (due, after) = self.within_errors(due, turn.env.policy);
                self.say(&due, after, turn.out)
            }
            Some(free_at) => self.hold(offence, free_at, due, turn),
        }
    }

    /// Books `offence`; the moment at which the account is free, or `None` if it costs nothing.
    pub(super) fn book(&mut self, offence: Offence, bill: Bill, turn: &Turn<'_>) -> Option<Tick> {
        let terms = turn.env.policy.terms(offence);
        let (now, ledger) = (turn.now, turn.env.ledger);
        match bill {
            Bill::Free | Bill::Role => None,
            Bill::Session => {
                self.free_at = self.free_at.max(now) + terms.price;
                Some(self.free_at)
            }
            Bill::Source => {
                let charge = ledger.offence(now, self.source, account_of(offence), &terms);
                Some(charge.free_at)
            }
            Bill::Reserved(reservation) => Some(ledger.charge(now, reservation, &terms).free_at),
        }
    }

    /// Writes down what was judged, before it is counted. `bill`: how it is paid, where it is an
    /// offence.
    pub(super) fn note(
        &self,
        deed: Deed,
        judged: Judged,
        bill: Option<&Bill>,
        turn: &mut Turn<'_>,
    ) {
        let role = matches!(bill, Some(Bill::Role));
        self.note_as(role, deed, judged, bill, turn);
    }

    /// The same where a role may have to pay.
    pub(super) fn note_as(
        &self,
        role: bool,
        deed: Deed,
        judged: Judged,
        bill: Option<&Bill>,
        turn: &mut Turn<'_>,
    ) {
        if self.record.acts() >= ACTS_MAX {
            return;
        }
        let price = match (judged.offence(), bill) {
            (None, _) | (_, None | Some(Bill::Free | Bill::Role)) => Duration::ZERO,
            (Some(offence), Some(_)) => turn.env.policy.price(offence),
        };
        turn.out.acts.push(ActRecord {
            session: self.id,
            source: self.source,
            deed,
            judged,
            took: turn.now.since(self.began),
            price,
            transaction: self.serial,
            role,
        });
    }

    pub(super) fn count(&mut self, offence: Offence) {
        self.errors = self.errors.saturating_add(1);
        let record = &mut self.record;
        record.errors = record.errors.saturating_add(1);
        match offence {
            Offence::UnknownRecipient
            | Offence::RecipientRefused
            | Offence::SenderRefused
            | Offence::RelayDenied => record.refused = record.refused.saturating_add(1),
            Offence::FailedAuth => record.failed_auth = record.failed_auth.saturating_add(1),
            Offence::AuthMistake | Offence::MessageRefused | Offence::Protocol => {}
        }
    }

    /// Lists a refused forward-path in the record, if there is room for it.
    pub(super) fn list_refused(&mut self, path: &str) {
        let paths = &mut self.record.refused_paths;
        let octets: usize = paths.iter().map(|path| path.len()).sum();
        if paths.len() < LISTED_MAX && octets.saturating_add(path.len()) <= LISTED_OCTETS_MAX {
            paths.push(path.into());
        }
    }
}

/// Gives back what was reserved for a look-up that was no offence.
pub(super) fn give_back(bill: Bill, turn: &Turn<'_>) {
    if let Bill::Reserved(reservation) = bill {
        turn.env.ledger.release(turn.now, reservation);
    }
}

/// RCPT debt and AUTH debt are kept apart, so that a phone with an old password can't keep its
/// office from getting mail.
const fn account_of(offence: Offence) -> Account {
    match offence {
        Offence::FailedAuth | Offence::AuthMistake => Account::Auth,
        _ => Account::Rcpt,
    }
}
