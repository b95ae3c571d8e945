//! Who is believed, who passes by, and what goes over the network in plain: at the listeners and on
//! the way to the upstream.

use std::net::IpAddr;

use ipnet::IpNet;
use tarpit_gateway::config::{
    Delivery, Exemption, Identity, Kind, Listener, ListenerTls, Upstream, UpstreamTls,
};

use super::{Loaded, OWN_SIDE, upstreams};

/// Warnings about each listener.
pub(super) fn about_listeners(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.gateway;
    let mut list = Vec::new();
    for listener in &config.listeners {
        let mut say = |text: String| list.push(format!("listener {}: {text}", listener.name));
        about_trust(listener).into_iter().for_each(&mut say);
        about_own_side(listener, &config.exempt)
            .into_iter()
            .for_each(&mut say);
        about_login(listener, &config.deliveries[listener.delivery])
            .into_iter()
            .for_each(&mut say);
        if let (Delivery::Upstream(upstream), [_, ..]) = (
            &config.deliveries[listener.delivery],
            listener.passthrough.as_slice(),
        ) {
            about_passthrough(upstream).into_iter().for_each(&mut say);
        }
    }
    let speaks_tls = |listener: &Listener| listener.tls != ListenerTls::Off;
    if !config.certificates.is_empty() && !config.listeners.iter().any(speaks_tls) {
        list.push(
            "there are certificates, but every listener has tls = \"off\": none is shown"
                .to_owned(),
        );
    }
    list
}

/// Networks that are believed or let by.
fn about_trust(listener: &Listener) -> Vec<String> {
    let says = [
        (
            "proxy_protocol",
            &listener.proxy_protocol,
            "may claim to be any client",
        ),
        ("xclient", &listener.xclient, "may claim to be any client"),
        (
            "passthrough",
            &listener.passthrough,
            "passes by every check of this gateway",
        ),
    ];
    let mut list = Vec::new();
    for (key, networks, may) in says {
        for network in networks {
            if network.prefix_len() == 0 {
                list.push(format!(
                    "{key} has {network}, the whole Internet: anybody {may}"
                ));
            } else if is_broad(*network) {
                list.push(format!(
                    "{key} has {network}, a large part of the Internet: whoever is there {may}"
                ));
            } else if network.addr().is_loopback() {
                list.push(format!(
                    "{key} has {network}, loopback: every program on this machine {may}"
                ));
            }
        }
    }
    list
}

/// Wider than any network of one owner's proxies.
fn is_broad(network: IpNet) -> bool {
    let (broad, is_own) = match network {
        IpNet::V4(_) => (16, is_own_side(network.addr())),
        IpNet::V6(_) => (32, is_own_side(network.addr())),
    };
    network.prefix_len() < broad && !(is_own && network.prefix_len() >= 8)
}

fn is_own_side(address: IpAddr) -> bool {
    OWN_SIDE
        .iter()
        .filter_map(|(range, _)| range.parse::<IpNet>().ok())
        .any(|range| range.contains(&address))
}

/// A listener that only our own side can reach, and nobody is named who may speak for clients: the
/// pit would make all clients of a proxy wait for each of them. The log notices such a proxy by its
/// share of the sessions; here only the address is known.
fn about_own_side(listener: &Listener, exempt: &[Exemption]) -> Option<String> {
    let address = listener.address.ip().to_canonical();
    let somebody_thought = !listener.proxy_protocol.is_empty()
        || !listener.xclient.is_empty()
        || !listener.passthrough.is_empty()
        || exempt.iter().any(|one| one.network.contains(&address));
    if somebody_thought || !listener.policy.enforces() {
        return None;
    }
    if address.is_loopback() {
        return Some(format!(
            "{address} is loopback: whoever connects is a program on this machine; if it is a proxy or filter of your \
             own, name it in proxy_protocol or xclient, or all its clients wait for each of them"
        ));
    }
    is_own_side(address).then(|| {
        format!(
            "{address} is no address of the Internet: if clients come to it through a proxy, load balancer or filter of \
             your own, name it in proxy_protocol or xclient, or all of them wait for each of them"
        )
    })
}

