//! Postfix's lists: which domains are its own, and who may relay.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::draft::Draft;
use super::super::layout;
use super::super::networks::{self, Ours};
use super::super::source::Setting;
use super::main_cf::MainCf;

/// Lists of domains, and what Postfix takes them for if the file doesn't say.
const DOMAINS: &[(&str, &str)] = &[
    (
        "mydestination",
        "$myhostname, localhost.$mydomain, localhost",
    ),
    ("relay_domains", ""),
    ("virtual_alias_domains", "$virtual_alias_maps"),
    ("virtual_mailbox_domains", "$virtual_mailbox_maps"),
];

/// The items of a list: commas or blanks between them.
pub(super) fn items(value: &str) -> impl Iterator<Item = &str> {
    let between = |letter: char| letter == ',' || letter.is_whitespace();
    value.split(between).filter(|item| !item.is_empty())
}

/// `10.0.0.0/8`, `[::1]/128`, `[fe80::]/10`.
pub(super) fn network(item: &str) -> Option<IpNet> {
    let plain: String = item
        .chars()
        .filter(|letter| !matches!(letter, '[' | ']'))
        .collect();
    networks::parse(&plain)?.into_iter().next()
}

/// Which domains are its own.
pub(super) fn domains(main: &MainCf, ours: &mut Ours) {
    if main.get("relay_domains").is_none() && !is_modern(main) {
        ours.gap("with compatibility_level below 2, Postfix relays for the subdomains of mydestination too");
    }
    for (name, default) in DOMAINS {
        let setting = main.get(name);
        let (value, source) = match &setting {
            Some(setting) => (setting.value.clone(), setting.show()),
            None => (main.expand(default), format!("{name}: not in main.cf")),
        };
        if setting.is_none()
            && (default.is_empty() || value == *default)
            && *name != "mydestination"
        {
            // A default that stands for a table which isn't there.
            continue;
        }
        let is_said = setting.is_some() || *name == "mydestination";
        if is_said && !value.is_empty() {
            ours.said(source);
        }
        for item in items(&value) {
            domain(item, name, ours);
        }
        let is_relayed = *name == "relay_domains" && !value.is_empty();
        if is_relayed && subdomains_match(main) {
            ours.gap("Postfix takes the subdomains of relay_domains too (parent_domain_matches_subdomains)");
        }
    }
}

/// Whether `relay_domains` stands for subdomains too.
fn subdomains_match(main: &MainCf) -> bool {
    let setting = main.get("parent_domain_matches_subdomains");
    setting.is_none_or(|setting| items(&setting.value).any(|item| item == "relay_domains"))
}

fn domain(item: &str, list: &str, ours: &mut Ours) {
    if item == "localhost" || item.starts_with("localhost.") {
        return;
    }
    if item.contains('$') {
        return ours.gap(format!(
            "main.cf does not say what {item} in {list} stands for"
        ));
    }
    if item.contains(':') || item.starts_with('/') || item.contains('/') {
        return ours.gap(format!(
            "{list} goes on in {item}, which is not read: its domains belong here too"
        ));
    }
    if item.starts_with('!') || item.starts_with('.') || item.starts_with('[') {
        return ours.gap(format!("{item} in {list} is no plain domain"));
    }
    ours.add(item);
}

/// Whether Postfix goes by its newer defaults: from 2 on it trusts its own addresses alone, and relays
/// for no domain by itself.
fn is_modern(main: &MainCf) -> bool {
    let level = main.get("compatibility_level");
    let major = level.and_then(|level| level.value.split('.').next()?.trim().parse::<u32>().ok());
    major.is_some_and(|major| major >= 2)
}

/// Who may relay: exempt, and in the way of `domains`.
pub(super) fn networks(draft: &mut Draft, main: &MainCf, ours: &mut Ours) {
    if let Some(setting) = main.get("mynetworks") {
        mynetworks(draft, &setting, ours);
    } else {
        style(draft, main, ours);
    }
    let restrictions = ["smtpd_relay_restrictions", "smtpd_recipient_restrictions"];
    for setting in restrictions.iter().filter_map(|name| main.get(name)) {
        let opens = |item: &&str| {
            matches!(
                *item,
                "permit_mx_backup" | "permit_tls_clientcerts" | "permit_tls_all_clientcerts"
            ) || (item.starts_with("check_") && *item != "check_policy_service")
        };
        if let Some(item) = items(&setting.value).find(opens) {
            ours.gap(format!(
                "{item} in {} may let mail in for other domains",
                setting.name
            ));
        }
    }
}

fn mynetworks(draft: &mut Draft, setting: &Setting, ours: &mut Ours) {
    let said = setting.show();
    let trusts_loopback = |network: &IpNet| network.contains(&IpAddr::from([127, 0, 0, 1]));
    let mut is_loopback = false;
    for item in items(&setting.value) {
        let Some(network) = network(item) else {
            let reason = match item.strip_prefix('!') {
                Some(other) => format!(
                    "An [[exempt]] has no exceptions: {other} is exempt here if a network around it is."
                ),
                None => format!(
                    "{item} is no plain network: it is not read, and whoever stands in it is not exempt."
                ),
            };
            draft.leave(&said, &reason);
            ours.gap("mynetworks lets clients send to any domain, and isn't read as a whole");
            continue;
        };
        is_loopback |= trusts_loopback(&network);
        let reason = format!("own network: mynetworks in {}", setting.place);
        if networks::trust(draft, network, &said, &reason) {
            ours.gap(format!(
                "clients in {network} (mynetworks) may send to any domain, through Tarpit too"
            ));
        }
    }
    if is_loopback {
        layout::trusts_us(draft, &said, "Postfix");
    }
}

/// Without `mynetworks`, `mynetworks_style` says who is trusted.
fn style(draft: &mut Draft, main: &MainCf, ours: &mut Ours) {
    let setting = main.get("mynetworks_style");
    let usual = if is_modern(main) { "host" } else { "subnet" };
    let (style, said) = match &setting {
        Some(setting) => (setting.value.as_str(), setting.show()),
        None => (usual, "mynetworks: not in main.cf".to_owned()),
    };
    if style == "host" {
        draft.leave(
            &said,
            "Postfix trusts this machine's own addresses, and so Tarpit on it: Tarpit finds that out and serves this machine alone \
             until Postfix has the port that the recipe makes.",
        );
    } else {
        draft.leave(
            &said,
            "Which networks that are depends on this machine's interfaces. Those of your own that are to wait for nothing get an \
             [[exempt]] each.",
        );
        layout::trusts_us(draft, &said, "Postfix");
        ours.gap("clients in the networks of mynetworks_style may send to any domain, through Tarpit too");
    }
}
