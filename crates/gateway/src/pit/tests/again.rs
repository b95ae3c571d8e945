//! Holds in the mail lane: of those who keep their upstream connection for the grace time.

use std::time::Duration;

use tarpit_core::policy::Way;

use crate::sample::LATE;
use crate::scene::{Client, House, Server};

/// A mode was left somewhere, and whoever has to wait on asks the machine and is held anew: what it
/// has heard of its reply is not said again.
#[tokio::test]
async fn a_reply_in_pieces_is_said_once() {
    let server = Server::start().await;
    let house = House::with(|config| {
        config.deliveries = vec![server.delivery(LATE)];
        let policy = &mut config.listeners[0].policy;
        policy.way = Way::Stutter;
        policy.pace = Duration::from_millis(50);
    })
    .await;
    let mut client = Client::connect(&house).await;
    client.told("RCPT TO:<user@example.org>", "250").await;
    client.say("RCPT TO:<nobody@example.org>").await;
    let begun = client.octets(2).await;
    let shared = house.shared();
    assert_eq!((shared.places.active(), shared.places.held()), (1, 0));
    shared.ease();
    let rest = client.line().await;
    assert_eq!(begun + &rest, "550 5.1.1 Who is that\r\n");
    client.told("QUIT", "221").await;
}
