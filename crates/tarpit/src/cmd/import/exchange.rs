//! Exchange's receive connectors, as `Get-ReceiveConnector | Format-List` prints them, and TarpitTime of
//! Windows' own SMTP service (KB 842851), as a registry export has it.
//!
//! Exchange chooses the connector by the client's address, so one port may have several. The one for
//! everybody becomes the listener; a narrower one without a delay is what Exchange has for an
//! exemption, and becomes one.

mod connectors;
mod registry;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::bail;

use super::draft::Draft;
use super::layout;
use super::networks;
use super::source::Source;
use super::table as rows;
use super::units;
use connectors::Connector;

pub(super) use table::TABLE;

/// Stands for Exchange where the connectors don't say an address (RFC 5737).
const SOME_EXCHANGE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 25);

/// Takes it over.
///
/// # Errors
///
/// The file can't be read, or is neither of the two.
pub(super) fn import(file: &Path) -> anyhow::Result<Draft> {
    let source = Source::read(file)?;
    let mut draft = Draft::new("Exchange", "exchange");
    draft.reads(&source);
    if let Some(found) = registry::read(&source)? {
        place(
            &mut draft,
            None,
            format!("{}: says no address", source.name),
        );
        let said = found.show();
        match units::whole(&found.value) {
            Some(0) => draft.leave(
                &said,
                "0 is no delay. Neither is there one here with mode = \"observe\".",
            ),
            _ => rows::apply(&mut draft, TABLE, &[found]),
        }
        return Ok(draft);
    }
    let list = connectors::read(&source);
    if list.is_empty() {
        bail!(
            "{}: found neither a receive connector (\"TarpitInterval : 00:00:05\") nor TarpitTime in a registry export",
            file.display()
        );
    }
    let enabled: Vec<&Connector> = list
        .iter()
        .filter(|connector| connector.is_enabled())
        .collect();
    let for_mail = |connector: &&&Connector| connector.ports().contains(&25);
    let open = enabled.iter().find(|connector| {
        for_mail(connector) && connector.is_for_all() && connector.is_anonymous()
    });
    let open = open.or_else(|| {
        enabled
            .iter()
            .find(|connector| for_mail(connector) && connector.is_for_all())
    });
    let Some(main) = open
        .or_else(|| enabled.iter().find(for_mail))
        .or_else(|| enabled.first())
    else {
        bail!("{}: no connector is enabled", file.display());
    };
    let said = format!("{}: connector {}", main.place, main.name());
    place(&mut draft, Some(main), said);
    rows::apply(&mut draft, TABLE, &main.settings);
    for connector in &list {
        if connector.place != main.place {
            other(&mut draft, connector, main);
        }
    }
    Ok(draft)
}

/// The listener and the upstream.
fn place(draft: &mut Draft, main: Option<&Connector>, said: String) {
    let bound = main.and_then(|main| {
        let all = main.bindings();
        let mut known = all
            .into_iter()
            .filter(|address| !address.ip().is_unspecified());
        known.find(|address| address.port() == 25)
    });
    let usual = SocketAddr::new(IpAddr::V4(SOME_EXCHANGE), 25);
    let aside = match bound {
        Some(_) => "Where Exchange listens now.",
        None => {
            "PUT EXCHANGE'S OWN ADDRESS HERE: it is bound to every address, and this one is an example (RFC 5737)."
        }
    };
    layout::place(draft, bound.unwrap_or(usual), said, aside);
    layout::no_identity(draft, "Exchange", "\"transparent\"");
}

/// A connector beside the one that is taken.
fn other(draft: &mut Draft, connector: &Connector, main: &Connector) {
    let said = format!("{}: connector {}", connector.place, connector.name());
    if !connector.is_enabled() {
        return draft.leave(&said, "It is not enabled.");
    }
    let shares_port = connector
        .ports()
        .iter()
        .any(|port| main.ports().contains(port));
    if !shares_port {
        return draft.leave(&said, another_port(connector));
    }
    let Some(delay) = connector.get("TarpitInterval") else {
        return draft.leave(
            &said,
            "It says no TarpitInterval, so it is not known whom it slows.",
        );
    };
    let said = format!("{}; {}", said, delay.show());
    let is_off = units::clock(&delay.value).is_some_and(|time| time.is_zero());
    if !is_off {
        let same = main
            .get("TarpitInterval")
            .is_some_and(|main| main.value == delay.value);
        return draft.leave(
            &said,
            if same {
                "It waits as long as the other one; there is nothing to set for its networks."
            } else {
                "A listener has one delay, and a network none or that: these networks get the listener's."
            },
        );
    }
    exempt(draft, connector, &said);
}

fn another_port(connector: &Connector) -> &'static str {
    if connector
        .get("TransportRole")
        .is_some_and(|role| role.value == "HubTransport")
    {
        return "For Exchange's own servers; they go on using it.";
    }
    "Users go on coming to Exchange itself. To let Tarpit stand there too, add a [[listener]] with kind = \"submission\" and a \
     [[certificate]]."
}

/// A connector without a delay, for some networks: Exchange's way to exempt them.
fn exempt(draft: &mut Draft, connector: &Connector, said: &str) {
    let Some(ranges) = connector.get("RemoteIPRanges") else {
        return draft.leave(
            said,
            "It says no RemoteIPRanges, so it is not known whom it is for.",
        );
    };
    let said = format!("{said}; {}", ranges.show());
    let reason = format!(
        "no tarpit on Exchange connector {}, {}",
        connector.name(),
        connector.place
    );
    for range in connectors::items(&ranges.value) {
        if range.ends_with("...") || range.ends_with('…') {
            draft.leave(
                &said,
                "PowerShell has cut the list. Print it again after `$FormatEnumerationLimit = -1`, or networks are missing here.",
            );
        }
        let range = range.trim_end_matches(['.', '…']);
        match networks::parse(range) {
            Some(list) => {
                for network in list {
                    networks::trust(draft, network, &said, &reason);
                }
            }
            None => draft.leave(
                &said,
                &format!("{range} is no range of addresses; nobody in it is exempt."),
            ),
        }
    }
}

/// For the table: a TarpitInterval, or TarpitTime in whole seconds.
fn delay(value: &str) -> units::Read {
    let time = units::clock(value).or_else(|| units::time(value, 1));
    units::delay(time, value)
}

/// For the table: a span of time.
fn span(value: &str) -> units::Read {
    units::clock(value)
        .map(units::span)
        .ok_or_else(|| units::no_time(value))
}

/// For the table: a number, where `unlimited` is none.
fn bound(value: &str) -> units::Read {
    if value.eq_ignore_ascii_case("unlimited") {
        return Err("there is no bound there; Tarpit keeps its own".to_owned());
    }
    units::bound(value)
}

/// For the table: connections.
fn connections(value: &str) -> units::Read {
    bound(value).and_then(|_| units::four_fifths(value))
}
