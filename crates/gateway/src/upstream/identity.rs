//! Who the client is, as the upstream is to be told: by XCLIENT, by the PROXY protocol, or by the
//! near end of the connection itself.
//!
//! XCLIENT is printed on one line: Postfix forgets HELO and PROTO of an earlier XCLIENT when the
//! next one comes, and usually allows none after ADDR. All that we tell fits (a test holds that).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use tarpit_smtp::limits::COMMAND_LINE_MAX;
use tarpit_smtp::{XclientAttribute, XclientAttributes, write_xclient};

use crate::config::Identity;

/// Who the client is, as the upstream is to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientIdentity {
    /// Its address and port.
    pub address: SocketAddr,
    /// Where it connected to.
    pub local: SocketAddr,
    /// What it called itself in EHLO or HELO.
    pub helo: Option<Box<str>>,
    /// Whether it said EHLO.
    pub esmtp: bool,
    /// Whether it came by TLS.
    pub secured: bool,
    /// Its name in DNS, where a trusted filter in front has said it.
    pub name: Option<Box<str>>,
}

/// What a connection's upstream was told. Two sessions may use one connection only if it is equal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Told {
    /// Nothing: every client seems to be the gateway. Of a Received header the connection knows
    /// nothing: it belongs to a message.
    Nothing,
    /// XCLIENT.
    Xclient(ClientIdentity),
    /// The PROXY protocol, and our EHLO with the client's name: the protocol knows none.
    Proxy(ProxyVersion, ClientIdentity),
    /// The near end of the connection has the client's address; its port is another one. Our EHLO
    /// has the client's name.
    Address {
        address: IpAddr,
        helo: Option<Box<str>>,
    },
}

/// Which header of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ProxyVersion {
    One,
    Two,
}

impl Told {
    pub(super) fn of(identity: Identity, who: &ClientIdentity) -> Self {
        match identity {
            Identity::None | Identity::Trace => Self::Nothing,
            Identity::Xclient => Self::Xclient(who.clone()),
            Identity::ProxyV1 => Self::Proxy(ProxyVersion::One, who.clone()),
            Identity::ProxyV2 => Self::Proxy(ProxyVersion::Two, who.clone()),
            Identity::Transparent => Self::Address {
                address: who.address.ip().to_canonical(),
                helo: who.helo.clone(),
            },
        }
    }

    /// Whether another session may have told the same.
    pub(super) const fn outlives_session(&self) -> bool {
        matches!(self, Self::Nothing | Self::Address { .. })
    }

    /// What the near end of the connection has to be, if it is not ours.
    pub(super) const fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Address { address, .. } => Some(*address),
            _ => None,
        }
    }

    /// The client's name, if our EHLO is to have it.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Xclient(who) | Self::Proxy(_, who) => who.helo.as_deref(),
            Self::Address { helo, .. } => helo.as_deref(),
        }
    }
}

/// The value for what we don't know (Postfix, XCLIENT_README).
const UNAVAILABLE: &str = "[UNAVAILABLE]";

/// Postfix refuses a longer value, encoded, and with it the whole XCLIENT.
const VALUE_MAX: usize = 255;

/// The XCLIENT line with the attributes that are offered. `None` if ADDR is not among them: then
/// the upstream would take the client for us.
pub(super) fn xclient(offered: XclientAttributes, who: &ClientIdentity) -> Option<Vec<u8>> {
    if !offered.contains(XclientAttribute::Addr) {
        return None;
    }
    let name = who.name.as_deref().filter(|name| is_host_name(name));
    let line = xclient_line(offered, who, name);
    if name.is_some() && line.len() > COMMAND_LINE_MAX {
        return Some(xclient_line(offered, who, None));
    }
    Some(line)
}

fn xclient_line(offered: XclientAttributes, who: &ClientIdentity, name: Option<&str>) -> Vec<u8> {
    let helo = who
        .helo
        .as_deref()
        .filter(|helo| xtext_len(helo) <= VALUE_MAX);
    let values: Vec<(XclientAttribute, String)> = offered
        .iter()
        .map(|attribute| {
            let value = match attribute {
                XclientAttribute::Addr => address(who.address),
                XclientAttribute::Port => port(who.address),
                XclientAttribute::DestAddr => address(who.local),
                XclientAttribute::DestPort => port(who.local),
                XclientAttribute::Helo => helo.unwrap_or(UNAVAILABLE).to_owned(),
                XclientAttribute::Proto if who.esmtp => "ESMTP".to_owned(),
                XclientAttribute::Proto => "SMTP".to_owned(),
                // We look up no name, and with XCLIENT Postfix doesn't either: there such a client is
                // `unknown`. Unsaid it would be worse: it would keep the gateway's name.
                XclientAttribute::Name => name.unwrap_or(UNAVAILABLE).to_owned(),
                XclientAttribute::ReverseName | XclientAttribute::Login => UNAVAILABLE.to_owned(),
            };
            (attribute, value)
        })
        .collect();
    let values: Vec<(XclientAttribute, &str)> = values
        .iter()
        .map(|(attribute, value)| (*attribute, value.as_str()))
        .collect();
    let mut line = Vec::new();
    write_xclient(&mut line, &values);
    line
}

