//! What a predecessor says can't be read: it goes on, and ends the successor that took too little.

use rustix::net::SendFlags;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;

use super::super::taker::Estate;
use super::*;
use crate::sample::LATE;
use crate::shared::Stop;

/// The predecessor's end of the line to a successor that serves already.
async fn attended(house: &House) -> (Wire, oneshot::Receiver<()>, JoinHandle<()>) {
    let (ours, theirs) = pair().unwrap();
    let predecessor = Wire::new(ours).unwrap();
    let nothing = Message::Listeners {
        more: false,
        list: Vec::new(),
    };
    predecessor.send(&nothing, &[]).await.unwrap();
    let estate = Estate::receive(theirs).await.unwrap();
    let (known, is_known) = oneshot::channel();
    let handle = house.gateway.handle();
    let attending = tokio::spawn(async move { handle.attend(estate, known).await });
    (predecessor, is_known, attending)
}

fn say_nonsense(predecessor: &Wire) {
    rustix::net::send(predecessor, b"\x01\xff", SendFlags::empty()).unwrap();
}

/// Else the service manager would be told that this is the main process, while the old one goes on.
#[tokio::test]
async fn before_it_is_known_it_drains() {
    let house = House::start().await;
    let mut stop = house.shared().stop.subscribe();
    let (mut predecessor, mut is_known, attending) = attended(&house).await;
    say_nonsense(&predecessor);
    let drains = stop.wait_for(|stop| *stop == Stop::Draining);
    let drains = tokio::time::timeout(LATE, drains).await;
    drains.expect("it serves on").unwrap();
    let heard = predecessor.receive().await;
    assert!(matches!(heard, Ok(None)), "it is not told: {heard:?}");
    assert_eq!(is_known.try_recv(), Err(TryRecvError::Empty));
    drop(is_known);
    attending.await.unwrap();
}

#[tokio::test]
async fn after_that_it_serves_on() {
    let house = House::start().await;
    let (predecessor, is_known, attending) = attended(&house).await;
    predecessor.send(&Message::Main, &[]).await.unwrap();
    assert_eq!(is_known.await, Ok(()));
    say_nonsense(&predecessor);
    attending.await.unwrap();
    house.deliver().await;
    assert_eq!(house.messages(), 1);
}

#[tokio::test]
async fn a_predecessor_that_is_gone_leaves_it_to_us() {
    let house = House::start().await;
    let (predecessor, is_known, attending) = attended(&house).await;
    drop(predecessor);
    assert!(is_known.await.is_err());
    attending.await.unwrap();
    house.deliver().await;
}
