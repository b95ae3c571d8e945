//! A mail server behind the gateway: it takes mail for `user@example.org`, and relays for nobody.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::config::{Balance, Delivery, Identity, Upstream, UpstreamTls};
use crate::sample::LATE;

/// It serves as long as its runtime.
pub(crate) struct Server {
    address: SocketAddr,
    busy: Arc<AtomicUsize>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let busy = Arc::new(AtomicUsize::new(0));
        let shared = Arc::clone(&busy);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(talk(stream, Arc::clone(&shared)));
            }
        });
        Self { address, busy }
    }

    /// As the gateway's upstream, which an idle session keeps for `grace`.
    pub(crate) fn delivery(&self, grace: Duration) -> Delivery {
        Delivery::Upstream(Upstream {
            name: "server".into(),
            addresses: vec![self.address],
            balance: Balance::Order,
            tls: UpstreamTls::Off,
            identity: Identity::None,
            relays: false,
            connections_max: 100,
            connections_per_source_max: 100,
            connections_reserved: 2,
            messages_per_connection_max: 10,
            grace,
            connect_timeout: LATE,
        })
    }

    /// Connections that are open, and on which a recipient was accepted.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::SeqCst)
    }
}

/// Until the gateway leaves.
async fn talk(stream: TcpStream, busy: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut is_busy) = (String::new(), false);
    let mut reply = "220 up\r\n".to_owned();
    while stream.get_mut().write_all(reply.as_bytes()).await.is_ok() && !reply.starts_with("221") {
        line.clear();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            break;
        }
        if line.starts_with("RCPT TO:<user@example.org>") && !is_busy {
            is_busy = true;
            busy.fetch_add(1, Ordering::SeqCst);
        }
        reply = answer(&mut stream, &line).await;
    }
    busy.fetch_sub(is_busy.into(), Ordering::SeqCst);
}

async fn answer(stream: &mut BufReader<TcpStream>, line: &str) -> String {
    let user = "RCPT TO:<user@example.org>";
    let text = match line.get(..4) {
        Some("EHLO") => "250-up\r\n250 PIPELINING".to_owned(),
        // A long one: whoever does not read has soon no room for more.
        Some("RCPT") if line.starts_with(user) => format!("250 2.1.5 {}", "taken ".repeat(70)),
        Some("RCPT") if line.contains("@example.org>") => "550 5.1.1 Who is that".to_owned(),
        Some("RCPT") => "550 5.7.1 Not relayed".to_owned(),
        Some("QUIT") => "221 bye".to_owned(),
        Some("DATA") => {
            let go_on = stream.get_mut().write_all(b"354 go on\r\n").await;
            let mut data = String::new();
            while go_on.is_ok() && !data.ends_with("\r\n.\r\n") {
                if !matches!(stream.read_line(&mut data).await, Ok(1..)) {
                    break;
                }
            }
            "250 stored".to_owned()
        }
        _ => "250 ok".to_owned(),
    };
    format!("{text}\r\n")
}
