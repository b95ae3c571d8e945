//! The traffic of an hour, in some seconds: clients of every kind at every listener, from a seed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::super::agree::reset;
use super::super::smtp::Client;
use super::super::upstream::{RIGHT, WRONG};

/// SplitMix64 (Steele, Lea, Flood 2014): a seed gives the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    fn of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        let place = self.below(list.len() as u64);
        &list[usize::try_from(place).unwrap()]
    }

    fn pause(&mut self, most_millis: u64) {
        std::thread::sleep(Duration::from_millis(50 + self.below(most_millis)));
    }
}

/// What a source is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Brings mail, at times for somebody who has left.
    Wanted,
    /// Guesses names.
    Harvester,
    /// Guesses passwords, at times the right one.
    Password,
    /// Guesses, and leaves while it is held: with a reset, without a word, or half.
    Reset,
    Close,
    HalfClose,
    /// Leaves in a message.
    BreakOff,
    /// Gets everything wrong.
    Clumsy,
    /// Speaks TLS.
    Secure,
    /// A proxy that sees whether we are well.
    Check,
    /// Brings mail, guesses, and does anything else.
    Mixed,
}

/// Eleven of them at four listeners: 44 sources, and each kind is at each listener.
const KINDS: [Kind; 11] = [
    Kind::Wanted,
    Kind::Harvester,
    Kind::Password,
    Kind::Reset,
    Kind::Close,
    Kind::HalfClose,
    Kind::BreakOff,
    Kind::Clumsy,
    Kind::Secure,
    Kind::Check,
    Kind::Mixed,
];
const SOURCES: u32 = 44;

/// Who comes at once in a flood: more than the pit is to hold.
const FLOOD: u32 = 96;

/// The sessions of one source that come at once.
const CROWD: u32 = 16;

const EHLO: &str = "EHLO client.example.test";
const GUESS: &str = "RCPT TO:<nobody@example.test>";

/// Who comes, and how many came.
#[derive(Debug)]
pub(super) struct Traffic {
    seed: u64,
    /// The listeners: two with short holds or none, then two with long ones.
    doors: [SocketAddr; 4],
    sessions: AtomicU32,
    checks: AtomicU32,
}

/// One session.
struct Visit<'a> {
    random: &'a mut Random,
    /// It does all that its kind may do.
    is_sure: bool,
    /// Its holds are short.
    is_fast: bool,
}

impl Traffic {
    pub(super) fn new(seed: u64, doors: [SocketAddr; 4]) -> Self {
        Self {
            seed,
            doors,
            sessions: AtomicU32::new(0),
            checks: AtomicU32::new(0),
        }
    }

    /// Sessions that there were, without a proxy's own checks; and those.
    pub(super) fn came(&self) -> (u32, u32) {
        let read = |count: &AtomicU32| count.load(Ordering::Relaxed);
        (read(&self.sessions), read(&self.checks))
    }

    /// All that a pit of the size of this one has room for.
    pub(super) fn pass(&self) {
        std::thread::scope(|scope| {
            for number in 0..SOURCES {
                scope.spawn(move || self.live(number));
            }
            for _ in 0..CROWD {
                scope.spawn(|| self.be_one_of_a_crowd());
            }
        });
    }

    /// More guess at once than there is room for.
    pub(super) fn flood(&self) {
        for client in &mut self.guessers("198.51.100", FLOOD) {
            client.hear();
        }
    }

    /// Some guess at once, and hear their replies once `release` was called.
    pub(super) fn wait_for_release(&self, release: impl FnOnce()) {
        let mut held = self.guessers("198.18.0", 4);
        Random(self.seed).pause(100);
        release();
        for client in &mut held {
            client.hear();
        }
    }

    fn come(&self, door: usize, client: &str) -> Option<Client> {
        self.sessions.fetch_add(1, Ordering::Relaxed);
        let header = format!("PROXY TCP4 {client} 127.0.0.1 1025 25");
        Client::come(self.doors[door], &header)
    }

