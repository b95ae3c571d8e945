//! Postfix: main.cf, and the master.cf beside it.
//!
//! What Postfix does without being told counts too where it decides about mail: `mydestination` has a
//! default, and so do the networks that may relay.

mod lists;
mod main_cf;
mod master_cf;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use super::draft::Draft;
use super::layout;
use super::networks::Ours;
use super::source::{Setting, Source};
use super::table as rows;
use super::units;
use crate::config::quote;
use main_cf::MainCf;
use master_cf::Service;

pub(super) use table::TABLE;

/// Takes it over.
///
/// # Errors
///
/// A file can't be read, or Postfix would not take it.
pub(super) fn import(file: &Path) -> anyhow::Result<Draft> {
    let source = Source::read(file)?;
    let main = MainCf::read(&source)?;
    let mut draft = Draft::new("Postfix", "postfix");
    draft.reads(&source);
    let master = Source::beside(file, "master.cf")?;
    let services = match &master {
        Some(master) => {
            draft.reads(master);
            master_cf::services(master)?
        }
        None => Vec::new(),
    };
    rows::apply(&mut draft, TABLE, &main.all());
    place(&mut draft, &main, &services);
    identity(&mut draft, &main, &services);
    let mut ours = Ours::default();
    lists::networks(&mut draft, &main, &mut ours);
    lists::domains(&main, &mut ours);
    ours.settle(&mut draft);
    recipients(&mut draft, &main);
    restrictions(&mut draft, &main);
    line_ends(&mut draft, &main);
    certificates(&mut draft, &main);
    Ok(draft)
}

/// The listener and the upstream, and the services that are left alone.
fn place(draft: &mut Draft, main: &MainCf, services: &[Service]) {
    let for_mail = for_mail(services);
    let said = for_mail.map_or_else(
        || "No master.cf with such a service lies beside main.cf: Postfix is taken to listen on port 25.".to_owned(),
        Service::show,
    );
    let aside = "Where Postfix listens now; the recipe gives it a port of its own for Tarpit.";
    layout::place(draft, upstream(main, for_mail), said, aside);
    if let Some(service) = for_mail {
        let is_number = units::whole(&service.processes).is_some_and(|number| number > 1);
        if service.command == "smtpd" && is_number {
            let toml = units::four_fifths(&service.processes).unwrap_or_default();
            let why = vec![
                format!("{}, maxproc {}", service.show(), service.processes),
                "Four fifths of its processes; the rest is for clients that come to Postfix itself.".to_owned(),
            ];
            draft.take(("upstream", 0, "connections_max"), toml, why);
        }
    }
    for service in services {
        if for_mail.is_none_or(|taken| taken.place != service.place) {
            draft.leave(&service.show(), left_alone(service));
        }
    }
}

/// The service for mail from other servers: on port 25, else the first that isn't for users.
fn for_mail(services: &[Service]) -> Option<&Service> {
    let usual = services.iter().find(|service| service.port == Some(25));
    usual.or_else(|| services.iter().find(|service| !service.is_for_users()))
}

/// Why a service gets no listener.
fn left_alone(service: &Service) -> &'static str {
    let is_inside = service.host.is_some_and(|host| host.is_loopback());
    if is_inside {
        return "For programs of this machine, such as filters that give mail back; they go on using it.";
    }
    "Users go on coming to Postfix itself. To let Tarpit stand there too, add a [[listener]] with kind = \"submission\" \
     and a [[certificate]]."
}

