//! Exim: a whole configuration, or Debian's update-exim4.conf.conf with the parts beside it.
//!
//! Exim's ACLs are programs. They are read for two things: `delay`, and whether they take mail for
//! other domains than the lists say. Where that is not plain to see, `domains` is not put in use.

mod acl;
mod debian;
mod parse;
mod table;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;

use super::draft::Draft;
use super::layout;
use super::networks::{self, Ours};
use super::source::{Setting, Source};
use super::table as rows;
use parse::{Conf, Parser, items};

pub(super) use table::TABLE;

/// How deep named lists may stand for named lists.
const DEPTH_MAX: usize = 8;

/// Items and names of lists that are followed for a list: lists of lists of nothing would never end
/// otherwise.
const ITEMS_MAX: usize = 20_000;

/// Takes it over.
///
/// # Errors
///
/// A file can't be read, or Exim would not take it.
pub(super) fn import(file: &Path) -> anyhow::Result<Draft> {
    let mut draft = Draft::new("Exim", "exim");
    let (own, sources) = sources(file)?;
    let mut macros = HashMap::new();
    let mut settings = Vec::new();
    if let Some(own) = &own {
        draft.reads(own);
        settings = debian::settings(own)?;
        macros = debian::macros(&settings);
    }
    let mut parser = Parser::new(macros);
    for source in &sources {
        draft.reads(source);
        parser.read(source)?;
    }
    if sources.is_empty() {
        parser.read(&debian::usual())?;
    }
    let conf = parser.close()?;
    let said_by_debian: Vec<Setting> = settings
        .iter()
        .filter(|setting| {
            matches!(
                setting.name.as_str(),
                "dc_other_hostnames" | "dc_relay_domains" | "dc_relay_nets"
            )
        })
        .filter(|setting| !setting.value.is_empty())
        .cloned()
        .collect();
    settings.extend(conf.settings.iter().cloned());
    rows::apply(&mut draft, TABLE, &settings);
    for include in &conf.includes {
        draft.leave(&include.show(), "Included files are not read: import a whole configuration (`exim -bP config` prints it).");
    }
    place(&mut draft, &conf);
    let mut ours = Ours::default();
    for setting in said_by_debian {
        ours.said(setting.show());
    }
    hosts(&mut draft, &conf, &mut ours);
    domains(&conf, &mut ours);
    acl::delays(&mut draft, &conf);
    acl::domains(&conf, &mut ours);
    ours.settle(&mut draft);
    certificate(&mut draft, &conf);
    Ok(draft)
}

/// Debian's own file, if there is one, and the files that make the configuration.
fn sources(file: &Path) -> anyhow::Result<(Option<Source>, Vec<Source>)> {
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    if file.is_dir() {
        let own = Source::beside(file, debian::NAME)?;
        let parts = debian::split(file)?;
        let found = (!parts.is_empty()).then_some(parts);
        let parts =
            found.with_context(|| format!("{}: has no files in main/ and acl/", file.display()))?;
        return Ok((own, parts));
    }
    let source = Source::read(file)?;
    if source.text.contains("dc_eximconfig_configtype=") && !source.text.contains("begin acl") {
        let is_split = debian::settings(&source)?
            .iter()
            .any(|setting| setting.name == "dc_use_split_config" && setting.value == "true");
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        let parts = debian::parts(folder, is_split)?;
        return Ok((Some(source), parts));
    }
    let own = if name == "exim4.conf.template" {
        Source::beside(file, debian::NAME)?
    } else {
        None
    };
    Ok((own, vec![source]))
}

/// The listener and the upstream.
fn place(draft: &mut Draft, conf: &Conf) {
    let ports: Vec<u16> = conf
        .get("daemon_smtp_ports")
        .map(|setting| {
            items(&setting.value)
                .iter()
                .filter_map(|port| port_of(port))
                .collect()
        })
        .unwrap_or_default();
    let usual = ports
        .iter()
        .copied()
        .find(|port| *port == 25)
        .or_else(|| ports.first().copied());
    let interfaces = conf.get("local_interfaces");
    let bound: Vec<(IpAddr, Option<u16>)> = interfaces
        .map(|setting| {
            items(&setting.value)
                .iter()
                .filter_map(|item| interface(item))
                .collect()
        })
        .unwrap_or_default();
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let is_for_mail = |(_, port): &&(IpAddr, Option<u16>)| port.is_none_or(|port| port == 25);
    let best = bound
        .iter()
        .filter(is_for_mail)
        .find(|(ip, _)| ip.is_loopback() || ip.is_unspecified())
        .or_else(|| bound.iter().find(is_for_mail))
        .or_else(|| bound.first());
    let (ip, port) = best.copied().unwrap_or((loopback, None));
    let ip = if ip.is_unspecified() { loopback } else { ip };
    let said = interfaces.or_else(|| conf.get("daemon_smtp_ports")).map_or_else(
        || "local_interfaces and daemon_smtp_ports are not set: Exim listens on port 25 of every address.".to_owned(),
        Setting::show,
    );
    let upstream = SocketAddr::new(ip, port.or(usual).unwrap_or(25));
    let aside = "Where Exim listens now; the recipe gives it a port of its own for Tarpit.";
    layout::place(draft, upstream, said, aside);
    if let Some(setting) = conf
        .get("tls_on_connect_ports")
        .filter(|setting| !setting.value.is_empty())
    {
        draft.leave(
            &setting.show(),
            "Users go on coming to Exim itself. To let Tarpit stand there too, add a [[listener]] with kind = \"submission\", \
             tls = \"implicit\" and a [[certificate]].",
        );
    }
    identity(draft, conf);
}

