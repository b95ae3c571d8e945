//! The upstream side against a scripted server on loopback. A script is the conversation as the
//! server should see it (see `script`); it fails the test if the gateway says anything else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tarpit_core::{Answer, Ask, Envelope, Prefixes, Recipient, Source, Trouble};
use tarpit_smtp::{MailParams, ReversePath};

use self::script::Scripted;
use super::identity::ClientIdentity;
use super::{Claim, Lost, Upstream, UpstreamLink};
use crate::config::{self, Identity};

mod ahead;
mod auth;
mod chunks;
mod identity;
mod message;
mod pool;
mod probe;
mod replay;
mod script;
mod servers;
mod stock;
mod tls;
mod transaction;

/// Long enough for any machine; no test that passes waits for it.
const LIMIT: Duration = Duration::from_secs(20);

/// Greeting and EHLO without any extension.
const BARE: &str = "
    S: 220 up
    C: EHLO gw.example
    S: 250 up
";

/// MAIL from the sender of [`envelope`].
const MAIL: &str = "
    C: MAIL FROM:<s@example.org>
    S: 250 sender ok
";

fn settings(address: SocketAddr, identity: Identity) -> config::Upstream {
    config::Upstream {
        name: "mx".into(),
        addresses: vec![address],
        balance: config::Balance::Order,
        tls: config::UpstreamTls::Off,
        identity,
        relays: false,
        connections_max: 10,
        connections_per_source_max: 5,
        connections_reserved: 2,
        messages_per_connection_max: 10,
        grace: Duration::from_secs(5),
        connect_timeout: LIMIT,
    }
}

fn source(address: &str) -> Source {
    Source::of(address.parse().unwrap(), Prefixes::default())
}

fn claim(address: &str, known: bool) -> Claim {
    Claim {
        source: source(address),
        known,
    }
}

fn client() -> ClientIdentity {
    ClientIdentity {
        address: "192.0.2.7:4711".parse().unwrap(),
        local: "198.51.100.1:25".parse().unwrap(),
        helo: Some("client.example".into()),
        esmtp: true,
        secured: false,
        name: None,
    }
}

fn envelope(serial: u32, accepted: &[&str]) -> Envelope {
    envelope_with(serial, accepted, &MailParams::default())
}

fn envelope_with(serial: u32, accepted: &[&str], params: &MailParams<'_>) -> Envelope {
    let path = ReversePath::parse("s@example.org").unwrap();
    let mut envelope = Envelope::new(serial, path, params);
    envelope.accepted = accepted
        .iter()
        .map(|&path| Recipient::plain(path))
        .collect();
    envelope
}

/// A scripted server, the upstream that it is, and one session's line to it.
struct World {
    server: Scripted,
    upstream: Arc<Upstream>,
    link: UpstreamLink,
    who: ClientIdentity,
    claim: Claim,
    limit: Duration,
}

impl World {
    /// `scripts`: one for each connection, in the order in which they come.
    async fn new(identity: Identity, scripts: &[&[&str]]) -> Self {
        let server = Scripted::start(scripts).await;
        let upstream = Upstream::new(settings(server.address, identity), "gw.example".into());
        Self {
            link: UpstreamLink::new(Arc::clone(&upstream)),
            upstream,
            server,
            who: client(),
            claim: claim("192.0.2.7", false),
            limit: LIMIT,
        }
    }

    async fn ask(&mut self, ask: &Ask, envelope: Option<&Envelope>) -> String {
        let answer = self
            .link
            .ask(ask, &self.who, self.claim, envelope, self.limit)
            .await;
        shown(&answer)
    }

    async fn rcpt(&mut self, envelope: &Envelope, path: &str) -> String {
        self.ask(&Ask::Rcpt(Recipient::plain(path)), Some(envelope))
            .await
    }

    async fn data(&mut self, envelope: &Envelope) -> String {
        self.ask(&Ask::Data, Some(envelope)).await
    }

    async fn auth(&mut self, initial: Option<&str>) -> String {
        let ask = Ask::Auth {
            mechanism: "PLAIN",
            initial: initial.map(Into::into),
        };
        self.ask(&ask, None).await
    }

    /// One message on the connection that is there.
    async fn message(&mut self, serial: u32) -> String {
        assert_eq!(
            self.rcpt(&envelope(serial, &[]), "a@x.example").await,
            "250 a ok"
        );
        assert_eq!(
            self.data(&envelope(serial, &["a@x.example"])).await,
            "354 go"
        );
        ended(self.link.end_of_data([b"", b"hello\r\n"], LIMIT).await)
    }

    /// Waits until what a script said unasked has come: the system delivers in its own time.
    async fn heard(&mut self) {
        let heard = async {
            while !self.link.hears_something() {
                tokio::task::yield_now().await;
            }
        };
        let heard = tokio::time::timeout(LIMIT, heard).await;
        heard.expect("the script says something unasked");
    }

    /// Traffic has asked for a probe.
    async fn probe_wanted(&self) {
        let wanted = tokio::time::timeout(LIMIT, self.upstream.servers[0].trouble.notified()).await;
        wanted.expect("trouble asks for a probe");
    }

    /// The script was played to its end.
    async fn done(self) {
        drop(self.link);
        self.server.done().await;
    }
}

/// Waits until all connections are closed; none is kept.
async fn closed(upstream: &Upstream) {
    while upstream.stats().open > 0 {
        assert_eq!(upstream.stats().idle, 0);
        tokio::task::yield_now().await;
    }
}

/// The conversation of [`World::message`], after EHLO.
const MESSAGE: &str = "
    C: MAIL FROM:<s@example.org>
    S: 250 sender ok
    C: RCPT TO:<a@x.example>
    S: 250 a ok
    C: DATA
    S: 354 go
    C: hello
    C: .
    S: 250 taken
";

fn shown(answer: &Answer) -> String {
    match answer {
        Answer::Reply(reply) => reply.to_log(),
        Answer::SenderRefused(reply) => format!("sender: {}", reply.to_log()),
        Answer::ServiceRefused(reply) => format!("service: {}", reply.to_log()),
        Answer::Trouble(trouble) => trouble.as_str().to_owned(),
    }
}

fn ended(result: Result<tarpit_smtp::Reply, Lost>) -> String {
    match result {
        Ok(reply) => reply.to_log(),
        Err(Lost { trouble, after_dot }) => {
            let when = if after_dot { "after" } else { "before" };
            format!("{} {when} the dot", trouble.as_str())
        }
    }
}