fn about_login(listener: &Listener, delivery: &Delivery) -> Option<String> {
    let is_submission = listener.kind == Kind::Submission;
    if is_submission && matches!(delivery, Delivery::Maildir(_)) {
        return Some(
            "kind is \"submission\", and the maildir knows no users: nobody can log in, so nobody can send".to_owned(),
        );
    }
    if is_submission && listener.tls == ListenerTls::Off && !listener.auth_plaintext {
        return Some(
            "kind is \"submission\", but AUTH needs TLS, and tls is \"off\": nobody can log in, so nobody can send; \
             give it a [[certificate]], or set auth_plaintext = true where the network is safe"
                .to_owned(),
        );
    }
    (listener.auth_plaintext && !listener.is_loopback()).then(|| {
        "auth_plaintext is true: passwords cross the network in plain, where clients let them"
            .to_owned()
    })
}

/// What passes by was never looked at: to the upstream it is ours, or the partner's.
fn about_passthrough(upstream: &Upstream) -> Option<String> {
    let name = &upstream.name;
    match upstream.identity {
        Identity::ProxyV1 | Identity::ProxyV2 | Identity::Transparent => None,
        Identity::Xclient => Some(format!(
            "passthrough leads to upstream {name}, which takes XCLIENT from this gateway: whoever passes by can say it \
             too, and be anybody; use identity = \"proxy-v2\" or \"transparent\" there, or another upstream without it"
        )),
        Identity::Trace | Identity::None => Some(format!(
            "passthrough leads to upstream {name}, which is not told who passes by: to it that is this gateway"
        )),
    }
}

/// Warnings about each upstream.
pub(super) fn about_upstreams(loaded: &Loaded) -> Vec<String> {
    let config = &loaded.gateway;
    let mut list = Vec::new();
    for (at, delivery) in config.deliveries.iter().enumerate() {
        let Delivery::Upstream(upstream) = delivery else {
            continue;
        };
        let mut say = |text: String| list.push(format!("upstream {}: {text}", upstream.name));
        let listeners: Vec<&Listener> = config
            .listeners
            .iter()
            .filter(|listener| listener.delivery == at)
            .collect();
        if listeners.is_empty() {
            say("no listener leads to it".to_owned());
        }
        if let Some(text) = about_family(upstream, &listeners) {
            say(text);
        }
        // An address of ours is this machine's.
        let is_near = |address: IpAddr| {
            let address = address.to_canonical();
            let is_ours = |listener: &Listener| listener.address.ip().to_canonical() == address;
            is_own_side(address) || config.listeners.iter().any(is_ours)
        };
        if upstream.tls == UpstreamTls::Off
            && let Some(far) = upstream
                .addresses
                .iter()
                .find(|address| !is_near(address.ip()))
        {
            say(format!(
                "tls is \"off\", and {far} is no address of a private network: mail and passwords cross the network \
                 in plain"
            ));
        }
    }
    if !cfg!(target_os = "linux")
        && upstreams(loaded).any(|upstream| upstream.identity == Identity::Transparent)
    {
        list.push(
            "identity = \"transparent\" works on Linux only: no mail will come through".to_owned(),
        );
    }
    list
}

/// A client's address and the server's must be of one family where one is to be the other's peer.
fn about_family(upstream: &Upstream, listeners: &[&Listener]) -> Option<String> {
    if upstream.identity != Identity::Transparent {
        return None;
    }
    let has = |is_v4: bool| {
        let of_family = |ip: IpAddr| ip.to_canonical().is_ipv4() == is_v4;
        upstream
            .addresses
            .iter()
            .any(|address| of_family(address.ip()))
    };
    let comes = |is_v4: bool| {
        listeners.iter().any(|listener| {
            let ip = listener.address.ip();
            // [::] takes clients of both.
            ip.to_canonical().is_ipv4() == is_v4 || (ip.is_unspecified() && ip.is_ipv6())
        })
    };
    [(true, "IPv4"), (false, "IPv6")]
        .into_iter()
        .find(|(is_v4, _)| comes(*is_v4) && !has(*is_v4))
        .map(|(_, family)| {
            format!(
                "identity is \"transparent\", and none of its servers has an {family} address: clients that come over \
                 {family} get 451; name one, or listen without {family}"
            )
        })
}