fn port_of(name: &str) -> Option<u16> {
    match name {
        "smtp" => Some(25),
        "submission" => Some(587),
        "smtps" | "submissions" => Some(465),
        number => number.parse().ok(),
    }
}

/// `127.0.0.1`, `127.0.0.1.26`, `[127.0.0.1]:26`, `::1.26`.
fn interface(item: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Some((ip, port)) = item
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]:"))
    {
        return Some((ip.parse().ok()?, port.parse().ok()));
    }
    let item = item.trim_matches(['[', ']']);
    if let Ok(ip) = item.parse() {
        return Some((ip, None));
    }
    let (ip, port) = item.rsplit_once('.')?;
    Some((ip.parse().ok()?, port.parse().ok()))
}

/// Whether Exim takes a PROXY header from this machine already.
fn identity(draft: &mut Draft, conf: &Conf) {
    let Some(setting) = conf
        .get("hosts_proxy")
        .filter(|setting| !setting.value.is_empty())
    else {
        return layout::no_identity(draft, "Exim", "\"proxy-v2\"");
    };
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let list = items(&setting.value);
    let mut networks = list
        .iter()
        .filter_map(|item| networks::parse(item))
        .flatten();
    if networks.any(|network| network.contains(&loopback)) {
        draft.take(
            ("upstream", 0, "identity"),
            "\"proxy-v2\"",
            vec![setting.show()],
        );
    } else {
        layout::no_identity(draft, "Exim", "\"proxy-v2\"");
    }
    draft.leave(
        &setting.show(),
        "If a proxy in front of Exim is to send mail to Tarpit from now on, its networks belong into `proxy_protocol` of the \
         listener.",
    );
}

/// Who may relay: exempt, and in the way of `domains`.
fn hosts(draft: &mut Draft, conf: &Conf, ours: &mut Ours) {
    let Some(setting) = conf.list("hostlist", "relay_from_hosts") else {
        return;
    };
    let said = setting.show();
    let mut is_loopback = false;
    for item in resolved(conf, "hostlist", &setting.value) {
        if item == "@[]" || item == "localhost" {
            is_loopback = true;
            continue;
        }
        let Some(networks) = networks::parse(&item) else {
            let reason = format!(
                "{item} is no plain network: it is not read, and whoever stands in it is not exempt."
            );
            draft.leave(&said, &reason);
            ours.gap("relay_from_hosts lets clients send to any domain, and isn't read as a whole");
            continue;
        };
        for network in networks {
            is_loopback |= network.contains(&IpAddr::V4(Ipv4Addr::LOCALHOST));
            let reason = format!("own network: relay_from_hosts in {}", setting.place);
            if networks::trust(draft, network, &said, &reason) {
                ours.gap(format!("clients in {network} (relay_from_hosts) may send to any domain, through Tarpit too"));
            }
        }
    }
    if is_loopback {
        layout::trusts_us(draft, &said, "Exim");
    }
}

/// Which domains are its own.
fn domains(conf: &Conf, ours: &mut Ours) {
    let name = conf
        .get("primary_hostname")
        .map(|setting| setting.value.as_str());
    for list in acl::OWN_LISTS {
        let Some(setting) = conf.list("domainlist", list) else {
            continue;
        };
        ours.said(setting.show());
        for item in resolved(conf, "domainlist", &setting.value) {
            match (item.as_str(), name) {
                ("@", Some(name)) => ours.add(name),
                ("@", None) => ours.gap(
                    "@ is this machine's own name, which the files do not say (primary_hostname)",
                ),
                _ if item.contains([';', '/', '*', '^', '!', '$', '@', '+']) => {
                    ours.gap(format!("{item} in {list} is no plain domain"));
                }
                _ => ours.add(&item),
            }
        }
    }
}

/// The items of a list, with the named lists in it put in.
fn resolved(conf: &Conf, kind: &str, value: &str) -> Vec<String> {
    let mut list = Vec::new();
    let mut left = ITEMS_MAX;
    put_in(conf, kind, (value, DEPTH_MAX), &mut left, &mut list);
    list
}

fn put_in(
    conf: &Conf,
    kind: &str,
    (value, depth): (&str, usize),
    left: &mut usize,
    list: &mut Vec<String>,
) {
    for item in items(value) {
        let Some(fewer) = left.checked_sub(1) else {
            return;
        };
        *left = fewer;
        let inner = item
            .strip_prefix('+')
            .and_then(|name| conf.list(kind, name));
        match inner.filter(|_| depth > 0) {
            Some(inner) => put_in(conf, kind, (&inner.value, depth - 1), left, list),
            None => list.push(item),
        }
    }
}

/// TLS towards clients, with Exim's own files.
fn certificate(draft: &mut Draft, conf: &Conf) {
    let off = conf
        .get("tls_advertise_hosts")
        .filter(|setting| setting.value.is_empty());
    let Some(chain) = conf
        .get("tls_certificate")
        .filter(|chain| off.is_none() && !chain.value.is_empty())
    else {
        return;
    };
    let key = conf
        .get("tls_privatekey")
        .filter(|key| !key.value.is_empty());
    let is_made = |setting: &Setting| setting.value.contains('$');
    if is_made(chain) || key.is_some_and(is_made) {
        draft.leave(
            &chain.show(),
            "Exim works the file out for each connection. Add a [[certificate]] for each file; without one clients get no TLS from \
             Tarpit.",
        );
        return;
    }
    draft.take_certificate(chain, key);
}
