//! What a session does when what it may look at changes while it runs: certificates go, the upstream
//! learns or forgets an extension, a client that was introduced finds no place.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use tarpit_core::filter::Filter;
use tarpit_core::ledger::{Ledger, LedgerConfig};
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{
    Admission, Door, Env, Input, Outbox, Prefixes, Session, SessionId, Source, Then, Tick,
};
use tarpit_smtp::{Capabilities, Reply, ReplyCode};

struct Scene {
    policy: Policy,
    ledger: Ledger,
    capabilities: Capabilities,
    door: Door,
    session: Session,
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
        let now = Tick::from_millis(1_000);
        let then = self.session.handle(now, input, &env, &mut out);
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