    /// One source: a session that does all that its kind does, then others.
    fn live(&self, number: u32) {
        let kind = KINDS[number as usize % KINDS.len()];
        let door = number as usize % self.doors.len();
        let client = format!("192.0.2.{}", number + 1);
        let mut random = Random(self.seed ^ (u64::from(number) << 32));
        random.pause(600);
        let mut visit = Visit {
            random: &mut random,
            is_sure: true,
            is_fast: door < 2,
        };
        if kind == Kind::Mixed {
            self.visit(Kind::Wanted, door, &client, &mut visit);
            self.visit(Kind::Harvester, door, &client, &mut visit);
        } else {
            self.visit(kind, door, &client, &mut visit);
        }
        for _ in 0..random.below(3) {
            random.pause(400);
            let is_mixed = kind == Kind::Mixed;
            let kind = if is_mixed { *random.of(&KINDS) } else { kind };
            let door = usize::from(random.one_in(3));
            let mut visit = Visit {
                random: &mut random,
                is_sure: false,
                is_fast: true,
            };
            self.visit(kind, door, &client, &mut visit);
        }
    }

    fn visit(&self, kind: Kind, door: usize, client: &str, visit: &mut Visit<'_>) {
        if kind == Kind::Check {
            self.checks.fetch_add(1, Ordering::Relaxed);
            if let Some(mut client) = Client::come(self.doors[door], "PROXY UNKNOWN") {
                client.ask(EHLO);
                client.ask("QUIT");
            }
        } else if let Some(client) = self.come(door, client) {
            // `None`: it was over early, which is as good.
            converse(kind, client, visit);
        }
    }

    fn be_one_of_a_crowd(&self) -> Option<()> {
        let mut client = self.come(0, "203.0.113.9")?;
        greet(&mut client, "bob")?;
        client.put(&format!("{GUESS}\r\n{GUESS}"))?;
        client.hear()?;
        client.hear()?;
        Some(())
    }

    /// So many sources, each with a guess, at the last listener.
    fn guessers(&self, network: &str, count: u32) -> Vec<Client> {
        let ready = (1..=count).filter_map(|number| {
            let mut client = self.come(3, &format!("{network}.{number}"))?;
            greet(&mut client, "bob")?;
            Some(client)
        });
        let mut ready: Vec<Client> = ready.collect();
        for client in &mut ready {
            client.put(GUESS);
        }
        ready
    }
}

fn converse(kind: Kind, mut client: Client, visit: &mut Visit<'_>) -> Option<()> {
    match kind {
        Kind::Wanted | Kind::Mixed => wanted(&mut client, visit),
        Kind::Harvester => harvest(&mut client, visit),
        Kind::Password => passwords(&mut client, visit),
        Kind::Clumsy => be_clumsy(&mut client, visit),
        Kind::Secure => secure(client, visit),
        Kind::BreakOff => {
            greet(&mut client, "bob")?;
            client.ask("RCPT TO:<alice@example.test>")?;
            client.ask("DATA")?;
            client.put("Subject: cut")
        }
        Kind::Reset | Kind::Close | Kind::HalfClose => {
            greet(&mut client, "bob")?;
            client.put(GUESS)?;
            visit.random.pause(200);
            match kind {
                Kind::Reset => reset(client),
                Kind::HalfClose => {
                    let mut socket = client.into_socket();
                    socket.shutdown(Shutdown::Write).ok()?;
                    socket.read_to_end(&mut Vec::new()).ok()?;
                }
                _ => drop(client),
            }
            Some(())
        }
        Kind::Check => None,
    }
}

fn greet<S: Read + Write>(client: &mut Client<S>, sender: &str) -> Option<()> {
    client.ask(EHLO)?;
    client.ask(&format!("MAIL FROM:<{sender}@example.net>"))?;
    Some(())
}

