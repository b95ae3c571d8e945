//! Who gets no place costs no handshake, and who speaks for others takes no place of his own.

use tarpit_gateway::config::ListenerTls;

use crate::client::{Client, run};
use crate::stage::Stage;

/// One source can't make us compute for more sessions than it may have.
#[tokio::test(flavor = "multi_thread")]
async fn no_handshake_without_a_place() {
    let stage = Stage::set(ListenerTls::Implicit, |config| {
        config.limits.sessions_per_source_max = 1;
    })
    .await;
    let address = stage.address();
    let second = run(move || {
        let mut first = Client::connect(address);
        first.secure().unwrap();
        first.expect("220");
        let mut second = Client::connect(address);
        let said = second.rest();
        assert!(said.starts_with(b"421 4.7.0 "), "{said:?}");
        first.ask("QUIT", "221");
        second.address
    })
    .await;
    let record = stage.session(second).await;
    assert_eq!(record["end"], "refused");
    assert!(!record.contains_key("tls_failed"), "{record:?}");
}

/// A filter has many connections; its clients are counted once it has said who they are.
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_filter_is_no_source() {
    let stage = Stage::set(ListenerTls::Off, |config| {
        config.limits.sessions_per_source_max = 1;
        config.listeners[0].xclient = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let address = stage.address();
    run(move || {
        let mut filters: Vec<Client> = (0..3).map(|_| Client::connect(address)).collect();
        for filter in &mut filters {
            filter.expect("220");
            filter.ask("EHLO filter.example", "250");
        }
        for (filter, (client, code)) in filters.iter_mut().zip([
            ("192.0.2.7", "220"),
            ("192.0.2.8", "220"),
            ("192.0.2.7", "421"),
        ]) {
            filter.ask(&format!("XCLIENT ADDR={client}"), code);
        }
    })
    .await;
}
