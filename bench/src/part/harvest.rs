//! Answers a minute to harvesters, with the pit off and on, in both scopes.
//!
//! All cases run at the same time, each on a gateway and a sink listener of its own: they mostly
//! wait. The gateway's caps on connections are raised, so that what is seen is the pit alone.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Setting;
use crate::gateway::{Gateway, Settings};
use crate::harvest::{Tally, Way, harvest};
use crate::report::Table;
use crate::sink::{Sink, Stats};
use crate::stats::count;

/// As a server that asks a directory on another machine.
const LOOK_UP: Duration = Duration::from_millis(200);

/// `mode` and `scope`, and the words for the table.
const PITS: [(&str, &str); 3] = [
    ("off", "session"),
    ("enforce", "session"),
    ("enforce", "source"),
];

const CONNECTIONS: [u32; 3] = [1, 10, 100];

const COLUMNS: &[&str] = &[
    "harvester, one source",
    "answers, pit off",
    "scope session",
    "scope source",
    "looked up, pit off",
    "scope session",
    "scope source",
    "told nothing, scope source",
];

/// One harvester at one gateway.
struct Case {
    way: Way,
    connections: u32,
    gateway: Gateway,
}

/// What came of it, scaled to a minute.
struct Outcome {
    tally: Arc<Tally>,
    looked_up: u64,
}

/// Measures and prints.
pub(super) async fn run(setting: &Setting) -> Result<Table> {
    let window = Duration::from_secs(if setting.quick { 15 } else { 60 });
    eprintln!("harvest: {} s", window.as_secs());
    let number = Way::ALL.len() * CONNECTIONS.len() * PITS.len();
    let mut sink = Sink::start(number, LOOK_UP)?;
    let cases = start(setting, &sink).await?;
    let before = sink.stats()?;
    let tallies = race(&cases, window).await?;
    let after = sink.stats()?;
    let outcomes: Vec<Outcome> = tallies
        .into_iter()
        .zip(looked_up(&before, &after))
        .map(|(tally, looked_up)| Outcome { tally, looked_up })
        .collect();
    println!("## Harvesters, per minute\n");
    let table = table(&cases, &outcomes, window);
    println!("{}", table.to_markdown());
    println!(
        "Window {} s from the first guess; a wrong guess costs 5 s; the server takes 200 ms to look \
         a name up; one guess in {} exists. *Answers* are 250 and 5yz replies that the harvester \
         got, in parentheses the names found. *Looked up* is what the server was asked: a harvester that reads the clock instead of \
         the reply can learn no more than that. *Told nothing* are 450 and 421 replies.\n",
        window.as_secs(),
        crate::harvest::HIT,
    );
    Ok(table)
}

/// One gateway for each case: ways, then connections, then pits.
async fn start(setting: &Setting, sink: &Sink) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for way in Way::ALL {
        for connections in CONNECTIONS {
            for (mode, scope) in PITS {
                let upstream = *sink.addresses.get(cases.len()).context("sink listeners")?;
                let settings = Settings {
                    mode,
                    scope,
                    upstream_more: "connections_max = 1000\nconnections_per_source_max = 900",
                    limits: "sessions_per_source_max = 1000".to_owned(),
                    ..Settings::new(upstream)
                };
                let gateway = Gateway::start(&setting.tarpit, &settings).await?;
                cases.push(Case {
                    way,
                    connections,
                    gateway,
                });
            }
        }
    }
    Ok(cases)
}

async fn race(cases: &[Case], window: Duration) -> Result<Vec<Arc<Tally>>> {
    let own = IpAddr::V4(Ipv4Addr::new(127, 4, 0, 1));
    let end = Instant::now() + window;
    let running: Vec<_> = cases
        .iter()
        .map(|case| {
            let to = case.gateway.address;
            tokio::spawn(harvest(own, to, case.way, case.connections, end))
        })
        .collect();
    let mut tallies = Vec::new();
    for harvester in running {
        tallies.push(harvester.await.context("a harvester")?);
    }
    Ok(tallies)
}

fn looked_up(before: &[Stats], after: &[Stats]) -> Vec<u64> {
    let pairs = before.iter().zip(after);
    pairs
        .map(|(before, after)| after.looked_up - before.looked_up)
        .collect()
}

fn table(cases: &[Case], outcomes: &[Outcome], window: Duration) -> Table {
    let minute = |figure: u64| count(figure * 60 / window.as_secs());
    let mut table = Table::new(COLUMNS);
    let rows = cases.chunks(PITS.len()).zip(outcomes.chunks(PITS.len()));
    for (cases, outcomes) in rows {
        let Some(case) = cases.first() else { continue };
        let plural = if case.connections == 1 { "" } else { "s" };
        let mut row = vec![format!(
            "{} connection{plural}, {}",
            case.connections,
            case.way.as_str()
        )];
        row.extend(outcomes.iter().map(|outcome| {
            let tally = &outcome.tally;
            format!("{} ({})", minute(tally.answers()), minute(tally.names()))
        }));
        row.extend(outcomes.iter().map(|outcome| minute(outcome.looked_up)));
        let last = outcomes
            .last()
            .map_or(0, |outcome| outcome.tally.told_nothing());
        row.push(minute(last));
        table.row(row);
    }
    table
}
