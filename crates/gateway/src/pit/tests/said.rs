//! Sessions whose reply a keeper has said: the machine hears of it later than their client.

use std::time::Duration;

use tarpit_core::record::{HoldEnd, SessionEnd};
use tarpit_core::{Prefixes, SessionId, Source, Tick};
use tokio::sync::mpsc;

use crate::keeper::{Cargo, Flags, Freight, Why};
use crate::pit::parcel::{Parcel, seconds};
use crate::scene::{Client, House, empty};

/// More than any reply has.
const ALL: u32 = 10_000;

fn source() -> Source {
    Source::of([127, 0, 0, 1].into(), Prefixes::default())
}

/// The one session that is held, taken out of its lane.
async fn taken(house: &House) -> Box<Parcel> {
    house.are_held(1).await;
    let shared = house.shared();
    let (successor, mut parcels) = mpsc::unbounded_channel();
    let (walks, _) = mpsc::channel(1);
    shared.pit.hand_over(&successor, &walks);
    let parcel = parcels.recv().await.unwrap();
    // As from a keeper, it is counted still.
    shared.places.add_held(source());
    parcel
}

/// What a keeper gives back that has said its reply.
fn told(parcel: Parcel) -> Cargo {
    let freight = Freight {
        source: source(),
        until: parcel.until,
        since: parcel.since,
        said: ALL,
        patience: 0,
        ticket: None,
        veil: None,
        flags: Flags::default(),
        paced: Box::default(),
        record: parcel.record,
    };
    Cargo {
        freight,
        socket: parcel.socket.into(),
        veil: None,
    }
}

#[tokio::test]
async fn who_was_silent_in_a_keeper_has_not_the_whole_time_again() {
    const TIMEOUT: Duration = Duration::from_secs(60);
    let house = House::with(|config| config.limits.command_timeout = TIMEOUT).await;
    let shared = house.shared();
    for silent in [TIMEOUT, Duration::ZERO] {
        // A lane that handed out what it held keeps nobody.
        let before = House::start().await;
        let mut client = Client::connect(&before).await;
        client.say("RCPT TO:<nobody@example.org>").await;
        let mut parcel = taken(&before).await;
        shared.places.add_held(source());
        tokio::time::sleep_until(shared.clock.instant(parcel.until)).await;
        // It was said so long ago.
        parcel.since = seconds(shared.clock.now()).saturating_sub(seconds(Tick::ZERO + silent));
        shared.pit.take_back(&shared, Why::Due, told(*parcel));
        if silent == TIMEOUT {
            assert_eq!(client.code().await, "421");
        } else {
            client.told("NOOP", "250").await;
        }
    }
    house.gateway.handle().drain();
    empty(&shared).await;
}

#[tokio::test]
async fn a_transaction_goes_on_when_the_gateway_drains() {
    let house = House::start().await;
    let shared = house.shared();
    let mut client = Client::connect(&house).await;
    client.told("RCPT TO:<user@example.org>", "250").await;
    client.say("RCPT TO:<nobody@example.org>").await;
    let mut parcel = taken(&house).await;
    tokio::time::sleep_until(shared.clock.instant(parcel.until)).await;
    parcel.said = ALL;
    house.gateway.handle().drain();
    shared.pit.put(SessionId(0), parcel);
    client.told("DATA", "354").await;
    client.told("hello\r\n.", "250").await;
    assert_eq!(client.code().await, "421");
    empty(&shared).await;
    assert_eq!(house.messages(), 1);
}

#[tokio::test]
async fn who_has_heard_it_does_not_hang_up_in_a_hold() {
    let house = House::start().await;
    let shared = house.shared();
    let mut client = Client::connect(&house).await;
    client.say("RCPT TO:<nobody@example.org>").await;
    let parcel = taken(&house).await;
    tokio::time::sleep_until(shared.clock.instant(parcel.until)).await;
    shared.pit.bury(&shared, &told(*parcel).freight, None);
    let counts = shared.metrics.snapshot();
    assert_eq!(counts.session_ends.get(SessionEnd::HangUp), 1);
    assert_eq!(counts.hold_ends.get(HoldEnd::Paid), 1);
    empty(&shared).await;
}
