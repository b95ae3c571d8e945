//! From the sections of the file to the gateway's configuration.
//!
//! Each function reads all keys of its section before it gives up on any, so that every mistake is
//! noted; `None` means that something was.

mod admin;
mod delivery;
mod listener;
mod pit;
mod records;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tarpit_core::Prefixes;
use tarpit_gateway::config::{Addresses, Config, Exemption, Limits, Recipients};
use toml::de::DeValue;

use super::effective::Origin;
use super::reader::{Reader, View};
use super::system;
use super::{Admin, Control, Records, options, read};
use crate::log;
use pit::SessionBounds;

/// What is not for the gateway.
pub(super) struct Rest {
    pub(super) log: log::Format,
    pub(super) records: Records,
    pub(super) admin: Admin,
    pub(super) control: Control,
    pub(super) runtime: Option<PathBuf>,
}

/// Reads everything.
pub(super) fn resolve(reader: &mut Reader<'_>) -> Option<(Config, Rest)> {
    let top = reader.top();
    let hostname = hostname(reader, &top);
    let domains = reader.texts(&top, "domains");
    // In the order of the table of options, which `tarpit check` keeps.
    let listener_views = reader.many("listener");
    let named = names_and_addresses(reader, &listener_views);
    let deliveries = delivery::read(reader, domains.as_deref(), &named);
    let certificates = listener::certificates(reader);
    let recipients = recipients(reader);
    let pit = pit::read(reader);
    let pit_bounds = pit_bounds(reader);
    let exempt = exemptions(reader);
    let prefixes = prefixes(reader);
    let limits = limits(reader, pit_bounds);
    let log = log_options(reader);
    let records = records::read(reader);
    let admin = admin::read(reader, &named);
    let control = control(reader);
    let runtime = runtime(reader);

    let listeners = match (&pit, &limits) {
        (Some(pit), Some((_, bounds))) => {
            let has_certificate = certificates.as_ref().is_none_or(|list| !list.is_empty());
            let doors = listener::Doors {
                deliveries: deliveries.as_deref(),
                has_certificate,
            };
            listener::read(reader, &named, &doors, pit, *bounds)
        }
        _ => {
            // There is nothing to combine them with; their own mistakes are named all the same.
            for Named { view, .. } in &named {
                reader.text(view, "tarpit.mode");
                reader.time(view, "tarpit.delay");
                reader.text(view, "tarpit.hold");
                reader.flag(view, "tarpit.small_window");
            }
            None
        }
    };
    let config = Config {
        hostname: hostname?,
        listeners: listeners?,
        deliveries: deliveries?,
        certificates: certificates?,
        domains: domains?,
        recipients: recipients?,
        exempt: exempt?,
        prefixes: prefixes?,
        limits: limits?.0,
        addresses: log.map(|(_, addresses)| addresses)?,
    };
    let rest = Rest {
        log: log?.0,
        records: records?,
        admin: admin?,
        control,
        runtime,
    };
    Some((config, rest))
}

fn hostname<'t>(reader: &mut Reader<'t>, top: &View<'t>) -> Option<Box<str>> {
    if reader.has("hostname") {
        return reader.text(top, "hostname");
    }
    let option = options::section("").option("hostname")?;
    let name =
        system::hostname().and_then(|name| read::hostname(&DeValue::String(name.into())).ok());
    if let Some(name) = name {
        let origin = Origin::Elsewhere("the system's name");
        reader.hold(top, option, read::quote(&name), origin);
        return Some(name);
    }
    let text = "it is missing, and the system's name is not fully qualified; allowed: a fully qualified domain name \
                (for instance hostname = \"mx1.example.org\")";
    reader.notes.wrong_at(None, "hostname", text);
    None
}

/// A listener, but for its policy.
struct Named<'t> {
    view: View<'t>,
    name: Box<str>,
    address: SocketAddr,
}

