use proptest::collection::vec;
use proptest::prelude::*;
use tarpit_core::Prefixes;

use super::*;

fn source() -> impl Strategy<Value = Source> {
    let prefixes = (1_u8..=32, 1_u8..=128).prop_map(|(v4, v6)| Prefixes { v4, v6 });
    (any::<std::net::IpAddr>(), prefixes).prop_map(|(ip, prefixes)| Source::of(ip, prefixes))
}

fn flags() -> impl Strategy<Value = Flags> {
    any::<[bool; 4]>().prop_map(|[listens, half_closed, small_window, prompt]| Flags {
        listens,
        half_closed,
        small_window,
        prompt,
    })
}

fn freight() -> impl Strategy<Value = Freight> {
    let times = (any::<u64>(), any::<u32>(), any::<u32>(), any::<u32>());
    let octets = (vec(any::<u8>(), 0..60), vec(any::<u8>(), 0..200));
    let numbers = any::<[Option<u64>; 2]>();
    (source(), times, numbers, flags(), octets).prop_map(
        |(source, (until, since, said, patience), [ticket, veil], flags, (paced, record))| {
            Freight {
                source,
                until: Tick::from_millis(until),
                since,
                said,
                patience,
                ticket,
                veil,
                flags,
                paced: paced.into(),
                record: record.into(),
            }
        },
    )
}

fn why() -> impl Strategy<Value = Why> {
    prop_oneof![
        Just(Why::Input),
        Just(Why::Due),
        Just(Why::Recalled),
        Just(Why::Drain),
        Just(Why::Shed)
    ]
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        vec(any::<u8>(), 0..100).prop_map(|farewell| Message::Hello {
            farewell: farewell.into()
        }),
        any::<(u64, u64)>().prop_map(|(taken, allowed)| Message::Credit(Credit { taken, allowed })),
        vec(freight(), 0..20).prop_map(Message::Park),
        vec((why(), freight()), 0..20).prop_map(Message::Back),
        vec(freight(), 0..20).prop_map(Message::Gone),
        vec(source(), 0..50).prop_map(Message::Holds),
        vec(any::<u64>(), 0..50).prop_map(Message::Recall),
        any::<[u64; 4]>().prop_map(|[sessions, octets, unread, sheds]| {
            let load = Load {
                sessions,
                octets,
                unread,
            };
            Message::Load { load, sheds }
        }),
        (any::<bool>(), any::<u64>()).prop_map(|(all, count)| {
            let among = if all { Among::All } else { Among::Unread };
            Message::Shed(among, count)
        }),
        Just(Message::Drain),
        Just(Message::Unveil),
        Just(Message::Release),
        Just(Message::Released),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in message()) {
        let octets = message.encode();
        prop_assert_eq!(Message::decode(&octets), Ok(message));
    }

    #[test]
    fn no_end_is_taken_for_another(message in message(), cut in any::<prop::sample::Index>()) {
        let mut octets = message.encode();
        let cut = cut.index(octets.len());
        prop_assert!(Message::decode(&octets[..cut]).is_err());
        octets.push(0);
        prop_assert!(Message::decode(&octets).is_err());
    }

    #[test]
    fn any_octets_are_read_or_refused(mut octets in vec(any::<u8>(), 0..400), kind in 0_u8..=UNVEIL + 1) {
        if let Ok(message) = Message::decode(&octets) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
        octets.splice(0..0, [VERSION, kind]);
        if let Ok(message) = Message::decode(&octets) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn a_flipped_bit_does_no_harm(message in message(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut octets = message.encode();
        let at = at.index(octets.len());
        octets[at] ^= 1_u8 << bit;
        if let Ok(message) = Message::decode(&octets) {
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn no_parcel_is_larger_than_it_says(freight in freight()) {
        let alone = Message::Back(vec![(Why::Due, freight.clone())]).encode();
        prop_assert!(alone.len() <= freight.size() + HEAD_MAX);
    }
}

pub(crate) fn small() -> Freight {
    Freight {
        source: Source::V4(0xc000_0201, 32),
        until: Tick::from_millis(20_000_000),
        since: 19_995,
        said: 0,
        patience: 300,
        ticket: None,
        veil: None,
        flags: Flags::default(),
        paced: [b'p'; 60].into(),
        record: [b'r'; 110].into(),
    }
}

#[test]
fn a_usual_parcel_is_small() {
    let octets = Message::Park(vec![small()]).encode();
    assert!(octets.len() <= 60 + 110 + 24, "{}", octets.len());
    let sources = Message::Holds(vec![Source::V4(1, 32), Source::V6(1 << 64, 64)]).encode();
    assert_eq!(sources.len(), 3 + 6 + 10);
}

#[test]
fn as_many_as_fit() {
    let many = vec![small(); 300];
    assert_eq!(fitting(many.iter(), 1000), SOCKETS_MAX);
    assert_eq!(fitting(many.iter(), 7), 7);
    assert_eq!(fitting([].iter(), 7), 0);
    let large = Freight {
        record: vec![0; 20_000].into(),
        ..small()
    };
    assert!(large.fits());
    let large = vec![large; 10];
    assert_eq!(fitting(large.iter(), 1000), 3);
    assert!(Message::Park(large[..3].to_vec()).encode().len() <= MESSAGE_MAX);
    let huge = Freight {
        record: vec![0; MESSAGE_MAX].into(),
        ..small()
    };
    assert!(!huge.fits());
}

#[test]
fn claims_are_bounded() {
    let too_many = |kind: u8| [&[VERSION, kind][..], &[0xff; 9], &[1]].concat();
    for kind in [PARK, BACK, GONE] {
        assert_eq!(
            Message::decode(&too_many(kind)),
            Err(Unreadable::Broken("parcels"))
        );
    }
    assert_eq!(
        Message::decode(&[VERSION, HELLO, 0xff, 0xff, 0xff, 0x7f]),
        Err(Unreadable::Broken("farewell"))
    );
    // A keeper of the first version would write a reply onto a socket of TLS.
    for version in [1, 9] {
        let refused = Err(Unreadable::Version(version));
        assert_eq!(Message::decode(&[version, DRAIN]), refused);
    }
    assert_eq!(Message::decode(&[VERSION, 77]), Err(Unreadable::Kind(77)));
    let list = Message::Recall(vec![u64::MAX; TICKETS_MAX]).encode();
    assert!(list.len() <= MESSAGE_MAX && Message::decode(&list).is_ok());
    let list = Message::Holds(vec![Source::V6(u128::MAX, 128); SOURCES_MAX]).encode();
    assert!(list.len() <= MESSAGE_MAX && Message::decode(&list).is_ok());
}
