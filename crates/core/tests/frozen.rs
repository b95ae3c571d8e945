//! Frozen sessions: what they weigh, that their form stays, and that nothing else is taken for one.

use std::collections::hash_map::RandomState;
use std::time::Duration;

use tarpit_core::filter::{Filter, Names};
use tarpit_core::ledger::{Ledger, LedgerConfig};
use tarpit_core::octets::Fault;
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{
    Admission, Answer, Door, Env, Input, NotAtRest, Outbox, Prefixes, Session, SessionId, Source,
    Then, Tick,
};
use tarpit_smtp::limits::{HELLO_MAX, LOCAL_PART_MAX, PATH_MAX};
use tarpit_smtp::{Capabilities, Reply, ReplyCode};

struct Scene {
    policy: Policy,
    ledger: Ledger,
    capabilities: Capabilities,
    filter: Filter,
    now: Tick,
    session: Session,
    out: Outbox,
}

fn reply(code: u16, text: &str) -> Reply {
    Reply::new(ReplyCode::new(code).unwrap(), text)
}

impl Scene {
    /// A session with the number that one of many has, on a machine that is up for a month.
    fn new(scope: Scope, names: Option<Names>) -> Self {
        let config = LedgerConfig {
            sources_max: 10,
            known_max: 10,
            known_for: Duration::from_secs(60),
        };
        let ehlo = "mx.example.org\nPIPELINING\nSIZE 10240000\n8BITMIME\nENHANCEDSTATUSCODES\nDSN\nCHUNKING\nSMTPUTF8\nAUTH PLAIN";
        let source = Source::of([198, 51, 100, 77].into(), Prefixes::default());
        let mut scene = Self {
            policy: Policy {
                mode: Mode::Enforce,
                scope,
                delay: Duration::from_secs(5),
                hold_max: Duration::from_secs(25),
                recipients_max: 100,
                errors_max: 20,
                way: Way::Silent,
                pace: Duration::ZERO,
            },
            ledger: Ledger::new(config, RandomState::new()),
            capabilities: Capabilities::from_ehlo(&reply(250, ehlo)),
            filter: Filter::new(Vec::new(), names, false),
            now: Tick::from_millis(30 * 86_400_000),
            session: Session::new(SessionId(0xfedc_ba98_7654_3210), source, false),
            out: Outbox::default(),
        };
        scene.input(Input::Opened(Admission::Open));
        scene
    }

    fn input(&mut self, input: Input<'_>) -> Then {
        let env = Env {
            hostname: "mx.example.org",
            policy: &self.policy,
            ledger: &self.ledger,
            capabilities: &self.capabilities,
            filter: &self.filter,
            door: Door {
                auth_plain: true,
                ..Door::default()
            },
            prefixes: Prefixes::default(),
        };
        self.out.bytes.clear();
        self.session.handle(self.now, input, &env, &mut self.out)
    }

    fn say(&mut self, line: &str) -> Then {
        self.now = self.now + Duration::from_millis(37);
        self.input(Input::Bytes(format!("{line}\r\n").as_bytes()))
    }

    /// A guess that the upstream refuses after 12 ms, as the driver tells it.
    fn guess(&mut self, helo: &str, sender: &str, path: &str, refusal: &str) {
        self.say(&format!("EHLO {helo}"));
        self.say(&format!("MAIL FROM:<{sender}>"));
        assert!(matches!(
            self.say(&format!("RCPT TO:<{path}>")),
            Then::Ask(_)
        ));
        self.now = self.now + Duration::from_millis(12);
        self.session
            .note_upstream_wait(Duration::from_micros(11_876));
        let then = self.input(Input::Answer(Answer::Reply(reply(550, refusal))));
        assert!(matches!(then, Then::Hold { .. }), "{then:?}");
    }

    fn frozen(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        self.session.freeze(&mut octets).unwrap();
        let (thawed, rest) = Session::thaw(&octets).unwrap();
        assert_eq!(format!("{thawed:?}"), format!("{:?}", self.session));
        assert!(rest.is_empty());
        octets
    }
}

/// A path of as many octets.
fn path(octets: usize) -> String {
    let local = "l".repeat(LOCAL_PART_MAX);
    let mut domain = [
        "d".repeat(40),
        "o".repeat(40),
        "m".repeat(40),
        "a".repeat(40),
        "i".repeat(40),
    ]
    .join(".");
    domain.truncate(octets - local.len() - 1);
    format!("{local}@{domain}")
}

#[test]
fn a_typical_one_is_small() {
    for scope in [Scope::Session, Scope::Source] {
        let mut scene = Scene::new(scope, None);
        scene.guess(
            "mail.client.example",
            "info@client.example",
            "john@example.org",
            "5.1.1 <john@example.org>: Recipient address rejected: User unknown in local recipient table",
        );
        let frozen = scene.frozen();
        assert!(frozen.len() <= 110, "{} octets", frozen.len());
    }
}

#[test]
fn a_typical_one_of_a_recipients_file_is_small() {
    let names = Names::new(["jane@example.org".into()]);
    let mut scene = Scene::new(Scope::Source, Some(names));
    scene.say("EHLO mail.client.example");
    scene.say("MAIL FROM:<info@client.example>");
    let then = scene.say("RCPT TO:<john@example.org>");
    assert!(matches!(then, Then::Hold { .. }), "{then:?}");
    let frozen = scene.frozen();
    assert!(frozen.len() <= 95, "{} octets", frozen.len());
}

