//! Whom a server trusts and which domains are its own: the two lists that it must not be taken for
//! granted are whole.
//!
//! A network that may send anywhere is taken as exempt: it was never meant to be slowed. `domains` is
//! taken only if nothing in the files can make the server accept more than is listed, since a domain
//! too few refuses wanted mail in `enforce`. And as exempt networks are refused foreign domains like
//! anyone else, `domains` is never taken together with a network that may relay.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets, Ipv6Subnets};

use super::draft::Draft;
use super::source::tame;
use crate::config::quote;

/// The shortest prefixes that are taken as somebody's own network.
const V4_MIN: u8 = 8;
const V6_MIN: u8 = 16;

/// Networks of one range of addresses at most: a range that needs more is named instead.
const NETWORKS_MAX: usize = 32;

/// Exemptions of one configuration.
const EXEMPT_MAX: usize = 1_000;

/// Reasons why `domains` is not whole that are told; one is enough.
const GAPS_MAX: usize = 20;

/// Which domains are the server's own.
#[derive(Debug, Default)]
pub(super) struct Ours {
    seen: HashSet<String>,
    names: Vec<String>,
    sources: Vec<String>,
    gaps: Vec<String>,
}

impl Ours {
    /// A setting says something about it.
    pub(super) fn said(&mut self, source: String) {
        if !self.sources.contains(&source) {
            self.sources.push(source);
        }
    }

    /// A domain.
    pub(super) fn add(&mut self, name: &str) {
        let name = name.trim_end_matches('.').to_lowercase();
        // No mail comes in for those, from whatever network.
        let is_local = name == "localhost" || name.starts_with("localhost.");
        if !is_local && self.seen.insert(name.clone()) {
            self.names.push(name);
        }
    }

    /// There are more domains, or may be, and why.
    pub(super) fn gap(&mut self, reason: impl Into<String>) {
        let reason = reason.into();
        if self.gaps.len() < GAPS_MAX && !self.gaps.contains(&reason) {
            self.gaps.push(reason);
        }
    }

    /// Puts `domains` into the draft: in use if the list is whole.
    pub(super) fn settle(mut self, draft: &mut Draft) {
        const AT: super::draft::At = ("", 0, "domains");
        self.names.retain(|name| {
            let is_name = is_domain(name);
            if !is_name {
                self.gaps
                    .push(format!("{} is no name of a domain", quote(name)));
            }
            is_name
        });
        if self.names.is_empty() && self.gaps.is_empty() {
            return;
        }
        let quoted: Vec<String> = self.names.iter().map(|name| quote(name)).collect();
        let toml = format!("[{}]", quoted.join(", "));
        let mut why = self.sources;
        if self.gaps.is_empty() {
            return draft.take(AT, toml, why);
        }
        why.push(
            "Not in use: in \"enforce\" a domain too few would refuse wanted mail.".to_owned(),
        );
        why.extend(self.gaps.into_iter().map(|gap| format!("- {gap}")));
        draft.suggest(AT, toml, why);
    }
}

fn is_domain(name: &str) -> bool {
    let option = crate::config::options::section("").option("domains");
    let toml = format!("[{}]", quote(name));
    let value = toml::de::DeValue::parse(&toml);
    option.is_some_and(|option| {
        value.is_ok_and(|value| {
            let folder = std::path::Path::new("");
            option.allowed.read(value.get_ref(), folder).is_ok()
        })
    })
}

