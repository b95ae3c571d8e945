//! What a session does when what it may look at changes while it runs: certificates go, the upstream
//! learns or forgets an extension, a client that was introduced finds no place.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::{Account, Ledger, LedgerConfig, Terms};
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::record::HoldEnd;
use tarpit_core::{
    Admission, Answer, Door, Env, Input, Outbox, Prefixes, Session, SessionId, Source, Then, Tick,
};
use tarpit_smtp::{Capabilities, Reply, ReplyCode};

struct Scene {
    policy: Policy,
    ledger: Ledger,
    capabilities: Capabilities,
    door: Door,
    session: Session,
    now: Tick,
    ends: Vec<(HoldEnd, Duration)>,
}

fn upstream(keywords: &str) -> Capabilities {
    let text = format!("upstream\n{keywords}");
    Capabilities::from_ehlo(&Reply::new(ReplyCode::new(250).unwrap(), text.trim_end()))
}

fn source(address: &str) -> Source {
    Source::of(address.parse().unwrap(), Prefixes::default())
}

impl Scene {
    fn new(keywords: &str, door: Door) -> Self {
        let config = LedgerConfig {
            sources_max: 10,
            known_max: 10,
            known_for: Duration::from_secs(60),
        };
        let mut scene = Self {
            policy: Policy {
                mode: Mode::Off,
                scope: Scope::Source,
                delay: Duration::ZERO,
                hold_max: Duration::from_secs(25),
                recipients_max: 100,
                errors_max: 20,
                way: Way::Silent,
                pace: Duration::ZERO,
            },
            ledger: Ledger::new(config, RandomState::new()),
            capabilities: upstream(keywords),
            door,
            session: Session::new(SessionId(1), source("192.0.2.1"), false),
            now: Tick::from_millis(1_000),
            ends: Vec::new(),
        };
        scene.input(Input::Opened(Admission::Open));
        scene.say("EHLO c");
        scene
    }

    /// What came of it, and the code that was said, if one was.
    fn input(&mut self, input: Input<'_>) -> (Then, String) {
        let mut out = Outbox::default();
        let env = Env {
            hostname: "mx.example.org",
            policy: &self.policy,
            ledger: &self.ledger,
            capabilities: &self.capabilities,
            filter: &Filter::default(),
            door: self.door,
            prefixes: Prefixes::default(),
        };
        let then = self.session.handle(self.now, input, &env, &mut out);
        let held = out.holds.iter().filter(|hold| hold.mode != Mode::Enforce);
        let held = held.filter(|hold| hold.end != HoldEnd::Observed);
        self.ends.extend(held.map(|hold| (hold.end, hold.held)));
        let said = String::from_utf8_lossy(&out.bytes).into_owned();
        (then, said)
    }

    #[track_caller]
    fn expect(&mut self, line: &str, start: &str) {
        let (_, said) = self.say(line);
        assert!(said.starts_with(start), "{line}: {said:?}");
    }

    fn say(&mut self, line: &str) -> (Then, String) {
        self.input(Input::Bytes(format!("{line}\r\n").as_bytes()))
    }
}

#[test]
fn starttls_that_was_announced_and_is_gone() {
    let door = Door {
        starttls: true,
        ..Door::default()
    };
    let mut scene = Scene::new("", door);
    scene.door.starttls = false;
    // RFC 3207 §4.
    scene.expect("STARTTLS", "454 4.7.0 ");
    scene.say("EHLO c");
    scene.expect("STARTTLS", "502 5.5.1 ");
}

#[test]
fn an_extension_that_the_upstream_has_learnt_was_not_announced_to_this_session() {
    let mut scene = Scene::new("", Door::default());
    scene.capabilities = upstream("DSN\nCHUNKING");
    scene.expect("MAIL FROM:<a@b.example> RET=FULL", "555 5.5.4 ");
    scene.say("EHLO c");
    scene.expect("MAIL FROM:<a@b.example> RET=FULL", "250 2.1.0 ");
}

#[test]
fn an_extension_that_the_upstream_has_forgotten_was_announced() {
    let mut scene = Scene::new("DSN", Door::default());
    scene.capabilities = upstream("");
    // Whoever passes it on finds that it lacks; nothing is dropped silently.
    scene.expect("MAIL FROM:<a@b.example> RET=FULL", "250 2.1.0 ");
    assert_eq!(&*scene.session.envelope().unwrap().params, " RET=FULL");
}

