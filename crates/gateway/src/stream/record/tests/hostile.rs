//! Records that nobody who means well sends, with the client's own keys and without.

use super::*;
use crate::stream::record::hear::FRUITLESS_MAX;

/// A client that can send any record.
struct Forger {
    secrets: ConnectionTrafficSecrets,
    sequence: u64,
    version: Version,
}

impl Forger {
    fn of(client: ClientConnection, version: Version) -> Self {
        let (sequence, secrets) = client.dangerous_extract_secrets().unwrap().tx;
        Self {
            secrets,
            sequence,
            version,
        }
    }

    fn seal(&mut self, kind: u8, text: &[u8], wire: &mut Wire) {
        let cipher = Cipher::of(self.version, &self.secrets).unwrap();
        let pieces = [IoSlice::new(text)];
        let text = (&pieces[..], 0, text.len());
        cipher
            .seal(self.sequence, kind.into(), text, &mut wire.sent)
            .unwrap();
        self.sequence += 1;
    }
}

fn forgers() -> [(Records, Forger); 2] {
    [(tls13(), Version::Tls13), (tls12(), Version::Tls12)]
        .map(|((records, client), version)| (records, Forger::of(client, version)))
}

fn forger(version: Version) -> (Records, Forger) {
    let of_version = |(records, _): &(Records, Forger)| records.version == version;
    forgers().into_iter().find(of_version).unwrap()
}

fn error_of(records: &mut Records, wire: &mut Wire) -> Error {
    let error = read_all(records, wire, 512).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    // It stays so.
    let again = records.read(wire, &mut [0; 16]).unwrap_err();
    assert_eq!(again.to_string(), error.to_string());
    let write = records.write(Sink(wire), &[IoSlice::new(b"x")]);
    assert_eq!(write.unwrap_err().kind(), ErrorKind::BrokenPipe);
    error.downcast::<Error>().unwrap()
}

/// What the client is told.
fn told(client: &mut ClientConnection, wire: &mut Wire) -> Error {
    wire.understand(client).unwrap_err()
}

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const DATA: u8 = 23;

#[test]
fn any_changed_octet_is_found() {
    for (mut records, mut client) in versions() {
        let mut wire = Wire::default();
        wire.say(&mut client, b"RCPT TO:<a@example.org>\r\n");
        let (record, sequence) = (wire.sent.clone(), records.read.sequence);
        for place in 0..record.len() {
            for bit in [1, 0x80] {
                records.read.sequence = sequence;
                records.end = End::Open;
                wire.sent.clone_from(&record);
                wire.sent[place] ^= bit;
                // The version means nothing in TLS 1.3 (RFC 8446 §5.1); a longer record has not
                // come whole.
                match records.read(&mut wire, &mut [0; 512]) {
                    Ok(count) => {
                        assert!(records.version == Version::Tls13 && (1..3).contains(&place));
                        assert_eq!(count, 25);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        assert!((3..5).contains(&place), "{place}");
                        records.incoming = Vec::new();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::InvalidData),
                }
            }
        }
    }
}

#[test]
fn who_cheats_is_told() {
    let cases: [(&[u8], AlertDescription); 4] = [
        (
            &[&[DATA, 3, 3, 0, 40][..], &[b'x'; 40]].concat(),
            AlertDescription::BadRecordMac,
        ),
        (&[DATA, 3, 3, 0, 0], AlertDescription::BadRecordMac),
        (&[DATA, 3, 3, 0x48, 1], AlertDescription::RecordOverflow),
        // RFC 8446 §5: not after the handshake.
        (&[20, 3, 3, 0, 1, 1], AlertDescription::UnexpectedMessage),
    ];
    for (sent, alert) in cases {
        for (mut records, mut client) in versions() {
            let mut wire = Wire::of(sent);
            error_of(&mut records, &mut wire);
            assert_eq!(told(&mut client, &mut wire), Error::AlertReceived(alert));
        }
    }
}

