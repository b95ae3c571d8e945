//! `[[upstream]]` or `[maildir]`: exactly one of them.

use std::net::SocketAddr;

use tarpit_gateway::config::{Delivery, Identity, Maildir, Upstream};

use super::super::reader::{Reader, View};
use super::Named;

/// Reads who takes the mail.
pub(super) fn read<'t>(
    reader: &mut Reader<'t>,
    domains: Option<&[Box<str>]>,
    listeners: &[Named<'t>],
) -> Option<Delivery> {
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
                let text = "found neither [[upstream]] nor [maildir]; allowed: exactly one of them, to take the mail";
                reader.notes.wrong_at(None, "", text);
            }
            None
        }
        ([first, ..], Some(view)) => {
            let text = format!(
                "found [[upstream]] in line {} and [maildir] in line {}; allowed: exactly one of them",
                line(first),
                line(&view)
            );
            reader
                .notes
                .wrong_at(view.place().max(first.place()), "", text);
            None
        }
        ([first, second, ..], None) => {
            let text = format!(
                "found {} of them, the first in line {}; allowed: one, since this version supports one server behind",
                upstreams.len(),
                line(first)
            );
            reader.notes.wrong_at(second.place(), "upstream", text);
            None
        }
        ([_], None) => servers.into_iter().next().flatten().map(Delivery::Upstream),
        ([], Some(_)) => maildir.flatten().map(Delivery::Maildir),
    }
}

fn upstream<'t>(
    reader: &mut Reader<'t>,
    view: &View<'t>,
    domains: Option<&[Box<str>]>,
    listeners: &[Named<'t>],
) -> Option<Upstream> {
    let name = reader.text(view, "name");
    let address = reader.socket(view, "address");
    let identity = reader.text(view, "identity").map(|word| identity(&word));
    let relays = reader.flag(view, "upstream_relays");
    let connections_max = reader.count::<u32>(view, "connections_max");
    let per_source = reader.count::<u32>(view, "connections_per_source_max");
    let reserved = reader.count::<u32>(view, "connections_reserved");
    let grace = reader.time(view, "grace");
    let connect_timeout = reader.time(view, "connect_timeout");
    if let Some(address) = address
        && let Some(own) = listeners
            .iter()
            .find(|listener| reaches(address, listener.address))
    {
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
        address: address?,
        identity: identity?,
        relays: relays?,
        connections_max: connections_max?,
        connections_per_source_max: per_source?,
        connections_reserved: reserved?,
        grace: grace?,
        connect_timeout: connect_timeout?,
    })
}

fn identity(word: &str) -> Identity {
    match word {
        "xclient" => Identity::Xclient,
        "proxy-v2" => Identity::ProxyV2,
        _ => Identity::None,
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
