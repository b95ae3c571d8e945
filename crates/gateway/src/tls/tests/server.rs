//! Towards clients: names, renewal, resumption, and clients that speak no TLS.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{KeyPair, PKCS_RSA_SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::{Files, LIMIT, Pem, anybody, hello, own, params, read, sockets};
use crate::stream::Stream;
use crate::tls::certificate::CertificateInfo;
use crate::tls::watch::Stamp;
use crate::tls::{ServerTls, TlsFailure, TlsInfo, VERSIONS, provider};

/// One handshake: what the server says of it, the names in the certificate that the client was
/// shown, and both ends.
async fn shake(
    tls: &ServerTls,
    config: &Arc<ClientConfig>,
    name: &str,
) -> (TlsInfo, String, Stream, Stream) {
    let (mut server, mut client) = sockets().await;
    let (accepted, connected) = tokio::join!(
        tls.accept(&mut server, LIMIT, None),
        client.connect(hello(config, name))
    );
    connected.unwrap();
    let shown = client.connection().unwrap().peer_certificates().unwrap();
    let shown = CertificateInfo::read(&shown[0]).unwrap().name_list();
    (accepted.unwrap(), shown, server, client)
}

#[tokio::test]
async fn both_versions() {
    let tls = Files::new().server(&[own(&["mx.example.org"])]);
    for (version, word) in [
        (&rustls::version::TLS12, "TLSv1.2"),
        (&rustls::version::TLS13, "TLSv1.3"),
    ] {
        let config = anybody(&[version]);
        let (info, _, mut server, mut client) = shake(&tls, &config, "MX.example.org").await;
        assert_eq!(info.version, word);
        assert!(info.cipher.starts_with("TLS"), "{}", info.cipher);
        assert_eq!(info.sni.as_deref(), Some("mx.example.org"));
        assert!(!info.resumed);
        client.write_all(b"EHLO a\r\n").await.unwrap();
        assert_eq!(read(&mut server).await.unwrap(), b"EHLO a\r\n");
        server.write_all(b"250 b\r\n").await.unwrap();
        assert_eq!(read(&mut client).await.unwrap(), b"250 b\r\n");
    }
}

#[tokio::test]
async fn the_certificate_has_the_name_that_is_asked_for() {
    let tls = Files::new().server(&[
        own(&["first.example"]),
        own(&["mx.example.org", "*.example.net"]),
        own(&["b.example.net"]),
    ]);
    let config = anybody(VERSIONS);
    for (asked, shown) in [
        ("first.example", "first.example"),
        ("mx.example.org", "mx.example.org, *.example.net"),
        ("a.example.net", "mx.example.org, *.example.net"),
        ("b.example.net", "b.example.net"),
        // One label only (RFC 9525 §6.3).
        ("a.a.example.net", "first.example"),
        ("example.net", "first.example"),
        ("unknown.example", "first.example"),
        // An address is no name: none is sent.
        ("127.0.0.1", "first.example"),
    ] {
        let (info, names, ..) = shake(&tls, &config, asked).await;
        assert_eq!(names, shown, "asked for {asked}");
        let is_named = asked != "127.0.0.1";
        assert_eq!(info.sni.as_deref(), is_named.then_some(asked));
    }
}

/// A client that knows some algorithms only.
#[derive(Debug)]
struct Only(Vec<SignatureScheme>);

impl ServerCertVerifier for Only {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

#[tokio::test]
async fn the_key_is_of_a_kind_that_the_client_knows() {
    let key = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let certificate = params(&["mx.example.org", "rsa"])
        .self_signed(&key)
        .unwrap();
    let rsa = Pem {
        chain: certificate.pem(),
        key: key.serialize_pem(),
    };
    let tls = Files::new().server(&[own(&["mx.example.org", "ecdsa"]), rsa]);
    for (scheme, shown) in [
        (
            SignatureScheme::ECDSA_NISTP256_SHA256,
            "mx.example.org, ecdsa",
        ),
        (SignatureScheme::RSA_PSS_SHA256, "mx.example.org, rsa"),
    ] {
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(VERSIONS)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Only(vec![scheme])))
            .with_no_client_auth();
        let (_, names, ..) = shake(&tls, &Arc::new(config), "mx.example.org").await;
        assert_eq!(names, shown, "{scheme:?}");
    }
}

#[tokio::test]
async fn sessions_are_resumed() {
    let tls = Files::new().server(&[own(&["mx.example.org"])]);
    for version in VERSIONS {
        let config = anybody(&[version]);
        for resumed in [false, true] {
            let (info, _, mut server, mut client) = shake(&tls, &config, "mx.example.org").await;
            assert_eq!(info.resumed, resumed, "{}", info.version);
            // The ticket of TLS 1.3 comes with the first octets.
            server.write_all(b"220 \r\n").await.unwrap();
            read(&mut client).await.unwrap();
        }
        let (info, ..) = shake(&tls, &config, "other.example").await;
        assert!(!info.resumed, "another name is another session");
    }
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_a_bad_one_is_not() {
    let files = Files::new();
    let pairs = [
        files.pair("a", &own(&["a.example", "old"])),
        files.pair("b", &own(&["b.example", "old"])),
    ];
    let tls = ServerTls::read(&pairs).unwrap();
    assert!(tls.is_of(&pairs));
    assert!(!tls.is_of(&pairs[..1]));
    let config = anybody(VERSIONS);
    // The key of another in `b`; `a` is renewed all the same.
    files.pair("a", &own(&["a.example", "new"]));
    files.write("b.key", &own(&["x"]).key);
    let refused = tls.reload();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].path, pairs[1].chain);
    let (_, shown, ..) = shake(&tls, &config, "a.example").await;
    assert_eq!(shown, "a.example, new");
    let (_, shown, ..) = shake(&tls, &config, "b.example").await;
    assert_eq!(shown, "b.example, old");
    // Gone altogether: the same.
    std::fs::remove_file(&pairs[0].chain).unwrap();
    assert_eq!(tls.reload().len(), 2);
    let (_, shown, ..) = shake(&tls, &anybody(VERSIONS), "a.example").await;
    assert_eq!(shown, "a.example, new");
}

