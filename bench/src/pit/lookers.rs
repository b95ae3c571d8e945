//! Who look on: at the page's events, as browsers do, and at the figures, as Prometheus does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// As many as have a place: `SUBSCRIBERS_MAX` of the page.
pub(super) const PLACES: usize = 16;

/// Between two looks at the figures: fifteen times as often as Prometheus looks unless told.
const SCRAPE: Duration = Duration::from_secs(1);

/// They look as long as this is kept.
pub(super) struct Lookers {
    _tasks: JoinSet<()>,
    octets: Arc<AtomicU64>,
}

impl Lookers {
    /// Lets so many watch the page, and one more read the figures each second.
    ///
    /// # Errors
    /// When one of them has no place.
    pub(super) async fn start(admin: SocketAddr, count: usize) -> Result<Self> {
        let octets = Arc::<AtomicU64>::default();
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let mut stream = ask(admin, "/events").await?;
            let mut head = [0; 12];
            stream.read_exact(&mut head).await?;
            ensure!(head.ends_with(b" 200"), "the page's events are not shown");
            let octets = Arc::clone(&octets);
            tasks.spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                    octets.fetch_add(read as u64, Ordering::Relaxed);
                }
            });
        }
        tasks.spawn(async move {
            loop {
                if let Ok(mut stream) = ask(admin, "/metrics").await {
                    let mut text = Vec::new();
                    let _ = stream.read_to_end(&mut text).await;
                }
                tokio::time::sleep(SCRAPE).await;
            }
        });
        Ok(Self {
            _tasks: tasks,
            octets,
        })
    }

    /// What they saw, so that nobody measures lookers who see nothing.
    ///
    /// # Errors
    /// When that is nothing.
    pub(super) fn saw(&self) -> Result<u64> {
        let octets = self.octets.load(Ordering::Relaxed);
        ensure!(octets > 0, "those who look see nothing");
        Ok(octets)
    }
}

async fn ask(admin: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(admin).await.context("the page")?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}
