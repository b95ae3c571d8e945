//! Wanted mail to the fast sink in chunks (BDAT) and over TLS, all in turns of one run.
//!
//! TLS ends at the gateway, the way to the sink is plain: what TLS costs twice is twice what it
//! costs once. nginx's mail proxy stands beside, the only one of the others that knows STARTTLS; it
//! has its own defaults, OpenSSL and no cache of sessions but tickets.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::load::{COLUMNS, rows};
use super::{Setting, timing};
use crate::gateway::{Gateway, Settings};
use crate::load::{Server, Way, rounds};
use crate::peers::{Kind, Peer};
use crate::report::Table;
use crate::sink::Sink;
use crate::tls::Certificate;

/// Measures and prints.
pub(super) async fn run(setting: &Setting) -> Result<()> {
    let sink = Sink::start(1, Duration::ZERO)?;
    let direct = sink.addresses[0];
    let certificate = Arc::new(Certificate::new()?);
    let settings = Settings {
        certificate: certificate.to_toml(),
        ..Settings::new(direct)
    };
    let gateway = Gateway::start(&setting.tarpit, &settings).await?;
    let full = Way::StartTls { resumes: false };
    let resumed = Way::StartTls { resumes: true };
    let mut ways = vec![
        ("nothing (direct)", Server::plain(direct)),
        ("the gateway", gateway.server(Way::Plain)),
        (
            "nothing, BDAT",
            Server {
                way: Way::Chunk,
                ..Server::plain(direct)
            },
        ),
        ("the gateway, BDAT", gateway.server(Way::Chunk)),
        ("the gateway, STARTTLS", gateway.server(full)),
        ("the gateway, STARTTLS resumed", gateway.server(resumed)),
    ];
    let kind = Kind::Mail {
        authority: sink.authority,
        certificate: Some(&certificate),
    };
    let peer = Peer::start(kind, direct).await;
    match &peer {
        Ok(peer) => {
            ways.push(("nginx, mail, STARTTLS", peer.server(full)));
            ways.push(("nginx, mail, STARTTLS resumed", peer.server(resumed)));
        }
        Err(error) => println!("{} was not measured: {error:#}\n", kind.name()),
    }
    let names: Vec<String> = ways.iter().map(|(name, _)| (*name).to_owned()).collect();
    let servers: Vec<Server> = ways.iter().map(|(_, server)| *server).collect();
    let mut table = Table::new(COLUMNS);
    let (mut connections, mut resumptions) = (0, 0);
    for (words, mut load) in setting.loads() {
        // On a connection that stays, a handshake is soon forgotten.
        if words.contains("MiB") && load.each > 1 {
            continue;
        }
        eprintln!("ways: {words}");
        load.certificate = Some(Arc::clone(&certificate));
        let turns = rounds(&servers, &load, timing(setting.quick)).await?;
        for (server, turns) in servers.iter().zip(&turns) {
            if server.way == resumed {
                connections += turns.iter().map(|turn| turn.connections).sum::<u64>();
                resumptions += turns.iter().map(|turn| turn.resumed).sum::<u64>();
            }
        }
        rows(&mut table, &words, &names, turns);
    }
    println!("## Wanted mail in chunks and over TLS\n");
    println!("{}", table.to_markdown());
    println!(
        "\"Resumed\" are {resumptions} of {connections} connections: the first one of each sender \
         can't be.\n"
    );
    Ok(())
}
