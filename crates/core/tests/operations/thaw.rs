//! Octets that are taken for a frozen session: shared by the fuzz target `thaw` and the replay of
//! its seeds.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::{Ledger, LedgerConfig};
use tarpit_core::policy::{Mode, Policy, Scope};
use tarpit_core::{Answer, Door, Env, Input, Outbox, Prefixes, Session, Then, Tick, Trouble};
use tarpit_smtp::Capabilities;

/// Thaws `input`. What is a session can be frozen again and is the same then, says nothing to the
/// upstream that a client could not have said, and comes to its end.
///
/// # Panics
/// If something does not hold.
pub(crate) fn check(input: &[u8]) {
    let Ok((session, rest)) = Session::thaw(input) else {
        return;
    };
    assert!(input.ends_with(rest));
    let mut octets = Vec::new();
    session
        .freeze(&mut octets)
        .expect("what was thawed is at rest");
    let (again, rest) = Session::thaw(&octets).expect("what was frozen can be thawed");
    assert!(rest.is_empty());
    assert_eq!(format!("{again:?}"), format!("{session:?}"));
    if let Some(envelope) = session.envelope() {
        let said = format!("{}{}", envelope.reverse_path, envelope.params);
        assert!(is_harmless(&said), "{said:?}");
    }
    go_on(session);
}

fn is_harmless(text: &str) -> bool {
    !text.bytes().any(|octet| octet.is_ascii_control())
}

/// The hold ends, the upstream can't be asked, the client says QUIT.
fn go_on(mut session: Session) {
    let policy = Policy {
        mode: Mode::Enforce,
        scope: Scope::Source,
        delay: Duration::from_secs(5),
        hold_max: Duration::from_secs(25),
        recipients_max: 100,
        errors_max: 20,
        way: tarpit_core::policy::Way::Silent,
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
        filter: &Filter::new(Vec::new(), None, false),
        door: Door::default(),
        prefixes: Prefixes::default(),
    };
    let mut out = Outbox::default();
    let mut now = Tick::ZERO;
    let mut input = Input::Resume;
    // A hold, a wait for room, the question, the end of an overlong line.
    for _ in 0..8 {
        input = match session.handle(now, input, &env, &mut out) {
            Then::Hold { until } => {
                now = now.max(until);
                Input::Resume
            }
            Then::Ask(_) => Input::Answer(Answer::Trouble(Trouble::Closed)),
            Then::Read => Input::Bytes(b"QUIT\r\n"),
            Then::Close => return,
            other => panic!("{other:?}"),
        };
    }
    panic!("it has no end: {session:?}");
}
