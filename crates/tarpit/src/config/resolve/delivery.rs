//! `[[upstream]]`, any number of them, or `[maildir]`.

use std::net::SocketAddr;

use tarpit_gateway::config::{Balance, Delivery, Identity, Maildir, Upstream, UpstreamTls};
use tarpit_gateway::tls::{ClientTls, ClientTlsError};
use tarpit_gateway::upstream::SERVERS_MAX;

use super::super::reader::{Reader, View};
use super::Named;

/// Reads who takes the mail.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    domains: Option<&[Box<str>]>,
    listeners: &[Named<'t>],
) -> Option<Vec<Delivery>> {
    let upstreams = reader.many("upstream");
    let servers: Vec<Option<Upstream>> = upstreams
        .iter()
        .map(|view| upstream(reader, view, domains, listeners))
        .collect();
    let maildir_view = reader.has("maildir").then(|| reader.single("maildir"));
    let maildir = maildir_view.map(|view| maildir(reader, &view));
    let line = |view: &View<'t>| view.place().map_or(0, |place| place.line);
    match (upstreams.as_slice(), maildir_view) {
        ([], None) => {
            // [upstream] in place of [[upstream]] was noted already.
            if !reader.has("upstream") {
                let text = "found neither [[upstream]] nor [maildir]; allowed: one of them, to take the mail";
                reader.notes.wrong_at(None, "", text);
            }
            None
        }
        ([first, ..], Some(view)) => {
            let text = format!(
                "found [[upstream]] in line {} and [maildir] in line {}; allowed: one of the two",
                line(first),
                line(&view)
            );
            reader
                .notes
                .wrong_at(view.place().max(first.place()), "", text);
            None
        }
        ([_, ..], None) => {
            distinct_names(reader, &upstreams, &servers);
            let servers: Option<Vec<Upstream>> = servers.into_iter().collect();
            Some(servers?.into_iter().map(Delivery::Upstream).collect())
        }
        ([], Some(_)) => Some(vec![Delivery::Maildir(maildir.flatten()?)]),
    }
}

/// Listeners and records name upstreams, so each needs a name of its own.
fn distinct_names<'t>(reader: &mut Reader<'t>, views: &[View<'t>], servers: &[Option<Upstream>]) {
    for (at, (view, server)) in views.iter().zip(servers).enumerate() {
        let Some(server) = server else { continue };
        let is_taken = servers
            .iter()
            .take(at)
            .flatten()
            .any(|other| other.name == server.name);
        if is_taken {
            let text = format!(
                "found \"{}\" again; allowed: a name of its own for each",
                server.name
            );
            reader.clash(view, "name", text);
        }
    }
}

fn upstream<'t>(
    reader: &mut Reader<'t>,
    view: &View<'t>,
    domains: Option<&[Box<str>]>,
    listeners: &[Named<'t>],
) -> Option<Upstream> {
    let name = reader.text(view, "name");
    let addresses = reader.sockets(view, "address");
    let balance = reader
        .text(view, "balance")
        .map(|word| match word.as_ref() {
            "least-connections" => Balance::LeastConnections,
            _ => Balance::Order,
        });
    let tls = upstream_tls(reader, view);
    let identity = reader.text(view, "identity").map(|word| identity(&word));
    let relays = reader.flag(view, "upstream_relays");
    let connections_max = reader.count::<u32>(view, "connections_max");
    let per_source = reader.count::<u32>(view, "connections_per_source_max");
    let reserved = reader.count::<u32>(view, "connections_reserved");
    let messages_max = reader.count::<u32>(view, "messages_per_connection_max");
    let grace = reader.time(view, "grace");
    let connect_timeout = reader.time(view, "connect_timeout");
    count_servers(reader, view, addresses.as_deref().unwrap_or_default());
    for address in addresses.iter().flatten() {
        let Some(own) = listeners
            .iter()
            .find(|listener| reaches(*address, listener.address))
        else {
            continue;
        };
        let text = format!(
            "found \"{address}\", which is our own listener \"{}\": mail would go round in circles; allowed: the address of another server",
            own.name
        );
        reader.clash(view, "address", text);
    }
    if relays == Some(true) && domains.is_some_and(<[_]>::is_empty) {
        let text = "found true, but `domains` is empty: together an open relay; allowed: true with the domains listed";
        reader.clash(view, "upstream_relays", text);
    }
    if let (Some(max), Some(per_source)) = (connections_max, per_source)
        && per_source > max
    {
        let text =
            format!("found {per_source}, more than connections_max = {max}; allowed: up to {max}");
        reader.clash(view, "connections_per_source_max", text);
    }
    if let (Some(max), Some(reserved)) = (connections_max, reserved)
        && reserved >= max
    {
        let text = format!(
            "found {reserved}, which leaves none of connections_max = {max} to strangers; allowed: less than {max}"
        );
        reader.clash(view, "connections_reserved", text);
    }
    Some(Upstream {
        name: name?,
        addresses: addresses?,
        balance: balance?,
        tls: tls?,
        identity: identity?,
        relays: relays?,
        connections_max: connections_max?,
        connections_per_source_max: per_source?,
        connections_reserved: reserved?,
        messages_per_connection_max: messages_max?,
        grace: grace?,
        connect_timeout: connect_timeout?,
    })
}

