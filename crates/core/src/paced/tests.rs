//! Whatever is said in whatever pieces is one well-formed reply, complete at its time.

use proptest::prelude::*;
use tarpit_smtp::{ReplyCode, ReplyReader, ReplyStep};

use super::*;
use crate::policy::REPLY_MAX;

fn reply() -> impl Strategy<Value = Reply> {
    let code = prop_oneof![Just(550_u16), Just(421), Just(554), Just(450), 500..600_u16];
    let line = "[ -~]{0,40}|5\\.1\\.1 [ -~]{0,40}|[ -~]{500,600}";
    (
        code,
        prop_oneof![3 => proptest::collection::vec(line, 1..6), 1 => proptest::collection::vec("[ -~]{0,30}", 60..100)],
    )
        .prop_map(|(code, lines)| {
            Reply::new(ReplyCode::new(code).expect("in range"), &lines.join("\n"))
        })
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        Just(Way::Silent),
        Just(Way::Stutter),
        Just(Way::Continuation)
    ]
}

/// A reply, its timetable, and when it begins.
fn paced() -> impl Strategy<Value = (Reply, Paced)> {
    let longest = u64::try_from(REPLY_MAX.as_millis()).expect("minutes");
    let hold = prop_oneof![0..=longest, 0..20_000_u64];
    let pace = prop_oneof![Just(0_u32), Just(1000), Just(3000), 200..10_000_u32];
    (reply(), way(), pace, 0..1_000_000_u64, hold, any::<bool>()).prop_map(
        |(reply, way, pace, since, hold, secured)| {
            let since = Tick::from_millis(since);
            let until = since + Duration::from_millis(hold);
            let paced = Paced::of((way, pace), (since, until), secured, &reply);
            (reply, paced)
        },
    )
}

/// Says the text as a driver does that comes `late` after each moment that it was told.
fn say(paced: &Paced, late: u64) -> Vec<(Tick, usize)> {
    let mut said = 0;
    let mut pieces = Vec::new();
    while said < paced.text().len() {
        let at = paced.next_at(said) + Duration::from_millis(late);
        let piece = paced.piece(at, said);
        assert!(!piece.is_empty(), "woken for nothing at {at:?}");
        said += piece.len();
        pieces.push((at, said));
    }
    pieces
}

proptest! {
    #[test]
    fn the_text_is_one_reply((reply, paced) in paced()) {
        let text = paced.text();
        let mut reader = ReplyReader::new();
        let Ok(ReplyStep::Done { consumed, reply: found }) = reader.read(text) else {
            panic!("{:?} is no reply", String::from_utf8_lossy(text));
        };
        prop_assert_eq!(consumed, text.len());
        prop_assert_eq!(found.code(), reply.code());
        // It ends as the reply does, and says nothing else before but to wait.
        let mut own = Vec::new();
        reply.write_to(&mut own);
        prop_assert!(text.ends_with(&own));
        let before = &text[..text.len() - own.len()];
        for line in before.split_inclusive(|octet| *octet == b'\n') {
            prop_assert_eq!(line, &answer::please_wait(&reply)[..]);
        }
        prop_assert!(before.len() <= 1024, "{} octets before it", before.len());
        // Every line has the code; all but the last go on (RFC 5321 §4.2.1).
        let code = reply.code().to_string();
        let lines: Vec<&[u8]> = text.split_inclusive(|octet| *octet == b'\n').collect();
        for (at, line) in lines.iter().enumerate() {
            prop_assert!(line.starts_with(code.as_bytes()) && line.ends_with(b"\r\n"));
            prop_assert_eq!(line[3], if at + 1 < lines.len() { b'-' } else { b' ' });
        }
    }

    #[test]
    fn it_is_complete_at_its_time((_, paced) in paced(), late in 0..5_000_u64) {
        let pieces = say(&paced, late);
        let (last, said) = pieces.last().copied().expect("a piece");
        prop_assert_eq!(said, paced.text().len());
        prop_assert!(last >= paced.until());
        prop_assert!(last <= paced.until() + Duration::from_millis(late));
        for (at, said) in &pieces[..pieces.len() - 1] {
            prop_assert!(*at < paced.until());
            prop_assert!(*said <= paced.text().len() - 2, "the end of the reply came early");
        }
    }

    #[test]
    fn a_piece_is_due_when_it_is_said_to_be((_, paced) in paced(), part in 0.0..1.0_f64) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a part of the text")]
        let said = (paced.text().len() as f64 * part) as usize;
        let next = paced.next_at(said);
        prop_assert!(paced.due(next) > said);
        if let Some(before) = next.as_millis().checked_sub(1) {
            prop_assert!(paced.due(Tick::from_millis(before)) <= said);
        }
        prop_assert!(paced.due(paced.since) <= paced.text().len());
    }

    #[test]
    fn over_tls_it_takes_few_records(
        reply in reply(),
        way in way(),
        hold in 0..240_000_u64,
    ) {
        let until = Tick::from_millis(hold);
        let pace = u32::try_from(way.pace().as_millis()).expect("seconds");
        let paced = Paced::of((way, pace), (Tick::ZERO, until), true, &reply);
        prop_assert!(say(&paced, 0).len() as u64 <= RECORDS_MAX);
        let plain = Paced::of((way, pace), (Tick::ZERO, until), false, &reply);
        let pieces = say(&plain, 0).len() as u64;
        prop_assert!(pieces <= (hold / 1000 + 1).max(LINES_MAX + 1));
    }

    #[test]
    fn a_record_comes_back((_, paced) in paced(), rest: Vec<u8>) {
        let mut record = Vec::new();
        paced.encode(&mut record);
        let length = record.len();
        record.extend_from_slice(&rest);
        prop_assert_eq!(Paced::decode(&record), Ok((paced, &rest[..])));
        // At the head each octet counts, in the text one place is as good as another.
        for cut in (0..length.min(24)).chain([length / 2, length - 1]) {
            prop_assert!(Paced::decode(&record[..cut]).is_err(), "cut at {}", cut);
        }
    }

    /// Whatever can be read can be used, and is what was written.
    #[test]
    fn hostile_records_are_harmless(
        (_, paced) in paced(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        noise: Option<Vec<u8>>,
        now: u64,
        said: usize,
    ) {
        let mut record = Vec::new();
        paced.encode(&mut record);
        for (at, octet) in changes {
            *at.get_mut(&mut record) = octet;
        }
        let record = noise.unwrap_or(record);
        if let Ok((paced, rest)) = Paced::decode(&record) {
            let _ = paced.piece(Tick::from_millis(now), said);
            let _ = paced.next_at(said);
            prop_assert!(paced.due(Tick::from_millis(now)) <= paced.text().len());
            prop_assert!(paced.next_at(0) <= paced.until());
            let mut again = Vec::new();
            paced.encode(&mut again);
            prop_assert_eq!(&again[..], &record[..record.len() - rest.len()]);
        }
    }
}

#[test]
fn another_version_is_unreadable() {
    let mut record = Vec::new();
    Paced::whole(Tick::ZERO, Tick::ZERO, Box::default()).encode(&mut record);
    record[0] += 1;
    assert!(Paced::decode(&record).is_err());
}