#[test]
fn a_client_that_was_introduced_finds_no_place() {
    let door = Door {
        xclient: true,
        ..Door::default()
    };
    for (admission, start) in [
        (Admission::Open, "220 mx.example.org "),
        (Admission::SourceFull, "421 4.7.0 "),
        (Admission::Unavailable, "421 4.3.2 "),
    ] {
        let mut scene = Scene::new("", door);
        let (then, said) = scene.say("XCLIENT ADDR=192.0.2.7 PORT=99");
        let Then::Identify(introduction) = then else {
            panic!("{then:?}")
        };
        assert_eq!(said, "", "nothing is said before it is known");
        assert_eq!(introduction.address, Some("192.0.2.7".parse().unwrap()));
        assert_eq!(introduction.port, Some(99));
        let (then, said) = scene.input(Input::Identified {
            source: source("192.0.2.7"),
            exempt: false,
            admission,
        });
        assert!(said.starts_with(start), "{said:?}");
        assert_eq!(scene.session.source(), source("192.0.2.7"));
        assert_eq!(matches!(then, Then::Close), admission != Admission::Open);
    }
}

/// A session that is held for a guess, or waits for room to make one.
fn held(scope: Scope, guesses: u32) -> Scene {
    let mut scene = Scene::new("", Door::default());
    scene.policy.mode = Mode::Enforce;
    scene.policy.scope = scope;
    scene.policy.delay = Duration::from_secs(25);
    scene.expect("MAIL FROM:<a@b.example>", "250 ");
    for _ in 0..guesses {
        scene.guess();
    }
    scene
}

impl Scene {
    fn guess(&mut self) -> Then {
        let (then, said) = self.say("RCPT TO:<nobody@example.org>");
        assert_eq!(said, "");
        match then {
            Then::Ask(_) => self.refuse().0,
            then => then,
        }
    }

    fn refuse(&mut self) -> (Then, String) {
        let reply = Reply::new(ReplyCode::new(550).unwrap(), "5.1.1 nobody there");
        self.input(Input::Answer(Answer::Reply(reply)))
    }
}

/// A keeper says it in time, and the session hears of that when its client goes on. Who says it late has
/// held it for so long.
#[test]
fn a_reply_that_was_said_was_held_until_it_was_due() {
    const REPLY: &str = "550 5.1.1 nobody there\r\n";
    for (said, rest, held_for) in [(REPLY.len(), "", 25), (0, REPLY, 200)] {
        let mut scene = held(Scope::Source, 1);
        scene.now = scene.now + Duration::from_secs(200);
        scene.session.note_said(u32::try_from(said).unwrap());
        let (then, said) = scene.input(Input::Resume);
        assert!(matches!(then, Then::Read), "{then:?}");
        assert_eq!(said, rest);
        assert_eq!(scene.session.record().held, Duration::from_secs(held_for));
    }
}

#[test]
fn leaving_enforce_lets_held_replies_go() {
    for scope in [Scope::Session, Scope::Source] {
        for mode in [Mode::Off, Mode::Observe] {
            let mut scene = held(scope, 1);
            let (then, said) = scene.input(Input::Resume);
            assert!(matches!(then, Then::Hold { .. }) && said.is_empty());
            scene.policy.mode = mode;
            let (then, said) = scene.input(Input::Resume);
            assert!(matches!(then, Then::Read), "{then:?}");
            assert_eq!(said, "550 5.1.1 nobody there\r\n");
            assert_eq!(scene.ends, [(HoldEnd::Released, Duration::ZERO)]);
            // And the next guess does not wait either.
            let (then, _) = scene.say("RCPT TO:<nobody@example.org>");
            assert!(matches!(then, Then::Ask(_)), "{then:?}");
            assert_eq!(scene.refuse().1, "550 5.1.1 nobody there\r\n");
        }
    }
}

#[test]
fn leaving_enforce_lets_those_be_looked_at_who_wait_for_room() {
    let mut scene = held(Scope::Source, 0);
    let other = source("192.0.2.1");
    let terms = Terms {
        price: Duration::from_secs(25),
        allowance: Duration::ZERO,
        hold_max: Duration::from_secs(25),
    };
    let now = Tick::from_millis(1_000);
    scene.ledger.offence(now, other, Account::Rcpt, &terms);
    let then = scene.guess();
    assert!(matches!(then, Then::Hold { .. }), "{then:?}");
    assert!(scene.session.waits_for_room());
    scene.policy.mode = Mode::Off;
    let (then, said) = scene.input(Input::Resume);
    assert!(matches!(then, Then::Ask(_)) && said.is_empty(), "{then:?}");
    assert_eq!(scene.ledger.standing(now, other).rcpt.waiting, 0);
    assert_eq!(scene.refuse().1, "550 5.1.1 nobody there\r\n");
}

#[test]
fn inputs_that_nobody_waits_for_change_nothing() {
    let mut scene = Scene::new("", Door::default());
    let (then, said) = scene.input(Input::Secured);
    assert!(matches!(then, Then::Read) && said.is_empty(), "{said:?}");
    assert!(!scene.session.is_secured(), "no handshake was asked for");
    let (then, said) = scene.input(Input::Identified {
        source: source("192.0.2.7"),
        exempt: true,
        admission: Admission::Full,
    });
    assert!(matches!(then, Then::Read) && said.is_empty(), "{said:?}");
    assert_eq!(scene.session.source(), source("192.0.2.1"));
    assert!(!scene.session.record().exempt, "nobody was introduced");
}
