//! What is allowed in a file but probably not meant.

mod doors;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use tarpit_core::policy::{Mode, Scope};
use tarpit_gateway::config::{Delivery, Exemption, Identity, Upstream};

use super::{Loaded, read, system};

/// Servers that ask ours whether a sender exists (call-outs) give up at 30 s; what is held for
/// longer than this may get no answer in time.
const LONG_DELAY: Duration = Duration::from_secs(25);

/// An exemption that ends within this time is worth a word, in seconds.
const ENDS_SOON: u64 = 7 * 86_400;

/// Networks that stand for our own side: loopback, private use (RFC 1918), link-local (RFC 3927,
/// RFC 4291), shared (RFC 6598) and unique local (RFC 4193). Who comes from there is a proxy or a
/// filter more often than not.
const OWN_SIDE: &[(&str, &str)] = &[
    ("127.0.0.0/8", "loopback"),
    ("::1/128", "loopback"),
    ("10.0.0.0/8", "private addresses"),
    ("172.16.0.0/12", "private addresses"),
    ("192.168.0.0/16", "private addresses"),
    ("100.64.0.0/10", "shared addresses"),
    ("169.254.0.0/16", "link-local addresses"),
    ("fc00::/7", "unique local addresses"),
    ("fe80::/10", "link-local addresses"),
];

/// All warnings about a file, as of `now` (seconds since 1970).
pub(crate) fn warnings(loaded: &Loaded, now: u64) -> Vec<String> {
    let mut list = Vec::new();
    for (at, exemption) in loaded.gateway.exempt.iter().enumerate() {
        let place = place(loaded, "exempt", at, "network");
        list.extend(
            about_exemption(exemption, loaded, now)
                .into_iter()
                .map(|text| format!("{place}: {text}")),
        );
    }
    list.extend(about_the_pit(loaded));
    list.extend(doors::about_listeners(loaded));
    list.extend(doors::about_upstreams(loaded));
    list.extend(about_admin(loaded));
    if loaded.gateway.domains.is_empty() && upstreams(loaded).next().is_some() {
        list.push(
            "domains is empty: the upstream alone decides which mail is ours; list them, and two servers \
             must fail before one of them is an open relay"
                .to_owned(),
        );
    }
    for upstream in upstreams(loaded) {
        if matches!(upstream.identity, Identity::None | Identity::Trace) {
            let word = if upstream.identity == Identity::None {
                "none"
            } else {
                "trace"
            };
            list.push(format!(
                "upstream {}: identity is \"{word}\": to the upstream every client is this gateway, so its block \
                 lists, SPF checks and limits see one client only",
                upstream.name
            ));
        }
    }
    list
}

fn about_admin(loaded: &Loaded) -> Option<String> {
    let address = loaded.admin.address?;
    let place = place(loaded, "admin", 0, "address");
    let is_elsewhere = !address.ip().to_canonical().is_loopback();
    (is_elsewhere && loaded.admin.token.is_none()).then(|| {
        format!(
            "{place}: {address} is no loopback address: whoever reaches it reads the figures, and nobody sees the page; \
             name a token_file, or let a firewall say who may"
        )
    })
}

fn upstreams(loaded: &Loaded) -> impl Iterator<Item = &Upstream> {
    loaded
        .gateway
        .deliveries
        .iter()
        .filter_map(|delivery| match delivery {
            Delivery::Upstream(upstream) => Some(upstream),
            Delivery::Maildir(_) => None,
        })
}

/// Whether this process may open as many sockets as the file promises to serve. Not part of
/// [`warnings`]: a shell's limit says nothing about a service's.
pub(crate) fn about_descriptors(loaded: &Loaded) -> Option<String> {
    /// Listeners, the runtime's own, files being read.
    const OTHERS: u64 = 64;
    let sessions = loaded.gateway.limits.sessions_max;
    let connections: u64 = upstreams(loaded)
        .map(|upstream| u64::from(upstream.connections_max) * upstream.addresses.len() as u64)
        .sum();
    let needed = u64::from(sessions) + connections + OTHERS;
    let allowed = system::descriptors_max().filter(|allowed| *allowed < needed)?;
    Some(format!(
        "this process may open {allowed} files, and sessions_max = {sessions} may need {needed}: clients will find \
         no place before the limit is reached; raise LimitNOFILE= (ulimit -n) or lower sessions_max"
    ))
}

/// The place of a key for messages: `exempt (line 12)`.
fn place(loaded: &Loaded, section: &str, instance: usize, key: &str) -> String {
    let held = loaded.effective.iter().find(|held| {
        held.section.name == section && held.instance == instance && held.option.key == key
    });
    held.map_or_else(
        || section.to_owned(),
        |held| format!("{section} ({})", held.origin),
    )
}

