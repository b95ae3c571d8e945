//! Wanted mail: direct to the fast sink and through the gateway.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{Setting, cells, complain, loads, timing};
use crate::gateway::{Gateway, Settings};
use crate::load::compare;
use crate::report::Table;
use crate::sink::Sink;

const COLUMNS: &[&str] = &[
    "wanted mail",
    "direct, messages/s",
    "gateway, messages/s",
    "ratio (of pairs)",
    "direct, ms median / 99 %",
    "gateway, ms median / 99 %",
    "added, ms",
    "gateway's CPU, µs/message",
];

/// Which of the loads is measured against itself: 1 KiB, 50 senders, 10 a connection.
const NOISE: usize = 3;

/// Measures and prints.
pub(super) async fn run(setting: &Setting) -> Result<()> {
    let sink = Sink::start(1, Duration::ZERO)?;
    let direct = sink.addresses[0];
    let gateway = Gateway::start(&setting.tarpit, &Settings::new(direct)).await?;
    let mut table = Table::new(COLUMNS);
    for (words, load) in setting.loads() {
        eprintln!("load: {words}");
        let before = gateway.processor_time()?;
        let comparison = compare(direct, gateway.address, &load, timing(setting.quick)).await?;
        let spent = gateway.processor_time()? - before;
        complain(&words, &comparison);
        let mut row = vec![words];
        row.extend(cells(&comparison));
        row.push(per_message(spent, comparison.b.sent));
        table.row(row);
    }
    table.row(noise(direct, setting.quick).await?);
    println!("## Wanted mail, fast sink\n");
    println!("{}", table.to_markdown());
    Ok(())
}

/// The sink against itself: how far from 1 a ratio can be on this machine by chance.
async fn noise(direct: SocketAddr, quick: bool) -> Result<Vec<String>> {
    let (words, load) = loads().into_iter().nth(NOISE).context("no such load")?;
    let comparison = compare(direct, direct, &load, timing(quick)).await?;
    let mut row = vec![format!("{words}; direct in both columns")];
    row.extend(cells(&comparison));
    row.push("-".to_owned());
    Ok(row)
}

/// Microseconds a message.
pub(super) fn per_message(spent: Duration, messages: u64) -> String {
    if messages == 0 {
        return "-".to_owned();
    }
    format!("{:.0}", spent.as_secs_f64() * 1e6 / messages as f64)
}
