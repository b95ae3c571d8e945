//! What held sessions cost: memory of the gateway, upstream connections, and wanted mail beside.
//!
//! Wanted mail is compared between two gateways of the same run, one with an empty pit and one
//! with a full one, in turns. Filling and emptying the pit of a single one was rejected: it would
//! measure the filling.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::sync::Semaphore;

use super::{Setting, cells, complain, loads, timing};
use crate::gateway::{Gateway, Settings};
use crate::load::{compare, turn};
use crate::report::Table;
use crate::sink::Sink;
use crate::stats::count;
use crate::wire::Client;

/// Longer than the measurement takes; the product allows 240.
const HOLD_SECONDS: u32 = 200;
/// Sessions that are opened at a time: below every backlog.
const OPENING: usize = 40;
/// For all look-ups to be made.
const PATIENCE: Duration = Duration::from_secs(30);
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
pub(super) async fn run(setting: &Setting) -> Result<()> {
    let mut sink = Sink::start(2, Duration::ZERO)?;
    let empty = start(setting, sink.addresses[0]).await?;
    let full = start(setting, sink.addresses[1]).await?;
    // What is set up once, at the first mail, belongs to no held session.
    for (_, load) in loads().iter().filter(|(words, _)| words.contains("1 KiB")) {
        turn(empty.address, load, timing(true)).await?;
        turn(full.address, load, timing(true)).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let before = full.resident_kib()?;
    eprintln!("held: {} sessions", setting.held);
    let clients = hold(&full, &mut sink, setting.held).await?;
    let after = full.resident_kib()?;
    let open = sink.stats()?[1].open;
    let mut table = Table::new(COLUMNS);
    for (words, load) in loads()
        .into_iter()
        .filter(|(words, _)| words.contains("10 a conn"))
    {
        eprintln!("held: {words}");
        let comparison = compare(empty.address, full.address, &load, timing(setting.quick)).await?;
        complain(&words, &comparison);
        let mut row = vec![words];
        row.extend(cells(&comparison));
        table.row(row);
    }
    let held = clients.len() as u64;
    println!("## {} sessions held\n", count(held));
    println!(
        "Resident memory of the gateway {} KiB before, {} KiB after: {:.1} KiB for each held \
         session. Upstream connections open meanwhile: {open}.\n",
        count(before),
        count(after),
        after.saturating_sub(before) as f64 / held as f64,
    );
    println!("{}", table.to_markdown());
    Ok(())
}

async fn start(setting: &Setting, upstream: SocketAddr) -> Result<Gateway> {
    let settings = Settings {
        scope: "session",
        delay_seconds: HOLD_SECONDS,
        upstream_more: "grace = \"100ms\"",
        limits: format!("sessions_max = {}", setting.held + 1000),
        ..Settings::new(upstream)
    };
    Gateway::start(&setting.tarpit, &settings).await
}

/// Brings `number` sessions into the pit, each of a source of its own, and waits until all are.
async fn hold(gateway: &Gateway, sink: &mut Sink, number: u32) -> Result<Vec<Client>> {
    let looked_up = sink.stats()?[1].looked_up;
    let places = Arc::new(Semaphore::new(OPENING));
    let opening: Vec<_> = (0..number)
        .map(|at| tokio::spawn(enter(at, gateway.address, Arc::clone(&places))))
        .collect();
    let mut clients = Vec::new();
    for client in opening {
        clients.push(client.await.context("a held client")??);
    }
    let started = Instant::now();
    while sink.stats()?[1].looked_up - looked_up < u64::from(number) {
        ensure!(
            started.elapsed() < PATIENCE,
            "not all guesses were looked up"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(clients)
}

async fn enter(at: u32, to: SocketAddr, places: Arc<Semaphore>) -> Result<Client> {
    let _place = places.acquire().await?;
    // 127.16.0.1 and on: inside 127.0.0.0/8, and apart from the other parts.
    let own = IpAddr::V4(Ipv4Addr::from_bits(0x7f10_0001 + at));
    let mut client = Client::open(own, to).await?;
    client
        .send(b"MAIL FROM:<guess@client.example.net>\r\nRCPT TO:<nobody@example.org>\r\n")
        .await?;
    client.expect("MAIL", 250).await?;
    Ok(client)
}
