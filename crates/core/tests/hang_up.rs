//! Who leaves before the upstream has answered pays for the guess all the same.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::{Account, Ledger, LedgerConfig};
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{
    Admission, Ask, Door, Env, Input, Outbox, Prefixes, Session, SessionId, Source, Then, Tick,
};
use tarpit_smtp::Capabilities;

#[test]
fn a_guess_that_nobody_waits_for_is_charged() {
    let policy = Policy {
        mode: Mode::Enforce,
        scope: Scope::Source,
        delay: Duration::from_secs(5),
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
    let ledger = Ledger::new(config, RandomState::new());
    let env = Env {
        hostname: "mx.example.org",
        policy: &policy,
        ledger: &ledger,
        capabilities: &Capabilities::default(),
        filter: &Filter::default(),
        door: Door::default(),
        prefixes: Prefixes::default(),
    };
    let source = Source::of("192.0.2.1".parse().unwrap(), Prefixes::default());
    let now = Tick::from_millis(1_000);
    let mut out = Outbox::default();
    let mut session = Session::new(SessionId(1), source, false);
    session.handle(now, Input::Opened(Admission::Open), &env, &mut out);
    session.handle(now, Input::Bytes(b"MAIL FROM:<>\r\n"), &env, &mut out);
    let rcpt = Input::Bytes(b"RCPT TO:<guess@example.org>\r\n");
    let then = session.handle(now, rcpt, &env, &mut out);
    assert!(matches!(then, Then::Ask(Ask::Rcpt(_))), "{then:?}");
    assert_eq!(ledger.owed(now, source, Account::Rcpt), Duration::ZERO);

    let then = session.handle(now, Input::Gone, &env, &mut out);
    assert!(matches!(then, Then::Close), "{then:?}");
    assert_eq!(ledger.owed(now, source, Account::Rcpt), policy.delay);
}
