//! Sendmail: sendmail.mc, or the sendmail.cf that m4 made of it, with the files beside it that hold
//! what it trusts.
//!
//! `domains` is never put in use here: Sendmail counts the names of this machine's own addresses as
//! its own, which no file says.

mod access;
mod m4;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::draft::Draft;
use super::layout;
use super::networks::Ours;
use super::source::{Setting, Source};
use super::table as rows;
use super::units;

pub(super) use table::TABLE;

/// Takes it over.
///
/// # Errors
///
/// A file can't be read, or m4 or Sendmail would not take it.
pub(super) fn import(file: &Path) -> anyhow::Result<Draft> {
    let source = Source::read(file)?;
    let mut draft = Draft::new("Sendmail", "");
    draft.reads(&source);
    let is_cf = source
        .lines()
        .any(|(_, line)| line.starts_with("O ") && line.contains('='));
    let settings = if is_cf {
        options(&source)
    } else {
        m4::settings(&source)?
    };
    rows::apply(&mut draft, TABLE, &settings);
    place(&mut draft, &settings);
    let mut ours = Ours::default();
    classes(&source, &settings, &mut ours);
    for name in ["local-host-names", "relay-domains"] {
        if let Some(list) = Source::beside(file, name)? {
            draft.reads(&list);
            names(&list, &mut ours);
        }
    }
    if let Some(list) = Source::beside(file, "access")? {
        draft.reads(&list);
        access::read(&list, &mut draft, &mut ours)?;
    }
    ours.gap("Sendmail counts the names of this machine's addresses as its own, and takes the subdomains of domains that it relays for");
    ours.settle(&mut draft);
    certificate(&mut draft, &settings);
    Ok(draft)
}

/// The options of a sendmail.cf: `O Name=value`.
fn options(source: &Source) -> Vec<Setting> {
    let mut list = Vec::new();
    for (number, line) in source.lines() {
        let option = line
            .strip_prefix("O ")
            .and_then(|rest| rest.split_once('='));
        let host = line.strip_prefix("Dj").map(|name| ("Dj", name));
        if let Some((name, value)) = option.or(host) {
            list.push(Setting {
                name: name.trim().to_owned(),
                value: value.trim().to_owned(),
                place: source.place(number),
            });
        }
    }
    list
}

/// A file with a name on each line.
fn names(list: &Source, ours: &mut Ours) {
    for (number, line) in list.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        if !line.is_empty() {
            ours.said(format!("{}: its names", list.name));
            name(line, &list.place(number).to_string(), ours);
        }
    }
}

fn name(item: &str, said: &str, ours: &mut Ours) {
    let is_name = item.contains(|letter: char| letter.is_ascii_alphabetic())
        && !item.contains(['$', ':', '[']);
    if is_name {
        ours.add(item);
    } else {
        ours.gap(format!("{item} in {said} is no plain domain"));
    }
}

/// The classes w (own names) and R (relayed for): `Cwexample.org`, and the macros that fill them.
fn classes(source: &Source, settings: &[Setting], ours: &mut Ours) {
    for (number, line) in source.lines() {
        let Some(list) = line
            .strip_prefix("Cw")
            .or_else(|| line.strip_prefix("C{w}"))
        else {
            continue;
        };
        let place = source.place(number).to_string();
        ours.said(format!("{place}: {line}"));
        for item in list.split_whitespace() {
            name(item, &place, ours);
        }
    }
    let fills = ["LOCAL_DOMAIN", "RELAY_DOMAIN"];
    for setting in settings
        .iter()
        .filter(|setting| fills.contains(&setting.name.as_str()))
    {
        ours.said(setting.show());
        for item in setting.value.split_whitespace() {
            name(item, &setting.place.to_string(), ours);
        }
    }
}

/// The listener and the upstream.
fn place(draft: &mut Draft, settings: &[Setting]) {
    let doors: Vec<(&Setting, SocketAddr)> = settings
        .iter()
        .filter(|setting| {
            matches!(
                setting.name.as_str(),
                "DAEMON_OPTIONS" | "DaemonPortOptions"
            )
        })
        .map(|setting| (setting, door(&setting.value)))
        .collect();
    let for_mail: Vec<&(&Setting, SocketAddr)> = doors
        .iter()
        .filter(|(_, address)| address.port() == 25)
        .collect();
    let best = for_mail
        .iter()
        .find(|(_, address)| address.is_ipv4())
        .or_else(|| for_mail.first());
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
    let (said, upstream) = best.map_or_else(
        || {
            (
                "No DAEMON_OPTIONS name port 25: Sendmail listens there by itself.".to_owned(),
                usual,
            )
        },
        |(setting, address)| (setting.show(), *address),
    );
    layout::place(draft, upstream, said, "Where Sendmail listens now.");
    for (setting, address) in doors {
        if address.port() != 25 {
            draft.leave(
                &setting.show(),
                "Users go on coming to Sendmail itself. To let Tarpit stand there too, add a [[listener]] with kind = \
                 \"submission\" and a [[certificate]].",
            );
        }
    }
    let why = vec![
        "Sendmail 8.17 knows neither XCLIENT nor the PROXY protocol. Until this is \"transparent\" (docs/transparent.md) or \"trace\", \
         all clients are this gateway to it. Sendmail relays for 127.0.0.1 whatever its files say: Tarpit finds that out, and \
         serves this machine alone until it is \"transparent\" or on another machine."
            .to_owned(),
    ];
    draft.take(("upstream", 0, "identity"), "\"none\"", why);
}

/// `Family=inet, Name=MTA-v4, Port=smtp, Addr=127.0.0.1`.
fn door(value: &str) -> SocketAddr {
    let mut ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut port = 25;
    for pair in value.split(',') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = value.trim();
        match key
            .trim()
            .chars()
            .next()
            .map(|letter| letter.to_ascii_uppercase())
        {
            Some('A') => {
                let bound = value.trim_start_matches("IPv6:").parse::<IpAddr>().ok();
                ip = bound.filter(|ip| !ip.is_unspecified()).unwrap_or(ip);
            }
            Some('P') => {
                port = match value {
                    "smtp" => 25,
                    "submission" | "msa" => 587,
                    "smtps" | "submissions" => 465,
                    number => number.parse().unwrap_or(port),
                };
            }
            _ => {}
        }
    }
    SocketAddr::new(ip, port)
}

/// TLS towards clients, with Sendmail's own files.
fn certificate(draft: &mut Draft, settings: &[Setting]) {
    let get = |names: [&str; 2]| {
        let found = settings
            .iter()
            .rev()
            .find(|setting| names.contains(&setting.name.as_str()));
        found.filter(|setting| !setting.value.is_empty())
    };
    let Some(chain) = get(["confSERVER_CERT", "ServerCertFile"]) else {
        return;
    };
    let key = get(["confSERVER_KEY", "ServerKeyFile"]);
    if chain.value.contains('`') || !chain.value.starts_with('/') {
        let reason = "m4 works the path out. Add a [[certificate]] with the files; without one clients get no TLS from Tarpit.";
        return draft.leave(&chain.show(), reason);
    }
    draft.take_certificate(chain, key);
}

/// Sendmail's times: a number alone is in minutes for some options, seconds for others.
fn timeout(value: &str) -> units::Read {
    units::time(value, 60)
        .map(units::span)
        .ok_or_else(|| units::no_time(value))
}
