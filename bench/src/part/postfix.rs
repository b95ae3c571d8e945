//! Wanted mail: direct to a real Postfix and through the gateway.
//!
//! Postfix takes each message into its queue, synced, as ever, and then delivers it with its
//! `discard` transport, so that a maildir of a hundred thousand files is not what is measured.
//! The gateway tells it who its client is by XCLIENT, as it should in service.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tarpit_interop::Postfix;

use super::{Setting, cells, complain, loads};
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
    let settings = Settings {
        identity: "xclient",
        ..Settings::new(direct)
    };
    let gateway = Gateway::start(&setting.tarpit, &settings).await?;
    let mut table = Table::new(COLUMNS);
    for (words, load) in loads() {
        eprintln!("postfix: {words}");
        let comparison = compare(direct, gateway.address, &load, timing(setting.quick)).await?;
        complain(&words, &comparison);
        let mut row = vec![words];
        row.extend(cells(&comparison));
        table.row(row);
    }
    println!("## Wanted mail, Postfix\n");
    println!("{}", table.to_markdown());
    println!(
        "Postfix with its own limits, delivering to `discard`; the gateway with \
         `identity = \"xclient\"`.\n"
    );
    Ok(())
}

/// Turns longer than those on the sink: Postfix takes some hundred messages a second.
fn timing(quick: bool) -> Timing {
    Timing {
        pairs: if quick { 3 } else { 5 },
        warm: Duration::from_millis(250),
        turn: Duration::from_millis(if quick { 500 } else { 1200 }),
    }
}
