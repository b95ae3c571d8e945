//! Towards the upstream: who is believed.

use rcgen::{BasicConstraints, IsCa};

use super::{Files, LIMIT, Pem, authority, own, own_with, params, read, signed, sockets};
use crate::config::UpstreamTls;
use crate::tls::{ClientTls, Peer, ServerTls, TlsFailure};

/// What a client that wants this says of a server with that certificate.
async fn connect(wanted: &UpstreamTls, tls: &ServerTls) -> Result<Peer, TlsFailure> {
    let client_tls = ClientTls::new(wanted).unwrap().unwrap();
    let (mut server, mut client) = sockets().await;
    let (accepted, connected) = tokio::join!(
        tls.accept(&mut server, LIMIT, None),
        client_tls.connect(&mut client, LIMIT)
    );
    // With TLS 1.3 the server may have finished when the client refuses.
    if accepted.is_ok() && connected.is_ok() {
        server.write_all(b"250 \r\n").await.unwrap();
        assert_eq!(read(&mut client).await.unwrap(), b"250 \r\n");
    }
    connected
}

fn required(files: &Files, ca: &str, name: &str) -> UpstreamTls {
    UpstreamTls::Required {
        ca: Some(files.write("ca.pem", ca)),
        name: name.into(),
    }
}

async fn word(wanted: &UpstreamTls, pem: Pem) -> &'static str {
    let tls = Files::new().server(&[pem]);
    match connect(wanted, &tls).await {
        Ok(_) => "trusted",
        Err(failure) => failure.as_str(),
    }
}

#[tokio::test]
async fn opportunistic_takes_anybody_and_tells_the_key() {
    let mut old = params(&["whoever.example"]);
    old.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let tls = Files::new().server(&[own_with(old)]);
    let peer = connect(&UpstreamTls::Opportunistic, &tls).await.unwrap();
    assert_eq!(peer.tls.version, "TLSv1.3");
    assert_eq!(peer.certificate.as_ref(), Some(&tls.certificates()[0].1));
    let key = peer.certificate.unwrap().key.to_string();
    assert!(key.len() == 64 && key.bytes().all(|octet| octet.is_ascii_hexdigit()));
}

#[tokio::test]
async fn required_wants_a_chain_and_the_name() {
    let (ca, issuer) = authority();
    let files = Files::new();
    let wanted = required(&files, &ca, "mx.example.org");
    let good = || params(&["mx.example.org"]);
    assert_eq!(word(&wanted, signed(&good(), &issuer)).await, "trusted");
    assert_eq!(
        word(&wanted, signed(&params(&["a.example"]), &issuer)).await,
        "certificate"
    );
    assert_eq!(word(&wanted, own(&["mx.example.org"])).await, "certificate");
    let (_, stranger) = authority();
    assert_eq!(
        word(&wanted, signed(&good(), &stranger)).await,
        "certificate"
    );
    let dated = |from, to| {
        let mut params = good();
        params.not_before = rcgen::date_time_ymd(from, 1, 1);
        params.not_after = rcgen::date_time_ymd(to, 1, 1);
        params
    };
    assert_eq!(
        word(&wanted, signed(&dated(2000, 2020), &issuer)).await,
        "certificate"
    );
    assert_eq!(
        word(&wanted, signed(&dated(3000, 3001), &issuer)).await,
        "certificate"
    );
}

#[tokio::test]
async fn an_address_can_be_required() {
    let (ca, issuer) = authority();
    let files = Files::new();
    let wanted = required(&files, &ca, "127.0.0.1");
    assert_eq!(
        word(&wanted, signed(&params(&["127.0.0.1"]), &issuer)).await,
        "trusted"
    );
    assert_eq!(
        word(&wanted, signed(&params(&["127.0.0.2"]), &issuer)).await,
        "certificate"
    );
}

#[tokio::test]
async fn a_listed_certificate_is_its_own_authority() {
    let files = Files::new();
    // Marked as an authority, as `openssl req -x509` does it.
    let mut marked = params(&["mx.example.org"]);
    marked.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for params in [params(&["mx.example.org"]), marked.clone()] {
        let pem = own_with(params);
        let wanted = required(&files, &pem.chain, "mx.example.org");
        assert_eq!(word(&wanted, pem).await, "trusted");
    }
    let pem = own_with(marked.clone());
    let wanted = required(&files, &pem.chain, "other.example");
    assert_eq!(word(&wanted, pem).await, "certificate");
    marked.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let pem = own_with(marked);
    let wanted = required(&files, &pem.chain, "mx.example.org");
    assert_eq!(word(&wanted, pem).await, "certificate");
    // Same name, another key.
    let wanted = required(&files, &own(&["mx.example.org"]).chain, "mx.example.org");
    assert_eq!(word(&wanted, own(&["mx.example.org"])).await, "certificate");
}

#[test]
fn what_can_not_be_had_is_named() {
    let files = Files::new();
    let error = |wanted| ClientTls::new(&wanted).unwrap_err().to_string();
    assert!(ClientTls::new(&UpstreamTls::Off).unwrap().is_none());
    let said = error(required(&files, "nothing", "mx.example.org"));
    assert!(said.contains("ca.pem: found no certificate"), "{said}");
    let said = error(required(&files, &own(&["a"]).chain, "not a name"));
    assert!(said.contains("found \"not a name\""), "{said}");
    let said = error(UpstreamTls::Required {
        ca: Some(files.path("missing.pem")),
        name: "mx.example.org".into(),
    });
    assert!(said.contains("missing.pem"), "{said}");
}

#[test]
fn only_a_required_one_verifies() {
    let verifies = |wanted| ClientTls::new(&wanted).unwrap().unwrap().verifies();
    assert!(!verifies(UpstreamTls::Opportunistic));
    let files = Files::new();
    assert!(verifies(required(&files, &own(&["a"]).chain, "a.example")));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_silent_is_given_up() {
    let tls = ClientTls::new(&UpstreamTls::Opportunistic)
        .unwrap()
        .unwrap();
    let (_server, mut client) = sockets().await;
    let failure = tls.connect(&mut client, LIMIT).await.unwrap_err();
    assert_eq!(failure.as_str(), "timed_out");
}
