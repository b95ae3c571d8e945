//! What held sessions cost: memory of the gateway, upstream connections, and wanted mail beside.
//!
//! Wanted mail is compared between two gateways of the same run, one with an empty pit and one
//! with a full one, in turns. Filling and emptying the pit of a single one was rejected: it would
//! measure the filling.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustls::ClientConfig;

use super::{Setting, cells, complain, timing};
use crate::gateway::{Gateway, Settings};
use crate::load::compare;
use crate::report::Table;
use crate::sink::Sink;
use crate::stats::count;
use crate::tls::Certificate;
use crate::wire::Client;

/// The longest that the product allows as `hold_max`, which no `delay` may exceed; the measurement
/// takes half of it.
const HOLD_SECONDS: u32 = 75;
/// Sessions that are opened at a time: as many as get upstream connections at once.
const BATCH: usize = 50;
/// For the look-ups of a batch to be made.
const PATIENCE: Duration = Duration::from_secs(10);
/// Ten times the grace after which a held session gives its upstream connection back.
const SETTLE: Duration = Duration::from_secs(1);

const COLUMNS: &[&str] = &[
    "wanted mail",
    "0 held, messages/s",
    "with held, messages/s",
    "ratio (of pairs)",
    "0 held, ms median / 99 %",
    "with held, ms median / 99 %",
    "added, ms",
];

/// Measures and prints.
pub(super) async fn run(setting: &Setting, over_tls: bool) -> Result<()> {
    let mut sink = Sink::start(2, Duration::ZERO)?;
    let certificate = Certificate::new()?;
    // One client for all: none of them comes again.
    let tls = over_tls.then(|| certificate.client(false));
    let lines = if over_tls {
        certificate.to_toml()
    } else {
        String::new()
    };
    let empty = start(setting, sink.addresses[0], &lines).await?;
    let full = start(setting, sink.addresses[1], &lines).await?;
    // The first sessions are put into memory that earlier work has left; what one more costs is
    // seen after them.
    let first = setting.held / 4;
    let started = Instant::now();
    eprintln!("held: {} sessions", first + setting.held);
    let mut clients = hold(&full, &mut sink, 0..first, tls.as_ref()).await?;
    let before = full.resident_kib()?;
    clients.extend(hold(&full, &mut sink, first..first + setting.held, tls.as_ref()).await?);
    let after = full.resident_kib()?;
    let open = sink.stats()?[1].open;
    let mut table = Table::new(COLUMNS);
    let loads = setting
        .loads()
        .filter(|(words, _)| words.contains("KiB") && words.contains("10 a connection"));
    for (words, load) in loads {
        eprintln!("held: {words}");
        let comparison = compare(empty.address, full.address, &load, timing(setting.quick)).await?;
        complain(&words, &comparison);
        let mut row = vec![words];
        row.extend(cells(&comparison));
        table.row(row);
    }
    let took = started.elapsed().as_secs();
    ensure!(
        took < HOLD_SECONDS.into(),
        "the first holds ended after {HOLD_SECONDS} s, the measurement took {took} s"
    );
    println!(
        "## {} sessions held{}\n",
        count(clients.len() as u64),
        if over_tls { " over TLS" } else { "" }
    );
    println!(
        "Resident memory of the gateway {} KiB with {} held, {} KiB with all: {:.1} KiB for each. \
         Upstream connections open meanwhile: {open}.\n",
        count(before),
        count(first.into()),
        count(after),
        after.saturating_sub(before) as f64 / f64::from(setting.held),
    );
    println!("{}", table.to_markdown());
    Ok(())
}

async fn start(setting: &Setting, upstream: SocketAddr, certificate: &str) -> Result<Gateway> {
    let settings = Settings {
        scope: "session",
        delay_seconds: HOLD_SECONDS,
        upstream_more: "grace = \"100ms\"",
        certificate: certificate.to_owned(),
        limits: format!("sessions_max = {}", setting.held * 2 + 1000),
        ..Settings::new(upstream)
    };
    Gateway::start(&setting.tarpit, &settings).await
}

/// Brings sessions into the pit, each of a source of its own, and waits until all are.
///
/// In batches: who comes when all upstream connections are taken and too many wait gets 451, and
/// is not held.
async fn hold(
    gateway: &Gateway,
    sink: &mut Sink,
    numbers: Range<u32>,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Vec<Client>> {
    let before = sink.stats()?[1].looked_up;
    let mut clients = Vec::new();
    let numbers: Vec<u32> = numbers.collect();
    for batch in numbers.chunks(BATCH) {
        let opening: Vec<_> = batch
            .iter()
            .map(|at| tokio::spawn(enter(*at, gateway.address, tls.cloned())))
            .collect();
        for client in opening {
            clients.push(client.await.context("a held client")??);
        }
        let started = Instant::now();
        while sink.stats()?[1].looked_up - before < clients.len() as u64 {
            ensure!(
                started.elapsed() < PATIENCE,
                "not all guesses were looked up"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    tokio::time::sleep(SETTLE).await;
    Ok(clients)
}

async fn enter(at: u32, to: SocketAddr, tls: Option<Arc<ClientConfig>>) -> Result<Client> {
    // 127.16.0.1 and on: inside 127.0.0.0/8, and apart from the other parts.
    let own = IpAddr::V4(Ipv4Addr::from_bits(0x7f10_0001 + at));
    let mut client = match &tls {
        Some(config) => Client::open_tls(own, to, config).await?,
        None => Client::open(own, to).await?,
    };
    client
        .send(b"MAIL FROM:<guess@client.example.net>\r\nRCPT TO:<nobody@example.org>\r\n")
        .await?;
    client.expect("MAIL", 250).await?;
    Ok(client)
}