#[test]
fn records_shorter_than_any() {
    for (mut records, _) in versions() {
        for len in 0..=24 {
            records.end = End::Open;
            let record = [&[DATA, 3, 3, 0, len][..], &[0; 24][..usize::from(len)]].concat();
            let mut wire = Wire::of(&record);
            let error = read_all(&mut records, &mut wire, 512).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
    }
}

#[test]
fn a_record_comes_once() {
    for (mut records, mut client) in versions() {
        let mut wire = Wire::default();
        wire.say(&mut client, b"one");
        let first = wire.sent.clone();
        assert_eq!(read_all(&mut records, &mut wire, 16).unwrap(), b"one");
        wire.sent = first;
        assert_eq!(error_of(&mut records, &mut wire), Error::DecryptError);
    }
}

/// RFC 8446 §5.4
#[test]
fn padding_is_taken_off() {
    let (mut records, mut forger) = forger(Version::Tls13);
    let mut wire = Wire::default();
    for padding in [0, 1, 300, 16_000] {
        // The type stands in front of the padding; what `seal` adds is the last zero.
        let text = [b"NOOP\r\n", &[DATA][..], &vec![0; padding]].concat();
        forger.seal(0, &text, &mut wire);
        assert_eq!(read_all(&mut records, &mut wire, 16).unwrap(), b"NOOP\r\n");
    }
    // The largest there is, and nothing but padding.
    forger.seal(DATA, &[b'x'; PLAINTEXT_MAX], &mut wire);
    let all = read_all(&mut records, &mut wire, 512).unwrap();
    assert_eq!(all.len(), PLAINTEXT_MAX);
    forger.seal(0, &[0; 20], &mut wire);
    error_of(&mut records, &mut wire);
}

#[test]
fn more_than_a_record_may_have() {
    for (mut records, mut forger) in forgers() {
        let mut wire = Wire::default();
        forger.seal(DATA, &[b'x'; PLAINTEXT_MAX + 1], &mut wire);
        let error = error_of(&mut records, &mut wire);
        assert_eq!(error, Error::PeerSentOversizedRecord);
    }
}

#[test]
fn records_without_data_are_counted() {
    for (mut records, mut forger) in forgers() {
        let mut wire = Wire::default();
        for _ in 0..10 {
            for _ in 0..FRUITLESS_MAX {
                forger.seal(DATA, b"", &mut wire);
            }
            forger.seal(DATA, b"x", &mut wire);
        }
        let all = read_all(&mut records, &mut wire, 512).unwrap();
        assert_eq!(all, b"xxxxxxxxxx");
        for _ in 0..=FRUITLESS_MAX {
            forger.seal(DATA, b"", &mut wire);
        }
        error_of(&mut records, &mut wire);
    }
}

#[test]
fn alerts() {
    for (mut records, mut forger) in forgers() {
        let mut wire = Wire::default();
        // user_canceled
        forger.seal(ALERT, &[1, 90], &mut wire);
        forger.seal(DATA, b"NOOP\r\n", &mut wire);
        let all = read_all(&mut records, &mut wire, 512).unwrap();
        assert_eq!(all, b"NOOP\r\n");
        forger.seal(ALERT, &[2, 80], &mut wire);
        let alert = Error::AlertReceived(AlertDescription::InternalError);
        assert_eq!(error_of(&mut records, &mut wire), alert);
        // Nobody answers an alert.
        assert!(wire.heard.borrow().is_empty());
    }
    for text in [&[][..], &[1], &[1, 0, 1, 0]] {
        for (mut records, mut forger) in forgers() {
            let mut wire = Wire::default();
            forger.seal(ALERT, text, &mut wire);
            error_of(&mut records, &mut wire);
        }
    }
}

#[test]
fn nothing_comes_after_the_end() {
    for (mut records, mut forger) in forgers() {
        let mut wire = Wire::default();
        forger.seal(DATA, b"one", &mut wire);
        forger.seal(ALERT, &[1, 0], &mut wire);
        forger.seal(DATA, b"two", &mut wire);
        assert_eq!(read_all(&mut records, &mut wire, 512).unwrap(), b"one");
        assert_eq!(records.read(&mut wire, &mut [0; 16]).unwrap(), 0);
        assert_eq!(records.incoming.capacity(), 0);
    }
}

#[test]
fn handshake_messages_after_the_handshake() {
    // Not 0 or 1; something behind it; cut; others.
    let bad: [&[u8]; 6] = [
        &[24, 0, 0, 1, 2],
        &[24, 0, 0, 1, 1, 24, 0, 0, 1, 1],
        &[24, 0, 0],
        &[1, 0, 0, 0],
        &[13, 0, 0, 0],
        &[],
    ];
    for text in bad {
        let (mut records, mut forger) = forger(Version::Tls13);
        let mut wire = Wire::default();
        forger.seal(HANDSHAKE, text, &mut wire);
        error_of(&mut records, &mut wire);
    }
}

/// RFC 5246 §7.2.2: a warning; whoever insists is sent away.
#[test]
fn another_handshake_is_refused() {
    let (mut records, mut forger) = forger(Version::Tls12);
    let mut wire = Wire::default();
    forger.seal(HANDSHAKE, &[1, 0, 0, 2, 3, 3], &mut wire);
    forger.seal(DATA, b"NOOP\r\n", &mut wire);
    let all = read_all(&mut records, &mut wire, 512).unwrap();
    assert_eq!(all, b"NOOP\r\n");
    assert!(!wire.heard.borrow().is_empty());
    forger.seal(HANDSHAKE, &[1, 0, 0, 2, 3, 3], &mut wire);
    error_of(&mut records, &mut wire);
}

/// Whoever stands in between can cut, change, swap, repeat and leave out: what is read is the
/// beginning of what was said.
#[test]
fn only_what_was_said_is_read() {
    let mut random = 1_u64;
    let mut next = move |below: usize| {
        // Knuth's constants; the upper half is good enough.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(random >> 33).unwrap() % below
    };
    let mut whole = 0;
    for _ in 0..150 {
        for (mut records, mut client) in versions() {
            let (mut sealed, mut said) = (Vec::new(), Vec::new());
            for part in octets(next(3_000) + 1).chunks(next(400) + 1) {
                let mut wire = Wire::default();
                wire.say(&mut client, part);
                sealed.push(wire.sent);
                said.extend_from_slice(part);
            }
            let (one, other) = (next(sealed.len()), next(sealed.len()));
            match next(5) {
                0 => sealed.swap(one, other),
                1 => drop(sealed.remove(one)),
                2 => sealed.insert(one, sealed[other].clone()),
                3 => {
                    let place = next(sealed[one].len());
                    sealed[one][place] ^= 1 << next(8);
                }
                _ => sealed.truncate(one),
            }
            let mut wire = Wire::of(&sealed.concat());
            wire.at_once = next(2_000);
            let (mut buffer, mut read) = (vec![0; next(700) + 1], Vec::new());
            while let Ok(count @ 1..) = records.read(&mut wire, &mut buffer) {
                read.extend_from_slice(&buffer[..count]);
            }
            assert!(said.starts_with(&read));
            whole += usize::from(said == read);
        }
    }
    assert!(whole < 150, "most of this does harm: {whole}");
}