fn wanted<S: Read + Write>(client: &mut Client<S>, visit: &mut Visit<'_>) -> Option<()> {
    client.ask(EHLO)?;
    let mut bodies = vec!["spam", "busy", "Text"];
    if !visit.is_sure {
        let count = 1 + visit.random.below(3);
        let any = ["Text", "Text", "Text", "spam", "busy"];
        bodies = (0..count).map(|_| *visit.random.of(&any)).collect();
    }
    for body in bodies {
        client.ask("MAIL FROM:<bob@example.net>")?;
        if visit.is_sure || visit.random.one_in(3) {
            client.ask("RCPT TO:<left@example.test>")?;
        }
        if visit.is_sure || visit.random.one_in(4) {
            client.ask("RCPT TO:<later@example.test>")?;
        }
        let code = client.ask("RCPT TO:<alice@example.test>")?;
        if code == 250 && client.ask("DATA")? == 354 {
            client.ask(&format!("Subject: x\r\n\r\n{body}\r\n."))?;
        } else {
            client.ask("RSET")?;
        }
    }
    client.ask("QUIT").map(|_| ())
}

fn harvest<S: Read + Write>(client: &mut Client<S>, visit: &mut Visit<'_>) -> Option<()> {
    greet(client, "bob")?;
    let mut names = vec!["relay", "alice", "nobody"];
    if visit.is_sure && visit.is_fast {
        // More errors than a session may make.
        names.extend(["info", "sales", "office", "root", "admin", "www"]);
    } else if !visit.is_sure {
        let any = ["info", "sales", "alice", "relay", "office"];
        let count = 1 + visit.random.below(4);
        names = (0..count).map(|_| *visit.random.of(&any)).collect();
    }
    for name in names {
        client.ask(&format!("RCPT TO:<{name}@example.test>"))?;
    }
    if visit.random.one_in(2) {
        client.ask("QUIT")?;
    }
    Some(())
}

fn passwords<S: Read + Write>(client: &mut Client<S>, visit: &mut Visit<'_>) -> Option<()> {
    client.ask(EHLO)?;
    let wrong = format!("AUTH PLAIN {WRONG}");
    let mut exchanges: Vec<Vec<&str>> = vec![
        vec![&*wrong],
        vec!["AUTH LOGIN", "*"],
        vec!["AUTH LOGIN", "YWxpY2U=", "czNjcjN0LWxvZ2lu"],
    ];
    if !visit.is_sure {
        let count = 1 + visit.random.below(3);
        let any = exchanges;
        exchanges = (0..count).map(|_| visit.random.of(&any).clone()).collect();
    }
    for exchange in exchanges {
        for line in exchange {
            // What is refused already is not gone on with.
            if client.ask(line)? != 334 {
                break;
            }
        }
    }
    let knows = visit.is_sure && visit.is_fast || visit.random.one_in(4);
    if knows && client.ask(&format!("AUTH PLAIN {RIGHT}"))? == 235 {
        return wanted(client, visit);
    }
    client.ask("QUIT").map(|_| ())
}

fn be_clumsy<S: Read + Write>(client: &mut Client<S>, visit: &Visit<'_>) -> Option<()> {
    client.ask(EHLO)?;
    client.ask("FOO")?;
    client.ask("MAIL FROM:<bob@example.net>")?;
    client.ask("RCPT TO:<somebody@elsewhere.test>")?;
    client.ask("RSET")?;
    client.ask("MAIL FROM:<banned@example.net>")?;
    client.ask("RCPT TO:<alice@example.test>")?;
    if visit.is_fast {
        client.ask("RCPT TO:<alice@example.test>")?;
        client.ask("DATA")?;
    }
    client.ask("QUIT").map(|_| ())
}

fn secure(mut client: Client, visit: &mut Visit<'_>) -> Option<()> {
    client.ask(EHLO)?;
    if client.ask("STARTTLS")? != 220 {
        return None;
    }
    let mut client = client.secure();
    if visit.random.one_in(2) {
        wanted(&mut client, visit)
    } else {
        harvest(&mut client, visit)
    }
}