/// Where Postfix takes mail, as Tarpit on the same machine reaches it.
fn upstream(main: &MainCf, service: Option<&Service>) -> SocketAddr {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let port = service.and_then(|service| service.port).unwrap_or(25);
    let bound = service.and_then(|service| service.host);
    let listed = || {
        let interfaces = main.get("inet_interfaces")?;
        let mut addresses = lists::items(&interfaces.value).filter_map(|item| {
            let item = item.trim_start_matches('[').trim_end_matches(']');
            item.parse::<IpAddr>().ok()
        });
        let first = addresses.next()?;
        // Loopback before others: no other machine can be in between.
        Some(addresses.find(IpAddr::is_loopback).unwrap_or(first))
    };
    let host = bound.or_else(listed).filter(|host| !host.is_unspecified());
    SocketAddr::new(host.unwrap_or(loopback), port)
}

/// How Postfix learns who the client is, where it listens for that already.
fn identity(draft: &mut Draft, main: &MainCf, services: &[Service]) {
    const AT: super::draft::At = ("upstream", 0, "identity");
    let for_mail = for_mail(services);
    let is_screened = for_mail.is_some_and(|service| service.command == "postscreen");
    let name = if is_screened {
        "postscreen_upstream_proxy_protocol"
    } else {
        "smtpd_upstream_proxy_protocol"
    };
    let own = for_mail.and_then(|service| {
        let value = service.own(name)?.to_owned();
        Some((format!("{} -o {name}={value}", service.show()), value))
    });
    let found = own.or_else(|| {
        main.get(name)
            .map(|setting| (setting.show(), setting.value))
    });
    if let Some((said, _)) = found.filter(|(_, value)| value == "haproxy") {
        let why = vec![
            said.clone(),
            "Postfix has a proxy in front of it and expects its header, from Tarpit too."
                .to_owned(),
        ];
        draft.take(AT, "\"proxy-v1\"", why);
        draft.leave(
            &said,
            "If that proxy is to send mail to Tarpit from now on, its networks belong into `proxy_protocol` of the listener.",
        );
        return;
    }
    let Some(hosts) = main.get("smtpd_authorized_xclient_hosts") else {
        return layout::no_identity(draft, "Postfix", "\"xclient\" or \"proxy-v2\"");
    };
    let is_local = lists::items(&hosts.value).filter_map(lists::network);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    if is_local
        .into_iter()
        .any(|network| network.contains(&loopback))
    {
        draft.take(AT, "\"xclient\"", vec![hosts.show()]);
    } else {
        draft.leave(
            &hosts.show(),
            "Filters that say who the client is; if they are to send mail to Tarpit, their networks belong into `xclient` of the \
             listener.",
        );
    }
}

/// Whether wrong guesses are refused at all: without that a pit has no work.
fn recipients(draft: &mut Draft, main: &MainCf) {
    let why = |what: &str| {
        format!(
            "Postfix takes every name of {what} and finds out later. There no guess is refused, and no pit has work: give it a \
             list, or Tarpit a file ([recipients] source = \"file\")."
        )
    };
    let empty = |name| main.get(name).filter(|setting| setting.value.is_empty());
    if let Some(setting) = empty("local_recipient_maps") {
        draft.leave(&setting.show(), &why("mydestination"));
    }
    let relays = main
        .get("relay_domains")
        .filter(|setting| !setting.value.is_empty());
    let maps = main
        .get("relay_recipient_maps")
        .filter(|setting| !setting.value.is_empty());
    match (relays, maps) {
        (Some(relays), None) => draft.leave(&relays.show(), &why("relay_domains (relay_recipient_maps is empty)")),
        (Some(_), Some(maps)) => draft.leave(
            &maps.show(),
            "Postfix looks names up there when Tarpit asks it: [recipients] source stays \"upstream\".",
        ),
        _ => {}
    }
    let off = main.get("smtpd_reject_unlisted_recipient");
    if let Some(setting) = off.filter(|setting| setting.value == "no") {
        draft.leave(&setting.show(), &why("its domains"));
    }
    let soft = main
        .get("soft_bounce")
        .filter(|setting| setting.value == "yes");
    if let Some(setting) = soft {
        draft.leave(
            &setting.show(),
            "Postfix says 4yz for every refusal. Tarpit knows an unknown recipient by its x.1.1 all the same, and nothing else as \
             an offence.",
        );
    }
}

