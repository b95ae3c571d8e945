//! A session that a bug ends between two processes takes nobody along.

use super::unreadable::give_back;
use super::*;
use crate::scene::{BUG_FROM_A_KEEPER, BUG_IN_A_RECORD, Client};

const GUESS: &str = "RCPT TO:<nobody@example.org>";

#[tokio::test]
async fn on_the_way_to_a_successor() {
    let old = House::start().await;
    let mut unlucky = Client::connect_as(BUG_IN_A_RECORD, &old).await;
    unlucky.say(GUESS).await;
    old.are_held(1).await;
    let others = old.held(2).await;
    assert_eq!(hand_all_over(&old).await.len(), 2);
    assert_eq!(unlucky.code().await, "421");
    assert_eq!(unlucky.code().await, "");
    let shared = old.shared();
    assert_eq!(shared.metrics.panics.get(), 1);
    empty(&shared).await;
    drop(others);
}

#[tokio::test]
async fn back_from_a_keeper() {
    let (old, new) = (House::start().await, House::start().await);
    let mut unlucky = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect_as(BUG_FROM_A_KEEPER, &old).await;
        client.say(GUESS).await;
        unlucky.push(client);
    }
    old.are_held(2).await;
    let mut other = old.held(1).await.remove(0);
    let shared = new.shared();
    let mut took = hand_all_over(&old).await;
    took.sort_by_key(|(held, _)| held.freight.until);
    let keepers = std::thread::Builder::new().name("keepers".to_owned());
    let given = keepers.spawn({
        let shared = Arc::clone(&shared);
        move || {
            for (number, (held, socket)) in took.into_iter().enumerate() {
                // As it was counted when it went there.
                shared.places.add_held(held.freight.source);
                if number == 0 {
                    shared.pit.bury(&shared, &held.freight, None);
                } else {
                    give_back(&shared, held.freight, socket);
                }
            }
        }
    });
    given
        .unwrap()
        .join()
        .expect("the thread of the keepers ended");
    assert_eq!(unlucky[0].code().await, "");
    assert_eq!(unlucky[1].code().await, "421");
    assert_eq!(unlucky[1].code().await, "");
    assert_eq!(shared.metrics.panics.get(), 2);
    assert_eq!(other.code().await, "550");
    other.told("QUIT", "221").await;
    empty(&shared).await;
}
