//! Wanted mail to the fast sink: direct, through the gateway, and through other proxies, all in
//! turns of one run. The gateway is there twice: as it is, and so that it must connect to the server
//! for each session, as where it tells the server who the client is (PROXY, XCLIENT), and as the
//! other proxies do.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{SENDERS, Setting, loads, timing};
use crate::gateway::{Gateway, Settings};
use crate::load::{Comparison, Server, Turn, Way, added_ms, compare, middle, ratios, rounds};
use crate::peers::{Kind, Peer};
use crate::report::Table;
use crate::sink::Sink;
use crate::stats::{milliseconds, thousands};

pub(super) const COLUMNS: &[&str] = &[
    "wanted mail",
    "through",
    "messages/s",
    "of direct (of rounds)",
    "ms median / 99 %",
    "added, ms",
    "CPU, µs/message",
];

/// The gateway's places among the servers, as it is and without reuse; the direct way is the first.
const GATEWAYS: [(usize, &str); 2] = [(1, "the gateway"), (2, "the gateway, without reuse")];

/// Which of the loads is measured against itself: 1 KiB, 50 senders, 10 a connection.
const NOISE: usize = 3;

/// Measures and prints.
pub(super) async fn run(setting: &Setting) -> Result<Table> {
    let sink = Sink::start(1, Duration::ZERO)?;
    let direct = sink.addresses[0];
    let gateway = Gateway::start(&setting.tarpit, &Settings::new(direct)).await?;
    let without_reuse = Settings {
        messages_per_connection_max: 1,
        ..Settings::new(direct)
    };
    let without_reuse = Gateway::start(&setting.tarpit, &without_reuse).await?;
    let mut names = vec!["nothing (direct)".to_owned()];
    names.extend(GATEWAYS.map(|(_, name)| name.to_owned()));
    let mut servers = vec![Server::plain(direct)];
    servers.extend([&gateway, &without_reuse].map(|gateway| gateway.server(Way::Plain)));
    let mut builds = Vec::new();
    for binary in &setting.beside {
        let build = Gateway::start(binary, &Settings::new(direct)).await?;
        names.push(binary.display().to_string());
        servers.push(build.server(Way::Plain));
        builds.push(build);
    }
    let peers = peers(direct, sink.authority).await;
    for (kind, peer) in &peers {
        names.push(kind.name().to_owned());
        servers.push(peer.server(Way::Plain));
    }
    let mut table = Table::new(COLUMNS);
    let mut beside = Beside::new(&names);
    for (words, load) in setting.loads() {
        eprintln!("load: {words}");
        let turns = rounds(&servers, &load, timing(setting.quick)).await?;
        beside.row(&words, &turns);
        rows(&mut table, &words, &names, turns);
    }
    println!("## Wanted mail, fast sink\n");
    println!("{}", table.to_markdown());
    println!("{}", noise(direct, setting.quick).await?);
    println!("{}", beside.to_markdown());
    Ok(table)
}

/// The other proxies that are there.
async fn peers(upstream: SocketAddr, authority: SocketAddr) -> Vec<(Kind<'static>, Peer)> {
    let mut peers = Vec::new();
    for kind in [
        Kind::Haproxy,
        Kind::Stream,
        Kind::Mail {
            authority,
            certificate: None,
        },
    ] {
        match Peer::start(kind, upstream).await {
            Ok(peer) => peers.push((kind, peer)),
            // What the gateway costs is worth knowing without them.
            Err(error) => println!("{} was not measured: {error:#}\n", kind.name()),
        }
    }
    peers
}

/// One row for each server.
pub(super) fn rows(table: &mut Table, words: &str, names: &[String], turns: Vec<Vec<Turn>>) {
    let direct = turns.first().map(Vec::as_slice).unwrap_or_default();
    let mut cells = Vec::new();
    for (at, turns) in turns.iter().enumerate() {
        let [median, least, greatest] = ratios(direct, turns, |turn| turn.rate);
        cells.push(if at == 0 {
            ["1".to_owned(), "-".to_owned()]
        } else {
            [
                format!("**{median:.2}** ({least:.2}-{greatest:.2})"),
                format!("{:+.2}", added_ms(direct, turns)),
            ]
        });
    }
    for ((name, turns), [ratio, added]) in names.iter().zip(turns).zip(cells) {
        let turn = middle(turns);
        if let Some(failure) = &turn.first_failure {
            let failures = turn.failures;
            eprintln!("{words}, {name}: {failures} failures, the first: {failure}");
        }
        table.row(vec![
            words.to_owned(),
            name.clone(),
            thousands(turn.rate),
            ratio,
            format!("{} / {}", milliseconds(turn.median), milliseconds(turn.p99)),
            added,
            per_message(turn.spent, turn.sent),
        ]);
    }
}

/// The gateways beside each other proxy: rate by rate, and latency by latency.
struct Beside {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Beside {
    fn new(names: &[String]) -> Self {
        let others = names.iter().skip(1 + GATEWAYS.len());
        Self {
            names: others.cloned().collect(),
            rows: Vec::new(),
        }
    }

    fn row(&mut self, words: &str, turns: &[Vec<Turn>]) {
        for (at, gateway_name) in GATEWAYS {
            let Some(gateway) = turns.get(at) else {
                return;
            };
            let others = turns.iter().skip(1 + GATEWAYS.len());
            for (name, other) in self.names.iter().zip(others) {
                let cell = |figure: fn(&Turn) -> f64| {
                    let [median, least, greatest] = ratios(other, gateway, figure);
                    format!("**{median:.2}** ({least:.2}-{greatest:.2})")
                };
                self.rows.push(vec![
                    words.to_owned(),
                    gateway_name.to_owned(),
                    name.clone(),
                    cell(|turn| turn.rate),
                    cell(|turn| turn.median.as_secs_f64()),
                    cell(|turn| turn.p99.as_secs_f64()),
                ]);
            }
        }
    }

    fn to_markdown(&self) -> String {
        let mut table = Table::new(&[
            "wanted mail",
            "through",
            "by",
            "messages/s",
            "ms, median",
            "ms, 99 %",
        ]);
        for row in &self.rows {
            table.row(row.clone());
        }
        format!(
            "The gateway's figures by those of the others, in the same rounds:\n\n{}",
            table.to_markdown()
        )
    }
}

/// The sink against itself: how far from 1 a ratio can be on this machine by chance.
async fn noise(direct: SocketAddr, quick: bool) -> Result<String> {
    let (words, load) = loads(&SENDERS)
        .into_iter()
        .nth(NOISE)
        .context("no such load")?;
    let Comparison { ratio, .. } = compare(direct, direct, &load, timing(quick)).await?;
    let [median, least, greatest] = ratio;
    Ok(format!(
        "The direct way by itself ({words}): {median:.2} ({least:.2}-{greatest:.2}); so far from 1 \
         can a ratio be by chance.\n"
    ))
}

/// Microseconds a message.
fn per_message(spent: Duration, messages: u64) -> String {
    if messages == 0 || spent.is_zero() {
        return "-".to_owned();
    }
    format!("{:.0}", spent.as_secs_f64() * 1e6 / messages as f64)
}
