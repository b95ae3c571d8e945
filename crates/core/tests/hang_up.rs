//! Who leaves before the upstream has answered pays for the guess all the same; who is sent away before
//! it was asked does not.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::{Account, Ledger, LedgerConfig};
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{
    Admission, Ask, Door, Env, Input, Outbox, Prefixes, Session, SessionId, Source, Then, Tick,
};
use tarpit_smtp::Capabilities;

const DELAY: Duration = Duration::from_secs(5);
const NOW: Tick = Tick::from_millis(1_000);

/// Sessions of one source, whose debts are shared.
struct House {
    policy: Policy,
    ledger: Ledger,
    source: Source,
    sessions: u64,
}

impl House {
    fn new() -> Self {
        let policy = Policy {
            mode: Mode::Enforce,
            scope: Scope::Source,
            delay: DELAY,
            hold_max: Duration::from_secs(25),
            recipients_max: 100,
            errors_max: 20,
            way: Way::Silent,
            pace: Duration::ZERO,
        };
        let config = LedgerConfig {
            sources_max: 10,
            known_max: 10,
            known_for: Duration::from_secs(60),
        };
        Self {
            policy,
            ledger: Ledger::new(config, RandomState::new()),
            source: Source::of("192.0.2.1".parse().unwrap(), Prefixes::default()),
            sessions: 0,
        }
    }

    /// A new session guesses, and is to be looked up when this input comes. What it then hears.
    fn guess(&mut self, input: Input<'_>) -> String {
        let env = Env {
            hostname: "mx.example.org",
            policy: &self.policy,
            ledger: &self.ledger,
            capabilities: &Capabilities::default(),
            filter: &Filter::default(),
            door: Door::default(),
            prefixes: Prefixes::default(),
        };
        self.sessions += 1;
        let mut out = Outbox::default();
        let mut session = Session::new(SessionId(self.sessions), self.source, false);
        session.handle(NOW, Input::Opened(Admission::Open), &env, &mut out);
        session.handle(NOW, Input::Bytes(b"MAIL FROM:<>\r\n"), &env, &mut out);
        let rcpt = Input::Bytes(b"RCPT TO:<guess@example.org>\r\n");
        let then = session.handle(NOW, rcpt, &env, &mut out);
        assert!(matches!(then, Then::Ask(Ask::Rcpt(_))), "{then:?}");
        assert_eq!(self.owed(), Duration::ZERO);

        out.bytes.clear();
        let then = session.handle(NOW, input, &env, &mut out);
        assert!(matches!(then, Then::Close), "{then:?}");
        String::from_utf8(out.bytes).unwrap()
    }

    fn owed(&self) -> Duration {
        self.ledger.owed(NOW, self.source, Account::Rcpt)
    }
}

#[test]
fn a_guess_that_nobody_waits_for_is_charged() {
    let mut house = House::new();
    assert_eq!(house.guess(Input::Gone), "");
    assert_eq!(house.owed(), DELAY);
}

/// It has no place outside the pit. There would be room for five guesses, if any were counted.
#[test]
fn a_guess_that_was_not_looked_at_is_not_charged() {
    let mut house = House::new();
    for _ in 0..20 {
        let reply = house.guess(Input::Full);
        assert!(reply.starts_with("421 4.3.2 "), "{reply}");
        assert_eq!(house.owed(), Duration::ZERO);
    }
}
