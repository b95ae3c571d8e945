//! A bug in the driver of either lane ends the session that met it, and no other; nothing is counted
//! that is not there.

use crate::scene::{BUG_IN_A_RECORD, BUG_IN_THE_MAIL_LANE, BUG_IN_THE_PIT, Client, House, empty};

const GUESS: &str = "RCPT TO:<nobody@example.org>";

#[tokio::test]
async fn in_the_pit() {
    let house = House::start().await;
    let mut others = house.held(3).await;
    let mut unlucky = Client::connect_as(BUG_IN_THE_PIT, &house).await;
    unlucky.say(GUESS).await;
    house.are_held(4).await;
    // Its hold is over when theirs are; the lane lives on and serves them.
    assert_eq!(unlucky.code().await, "421");
    assert_eq!(unlucky.code().await, "");
    for other in &mut others {
        assert_eq!(other.code().await, "550");
        other.told("RCPT TO:<user@example.org>", "250").await;
    }
    let shared = house.shared();
    assert_eq!(shared.metrics.panics.get(), 1);
    assert_eq!(shared.places.all(), 3);
    for mut other in others {
        other.told("QUIT", "221").await;
    }
    empty(&shared).await;
    house.deliver().await;
}

/// Outside of a step: a client that closes its side is only noted.
#[tokio::test]
async fn in_the_pit_beside_the_machine() {
    let house = House::start().await;
    let mut others = house.held(2).await;
    let mut unlucky = Client::connect_as(BUG_IN_A_RECORD, &house).await;
    unlucky.say(GUESS).await;
    house.are_held(3).await;
    unlucky.close().await;
    assert_eq!(unlucky.code().await, "421");
    assert_eq!(unlucky.code().await, "");
    for other in &mut others {
        assert_eq!(other.code().await, "550");
        other.told("QUIT", "221").await;
    }
    let shared = house.shared();
    assert_eq!(shared.metrics.panics.get(), 1);
    empty(&shared).await;
}

#[tokio::test]
async fn in_the_mail_lane() {
    let house = House::start().await;
    let mut other = Client::connect(&house).await;
    let mut unlucky = Client::hello(BUG_IN_THE_MAIL_LANE, &house).await;
    unlucky.say("MAIL FROM:<s@example.net>").await;
    assert_eq!(unlucky.code().await, "");
    let shared = house.shared();
    assert_eq!(shared.metrics.panics.get(), 1);
    other.told("RCPT TO:<user@example.org>", "250").await;
    assert_eq!(shared.places.all(), 1);
    other.told("QUIT", "221").await;
    empty(&shared).await;
}
