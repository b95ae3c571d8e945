//! A record of another version, from a predecessor or from a keeper: 421, counted, and no session is
//! held that is not there.

use super::super::parcels;
use super::*;
use crate::keeper::{Cargo, Why};
use crate::sample::LATE;
use crate::scene::Client;

/// The first octet of a record is its version.
fn of_another_version(record: &mut [u8]) {
    record[0] = 0xfe;
}

async fn are_told_to_come_again(clients: &mut [Client]) {
    for client in clients {
        assert_eq!(client.code().await, "421");
        assert_eq!(client.code().await, "", "its connection ends");
    }
}

#[tokio::test]
async fn from_a_predecessor() {
    let (old, new) = (House::start().await, House::start().await);
    let mut clients = old.held(4).await;
    // Unread octets would make a reset of the end, which overtakes the reply.
    clients[0].say("NOOP").await;
    let shared = new.shared();
    let mut took = hand_all_over(&old).await;
    took.sort_by_key(|(held, _)| held.freight.until);
    for (number, (mut held, socket)) in took.into_iter().enumerate() {
        if number < 2 {
            of_another_version(&mut held.freight.record);
        }
        parcels::take(&shared, held, socket);
    }
    assert_eq!(count(shared.places.held()), 2);
    are_told_to_come_again(&mut clients[..2]).await;
    assert_eq!(shared.metrics.sessions_unreadable.get(), 2);
    for client in &mut clients[2..] {
        assert_eq!(client.code().await, "550");
        client.told("QUIT", "221").await;
    }
    empty(&shared).await;
    assert_eq!(shared.metrics.panics.get(), 0);
}

#[tokio::test]
async fn from_a_keeper() {
    let (old, new) = (House::start().await, House::start().await);
    let mut clients = old.held(3).await;
    let shared = new.shared();
    let mut took = hand_all_over(&old).await;
    took.sort_by_key(|(held, _)| held.freight.until);
    for (number, (held, socket)) in took.into_iter().enumerate() {
        let mut freight = held.freight;
        // As it was counted when it went there.
        shared.places.add_held(freight.source);
        match number {
            0 => {
                of_another_version(&mut freight.record);
                give_back(&shared, freight, socket);
            }
            1 => {
                // Its client is gone; nobody is left to be told.
                of_another_version(&mut freight.record);
                shared.pit.bury(&shared, &freight, None);
            }
            _ => give_back(&shared, freight, socket),
        }
    }
    are_told_to_come_again(&mut clients[..1]).await;
    assert_eq!(shared.metrics.sessions_unreadable.get(), 2);
    assert_eq!(count(shared.places.held()), 1);
    let refused = tokio::time::timeout(LATE, clients[2].code()).await;
    assert_eq!(refused.unwrap(), "550");
    clients[2].told("QUIT", "221").await;
    empty(&shared).await;
}

pub(super) fn give_back(
    shared: &Arc<crate::shared::Shared>,
    freight: crate::keeper::Freight,
    socket: OwnedFd,
) {
    let cargo = Cargo {
        freight,
        socket,
        veil: None,
    };
    shared.pit.take_back(shared, Why::Due, cargo);
}
