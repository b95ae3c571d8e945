//! Sessions that leave the pit find a place outside it, or end.

use std::time::Duration;

use crate::config::{Certificate, ListenerTls};
use crate::scene::{Client, House, Server, count, empty, until};

const GUESS: &str = "RCPT TO:<nobody@example.org>";
const RIGHT: &str = "RCPT TO:<user@example.org>";

/// Places outside the pit.
const PLACES: usize = 4;

/// Each came when there were places, and was held where it is not counted.
async fn held_in_turn(house: &House, number: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for there in 0..number {
        let mut client = Client::connect_from([127, 0, 0, 2], house).await;
        client.say(GUESS).await;
        house.are_held(there + 1).await;
        clients.push(client);
    }
    clients
}

async fn house(server: &Server) -> House {
    House::with(|config| {
        config.deliveries = vec![server.delivery(Duration::from_millis(100))];
        config.limits.sessions_max = u32::try_from(PLACES).unwrap();
    })
    .await
}

/// And known senders have theirs beyond those of all (DESIGN promise 3).
#[tokio::test]
async fn no_more_leave_than_there_are_places() {
    let server = Server::start().await;
    let house = house(&server).await;
    let shared = house.shared();
    let mut sender = Client::connect_from([127, 0, 0, 3], &house).await;
    sender.told(RIGHT, "250").await;
    sender.told("DATA", "354").await;
    sender.told("hello\r\n.", "250").await;
    sender.told("QUIT", "221").await;
    empty(&shared).await;
    let mut clients = held_in_turn(&house, PLACES + 3).await;
    let mut known = Client::connect_from([127, 0, 0, 3], &house).await;
    known.say(GUESS).await;
    house.are_held(PLACES + 4).await;
    for client in &mut clients {
        assert_eq!(client.code().await, "550");
    }
    assert_eq!(known.code().await, "550");
    assert_eq!(shared.places.active(), 0);
    let mut later = clients.pop().unwrap();
    let surplus = clients.split_off(PLACES);
    for client in &mut clients {
        client.told(RIGHT, "250").await;
    }
    let refused = || shared.metrics.sessions_refused_full.get();
    for mut client in surplus {
        client.told(RIGHT, "421").await;
        assert_eq!(client.code().await, "");
    }
    assert_eq!((count(shared.places.active()), refused()), (PLACES, 2));
    known.told(RIGHT, "250").await;
    assert_eq!((count(shared.places.active()), refused()), (PLACES + 1, 2));
    known.told("QUIT", "221").await;
    clients.pop().unwrap().told("QUIT", "221").await;
    until("nobody has left", || count(shared.places.active()) < PLACES).await;
    later.told(RIGHT, "250").await;
    drop((clients, later));
    empty(&shared).await;
}

/// Behind "220 Ready to start TLS" a client would take 421 for the beginning of TLS.
#[tokio::test]
async fn who_finds_no_place_for_tls_hears_421_instead_of_220() {
    let files = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["mx.example.org".to_owned()]).unwrap();
    let (chain, key) = (files.path().join("chain"), files.path().join("key"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let server = Server::start().await;
    let house = House::with(|config| {
        config.deliveries = vec![server.delivery(Duration::from_millis(100))];
        config.certificates = vec![Certificate { chain, key }];
        config.listeners[0].tls = ListenerTls::StartTls;
        config.limits.sessions_max = u32::try_from(PLACES).unwrap();
    })
    .await;
    let shared = house.shared();
    let mut held = held_in_turn(&house, PLACES + 1).await;
    for client in &mut held {
        assert_eq!(client.code().await, "550");
    }
    let mut last = held.pop().unwrap();
    for client in &mut held {
        client.told(RIGHT, "250").await;
    }
    // What it said before is answered.
    last.say("RSET\r\nSTARTTLS").await;
    assert_eq!(last.code().await, "250");
    assert_eq!(last.code().await, "421");
    assert_eq!(last.code().await, "");
    drop(held);
    empty(&shared).await;
}