fn about_exemption(exemption: &Exemption, loaded: &Loaded, now: u64) -> Vec<String> {
    let network = exemption.network;
    let mut list = Vec::new();
    match exemption.until {
        Some(until) if until <= now => {
            // Whom it covered no longer matters.
            return vec![format!(
                "{network} has ended at {}: it no longer holds, remove it",
                show(until)
            )];
        }
        Some(until) if until - now <= ENDS_SOON => {
            list.push(format!("{network} ends within 7 days, at {}", show(until)));
        }
        _ => {}
    }
    let broad = match network {
        IpNet::V4(_) => 8,
        IpNet::V6(_) => 16,
    };
    if network.prefix_len() == 0 {
        list.push(format!(
            "{network} is the whole Internet: nobody ever waits"
        ));
    } else if network.prefix_len() < broad {
        list.push(format!(
            "{network} is a large part of the Internet: harvesters there never wait"
        ));
    } else if let Some(who) = proxy(network, loaded) {
        list.push(format!(
            "{network} covers {who}: if a proxy or filter in front connects from there, everyone behind it is exempt"
        ));
    }
    list
}

/// Which address of our own side the network covers, in words.
fn proxy(network: IpNet, loaded: &Loaded) -> Option<String> {
    let own = loaded
        .gateway
        .listeners
        .iter()
        .map(|listener| listener.address.ip());
    let own = own
        .filter(|ip| !ip.is_unspecified())
        .map(|ip| (ip, "this gateway"));
    let upstream = upstreams(loaded)
        .flat_map(|upstream| &upstream.addresses)
        .map(|address| (address.ip(), "the upstream"));
    let holds = |(ip, _): &(IpAddr, &str)| network.contains(&ip.to_canonical());
    if let Some((ip, who)) = own.chain(upstream).find(holds) {
        return Some(format!("{ip}, {who}"));
    }
    let overlaps = |text: &str| {
        text.parse::<IpNet>()
            .is_ok_and(|range| range.contains(&network) || network.contains(&range))
    };
    let (range, what) = OWN_SIDE.iter().find(|(range, _)| overlaps(range))?;
    Some(format!("{what} ({range})"))
}

fn about_the_pit(loaded: &Loaded) -> Vec<String> {
    let mut list = Vec::new();
    for listener in &loaded.gateway.listeners {
        let (name, policy) = (&listener.name, &listener.policy);
        let delay = read::show_time(policy.delay);
        match policy.mode {
            Mode::Off => list.push(format!("listener {name}: mode is \"off\": no accounts are kept, nothing is delayed")),
            Mode::Observe => list.push(format!(
                "listener {name}: mode is \"observe\": nothing is delayed yet; the records say what would have been"
            )),
            Mode::Enforce => {}
        }
        if policy.mode != Mode::Off && policy.delay.is_zero() {
            list.push(format!("listener {name}: delay is 0: nothing is delayed"));
        }
        if policy.delay > LONG_DELAY {
            list.push(format!(
                "listener {name}: delay is {delay}: servers that check our senders give up at 30 s"
            ));
        }
        if policy.scope == Scope::Source && policy.hold_max > LONG_DELAY {
            let hold_max = read::show_time(policy.hold_max);
            list.push(format!("listener {name}: hold_max is {hold_max}: servers that check our senders give up at 30 s"));
        }
    }
    list
}

