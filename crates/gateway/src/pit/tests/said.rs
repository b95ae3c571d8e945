//! Sessions whose reply a keeper has said: the machine hears of it later than their client.

use std::io::Read as _;
use std::time::Duration;

use tarpit_core::record::{HoldEnd, SessionEnd};
use tarpit_core::{Prefixes, SessionId, Source, Tick};
use tokio::sync::mpsc;

use super::{pair, parcel};
use crate::keeper::message::put_number;
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

/// A record that this version can't read, of somebody who has heard a part of its reply: 421 does not
/// stand in the middle of a line.
#[tokio::test]
async fn who_can_not_be_served_hears_the_rest_of_its_reply_first() {
    const TEXT: &[u8] = b"550-no\r\n550 such user\r\n";
    let house = House::start().await;
    let shared = house.shared();
    let now = shared.clock.now();
    let mut in_pieces = vec![1, 2, 2, 100];
    put_number(now.as_millis(), &mut in_pieces);
    put_number(now.as_millis() + 60_000, &mut in_pieces);
    in_pieces.push(u8::try_from(TEXT.len()).unwrap());
    in_pieces.extend_from_slice(TEXT);
    let cases: [(u32, &[u8], &str); 5] = [
        (0, &in_pieces, "421"),
        // All of it was said by a keeper.
        (ALL, &[], "421"),
        (8, &in_pieces, "550 such user"),
        // In a form that is not known here.
        (8, &[77], ""),
        (0, &[77], "421"),
    ];
    for (said, paced, expected) in cases {
        let (mut client, ours) = pair().unwrap();
        let mut parcel = parcel(ours, now.as_millis() + 60_000);
        parcel.record = Box::from(&b"of another version"[..]);
        let mut cargo = told(parcel);
        cargo.freight.said = said;
        cargo.freight.paced = paced.into();
        shared.places.add_held(source());
        shared.pit.take_back(&shared, Why::Due, cargo);
        let mut heard = String::new();
        client.read_to_string(&mut heard).unwrap();
        assert!(heard.starts_with(expected), "{said}: {heard}");
        let is_dismissed = heard
            .lines()
            .last()
            .is_some_and(|line| line.starts_with("421"));
        assert_eq!(is_dismissed, !expected.is_empty(), "{heard}");
    }
}