#[tokio::test]
async fn files_are_taken_once_they_have_stopped_changing() {
    let files = Files::new();
    let pair = files.pair("a", &own(&["a.example", "old"]));
    let tls = ServerTls::read(&[pair]).unwrap();
    let names = || tls.certificates()[0].1.name_list();
    let mut seen = Vec::new();
    tls.look(&mut seen);
    tls.look(&mut seen);
    let new = own(&["a.example", "new"]);
    files.write("a.crt", &new.chain);
    tls.look(&mut seen);
    files.write("a.key", &new.key);
    tls.look(&mut seen);
    assert_eq!(names(), "a.example, old", "the files have just changed");
    tls.look(&mut seen);
    assert_eq!(names(), "a.example, new");
    // A bad one is refused once, and the next good one is taken.
    files.write("a.key", &own(&["x"]).key);
    tls.look(&mut seen);
    tls.look(&mut seen);
    assert_eq!(names(), "a.example, new");
    files.pair("a", &own(&["a.example", "newest"]));
    tls.look(&mut seen);
    tls.look(&mut seen);
    assert_eq!(names(), "a.example, newest");
    let (_, shown, ..) = shake(&tls, &anybody(VERSIONS), "a.example").await;
    assert_eq!(shown, "a.example, newest");
}

#[test]
fn permissions_are_a_change() {
    let files = Files::new();
    let pair = files.pair("a", &own(&["a.example"]));
    let before = Stamp::of(&pair);
    assert_eq!(before, Stamp::of(&pair));
    let mut permissions = std::fs::metadata(&pair.key).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&pair.key, permissions).unwrap();
    assert_ne!(before, Stamp::of(&pair));
}

/// What becomes of a client that begins with `octets`.
async fn refused(octets: &[u8], leaves: bool) -> (TlsFailure, Vec<u8>) {
    let tls = Files::new().server(&[own(&["mx.example.org"])]);
    let (mut server, mut client) = sockets().await;
    client.write_all(octets).await.unwrap();
    if leaves {
        client.shut_down();
    }
    let failure = tls.accept(&mut server, LIMIT, None).await.unwrap_err();
    server.shut_down();
    let answer = read(&mut client).await.unwrap();
    (failure, answer)
}

#[tokio::test]
async fn plain_commands_are_no_tls() {
    for octets in [
        &b"EHLO a\r\nMAIL FROM:<>\r\n"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 64],
    ] {
        let (failure, answer) = refused(octets, false).await;
        assert_eq!(failure.as_str(), "no_tls", "{failure}");
        // Nothing but an alert (RFC 8446 §6): no reply to any command.
        assert_eq!(answer.first(), Some(&21), "{answer:?}");
        assert!(answer.len() < 16);
    }
}

#[tokio::test]
async fn who_leaves_is_gone() {
    // The head of a record that never comes.
    for octets in [&b""[..], &[22, 3, 1, 0, 200]] {
        let (failure, _) = refused(octets, true).await;
        assert!(matches!(failure, TlsFailure::HungUp), "{failure}");
    }
}

#[tokio::test]
async fn octets_behind_starttls_make_the_handshake_fail() {
    let tls = Files::new().server(&[own(&["mx.example.org"])]);
    let (mut server, mut client) = sockets().await;
    // They wait in the system when the handshake begins, and the client goes on as if nothing was.
    client
        .write_all(b"RCPT TO:<a@example.org>\r\n")
        .await
        .unwrap();
    let config = anybody(VERSIONS);
    let (accepted, connected) = tokio::join!(
        tls.accept(&mut server, LIMIT, None),
        client.connect(hello(&config, "mx.example.org"))
    );
    assert_eq!(accepted.unwrap_err().as_str(), "no_tls");
    assert!(connected.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_handshake_has_an_end() {
    let tls = Files::new().server(&[own(&["mx.example.org"])]);
    let (mut server, mut client) = sockets().await;
    client.write_all(&[22, 3, 1, 0, 200]).await.unwrap();
    let limit = Duration::from_secs(30);
    let failure = tls.accept(&mut server, limit, None).await.unwrap_err();
    assert_eq!(failure.to_string(), "no TLS within 30 s");
    assert_eq!(failure.as_str(), "timed_out");
}

#[tokio::test]
async fn versions_that_are_too_old_are_refused() {
    // A ClientHello of TLS 1.0 (RFC 2246 §7.4.1.2): one cipher suite, no extensions.
    let mut octets = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    octets.extend([7; 32]);
    octets.extend([0, 0, 2, 0, 47, 1, 0]);
    let (failure, answer) = refused(&octets, false).await;
    assert!(matches!(failure, TlsFailure::Other(_)), "{failure}");
    // protocol_version (70), or handshake_failure (40).
    assert_eq!(answer.first(), Some(&21));
    assert!([40, 70].contains(answer.last().unwrap()), "{answer:?}");
}