/// More than we can keep apart need a load balancer of their own.
fn count_servers<'t>(reader: &mut Reader<'t>, view: &View<'t>, addresses: &[SocketAddr]) {
    if addresses.len() > SERVERS_MAX {
        let text = format!(
            "found {} servers; allowed: up to {SERVERS_MAX}",
            addresses.len()
        );
        reader.clash(view, "address", text);
    }
}

fn identity(word: &str) -> Identity {
    match word {
        "xclient" => Identity::Xclient,
        "proxy-v1" => Identity::ProxyV1,
        "proxy-v2" => Identity::ProxyV2,
        "transparent" => Identity::Transparent,
        "trace" => Identity::Trace,
        _ => Identity::None,
    }
}

fn upstream_tls<'t>(reader: &mut Reader<'t>, view: &View<'t>) -> Option<UpstreamTls> {
    let word = reader.text(view, "tls");
    let name = reader.text(view, "tls_name");
    let ca = reader.path(view, "tls_ca");
    match word?.as_ref() {
        "required" => {
            let Some(name) = name else {
                if reader.notes.is_blank_about("upstream.tls_name") {
                    let text = "found \"required\", but no `tls_name`; allowed: \"required\" with the name that its certificate must have";
                    reader.clash(view, "tls", text);
                }
                return None;
            };
            let required = UpstreamTls::Required { ca, name };
            if let Err(error) = ClientTls::new(&required) {
                let key = match &error {
                    ClientTlsError::Name { .. } => "tls_name",
                    ClientTlsError::NoSystemCa => "tls",
                    ClientTlsError::File(_) | ClientTlsError::Authority { .. } => "tls_ca",
                };
                reader.clash(view, key, error.to_string());
                return None;
            }
            Some(required)
        }
        other => {
            for (key, is_set) in [("tls_name", name.is_some()), ("tls_ca", ca.is_some())] {
                if is_set {
                    let text = format!(
                        "it is set, but tls is \"{other}\", so nothing is verified; allowed: {key} with tls = \"required\""
                    );
                    reader.clash(view, key, text);
                }
            }
            Some(match other {
                "opportunistic" => UpstreamTls::Opportunistic,
                _ => UpstreamTls::Off,
            })
        }
    }
}

/// Whether connecting to `address` certainly reaches a listener at `listener`.
fn reaches(address: SocketAddr, listener: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let everywhere =
        listener.ip().is_unspecified() && ip.is_loopback() && (ip.is_ipv4() || listener.is_ipv6());
    address.port() == listener.port() && (ip == listener.ip().to_canonical() || everywhere)
}

fn maildir<'t>(reader: &mut Reader<'t>, view: &View<'t>) -> Option<Maildir> {
    let root = reader.path(view, "root");
    let recipients = reader.texts(view, "recipients");
    let size_max = reader.count(view, "size_max");
    Some(Maildir {
        root: root?,
        recipients: recipients?,
        size_max: size_max?,
    })
}

#[cfg(test)]
mod tests {
    use super::reaches;

    #[test]
    fn knows_our_own_listeners() {
        let check = |address: &str, listener: &str| {
            reaches(address.parse().unwrap(), listener.parse().unwrap())
        };
        assert!(check("127.0.0.1:25", "127.0.0.1:25"));
        assert!(check("127.0.0.1:25", "0.0.0.0:25"));
        assert!(check("127.0.0.1:25", "[::]:25"));
        assert!(check("[::1]:25", "[::]:25"));
        assert!(!check("[::1]:25", "0.0.0.0:25"));
        assert!(!check("127.0.0.1:25", "127.0.0.1:26"));
        assert!(!check("127.0.0.2:25", "127.0.0.1:25"));
        assert!(!check("192.0.2.1:25", "[::]:25"));
    }
}
