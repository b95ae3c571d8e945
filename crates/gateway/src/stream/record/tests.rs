//! Against published records, against the library's own client, and against hostile ones.

mod hostile;
mod vectors;

use std::io::{self, ErrorKind, IoSlice, Read as _, Write};
use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, default_provider};
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, SupportedCipherSuite};

use super::*;
use crate::stream::accept::tests::shake;

/// What clients and server are made of: certificates for both kinds of keys.
struct Parts {
    roots: Arc<RootCertStore>,
    server: [Arc<ServerConfig>; 2],
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    // aws-lc makes RSA keys, too.
    let server = [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_RSA_SHA256].map(|algorithm| {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(["mx.example.org".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        roots.add(certificate.der().clone()).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.enable_secret_extraction = true;
        Arc::new(config)
    });
    let roots = Arc::new(roots);
    Parts { roots, server }
});

/// Both ends before the handshake; the client cuts its records to so many octets.
pub(in crate::stream) fn ends(
    suite: SupportedCipherSuite,
    record: Option<usize>,
) -> (UnbufferedServerConnection, ClientConnection) {
    let provider = CryptoProvider {
        cipher_suites: vec![suite],
        ..default_provider()
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[suite.version()])
        .unwrap()
        .with_root_certificates(Arc::clone(&PARTS.roots))
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config.max_fragment_size = record;
    let name = ServerName::try_from("mx.example.org").unwrap();
    let client = ClientConnection::new(Arc::new(config), name).unwrap();
    let rsa = format!("{:?}", suite.suite()).contains("RSA");
    let server = Arc::clone(&PARTS.server[usize::from(rsa)]);
    (UnbufferedServerConnection::new(server).unwrap(), client)
}

/// Both ends of a session with this suite.
fn pair(suite: SupportedCipherSuite) -> (Records, ClientConnection) {
    let (server, mut client) = ends(suite, None);
    let (records, _) = shake(server, &mut client, usize::MAX).unwrap();
    assert!(!client.is_handshaking());
    assert_eq!(client.negotiated_cipher_suite(), Some(suite));
    (records, client)
}

/// One session of each version.
fn versions() -> [(Records, ClientConnection); 2] {
    [tls13(), tls12()]
}

fn tls13() -> (Records, ClientConnection) {
    pair(rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256)
}

fn tls12() -> (Records, ClientConnection) {
    pair(rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384)
}

/// The other end of a socket: what it sent comes in pieces of `at_once`.
#[derive(Default)]
pub(in crate::stream) struct Wire {
    sent: Vec<u8>,
    at_once: usize,
    heard: std::cell::RefCell<Vec<u8>>,
    /// It takes nothing.
    full: bool,
    over: bool,
}

struct Sink<'a>(&'a Wire);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.full {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.0.heard.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.sent.len());
        let count = if self.at_once == 0 {
            count
        } else {
            count.min(self.at_once)
        };
        if count == 0 && !self.over {
            return Err(ErrorKind::WouldBlock.into());
        }
        buffer[..count].copy_from_slice(&self.sent[..count]);
        self.sent.drain(..count);
        Ok(count)
    }
}

impl Source for Wire {
    fn sink(&self) -> impl Write {
        Sink(self)
    }
}

impl Wire {
    pub(in crate::stream) fn of(sent: &[u8]) -> Self {
        Self {
            sent: sent.to_vec(),
            ..Self::default()
        }
    }

    /// What the client has to say.
    fn say(&mut self, client: &mut ClientConnection, bytes: &[u8]) {
        client.set_buffer_limit(None);
        client.writer().write_all(bytes).unwrap();
        while client.wants_write() {
            client.write_tls(&mut self.sent).unwrap();
        }
    }

    /// What the client understands of what it heard.
    fn understand(&mut self, client: &mut ClientConnection) -> Result<Vec<u8>, Error> {
        let heard = take(self.heard.get_mut());
        let (mut heard, mut text) = (&heard[..], Vec::new());
        while !heard.is_empty() {
            client.read_tls(&mut heard).unwrap();
            client.process_new_packets()?;
            let _ = client.reader().read_to_end(&mut text);
        }
        Ok(text)
    }
}

