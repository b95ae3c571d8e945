//! The handshake without a socket: however its octets are cut, and with what is none.

use rustls::ClientConnection;
use rustls::crypto::aws_lc_rs::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384,
};

use super::*;
use crate::stream::record::tests::{Wire, ends, read_all};

const SUITES: [rustls::SupportedCipherSuite; 2] = [
    TLS13_AES_256_GCM_SHA384,
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
];

/// What comes of a handshake in which the server gets so many octets at a time, and what the client
/// sent behind it.
pub(in crate::stream) fn shake(
    server: UnbufferedServerConnection,
    client: &mut ClientConnection,
    at_once: usize,
) -> Result<(Records, Vec<u8>), Error> {
    let mut handshake = Handshake::new(server);
    let mut flight = Vec::new();
    loop {
        while client.wants_write() {
            client.write_tls(&mut flight).unwrap();
        }
        assert!(!flight.is_empty(), "each waits for the other");
        let mut finished = false;
        while !finished && !flight.is_empty() {
            let now = flight.len().min(at_once);
            handshake.incoming.extend(flight.drain(..now));
            finished = handshake.advance()?;
        }
        let mut answer = &std::mem::take(&mut handshake.owed)[..];
        while !answer.is_empty() {
            client.read_tls(&mut answer).unwrap();
            client.process_new_packets().unwrap();
        }
        if finished {
            let records = Records::take_over(*handshake.connection, handshake.incoming)?;
            return Ok((records, flight));
        }
    }
}

/// Cut as the network likes and as the client likes; what it says behind its last message, in the
/// same flight, is not lost.
#[test]
fn any_cut_comes_to_the_same() {
    for suite in SUITES {
        for record in [None, Some(32), Some(100)] {
            for at_once in [1, 3, 100, usize::MAX] {
                let (server, mut client) = ends(suite, record);
                io::Write::write_all(&mut client.writer(), b"EHLO a.example\r\n").unwrap();
                let (mut records, mut behind) = shake(server, &mut client, at_once).unwrap();
                while client.wants_write() {
                    client.write_tls(&mut behind).unwrap();
                }
                let read = read_all(&mut records, &mut Wire::of(&behind), 512).unwrap();
                assert_eq!(
                    read, b"EHLO a.example\r\n",
                    "{suite:?} {record:?} {at_once}"
                );
            }
        }
    }
}

/// What the server says to the first octets of a client.
fn hears(octets: &[u8]) -> (Result<bool, Error>, Vec<u8>) {
    let (server, _) = ends(SUITES[0], None);
    let mut handshake = Handshake::new(server);
    handshake.incoming.extend_from_slice(octets);
    let result = handshake.advance();
    (result, handshake.owed)
}

#[test]
fn what_is_no_tls_is_known_at_once() {
    for octets in [
        &b"E"[..],
        b"EHLO a.example\r\n",
        b"\x80\x2e\x01",
        b"\x16\x02\x00",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x00",
    ] {
        let (result, _) = hears(octets);
        assert!(
            result.is_err() || octets.len() < 5,
            "{octets:?}: {result:?}"
        );
    }
    let (result, said) = hears(b"EHLO a.example\r\n");
    assert!(
        matches!(result, Err(Error::InvalidMessage(_))),
        "{result:?}"
    );
    // An alert, which says so.
    assert_eq!(said[..5], [21, 3, 3, 0, 2]);
}

/// A message that never ends takes no more than is stated.
#[test]
fn a_hello_without_end_is_bounded() {
    let (server, _) = ends(SUITES[0], None);
    let mut handshake = Handshake::new(server);
    // It says 65,535 octets, and comes by the octet.
    handshake
        .incoming
        .extend_from_slice(&[22, 3, 1, 0, 4, 1, 0, 0xff, 0xff]);
    let mut most = 0;
    let error = loop {
        match handshake.advance() {
            Ok(finished) => assert!(!finished),
            Err(error) => break error,
        }
        most = most.max(handshake.incoming.len());
        handshake
            .incoming
            .extend_from_slice(&[22, 3, 1, 0, 1, 0].repeat(100));
    };
    assert_eq!(error, InvalidMessage::HandshakePayloadTooLarge.into());
    assert!(most <= INCOMING_MAX);
}

#[test]
fn alerts_and_data_before_there_is_a_session() {
    let (result, said) = hears(&[21, 3, 3, 0, 2, 2, 40]);
    let alert = Error::AlertReceived(rustls::AlertDescription::HandshakeFailure);
    assert_eq!((result, said), (Err(alert), Vec::new()));
    let (result, _) = hears(&[23, 3, 3, 0, 2, 1, 0]);
    assert!(result.is_err());
    // A warning alone is none; too many are.
    let (result, _) = hears(&[21, 3, 3, 0, 2, 1, 0]);
    assert_eq!(result, Ok(false));
    let (result, _) = hears(&[21, 3, 3, 0, 2, 1, 0].repeat(6));
    assert!(result.is_err());
}