#[test]
fn one_with_the_longest_names_is_bounded() {
    // A path that is listed, and one that is too long to be.
    for length in [256, PATH_MAX - 2] {
        let (helo, sender, path) = ("h".repeat(HELLO_MAX), path(PATH_MAX - 2), path(length));
        let mut scene = Scene::new(Scope::Source, None);
        scene.guess(&helo, &sender, &path, "5.1.1 No such user here");
        let frozen = scene.frozen();
        assert!(frozen.len() <= 900, "{} octets", frozen.len());
        let listed = &scene.session.record().refused_paths;
        assert_eq!(listed.len(), usize::from(length == 256));
        assert_eq!(scene.session.record().refused, 1);
    }
}

#[test]
fn a_long_name_is_kept_three_times_at_most() {
    // The server quotes it, and no list holds it.
    let (helo, long) = ("h".repeat(HELLO_MAX), path(PATH_MAX - 2));
    let refusal = format!(
        "5.1.1 <{long}>: Recipient address rejected: User unknown in virtual mailbox table"
    );
    let mut scene = Scene::new(Scope::Source, None);
    scene.guess(&helo, &long, &long, &refusal);
    let frozen = scene.frozen();
    assert!(frozen.len() <= 1_000, "{} octets", frozen.len());
    // One that is listed stands once.
    let listed = path(256);
    let refusal = refusal.replace(&long, &listed);
    let mut scene = Scene::new(Scope::Source, None);
    scene.guess(&helo, &long, &listed, &refusal);
    let frozen = scene.frozen();
    assert!(frozen.len() <= 900, "{} octets", frozen.len());
}

#[test]
fn many_guesses_are_bounded_too() {
    let mut scene = Scene::new(Scope::Session, None);
    scene.policy.errors_max = 1000;
    for number in 0..40 {
        let path = format!("user.number.{number}@example.org");
        scene.guess("c.example", "a@b.example", &path, "5.1.1 No");
        scene.now = scene.now + Duration::from_secs(5);
        assert!(matches!(scene.input(Input::Resume), Then::Read));
    }
    assert_eq!(scene.session.record().refused, 40);
    assert_eq!(scene.session.record().refused_paths.len(), 10);
    let frozen = scene.frozen();
    assert!(frozen.len() <= 90 + 256 + 10, "{} octets", frozen.len());
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// What this version writes, all others read: a change here is a new form.
#[test]
fn the_form_stays() {
    let mut scene = Scene::new(Scope::Source, None);
    scene.guess(
        "c.example",
        "a@b.example",
        "x@example.org",
        "5.1.1 <x@example.org> No",
    );
    assert_eq!(
        hex(&scene.frozen()),
        "01ffd004fedcba987654321020c633644def90fbd309fb23010109632e6578616d706c650b6140622e6578616d706c65010d78406578616d706c652e6f7267c1daa90b01050007023c013e204e6f0018904e00"
    );
    scene.now = scene.now + Duration::from_secs(5);
    scene.input(Input::Resume);
    assert_eq!(
        hex(&scene.frozen()),
        "01ffd007fedcba987654321020c633644def90fbd309fb23010109632e6578616d706c650b6140622e6578616d706c65010d78406578616d706c652e6f7267c1daa90b904e010100"
    );
}

#[test]
fn with_a_price_reserved_it_is_no_rest() {
    let mut scene = Scene::new(Scope::Source, None);
    scene.say("EHLO c.example");
    assert!(matches!(scene.say("AUTH PLAIN AGE="), Then::Ask(_)));
    let mut octets = Vec::new();
    assert_eq!(scene.session.freeze(&mut octets), Err(NotAtRest));
    assert!(octets.is_empty());
}

#[test]
fn what_is_no_session_is_refused() {
    let thaw = |octets: &[u8]| Session::thaw(octets).map(|_| ()).unwrap_err();
    let mut scene = Scene::new(Scope::Source, None);
    scene.guess(
        "c.example",
        "a@b.example",
        "x@example.org",
        "5.1.1 <x@example.org> No",
    );
    let frozen = scene.frozen();
    // Cut anywhere it is none.
    for end in 0..frozen.len() {
        thaw(&frozen[..end]);
    }
    let later = [&[2], &frozen[1..]].concat();
    assert_eq!(
        thaw(&later).to_string(),
        "form of the session, after 0 octets: written in form 2, only form 1 is known"
    );
    // What would be said to the upstream is parsed as the client's own words are.
    for (was, is) in [
        ("c.example", "c\rexample"),
        ("c.example", "c example"),
        ("a@b.example", "a@b>example"),
        ("a@b.example", "a@b\nexample"),
    ] {
        let place = frozen
            .windows(was.len())
            .position(|octets| octets == was.as_bytes());
        let mut evil = frozen.clone();
        evil[place.unwrap()..][..is.len()].copy_from_slice(is.as_bytes());
        assert_eq!(thaw(&evil).fault, Fault::Text, "{is:?}");
    }
}