/// A network that the server trusts, or does not slow: exempt, unless it is loopback or too broad.
/// `reason` says where that stands too. Gives whether the network reaches beyond this machine.
pub(super) fn trust(draft: &mut Draft, network: IpNet, said: &str, reason: &str) -> bool {
    let network = canonical(network.trunc());
    let loopback = ["127.0.0.0/8", "::1/128"];
    let loopback = loopback
        .iter()
        .filter_map(|text| text.parse::<IpNet>().ok());
    if loopback.into_iter().any(|own| own.contains(&network)) {
        return false;
    }
    let least = match network {
        IpNet::V4(_) => V4_MIN,
        IpNet::V6(_) => V6_MIN,
    };
    if network.prefix_len() < least {
        let text = format!(
            "{network} is a large part of the Internet: exempt, harvesters there would never wait."
        );
        draft.leave(said, &text);
        return true;
    }
    let at = draft.count("exempt");
    if at == EXEMPT_MAX {
        draft.leave(
            said,
            "There are too many networks; whoever stands in the others is not exempt.",
        );
    } else if !draft.has("exempt", "network", &quote(&network.to_string())) {
        let at_network = ("exempt", at, "network");
        draft.take(at_network, quote(&network.to_string()), Vec::new());
        draft.take(("exempt", at, "reason"), quote(&tame(reason)), Vec::new());
    }
    true
}

/// IPv4 in the clothes of IPv6 (`::ffff:10.0.0.0/104`) as IPv4, which is how a client is known here.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(six) = network else {
        return network;
    };
    let four = six.addr().to_ipv4_mapped();
    let length = six.prefix_len().checked_sub(96);
    let plain = four
        .zip(length)
        .and_then(|(ip, length)| Ipv4Net::new(ip, length).ok());
    plain.map_or(network, IpNet::V4)
}

/// An address, a network, or a range `A-B`, as networks; none if it is nothing of these.
pub(super) fn parse(text: &str) -> Option<Vec<IpNet>> {
    let text = text.trim();
    if let Some((first, last)) = text.split_once('-') {
        return range(first.trim().parse().ok()?, last.trim().parse().ok()?);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(vec![IpNet::from(address)]);
    }
    if let Ok(network) = text.parse::<IpNet>() {
        return Some(vec![network]);
    }
    // With a mask: 10.0.0.0(255.0.0.0), or 10.0.0.0/255.0.0.0.
    let (address, mask) = text
        .strip_suffix(')')
        .and_then(|text| text.split_once('('))
        .or_else(|| text.split_once('/'))?;
    let network = IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?);
    network.ok().map(|network| vec![network])
}

fn range(first: IpAddr, last: IpAddr) -> Option<Vec<IpNet>> {
    let list: Vec<IpNet> = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            let all = Ipv4Subnets::new(first, last, 0);
            all.take(NETWORKS_MAX + 1).map(IpNet::V4).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            let all = Ipv6Subnets::new(first, last, 0);
            all.take(NETWORKS_MAX + 1).map(IpNet::V6).collect()
        }
        _ => return None,
    };
    (list.len() <= NETWORKS_MAX).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let shown = |text| {
            parse(text).map(|list| {
                list.iter()
                    .map(ToString::to_string)
                    .collect::<Vec<_>>()
                    .join(" ")
            })
        };
        assert_eq!(shown("10.0.0.1").as_deref(), Some("10.0.0.1/32"));
        assert_eq!(shown("10.0.0.0/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(
            shown("10.1.0.0(255.255.0.0)").as_deref(),
            Some("10.1.0.0/16")
        );
        assert_eq!(shown("10.0.0.0-10.0.1.255").as_deref(), Some("10.0.0.0/23"));
        assert_eq!(
            shown("0.0.0.0-255.255.255.255").as_deref(),
            Some("0.0.0.0/0")
        );
        let all = "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(shown(all).as_deref(), Some("::/0"));
        assert_eq!(
            shown("10.0.0.1-10.0.0.4").as_deref(),
            Some("10.0.0.1/32 10.0.0.2/31 10.0.0.4/32")
        );
        // The longest that a range can need.
        assert_eq!(shown("0.0.0.1-255.255.255.254"), None);
        for bad in [
            "",
            "hash:/etc/x",
            "10.0.0.9-10.0.0.1",
            "10.0.0.0/33",
            "10.0.0.1-::1",
            "10.0.0.0(255.0.255.0)",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
