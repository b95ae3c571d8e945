//! A successor that ends at each point of the hand-over: the old one goes on, with all that was not
//! confirmed, and its listener never closes.

mod ahead;
mod broken;
mod bug;
mod unreadable;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::Mutex;

use tokio::task::JoinSet;

use super::giver::Steps;
use super::message::{Held, Message};
use super::wire::{SOCKETS_MAX, Wire, pair};
use super::{HandOverError, Handed};
use crate::scene::{House, count, empty};

/// Two batches.
const HELD: usize = SOCKETS_MAX + 4;

/// How the hand-over to `successor` ends, and whether it was made the main process.
async fn hand_over(house: &House, successor: Successor) -> (Result<Handed, HandOverError>, bool) {
    let (ours, theirs) = pair().unwrap();
    let running = tokio::spawn(successor.run(theirs));
    let (mut serves, mut is_main) = (false, false);
    let steps = Steps {
        serves: || serves = true,
        make_main: || is_main = true,
    };
    let outcome = house.gateway.handle().hand_over(ours, steps).await;
    running.await.unwrap();
    assert!(serves || !is_main);
    (outcome, is_main)
}

/// The sessions whose taking was confirmed, with their sockets.
type Took = Arc<Mutex<Vec<(Held, OwnedFd)>>>;

/// A process that says so many words and then is no more.
struct Successor {
    words: usize,
    /// It is killed when it has heard what it would have answered next.
    hears: bool,
    took: Took,
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
            let Some(answer) = answer(&message) else {
                has.extend(sockets);
                continue;
            };
            if said == self.words {
                return;
            }
            if wire.send(&answer, &[]).await.is_err() {
                // After the last word the predecessor waits for nothing.
                return;
            }
            said += 1;
            match message {
                Message::Parcels(list) => {
                    let mut took = self.took.lock().unwrap();
                    took.extend(list.into_iter().zip(sockets));
                }
                _ => has.extend(sockets),
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

/// What a successor gets that takes everything.
async fn hand_all_over(house: &House) -> Vec<(Held, OwnedFd)> {
    let whole = Successor::new(usize::MAX, false);
    let took = Arc::clone(&whole.took);
    let (ours, theirs) = pair().unwrap();
    let running = tokio::spawn(whole.run(theirs));
    let steps = Steps {
        serves: || (),
        make_main: || (),
    };
    let handed = house.gateway.handle().hand_over(ours, steps).await;
    handed.unwrap().finish().await;
    running.await.unwrap();
    std::mem::take(&mut *took.lock().unwrap())
}

async fn ends_after(words: usize, hears: bool) {
    let old = House::start().await;
    let clients = old.held(HELD).await;
    let successor = Successor::new(words, hears);
    let took = Arc::clone(&successor.took);
    let (outcome, is_main) = hand_over(&old, successor).await;
    // The sockets end with the process.
    let took = std::mem::take(&mut *took.lock().unwrap()).len();
    assert!(
        matches!(outcome, Err(HandOverError::Ended)) && !is_main,
        "{outcome:?}"
    );
    let batches = words.saturating_sub(BEFORE_PARCELS);
    assert!((batches..=batches * SOCKETS_MAX).contains(&took), "{took}");
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
    let clients = old.held(HELD).await;
    assert_eq!(hand_all_over(&old).await.len(), HELD);
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