fn show(seconds: u64) -> String {
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    moment.map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::parse;

    /// 2027-03-31, the start of the day.
    const END: u64 = 1_806_451_200;

    fn check(more: &str, now: u64) -> Vec<String> {
        let text = format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n\
             listener = [{{ name = \"mx\", address = \"192.0.2.1:25\" }}]\n\
             upstream = [{{ address = \"192.0.2.2:25\", identity = \"xclient\", tls = \"opportunistic\" }}]\n\
             tarpit.mode = \"enforce\"\n{more}"
        );
        warnings(&parse(Path::new("tarpit.toml"), &text).unwrap(), now)
    }

    fn exempt(network: &str, now: u64) -> Vec<String> {
        check(
            &format!("[[exempt]]\nnetwork = \"{network}\"\nreason = \"r\"\nuntil = 2027-03-31\n"),
            now,
        )
    }

    #[test]
    fn exemptions_end() {
        assert_eq!(
            exempt("203.0.113.0/24", END - ENDS_SOON - 1),
            Vec::<String>::new()
        );
        assert!(exempt("203.0.113.0/24", END - ENDS_SOON)[0].contains("ends within 7 days"));
        assert!(exempt("203.0.113.0/24", END - 1)[0].contains("ends within 7 days"));
        assert!(exempt("203.0.113.0/24", END)[0].contains("has ended"));
    }

    #[test]
    fn exemptions_cover_our_own_side() {
        for (network, says) in [
            ("0.0.0.0/0", "whole Internet"),
            ("::/0", "whole Internet"),
            ("128.0.0.0/7", "large part"),
            ("2000::/15", "large part"),
            ("192.0.2.1", "192.0.2.1, this gateway"),
            ("192.0.2.2/31", "192.0.2.2, the upstream"),
            ("10.1.2.3", "private addresses (10.0.0.0/8)"),
            ("192.0.0.0/8", "this gateway"),
            ("::1", "loopback"),
            ("fd00::/16", "unique local"),
        ] {
            let found = exempt(network, 0);
            assert!(
                found.len() == 1 && found[0].contains(says),
                "{network}: {found:?}"
            );
        }
        assert_eq!(exempt("203.0.113.0/24", 0), Vec::<String>::new());
        assert_eq!(exempt("2001:db8::/32", 0), Vec::<String>::new());
    }

    #[test]
    fn delays() {
        assert_eq!(check("tarpit.delay = 25", 0), Vec::<String>::new());
        assert!(check("tarpit.delay = 26", 0)[0].contains("delay is 26s"));
        assert!(check("tarpit.delay = 0", 0)[0].contains("nothing is delayed"));
        assert_eq!(check("tarpit.hold_max = 60", 0), Vec::<String>::new());
        assert!(
            check("tarpit.hold_max = 26\ntarpit.scope = \"source\"", 0)[0]
                .contains("hold_max is 26s")
        );
    }

    fn doors(listener: &str, upstream: &str) -> Vec<String> {
        let text = format!(
            "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\ntarpit.mode = \"enforce\"\n\
             [[listener]]\nname = \"mx\"\naddress = \"192.0.2.1:25\"\n{listener}\n\
             [[upstream]]\naddress = \"10.0.0.2:25\"\n{upstream}\n"
        );
        warnings(&parse(Path::new("tarpit.toml"), &text).unwrap(), 0)
    }

    #[test]
    fn who_is_believed() {
        let upstream = "identity = \"proxy-v2\"";
        for key in ["proxy_protocol", "xclient", "passthrough"] {
            for (network, says) in [
                ("0.0.0.0/0", "whole Internet"),
                ("::/0", "whole Internet"),
                ("203.0.0.0/15", "large part"),
                ("2001::/16", "large part"),
                ("127.0.0.0/8", "loopback"),
                ("::1", "loopback"),
            ] {
                let found = doors(&format!("{key} = [\"{network}\"]"), upstream);
                assert!(
                    found.len() == 1 && found[0].contains(says) && found[0].contains(key),
                    "{key} {network}: {found:?}"
                );
            }
            for network in ["10.0.0.0/8", "203.0.113.0/24", "fd00::/8", "2001:db8::/32"] {
                let found = doors(&format!("{key} = [\"{network}\"]"), upstream);
                assert_eq!(found, Vec::<String>::new(), "{key} {network}");
            }
        }
        for (identity, says) in [
            ("xclient", "be anybody"),
            ("none", "not told who passes by"),
            ("trace", "not told who passes by"),
        ] {
            let listener = "passthrough = [\"203.0.113.0/24\"]";
            let found = doors(listener, &format!("identity = \"{identity}\""));
            assert!(found.iter().any(|text| text.contains(says)), "{found:?}");
        }
    }

    #[test]
    fn who_can_log_in() {
        let upstream = "identity = \"xclient\"";
        let found = doors("kind = \"submission\"", upstream);
        assert!(
            found.len() == 1 && found[0].contains("nobody can log in"),
            "{found:?}"
        );
        let found = doors("kind = \"submission\"\nauth_plaintext = true", upstream);
        assert!(
            found.len() == 1 && found[0].contains("passwords cross"),
            "{found:?}"
        );
        assert_eq!(doors("", upstream), Vec::<String>::new());
    }

    #[test]
    fn the_way_to_the_upstream() {
        let found = doors("", "identity = \"transparent\"");
        assert_eq!(found, Vec::<String>::new());
        let text = |address: &str, to: &str, tls: &str| {
            let text = format!(
                "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\ntarpit.mode = \"enforce\"\n\
                 listener = [{{ name = \"mx\", address = \"{address}\", upstream = \"a\" }}]\n\
                 [[upstream]]\nname = \"a\"\naddress = \"{to}\"\nidentity = \"transparent\"\ntls = \"{tls}\"\n"
            );
            warnings(&parse(Path::new("tarpit.toml"), &text).unwrap(), 0)
        };
        let found = text("[::]:25", "10.0.0.2:25", "off");
        assert!(
            found.len() == 1 && found[0].contains("over IPv6"),
            "{found:?}"
        );
        let found = text("192.0.2.1:25", "[fd00::2]:25", "off");
        assert!(
            found.len() == 1 && found[0].contains("over IPv4"),
            "{found:?}"
        );
        let found = text("192.0.2.1:25", "203.0.113.2:25", "off");
        assert!(
            found.len() == 1 && found[0].contains("in plain"),
            "{found:?}"
        );
        let found = text("192.0.2.1:25", "203.0.113.2:25", "opportunistic");
        assert_eq!(found, Vec::<String>::new());
    }
}
