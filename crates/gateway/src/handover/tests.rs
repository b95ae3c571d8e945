//! A successor that ends at each point of the hand-over: the old one goes on, with all that was not
//! confirmed, and its listener never closes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::giver::Steps;
use super::message::Message;
use super::wire::{SOCKETS_MAX, Wire, pair};
use super::{HandOverError, Handed};
use crate::Gateway;
use crate::sample::{LATE, sample};
use crate::shared::Shared;

/// Two batches.
const HELD: usize = SOCKETS_MAX + 4;

/// Longer than a hand-over of so few takes.
const DELAY: Duration = Duration::from_secs(2);

/// A client that says what it is told, and hears reply codes.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(old: &Old) -> Self {
        let address = old.gateway.addresses()[0].1;
        let mut client = Self(BufReader::new(TcpStream::connect(address).await.unwrap()));
        assert_eq!(client.code().await, "220");
        client.told("HELO client.example.net", "250").await;
        client.told("MAIL FROM:<s@example.net>", "250").await;
        client
    }

    async fn say(&mut self, line: &str) {
        let octets = format!("{line}\r\n");
        self.0.get_mut().write_all(octets.as_bytes()).await.unwrap();
    }

    async fn told(&mut self, line: &str, code: &str) {
        self.say(line).await;
        assert_eq!(self.code().await, code, "{line}");
    }

    /// Empty if the connection is gone.
    async fn code(&mut self) -> String {
        let mut line = String::new();
        let read = tokio::time::timeout(LATE, self.0.read_line(&mut line));
        // A process that is killed with octets unread in its sockets resets them.
        let _ = read.await.expect("a client hears nothing at all");
        line.chars().take(3).collect()
    }
}

/// The process that serves.
struct Old {
    gateway: Gateway,
    folder: TempDir,
}

impl Old {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = sample(folder.path());
        config.listeners[0].policy.delay = DELAY;
        config.listeners[0].policy.hold_max = DELAY;
        config.limits.sessions_max = 1000;
        config.limits.sessions_per_source_max = 1000;
        let gateway = Gateway::start(config).await.unwrap();
        Self { gateway, folder }
    }

    fn shared(&self) -> Arc<Shared> {
        self.gateway.handle().shared()
    }

    async fn held(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for _ in 0..HELD {
            let mut client = Client::connect(self).await;
            client.say("RCPT TO:<nobody@example.org>").await;
            clients.push(client);
        }
        let shared = self.shared();
        while count(shared.places.held()) < HELD || shared.pit.load().sessions < HELD as u64 {
            tokio::task::yield_now().await;
        }
        clients
    }

    async fn deliver(&self) {
        let mut client = Client::connect(self).await;
        client.told("RCPT TO:<user@example.org>", "250").await;
        client.told("DATA", "354").await;
        client.told("hello\r\n.", "250").await;
        client.told("QUIT", "221").await;
    }

    fn messages(&self) -> usize {
        let new = self.folder.path().join("mail/user@example.org/new");
        std::fs::read_dir(new).map_or(0, Iterator::count)
    }

    /// How the hand-over to `successor` ends, and whether it was made the main process.
    async fn hand_over(&self, successor: Successor) -> (Result<Handed, HandOverError>, bool) {
        let (ours, theirs) = pair().unwrap();
        let running = tokio::spawn(successor.run(theirs));
        let (mut serves, mut is_main) = (false, false);
        let steps = Steps {
            serves: || serves = true,
            make_main: || is_main = true,
        };
        let outcome = self.gateway.handle().hand_over(ours, steps).await;
        running.await.unwrap();
        assert!(serves || !is_main);
        (outcome, is_main)
    }
}

/// A process that says so many words and then is no more.
struct Successor {
    words: usize,
    /// It is killed when it has heard what it would have answered next.
    hears: bool,
    took: Arc<AtomicUsize>,
}

