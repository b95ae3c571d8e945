//! RFC 8448 §3, "Simple 1-RTT Handshake": TLS_AES_128_GCM_SHA256.

use std::io::IoSlice;

use aws_lc_rs::aead::AES_128_GCM;
use rustls::ContentType;

use crate::stream::record::aead::{Cipher, Version};

/// Key and iv of application data, and the number of the first record: the server sent a ticket
/// before.
const CLIENT: (&str, &str, u64) = (
    "17422dda596ed5d9acd890e3c63f5051",
    "5b78923dee08579033e523d9",
    0,
);
const SERVER: (&str, &str, u64) = (
    "9f02283b6c9c07efc26bb9f2ac92e356",
    "cf782b88dd83549aadf1e984",
    1,
);

/// Of the client: 50 octets, then `close_notify`.
const OF_CLIENT: [&str; 2] = [
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b\
     62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4",
    "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3",
];
const OF_SERVER: [&str; 2] = [
    "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8\
     fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d",
    "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9",
];

fn octets(hex: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap();
    let octet = |pair: &[u8]| u8::try_from(digit(pair[0]) * 16 + digit(pair[1])).unwrap();
    hex.as_bytes().chunks(2).map(octet).collect()
}

#[test]
fn published_records() {
    let data: Vec<u8> = (0..50).collect();
    let texts = [
        (ContentType::ApplicationData, data),
        (ContentType::Alert, vec![1, 0]),
    ];
    for ((key, iv, first), records) in [(CLIENT, OF_CLIENT), (SERVER, OF_SERVER)] {
        let iv = octets(iv);
        let cipher = Cipher::new(Version::Tls13, &AES_128_GCM, &octets(key), &iv).unwrap();
        for (sequence, (record, (kind, text))) in (first..).zip(records.iter().zip(&texts)) {
            let mut sealed = Vec::new();
            let pieces = [IoSlice::new(text)];
            cipher
                .seal(sequence, *kind, (&pieces, 0, text.len()), &mut sealed)
                .unwrap();
            assert_eq!(sealed, octets(record));
            assert!(cipher.open(sequence + 1, &mut sealed.clone()).is_err());
            let (opened, place) = cipher.open(sequence, &mut sealed).unwrap();
            assert_eq!((opened, &sealed[place]), (*kind, &text[..]));
        }
    }
}