/// All there is to read, with a buffer of this size.
pub(in crate::stream) fn read_all(
    records: &mut Records,
    wire: &mut Wire,
    size: usize,
) -> io::Result<Vec<u8>> {
    let (mut buffer, mut all) = (vec![0; size], Vec::new());
    loop {
        match records.read(wire, &mut buffer) {
            Ok(0) => return Ok(all),
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock && wire.sent.is_empty() => {
                return Ok(all);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

fn write_all(records: &mut Records, wire: &Wire, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // Cut where nothing else is cut.
        let (first, second) = bytes.split_at(bytes.len() / 3);
        let pieces = [first, &[], second].map(IoSlice::new);
        let count = records.write(Sink(wire), &pieces).unwrap();
        bytes = &bytes[count..];
    }
    while records.owes() {
        records.send(Sink(wire)).unwrap();
    }
}

/// Octets that repeat late.
fn octets(count: usize) -> Vec<u8> {
    let mix = |index: usize| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0];
    (0..count).map(mix).collect()
}

#[test]
fn every_suite_both_ways() {
    let sent = octets(100_003);
    for &suite in ALL_CIPHER_SUITES {
        let (mut records, mut client) = pair(suite);
        let mut wire = Wire::default();
        for len in [1, 2, 511, 16_383, 16_384, 16_385, sent.len()] {
            wire.say(&mut client, &sent[..len]);
            assert_eq!(
                read_all(&mut records, &mut wire, 512).unwrap(),
                &sent[..len],
                "{suite:?}"
            );
            write_all(&mut records, &wire, &sent[..len]);
            let heard = wire.understand(&mut client).unwrap();
            assert_eq!(heard, &sent[..len], "{suite:?}");
        }
        client.send_close_notify();
        wire.say(&mut client, b"");
        assert!(
            records
                .read(&mut wire, &mut [0; 16])
                .is_ok_and(|count| count == 0)
        );
        // The other direction is still open.
        write_all(&mut records, &wire, b"221 \r\n");
        assert_eq!(wire.understand(&mut client).unwrap(), b"221 \r\n");
        records.close();
        records.send(Sink(&wire)).unwrap();
        let _ = wire.understand(&mut client).unwrap();
        assert_eq!(
            client.reader().read(&mut [0; 16]).unwrap(),
            0,
            "closed as it should be"
        );
        let late = records.write(Sink(&wire), &[IoSlice::new(b"x")]);
        assert_eq!(late.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }
}

/// However it is cut, and however large the buffer of the reader.
#[test]
fn any_cut_gives_the_same() {
    let sent = octets(60_001);
    for at_once in [1, 2, 5, 1_000, 16_384, 0] {
        for size in [1, 300, 4_096, 64 * 1024] {
            let (mut records, mut client) = tls13();
            let mut wire = Wire {
                at_once,
                ..Wire::default()
            };
            // One octet at a time is slow: fewer of them.
            let len = if at_once == 0 || at_once > 5 {
                sent.len()
            } else {
                700
            };
            for part in sent[..len].chunks(977) {
                wire.say(&mut client, part);
            }
            assert_eq!(
                read_all(&mut records, &mut wire, size).unwrap(),
                &sent[..len]
            );
        }
    }
}

#[test]
fn what_a_session_keeps() {
    for (mut records, mut client) in versions() {
        let mut wire = Wire::default();
        let whole = |records: &Records| size_of::<Records>() + records.octets();
        wire.say(&mut client, b"RCPT TO:<nobody@example.org>\r\n");
        assert_eq!(records.read(&mut wire, &mut [0; 4_096]).unwrap(), 30);
        records.rest();
        assert!(whole(&records) <= 1536, "{}", whole(&records));
        let least = whole(&records);

        // Of what is pipelined at most one record is decrypted; the others stay as they are.
        for _ in 0..10 {
            wire.say(&mut client, &[b'x'; 100]);
        }
        let sent = wire.sent.len();
        assert_eq!(records.read(&mut wire, &mut [0; 30]).unwrap(), 30);
        records.rest();
        assert_eq!(records.plain.left().len(), 70);
        assert_eq!(whole(&records), least + 70 + sent / 10 * 9);
        assert_eq!(read_all(&mut records, &mut wire, 512).unwrap().len(), 970);
        assert_eq!(whole(&records), least);

        // What does not fit stays as it is.
        wire.say(&mut client, &[b'x'; 100]);
        wire.say(&mut client, &[b'y'; 100]);
        assert_eq!(records.read(&mut wire, &mut [0; 150]).unwrap(), 100);
        assert!(records.plain.is_empty());
        assert_eq!(read_all(&mut records, &mut wire, 512).unwrap(), [b'y'; 100]);

        // A part of a record.
        wire.say(&mut client, b"NOOP\r\n");
        let last = wire.sent.pop().unwrap();
        let sent = wire.sent.len();
        assert!(records.read(&mut wire, &mut [0; 4_096]).is_err());
        assert_eq!(whole(&records), least + sent);
        wire.sent.push(last);
        assert_eq!(records.read(&mut wire, &mut [0; 4_096]).unwrap(), 6);
        assert_eq!(whole(&records), least);
    }
}

#[test]
fn an_end_without_farewell_is_none() {
    for (mut records, mut client) in versions() {
        let mut wire = Wire::default();
        wire.say(&mut client, b"QUIT\r\n");
        wire.over = true;
        assert_eq!(records.read(&mut wire, &mut [0; 16]).unwrap(), 6);
        let error = records.read(&mut wire, &mut [0; 16]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }
}

#[test]
fn new_keys_of_the_client() {
    let (mut records, mut client) = tls13();
    let mut wire = Wire::default();
    for round in 0..100 {
        client.refresh_traffic_keys().unwrap();
        wire.say(&mut client, b"NOOP\r\n");
        assert_eq!(
            read_all(&mut records, &mut wire, 512).unwrap(),
            b"NOOP\r\n",
            "{round}"
        );
        write_all(&mut records, &wire, b"250 \r\n");
        assert_eq!(
            wire.understand(&mut client).unwrap(),
            b"250 \r\n",
            "{round}"
        );
    }
}

/// Who asks again and again and does not read gets one answer (RFC 8446 §4.6.3).
#[test]
fn new_keys_for_who_does_not_read() {
    let (mut records, mut client) = tls13();
    let mut wire = Wire {
        full: true,
        ..Wire::default()
    };
    let mut owed = 0;
    for round in 0..1_000 {
        client.refresh_traffic_keys().unwrap();
        wire.say(&mut client, b"x");
        assert_eq!(read_all(&mut records, &mut wire, 512).unwrap(), b"x");
        if round == 0 {
            owed = records.owed.left().len();
        }
        assert!(owed > 0 && records.owed.left().len() == owed);
    }
    wire.full = false;
    write_all(&mut records, &wire, b"250 \r\n");
    assert_eq!(wire.understand(&mut client).unwrap(), b"250 \r\n");
}

/// RFC 8446 §5.5: before a key has sealed too much, another one.
#[test]
fn a_key_has_its_limit() {
    let (mut records, mut client) = tls13();
    let mut wire = Wire::default();
    records.limit = records.write.sequence + 5;
    for round in 0..50 {
        write_all(&mut records, &wire, b"250 \r\n");
        assert!(records.write.sequence <= records.limit, "{round}");
        assert_eq!(
            wire.understand(&mut client).unwrap(),
            b"250 \r\n",
            "{round}"
        );
    }
    // TLS 1.2 has no other.
    let (mut records, _) = tls12();
    records.limit = records.write.sequence + 5;
    let mut wrote = 0;
    while records.write(Sink(&wire), &[IoSlice::new(b"x")]).is_ok() {
        wrote += 1;
    }
    assert_eq!(wrote, 3);
    records.write.sequence = u64::MAX;
    assert!(records.seal_one(ContentType::Alert, (&[], 0, 0)).is_err());
}

#[test]
fn ciphertext_waits_and_goes_on() {
    for (mut records, mut client) in versions() {
        let mut wire = Wire {
            full: true,
            ..Wire::default()
        };
        let sent = octets(40_000);
        // Taken, although nothing could be sent.
        let count = records.write(Sink(&wire), &[IoSlice::new(&sent)]).unwrap();
        assert_eq!(count, sent.len());
        let again = records
            .write(Sink(&wire), &[IoSlice::new(b"x")])
            .unwrap_err();
        assert_eq!(again.kind(), ErrorKind::WouldBlock);
        wire.full = false;
        assert_eq!(
            records.write(Sink(&wire), &[IoSlice::new(b"x")]).unwrap(),
            0
        );
        assert!(!records.owes() && records.owed.bytes.capacity() == 0);
        assert!(wire.understand(&mut client).unwrap() == sent);
    }
}
