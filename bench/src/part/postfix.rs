//! Wanted mail: direct to a real Postfix and through the gateway.
//!
//! Postfix takes each message into its queue, synced, as ever, and then delivers it with its
//! `discard` transport, so that a maildir of a hundred thousand files is not what is measured.
//! The gateway tells it who its client is by XCLIENT, as it should in service; with small messages
//! also the other way, to see what that costs.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tarpit_interop::Postfix;

use super::{Setting, cells, complain};
use crate::gateway::{Gateway, Settings};
use crate::load::{Timing, compare};
use crate::report::Table;

const COLUMNS: &[&str] = &[
    "wanted mail",
    "direct, messages/s",
    "gateway, messages/s",
    "ratio (of pairs)",
    "direct, ms median / 99 %",
    "gateway, ms median / 99 %",
    "added, ms",
];

/// Measures and prints.
pub(super) async fn run(setting: &Setting) -> Result<()> {
    let postfix = Postfix::server()
        .user("user")
        .xclient()
        .set("virtual_transport", "discard:")
        .set("message_size_limit", "104857600")
        .start()
        .context("starting Postfix")?;
    let direct = SocketAddr::from((Ipv4Addr::LOCALHOST, postfix.port()));
    let mut table = Table::new(COLUMNS);
    for identity in ["xclient", "none"] {
        let settings = Settings {
            identity,
            ..Settings::new(direct)
        };
        let gateway = Gateway::start(&setting.tarpit, &settings).await?;
        for (words, load) in setting.loads() {
            // Told nothing, connections can be shared; large messages don't notice.
            if identity == "none" && words.contains("MiB") {
                continue;
            }
            let words = format!("{words}; {identity}");
            eprintln!("postfix: {words}");
            let comparison = compare(direct, gateway.address, &load, timing(setting.quick)).await?;
            complain(&words, &comparison);
            let mut row = vec![words];
            row.extend(cells(&comparison));
            table.row(row);
        }
    }
    println!("## Wanted mail, Postfix\n");
    println!("{}", table.to_markdown());
    println!(
        "Postfix with its own limits, delivering to `discard`. The last word of each row is the \
         gateway's `identity`: told of a client by XCLIENT, a connection serves no other one; told \
         nothing, it is kept for the next.\n"
    );
    Ok(())
}

/// Turns longer than those on the sink: Postfix takes some hundred messages a second.
fn timing(quick: bool) -> Timing {
    Timing {
        rounds: if quick { 3 } else { 5 },
        warm: Duration::from_millis(200),
        turn: Duration::from_millis(if quick { 400 } else { 1200 }),
    }
}
