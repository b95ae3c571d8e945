//! Sendmail's access file: networks that may relay, and those that did not have to wait.

use std::net::{IpAddr, Ipv6Addr};

use anyhow::bail;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::draft::Draft;
use super::super::networks::{self, Ours};
use super::super::source::Source;

/// Names that are told one by one; a file may hold thousands.
const TOLD_MAX: usize = 20;

/// Reads it.
///
/// # Errors
///
/// A line has no value: makemap would not take it.
pub(super) fn read(list: &Source, draft: &mut Draft, ours: &mut Ours) -> anyhow::Result<()> {
    let mut told = 0;
    for (number, line) in list.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let place = list.place(number);
        let Some((key, value)) = line.trim().split_once(char::is_whitespace) else {
            bail!(
                "{place}: found {} without a value",
                crate::config::show_text(line)
            );
        };
        let said = format!("{place}: {key} {}", value.trim());
        let (tag, name) = tagged(key);
        let is_relay = value.trim().eq_ignore_ascii_case("relay");
        let reason = match (tag, value.trim()) {
            ("" | "connect", _) if is_relay => "own network: RELAY",
            ("greetpause", "0") => "no greet_pause before",
            ("to", _) if is_relay => {
                ours.said(said);
                ours.add(name);
                continue;
            }
            _ => continue,
        };
        let Some(network) = network(name) else {
            if is_relay {
                ours.gap(format!("{name} in {place} may relay, through Tarpit too"));
            }
            told += 1;
            if told <= TOLD_MAX && !name.is_empty() {
                draft.leave(
                    &said,
                    "Tarpit looks up no names: an [[exempt]] needs a network.",
                );
            }
            continue;
        };
        let reason = format!("{reason} in {place}");
        let is_beyond = networks::trust(draft, network, &said, &reason);
        if is_relay && is_beyond {
            ours.gap(format!(
                "clients in {network} ({place}) may send to any domain, through Tarpit too"
            ));
        }
    }
    if told > TOLD_MAX {
        let said = format!("{}: {} more names like these", list.name, told - TOLD_MAX);
        draft.leave(
            &said,
            "Tarpit looks up no names: an [[exempt]] needs a network.",
        );
    }
    Ok(())
}

/// The tag in small letters, and what is behind it: `Connect:10.0.0`, `IPv6:2001:db8`, `10`.
fn tagged(key: &str) -> (&str, &str) {
    const TAGS: &[(&str, &str)] = &[
        ("connect:", "connect"),
        ("greetpause:", "greetpause"),
        ("to:", "to"),
        ("from:", "from"),
        ("clientrate:", "clientrate"),
        ("clientconn:", "clientconn"),
        ("spam:", "spam"),
    ];
    for (text, tag) in TAGS {
        let head = key.get(..text.len());
        if let Some(rest) = head
            .filter(|head| head.eq_ignore_ascii_case(text))
            .and_then(|_| key.get(text.len()..))
        {
            return (tag, rest);
        }
    }
    ("", key)
}

/// Leading octets, or leading groups of an IPv6 address: `10.0`, `IPv6:2001:db8`, `IPv6:::1`.
fn network(name: &str) -> Option<IpNet> {
    let Some(groups) = name.strip_prefix("IPv6:") else {
        let octets: Vec<u8> = name
            .split('.')
            .map(|octet| octet.parse().ok())
            .collect::<Option<_>>()?;
        let mut whole = [0; 4];
        whole.get_mut(..octets.len())?.copy_from_slice(&octets);
        let length = u8::try_from(octets.len() * 8).ok()?;
        return Ipv4Net::new(whole.into(), length).ok().map(IpNet::V4);
    };
    if let Ok(ip) = groups.parse::<Ipv6Addr>() {
        return Some(IpNet::from(IpAddr::V6(ip)));
    }
    let count = groups.split(':').filter(|group| !group.is_empty()).count();
    if count == 0 {
        return None;
    }
    let ip: Ipv6Addr = format!("{}::", groups.trim_end_matches(':')).parse().ok()?;
    let length = u8::try_from(count * 16).ok()?;
    Ipv6Net::new(ip, length).ok().map(IpNet::V6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_parts_of_addresses() {
        let shown = |name| network(name).map(|network| network.to_string());
        assert_eq!(shown("127").as_deref(), Some("127.0.0.0/8"));
        assert_eq!(shown("192.0.2").as_deref(), Some("192.0.2.0/24"));
        assert_eq!(shown("192.0.2.1").as_deref(), Some("192.0.2.1/32"));
        assert_eq!(shown("IPv6:::1").as_deref(), Some("::1/128"));
        assert_eq!(shown("IPv6:2001:db8").as_deref(), Some("2001:db8::/32"));
        for bad in ["", "example.org", "1.2.3.4.5", "300", "IPv6:", "IPv6:x"] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }

    #[test]
    fn tags() {
        assert_eq!(tagged("Connect:10.0"), ("connect", "10.0"));
        assert_eq!(tagged("GREETPAUSE:"), ("greetpause", ""));
        assert_eq!(tagged("10.0"), ("", "10.0"));
        assert_eq!(tagged("é"), ("", "é"));
    }
}