/// Not every introduction says the port, and 0 is none.
fn port(address: SocketAddr) -> String {
    match address.port() {
        0 => UNAVAILABLE.to_owned(),
        port => port.to_string(),
    }
}

/// As Postfix wants it: a name that it doesn't like costs the whole XCLIENT.
fn is_host_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let octets = label.bytes();
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && octets
                .into_iter()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet))
    };
    name.len() <= VALUE_MAX
        && name.bytes().any(|octet| octet.is_ascii_alphabetic())
        && name.split('.').all(is_label)
}

/// `192.0.2.1`, `IPV6:2001:db8::1` (XCLIENT_README).
fn address(address: SocketAddr) -> String {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("IPV6:{v6}"),
    }
}

/// Length of `value` as xtext (RFC 3461 §4).
fn xtext_len(value: &str) -> usize {
    let len = |octet: u8| {
        if octet.is_ascii_graphic() && !matches!(octet, b'+' | b'=') {
            1
        } else {
            3
        }
    };
    value.bytes().map(len).sum()
}

/// The header of the PROXY protocol.
pub(super) fn proxy_header(version: ProxyVersion, who: &ClientIdentity) -> Vec<u8> {
    match version {
        ProxyVersion::One => proxy_v1(who.address, who.local),
        ProxyVersion::Two => proxy_v2(who.address, who.local),
    }
}

/// Version 1 (§2.1). Never `UNKNOWN`: a server would take the client for us. Both addresses are of
/// one family, as in version 2.
fn proxy_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (family, source_ip, destination_ip) =
        match (source.ip().to_canonical(), destination.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                ("TCP4", source.to_string(), destination.to_string())
            }
            (source, destination) => ("TCP6", v6(source).to_string(), v6(destination).to_string()),
        };
    let (source_port, destination_port) = (source.port(), destination.port());
    format!("PROXY {family} {source_ip} {destination_ip} {source_port} {destination_port}\r\n")
        .into_bytes()
}

/// PROXY protocol, version 2, §2.2: the signature.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_COMMAND: u8 = 0x21;
/// AF_INET, STREAM; then 12 octets.
const TCP4: u8 = 0x11;
/// AF_INET6, STREAM; then 36 octets.
const TCP6: u8 = 0x21;