impl Successor {
    fn new(words: usize, hears: bool) -> Self {
        Self {
            words,
            hears,
            took: Arc::default(),
        }
    }

    /// What is dropped at its end is what a process has open that is killed.
    async fn run(self, line: OwnedFd) {
        let mut wire = Wire::new(line).unwrap();
        let mut has: Vec<OwnedFd> = Vec::new();
        let mut said = 0;
        loop {
            if said == self.words && !self.hears {
                return;
            }
            let Ok(Some((message, sockets))) = wire.receive().await else {
                return;
            };
            has.extend(sockets);
            let Some(answer) = answer(&message) else {
                continue;
            };
            if said == self.words {
                return;
            }
            wire.send(&answer, &[]).await.unwrap();
            said += 1;
            if let Message::Parcels(list) = message {
                self.took.fetch_add(list.len(), Ordering::Relaxed);
            }
        }
    }
}

fn answer(message: &Message) -> Option<Message> {
    match message {
        Message::Listeners { more: false, .. } => Some(Message::Ready),
        Message::Ledger { last: true, .. } => Some(Message::Noted),
        Message::Serve => Some(Message::Serving),
        Message::Parcels(_) => Some(Message::Taken),
        _ => None,
    }
}

/// Ready, Noted, Serving: from the next word on it has sessions.
const BEFORE_PARCELS: usize = 3;

async fn ends_after(words: usize, hears: bool) {
    let old = Old::start().await;
    let clients = old.held().await;
    let successor = Successor::new(words, hears);
    let took = Arc::clone(&successor.took);
    let (outcome, is_main) = old.hand_over(successor).await;
    let took = took.load(Ordering::Relaxed);
    assert!(
        matches!(outcome, Err(HandOverError::Ended)) && !is_main,
        "{outcome:?}"
    );
    assert_eq!(took, words.saturating_sub(BEFORE_PARCELS) * SOCKETS_MAX);
    let shared = old.shared();
    assert_eq!(count(shared.places.held()), HELD - took);

    old.deliver().await;
    assert_eq!(old.messages(), 1);
    let mut codes: Vec<String> = Vec::new();
    for mut client in clients {
        let code = client.code().await;
        if code == "550" {
            client.told("QUIT", "221").await;
        }
        codes.push(code);
    }
    let refused = codes.iter().filter(|code| *code == "550").count();
    let gone = codes.iter().filter(|code| code.is_empty()).count();
    assert_eq!((refused, gone), (HELD - took, took), "{codes:?}");
    empty(&shared).await;

    // And the next successor has it all.
    let clients = old.held().await;
    let whole = Successor::new(usize::MAX, false);
    let took = Arc::clone(&whole.took);
    let handle = old.gateway.handle();
    let (ours, theirs) = pair().unwrap();
    tokio::spawn(whole.run(theirs));
    let steps = Steps {
        serves: || (),
        make_main: || (),
    };
    let _handed = handle.hand_over(ours, steps).await.unwrap();
    assert_eq!(took.load(Ordering::Relaxed), HELD);
    empty(&shared).await;
    drop(clients);
}

/// All at once: most of the time is that of the holds.
async fn ends_after_each(words: std::ops::Range<usize>) {
    let mut all = JoinSet::new();
    for words in words {
        all.spawn(ends_after(words, false));
        all.spawn(ends_after(words, true));
    }
    all.join_all().await;
}

#[tokio::test]
async fn it_may_end_before_it_serves() {
    ends_after_each(0..BEFORE_PARCELS).await;
}

#[tokio::test]
async fn it_may_end_while_those_who_wait_go_over() {
    ends_after_each(BEFORE_PARCELS..BEFORE_PARCELS + 2).await;
}

async fn empty(shared: &Shared) {
    let empty = tokio::time::timeout(LATE, shared.places.empty());
    empty.await.expect("a session is counted that is not there");
}

fn count(sessions: u32) -> usize {
    usize::try_from(sessions).unwrap()
}