/// The listeners' names and addresses, which must differ.
fn names_and_addresses<'t>(reader: &mut Reader<'t>, views: &[View<'t>]) -> Vec<Named<'t>> {
    if views.is_empty() && reader.notes.is_blank_about("listener") {
        let text = "found no listener; allowed: at least one [[listener]] with name and address";
        reader.notes.wrong_at(None, "listener", text);
    }
    let mut named = Vec::new();
    let mut names: Vec<(Box<str>, View<'t>)> = Vec::new();
    let mut addresses: Vec<(SocketAddr, View<'t>)> = Vec::new();
    for view in views {
        let name = reader.text(view, "name");
        let address = reader.socket(view, "address");
        if let Some(name) = &name {
            if let Some((_, first)) = names.iter().find(|(other, _)| other == name) {
                let line = line_of(reader, first, "name");
                let text = format!(
                    "found \"{name}\" again, as in line {line}; allowed: a name of its own"
                );
                reader.clash(view, "name", text);
            }
            names.push((name.clone(), *view));
        }
        if let Some(address) = address {
            let same = |(other, _): &&(SocketAddr, _)| *other == address && address.port() != 0;
            if let Some((_, first)) = addresses.iter().find(same) {
                let line = line_of(reader, first, "address");
                let text = format!(
                    "found \"{address}\" again, as in line {line}; allowed: an address of its own"
                );
                reader.clash(view, "address", text);
            }
            addresses.push((address, *view));
        }
        if let (Some(name), Some(address)) = (name, address) {
            named.push(Named {
                view: *view,
                name,
                address,
            });
        }
    }
    named
}

fn line_of<'t>(reader: &Reader<'t>, view: &View<'t>, key: &str) -> usize {
    reader.place_of(view, key).map_or(0, |place| place.line)
}

fn recipients(reader: &mut Reader<'_>) -> Option<Recipients> {
    let view = reader.single("recipients");
    let source = reader.text(&view, "source");
    let file = reader.path(&view, "file");
    match (source?.as_ref(), file) {
        ("file", Some(file)) => Some(Recipients::File(file)),
        ("file", None) => {
            // One that is there but can't be read was noted already.
            if reader.notes.is_blank_about("recipients.file") {
                reader.clash(&view, "source", "found \"file\", but no `file`; allowed: \"file\" with file = \"recipients.txt\" or the like");
            }
            None
        }
        (_, Some(_)) => {
            reader.clash(&view, "file", "found a file, but source is \"upstream\", so it would not be used; allowed: source = \"file\", or no file");
            None
        }
        (_, None) => Some(Recipients::Upstream),
    }
}

/// `[[exempt]]`
pub(super) fn exemptions(reader: &mut Reader<'_>) -> Option<Vec<Exemption>> {
    let mut list = Some(Vec::new());
    for view in reader.many("exempt") {
        let network = reader.network(&view, "network");
        let reason = reader.text(&view, "reason");
        let until = reader.moment(&view, "until");
        match (network, reason) {
            (Some(network), Some(reason)) => {
                if let Some(list) = &mut list {
                    list.push(Exemption {
                        network,
                        reason,
                        until,
                    });
                }
            }
            _ => list = None,
        }
    }
    list
}

fn prefixes(reader: &mut Reader<'_>) -> Option<Prefixes> {
    let view = reader.single("source");
    let v4 = reader.count(&view, "ipv4_prefix");
    let v6 = reader.count(&view, "ipv6_prefix");
    Some(Prefixes { v4: v4?, v6: v6? })
}

/// `[pit]`: sessions, octets, and the debt that shuts the door.
fn pit_bounds(reader: &mut Reader<'_>) -> Option<(u32, u64, Duration)> {
    let view = reader.single("pit");
    let sessions = reader.count(&view, "sessions");
    let octets = reader.count(&view, "memory");
    let door_debt = reader.time(&view, "door_debt");
    Some((sessions?, octets?, door_debt?))
}

fn limits(
    reader: &mut Reader<'_>,
    pit: Option<(u32, u64, Duration)>,
) -> Option<(Limits, SessionBounds)> {
    let view = reader.single("limits");
    let sessions_max = reader.count(&view, "sessions_max");
    let sessions_per_source_max = reader.count(&view, "sessions_per_source_max");
    let recipients_max = reader.count(&view, "recipients_max");
    let errors_max = reader.count(&view, "errors_max");
    let held_unread_max = reader.count(&view, "held_unread_max");
    let command_timeout = reader.time(&view, "command_timeout");
    let session_timeout = reader.time(&view, "session_timeout");
    let data_block_timeout = reader.time(&view, "data_block_timeout");
    let data_rate_min = reader.count(&view, "data_rate_min");
    let message_size_max = reader.count(&view, "message_size_max");
    let tls_handshake_timeout = reader.time(&view, "tls_handshake_timeout");
    let end_of_data_timeout = reader.time(&view, "end_of_data_timeout");
    let drain_timeout = reader.time(&view, "drain_timeout");
    let ledger_sources_max = reader.count::<u32>(&view, "ledger_sources_max");
    let known_senders_max = reader.count(&view, "known_senders_max");
    if let (Some(sources), Some(sessions)) = (ledger_sources_max, sessions_max)
        && sources < sessions
    {
        let text = format!(
            "found {sources}, less than sessions_max = {sessions}; allowed: {sessions} or more, so that every session has an account"
        );
        reader.clash(&view, "ledger_sources_max", text);
    }
    let (pit_sessions_max, pit_octets_max, door_debt) = pit?;
    let limits = Limits {
        sessions_max: sessions_max?,
        sessions_per_source_max: sessions_per_source_max?,
        pit_sessions_max,
        pit_octets_max,
        door_debt,
        held_unread_max: held_unread_max?,
        command_timeout: command_timeout?,
        session_timeout: session_timeout?,
        data_block_timeout: data_block_timeout?,
        data_rate_min: data_rate_min?,
        message_size_max: message_size_max?,
        tls_handshake_timeout: tls_handshake_timeout?,
        end_of_data_timeout: end_of_data_timeout?,
        drain_timeout: drain_timeout?,
        ledger_sources_max: ledger_sources_max?,
        known_senders_max: known_senders_max?,
    };
    Some((
        limits,
        SessionBounds {
            recipients_max: recipients_max?,
            errors_max: errors_max?,
        },
    ))
}

/// `[log]`
fn log_options(reader: &mut Reader<'_>) -> Option<(log::Format, Addresses)> {
    let view = reader.single("log");
    let format = reader.text(&view, "format");
    let addresses = reader.text(&view, "addresses");
    let format = match format?.as_ref() {
        "json" => log::Format::Json,
        _ => log::Format::Human,
    };
    let addresses = match addresses?.as_ref() {
        "domain" => Addresses::Domain,
        "hash" => Addresses::Hash,
        _ => Addresses::Full,
    };
    Some((format, addresses))
}

/// `[control]`. A mistake in it is noted, which is enough.
fn control(reader: &mut Reader<'_>) -> Control {
    let view = reader.single("control");
    Control {
        socket: reader.path(&view, "socket"),
        group: reader.count(&view, "group"),
        directory: reader.path(&view, "directory"),
    }
}

/// `[keepers] directory`. A mistake in it is noted, which is enough.
fn runtime(reader: &mut Reader<'_>) -> Option<PathBuf> {
    let view = reader.single("keepers");
    reader.path(&view, "directory")
}