/// The header of the PROXY protocol, version 2 (§2.2). Both addresses are of one family there:
/// IPv4 if both are, or are mapped from it; else IPv6, an IPv4 one mapped.
fn proxy_v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = SIGNATURE.to_vec();
    header.push(VERSION_COMMAND);
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.push(TCP4);
            header.extend_from_slice(&12_u16.to_be_bytes());
            header.extend_from_slice(&source.octets());
            header.extend_from_slice(&destination.octets());
        }
        (source, destination) => {
            header.push(TCP6);
            header.extend_from_slice(&36_u16.to_be_bytes());
            header.extend_from_slice(&v6(source).octets());
            header.extend_from_slice(&v6(destination).octets());
        }
    }
    header.extend_from_slice(&source.port().to_be_bytes());
    header.extend_from_slice(&destination.port().to_be_bytes());
    header
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(address: &str, local: &str, helo: &str) -> ClientIdentity {
        ClientIdentity {
            address: address.parse().unwrap(),
            local: local.parse().unwrap(),
            helo: Some(helo.into()),
            esmtp: true,
            secured: false,
            name: None,
        }
    }

    fn line(offered: &[XclientAttribute], who: &ClientIdentity) -> Option<String> {
        let line = xclient(offered.iter().copied().collect(), who)?;
        Some(String::from_utf8(line).unwrap())
    }

    #[test]
    fn tells_only_what_is_offered() {
        use XclientAttribute::{Addr, DestAddr, DestPort, Helo, Login, Name, Port, Proto};
        let v4 = who("192.0.2.7:4711", "198.51.100.1:25", "a b=c");
        assert_eq!(
            line(&[Name, Addr, Port, Proto, Helo, Login], &v4).unwrap(),
            "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.7 PORT=4711 PROTO=ESMTP HELO=a+20b+3Dc LOGIN=[UNAVAILABLE]\r\n"
        );
        let v6 = ClientIdentity {
            helo: None,
            esmtp: false,
            ..who("[2001:db8::7]:1", "[2001:db8::1]:25", "")
        };
        assert_eq!(
            line(&[Addr, DestAddr, DestPort, Proto, Helo], &v6).unwrap(),
            "XCLIENT ADDR=IPV6:2001:db8::7 PROTO=SMTP HELO=[UNAVAILABLE] DESTADDR=IPV6:2001:db8::1 DESTPORT=25\r\n"
        );
        let mapped = who("[::ffff:192.0.2.7]:1", "[::ffff:192.0.2.1]:25", "x");
        assert_eq!(
            line(&[Addr], &mapped).unwrap(),
            "XCLIENT ADDR=192.0.2.7\r\n"
        );
        assert_eq!(
            line(&[Name, Helo], &v4),
            None,
            "the upstream would take the client for us"
        );
        assert_eq!(line(&[], &v4), None);
    }

    #[test]
    fn a_name_is_told_where_a_filter_said_it() {
        use XclientAttribute::{Addr, DestPort, Name, Port};
        let named = |name: &str| {
            let who = ClientIdentity {
                name: Some(name.into()),
                ..who("192.0.2.7:0", "198.51.100.1:0", "x")
            };
            line(&[Name, Addr, Port, DestPort], &who).unwrap()
        };
        let rest = "ADDR=192.0.2.7 PORT=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]\r\n";
        let good = "mx_1.mail-out.example.org";
        assert_eq!(named(good), format!("XCLIENT NAME={good} {rest}"));
        let long = "a.".repeat(127);
        for bad in [
            "",
            ".",
            "a..b",
            "a.",
            "-a.b",
            "a-.b",
            "1.2.3.4",
            "caf\u{e9}.example",
            "a b",
            "a]b",
            "a\r\nb",
            &long,
        ] {
            assert_eq!(
                named(bad),
                format!("XCLIENT NAME=[UNAVAILABLE] {rest}"),
                "{bad}"
            );
        }
    }

    #[test]
    fn the_longest_xclient_is_a_command_line() {
        let long = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        for helo in ["x".repeat(VALUE_MAX), "=".repeat(VALUE_MAX / 3)] {
            let line = line(XclientAttribute::ALL, &who(long, long, &helo)).unwrap();
            assert!(line.contains(" HELO=") && !line.contains("HELO=[UNAVAILABLE]"));
            assert!(line.len() <= COMMAND_LINE_MAX, "{}", line.len());
        }
        let named = ClientIdentity {
            name: Some(["a".repeat(63).as_str(); 3].join(".").into()),
            ..who(long, long, &"x".repeat(VALUE_MAX))
        };
        let without = line(XclientAttribute::ALL, &named).unwrap();
        assert!(without.len() <= COMMAND_LINE_MAX && without.contains("NAME=[UNAVAILABLE]"));
        let line = line(XclientAttribute::ALL, &who(long, long, &"=".repeat(86))).unwrap();
        assert!(line.contains("HELO=[UNAVAILABLE]"), "{line}");
    }

    #[test]
    fn proxy_headers() {
        let header = |source: &str, destination: &str| {
            proxy_v2(source.parse().unwrap(), destination.parse().unwrap())
        };
        let v4 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\0\x19";
        assert_eq!(header("192.0.2.7:4711", "198.51.100.1:25"), v4);
        assert_eq!(
            header("[::ffff:192.0.2.7]:4711", "[::ffff:198.51.100.1]:25"),
            v4
        );
        let mixed = header("[2001:db8::7]:1", "198.51.100.1:25");
        assert_eq!(&mixed[12..16], b"\x21\x21\0\x24");
        assert_eq!(&mixed[42..48], b"\xff\xff\xc6\x33\x64\x01");
        assert_eq!(&mixed[48..], b"\0\x01\0\x19");
    }

    #[test]
    fn proxy_headers_in_text() {
        let header = |source: &str, destination: &str| {
            let header = proxy_v1(source.parse().unwrap(), destination.parse().unwrap());
            assert!(header.len() <= 107, "§2.1: the longest header");
            String::from_utf8(header).unwrap()
        };
        assert_eq!(
            header("[::ffff:192.0.2.7]:4711", "198.51.100.1:25"),
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"
        );
        assert_eq!(
            header("[2001:db8::7]:1", "198.51.100.1:25"),
            "PROXY TCP6 2001:db8::7 ::ffff:198.51.100.1 1 25\r\n"
        );
        let long = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        header(long, long);
    }

    #[test]
    fn the_near_end_is_the_same_for_all_sessions_of_a_client() {
        let told = |address: &str, helo: &str| {
            Told::of(Identity::Transparent, &who(address, "192.0.2.1:25", helo))
        };
        assert_eq!(told("192.0.2.7:1", "a"), told("[::ffff:192.0.2.7]:2", "a"));
        assert_ne!(told("192.0.2.7:1", "a"), told("192.0.2.8:1", "a"));
        assert_ne!(told("192.0.2.7:1", "a"), told("192.0.2.7:1", "b"));
    }
}