/// What restrictions do to the time of a reply.
fn restrictions(draft: &mut Draft, main: &MainCf) {
    for setting in main
        .all()
        .iter()
        .filter(|setting| setting.name.ends_with("_restrictions"))
    {
        let words: Vec<&str> = lists::items(&setting.value).collect();
        let has = |wanted: &str| words.contains(&wanted);
        if has("sleep") {
            draft.leave(
                &setting.show(),
                "`sleep` delays everyone who comes so far. Take it out for what comes from Tarpit: there it would hold a connection \
                 of Tarpit's, and wanted mail.",
            );
        } else if has("check_policy_service") {
            draft.leave(
                &setting.show(),
                "The policy service stays, and sees one client only until `identity` is set.",
            );
        } else if has("reject_unverified_recipient") {
            draft.leave(
                &setting.show(),
                "Postfix may say 450 while it asks another server; such a reply is no offence, the 550 that follows is.",
            );
        } else {
            draft.stay(&setting.name);
        }
    }
}

/// What Postfix does with bare line feeds; Tarpit refuses them in every mode unless told otherwise.
fn line_ends(draft: &mut Draft, main: &MainCf) {
    const AT: super::draft::At = ("listener", 0, "bare_newline");
    let Some(setting) = main.get("smtpd_forbid_bare_newline") else {
        let why = vec![
            "main.cf does not set smtpd_forbid_bare_newline: Postfix takes a bare LF for a line end, Tarpit refuses the message, \
             in every mode. To go on taking it:"
                .to_owned(),
        ];
        return draft.suggest(AT, "\"normalize\"", why);
    };
    match setting.value.as_str() {
        "reject" | "note, reject" => draft.take(AT, "\"reject\"", vec![setting.show()]),
        _ => draft.take(
            AT,
            "\"normalize\"",
            vec![
                setting.show(),
                "Postfix takes messages with a bare LF; \"reject\" is safer, and refuses them in every mode.".to_owned(),
            ],
        ),
    }
}

/// TLS towards clients, with Postfix's own files.
fn certificates(draft: &mut Draft, main: &MainCf) {
    let level = main
        .get("smtpd_tls_security_level")
        .or_else(|| main.get("smtpd_use_tls"));
    let Some(level) = level.filter(|level| !matches!(level.value.as_str(), "" | "none" | "no"))
    else {
        return;
    };
    if level.value == "encrypt" {
        draft.leave(
            &level.show(),
            "Tarpit offers TLS and can't demand it; Postfix demands it of Tarpit: set `tls` of the upstream.",
        );
    }
    let set = |name| {
        main.get(name)
            .filter(|setting: &Setting| !setting.value.is_empty())
    };
    let mut pairs: Vec<(Setting, Option<Setting>)> = Vec::new();
    if let Some(chains) = set("smtpd_tls_chain_files") {
        for file in lists::items(&chains.value) {
            let one = Setting {
                value: file.to_owned(),
                ..chains.clone()
            };
            pairs.push((one, None));
        }
    } else {
        let both = [
            ("smtpd_tls_cert_file", "smtpd_tls_key_file"),
            ("smtpd_tls_eccert_file", "smtpd_tls_eckey_file"),
        ];
        for (chain, key) in both {
            pairs.extend(set(chain).map(|chain| (chain, set(key))));
        }
    }
    for (at, (chain, key)) in pairs.into_iter().enumerate() {
        let key = key.filter(|key| key.value != "$smtpd_tls_cert_file" && key.value != chain.value);
        draft.take(
            ("certificate", at, "chain"),
            quote(&chain.value),
            vec![format!("{}; {}", chain.show(), level.show())],
        );
        if let Some(key) = key {
            draft.take(
                ("certificate", at, "key"),
                quote(&key.value),
                vec![key.show()],
            );
        }
    }
}
