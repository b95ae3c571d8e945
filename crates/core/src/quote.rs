//! What the next guess of a source would cost, for whoever asks; nothing is booked.
//!
//! It says what [`Session`](crate::Session) would do with the next RCPT, by the same policy and the
//! same accounts; a test holds the two together.

use std::time::Duration;

use crate::ledger::Standing;
use crate::policy::{Offence, Policy, Scope};

/// What the next RCPT of a source would meet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quote {
    /// How long it would wait before it is looked at, whatever the name is.
    pub before: Duration,
    /// Whether it would not be looked at then, but get 450: there is no room within `hold_max`, and the
    /// source is no known sender.
    pub unseen: bool,
    /// How long the reply to a name that does not exist would be held.
    pub wrong: Duration,
    /// What the source would owe after a wrong guess, from now.
    pub owed_after: Duration,
}

impl Quote {
    /// The quote for a source with this `standing`, in a session that has no debts of its own. With
    /// `free`, nothing is ever held: its network is exempt.
    #[must_use]
    pub fn of(policy: &Policy, standing: &Standing, free: bool) -> Self {
        if free || !policy.counts() {
            return Self::default();
        }
        let price = policy.price(Offence::UnknownRecipient);
        if policy.scope == Scope::Session {
            return Self {
                wrong: price,
                owed_after: price,
                ..Self::default()
            };
        }
        let cap = policy.hold_max.saturating_add(policy.allowance());
        let price = price.min(cap);
        // Those that wait come first, and each may turn out to be wrong.
        let ahead = u32::try_from(standing.rcpt.waiting).unwrap_or(u32::MAX);
        let claimed = standing.rcpt.claimed() + price.saturating_mul(ahead);
        let wait = claimed.saturating_add(price).saturating_sub(cap);
        let before = wait.min(policy.hold_max);
        let owed_after = claimed.max(before).saturating_add(price);
        Self {
            before,
            unseen: wait > policy.hold_max && standing.accepted_ago.is_none(),
            wrong: owed_after.saturating_sub(before).min(policy.hold_max),
            owed_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;

    use super::*;
    use crate::ledger::{Account, Grant, Ledger, LedgerConfig, Ticket};
    use crate::policy::{Mode, Way};
    use crate::{Prefixes, Source, Tick};

    fn policy(scope: Scope) -> Policy {
        Policy {
            mode: Mode::Enforce,
            scope,
            delay: Duration::from_secs(5),
            hold_max: Duration::from_secs(12),
            recipients_max: 100,
            errors_max: 10,
            way: Way::Silent,
            pace: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_said_is_what_comes() {
        let ledger = Ledger::new(
            LedgerConfig {
                sources_max: 100,
                known_max: 100,
                known_for: Duration::from_secs(1000),
            },
            RandomState::new(),
        );
        let policy = policy(Scope::Source);
        let terms = policy.terms(Offence::UnknownRecipient);
        let source = Source::of("192.0.2.1".parse().unwrap(), Prefixes::default());
        let mut now = Tick::from_millis(1_000);
        for ticket in 0..20 {
            let quote = Quote::of(&policy, &ledger.standing(now, source), false);
            let asked = now;
            let grant = ledger.request(now, Ticket(ticket), source, Account::Rcpt, &terms);
            let reservation = match grant {
                Grant::Granted(reservation) => reservation,
                Grant::Wait { until } => {
                    now = until;
                    match ledger.poll(now, Ticket(ticket), source, Account::Rcpt, &terms) {
                        Grant::Granted(reservation) => reservation,
                        other => panic!("{other:?}"),
                    }
                }
                Grant::NoRoom => panic!("no room"),
            };
            assert_eq!(quote.before, now.since(asked), "{ticket}");
            let charge = ledger.charge(now, reservation, &terms);
            assert_eq!(quote.wrong, charge.owed.min(policy.hold_max), "{ticket}");
            assert_eq!(quote.owed_after, charge.free_at.since(asked), "{ticket}");
            assert!(!quote.unseen);
        }
    }

    #[test]
    fn nothing_where_nothing_is_held() {
        let standing = Standing::default();
        let free = Quote::of(&policy(Scope::Source), &standing, true);
        assert_eq!(free, Quote::default());
        let own = Quote::of(&policy(Scope::Session), &standing, false);
        assert_eq!(
            (own.before, own.wrong),
            (Duration::ZERO, Duration::from_secs(5))
        );
    }

    #[test]
    fn who_waits_is_ahead() {
        let mut standing = Standing::default();
        standing.rcpt.owed = Duration::from_secs(12);
        standing.rcpt.waiting = 3;
        let quote = Quote::of(&policy(Scope::Source), &standing, false);
        assert!(quote.unseen);
        standing.accepted_ago = Some(Duration::ZERO);
        let quote = Quote::of(&policy(Scope::Source), &standing, false);
        assert!(!quote.unseen && quote.before == Duration::from_secs(12));
    }
}
