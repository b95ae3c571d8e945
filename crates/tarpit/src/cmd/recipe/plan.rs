//! What the recipe starts from, and what the configuration must say in the end.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;

use anyhow::bail;
use ipnet::IpNet;
use tarpit_gateway::config::{Delivery, Identity, Kind};

use super::page::Values;
use crate::cli::{Server, Way};
use crate::config::Loaded;

/// The port of mail between servers.
const SMTP: u16 = 25;

/// Where Tarpit listens while the mail server has port 25, unless told otherwise.
const ASIDE: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), 2525);

/// Where the mail server listens for Tarpit, unless told otherwise.
const BEHIND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10_025);

/// Stand for machines that the configuration doesn't name yet (RFC 5737).
const SOME_EXCHANGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25)), SMTP);
const SOME_PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));

/// The drop-in as it is shipped: for Tarpit on every address, port 2525.
pub(super) const SHIPPED: &str =
    include_str!("../../../../../packaging/systemd/tarpit-redirect.conf");

/// The rule in it, which is made to fit.
const SHIPPED_RULE: &str = "fib daddr type local tcp dport 25 redirect to :2525";

const REDIRECT_FOLDER: &str = "/etc/systemd/system/tarpit.service.d";

/// What matters of the configuration at hand.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) config: PathBuf,
    pub(super) listener: String,
    pub(super) listen: SocketAddr,
    pub(super) proxies: Vec<IpNet>,
    pub(super) upstream: String,
    pub(super) address: SocketAddr,
    pub(super) identity: Identity,
    /// Whether listeners must name their upstream.
    pub(super) is_one_of_several: bool,
}

/// The same, as it must be.
#[derive(Debug)]
pub(super) struct Plan {
    before: Facts,
    after: Facts,
}

impl Facts {
    /// Those of a file: its listener for mail from other servers, and who is behind that.
    pub(super) fn of(loaded: &Loaded) -> anyhow::Result<Self> {
        let config = &loaded.gateway;
        let for_servers = || {
            config
                .listeners
                .iter()
                .filter(|listener| listener.kind == Kind::Mx)
        };
        let listener = for_servers()
            .find(|listener| listener.address.port() == SMTP)
            .or_else(|| for_servers().next());
        let Some(listener) = listener else {
            bail!("no [[listener]] of kind \"mx\": a recipe is about mail from other servers");
        };
        let Some(Delivery::Upstream(upstream)) = config.deliveries.get(listener.delivery) else {
            bail!("the built-in maildir takes the mail: a recipe needs an [[upstream]]");
        };
        Ok(Self {
            config: loaded.file.clone(),
            listener: listener.name.to_string(),
            listen: listener.address,
            proxies: listener.proxy_protocol.clone(),
            upstream: upstream.name.to_string(),
            address: upstream.address(),
            identity: upstream.identity,
            is_one_of_several: config.deliveries.len() > 1,
        })
    }

    /// Those of a machine that has no configuration yet.
    pub(super) fn usual(config: PathBuf) -> Self {
        Self {
            config,
            listener: "mx".to_owned(),
            listen: ASIDE,
            proxies: Vec::new(),
            upstream: "upstream".to_owned(),
            address: BEHIND,
            identity: Identity::None,
            is_one_of_several: false,
        }
    }

    /// What must become of it.
    pub(super) fn plan(&self, server: Server, way: Way) -> Plan {
        let mut after = self.clone();
        if server == Server::Haproxy {
            if after.proxies.is_empty() {
                let ip = after.listen.ip().to_canonical();
                let proxy = if ip.is_loopback() { ip } else { SOME_PROXY };
                after.proxies.push(IpNet::from(proxy));
            }
        } else {
            after.listen = listen(self.listen, way);
            after.address = behind(self.address, server, way);
        }
        after.identity = identity(self.identity, server);
        Plan {
            before: self.clone(),
            after,
        }
    }
}

/// Way a: port 25 of an address that others reach. Way b: any other port of one.
fn listen(now: SocketAddr, way: Way) -> SocketAddr {
    let is_inside = now.ip().to_canonical().is_loopback();
    match way {
        Way::A if is_inside => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), SMTP),
        Way::A => SocketAddr::new(now.ip(), SMTP),
        Way::B if is_inside || now.port() == SMTP || now.port() == 0 => ASIDE,
        Way::B => now,
    }
}

/// Where the mail server listens for Tarpit: never on port 25 of this machine. In way b it is on
/// this machine.
fn behind(now: SocketAddr, server: Server, way: Way) -> SocketAddr {
    let is_here = now.ip().to_canonical().is_loopback();
    match server {
        Server::Exchange if is_here => SOME_EXCHANGE,
        Server::Exchange => now,
        _ if now.port() != SMTP => now,
        _ if is_here => SocketAddr::new(now.ip(), BEHIND.port()),
        _ if way == Way::B => BEHIND,
        _ => SocketAddr::new(now.ip(), BEHIND.port()),
    }
}

/// What the server can learn its client by; what is configured, if it can.
fn identity(now: Identity, server: Server) -> Identity {
    let (taken, usual): (&[Identity], Identity) = match server {
        Server::Postfix => (
            &[
                Identity::Xclient,
                Identity::ProxyV1,
                Identity::ProxyV2,
                Identity::Transparent,
            ],
            Identity::Xclient,
        ),
        Server::Exim => (&[Identity::ProxyV1, Identity::ProxyV2], Identity::ProxyV2),
        Server::Opensmtpd => (&[Identity::ProxyV2], Identity::ProxyV2),
        Server::Exchange => (&[Identity::Transparent], Identity::Transparent),
        // That is between Tarpit and the mail server, and has a recipe of its own.
        Server::Haproxy => return now,
    };
    if taken.contains(&now) { now } else { usual }
}

impl Plan {
    /// The values for the page.
    pub(super) fn values(&self) -> Values {
        let facts = &self.after;
        let tarpit = own_address(facts);
        let (ip, port) = (facts.address.ip(), facts.address.port());
        Values::from([
            ("config", facts.config.display().to_string()),
            ("changes", self.changes()),
            ("toml", self.toml()),
            ("listen", facts.listen.to_string()),
            ("upstream", facts.address.to_string()),
            ("upstream_ip", ip.to_string()),
            ("upstream_port", port.to_string()),
            ("tarpit", tarpit.to_string()),
            ("proxies", self.proxies()),
            ("postfix_service", postfix_service(facts, tarpit)),
            ("exim_debian", format!("{ip}.{port}")),
            ("mta_proxy", proxy_word(facts.identity).to_owned()),
            ("redirect", redirect(facts.listen)),
            ("redirect_folder", REDIRECT_FOLDER.to_owned()),
            (
                "redirect_path",
                format!("{REDIRECT_FOLDER}/tarpit-redirect.conf"),
            ),
            ("local_only", self.local_only()),
        ])
    }

    /// What the file says now and must say then, in words.
    fn changes(&self) -> String {
        let (before, after) = (&self.before, &self.after);
        let mut list = Vec::new();
        if before.listen != after.listen {
            list.push(format!(
                "`[[listener]]` {}: `address` is {} now",
                after.listener, before.listen
            ));
        }
        if before.proxies != after.proxies {
            list.push(format!(
                "`[[listener]]` {}: `proxy_protocol` is empty now",
                after.listener
            ));
        }
        if before.address != after.address {
            list.push(format!(
                "`[[upstream]]` {}: `address` is {} now",
                after.upstream, before.address
            ));
        }
        if before.identity != after.identity {
            list.push(format!(
                "`[[upstream]]` {}: `identity` is \"{}\" now",
                after.upstream,
                word(before.identity)
            ));
        }
        if list.is_empty() {
            return "Nothing is to be changed, it says so already:".to_owned();
        }
        let list: String = list.iter().map(|line| format!("   - {line}\n")).collect();
        format!("To be changed:\n\n{list}\n   It must say:")
    }

    /// The tables that matter.
    fn toml(&self) -> String {
        let facts = &self.after;
        let mut text = format!(
            "[[listener]]\nname = \"{}\"\naddress = \"{}\"\n",
            facts.listener, facts.listen
        );
        if facts.is_one_of_several {
            let _ = writeln!(text, "upstream = \"{}\"", facts.upstream);
        }
        if !facts.proxies.is_empty() {
            if facts.proxies.contains(&IpNet::from(SOME_PROXY)) {
                text.push_str("# Put HAProxy's own address here.\n");
            }
            let _ = writeln!(text, "proxy_protocol = [{}]", self.proxies());
        }
        if facts.address == SOME_EXCHANGE {
            text.push_str("# Put Exchange's own address below.\n");
        }
        let _ = write!(
            text,
            "\n[[upstream]]\nname = \"{}\"\naddress = \"{}\"\nidentity = \"{}\"",
            facts.upstream,
            facts.address,
            word(facts.identity)
        );
        text
    }

    fn proxies(&self) -> String {
        let quoted = self
            .after
            .proxies
            .iter()
            .map(|network| format!("\"{network}\""));
        quoted.collect::<Vec<_>>().join(", ")
    }

    /// Way b is for one machine.
    fn local_only(&self) -> String {
        let before = self.before.address;
        if before.ip().to_canonical().is_loopback() {
            return String::new();
        }
        format!("This way is for a mail server on this machine; {before} must be an address of it.")
    }
}

/// As the configuration has it.
fn word(identity: Identity) -> &'static str {
    match identity {
        Identity::Xclient => "xclient",
        Identity::ProxyV1 => "proxy-v1",
        Identity::ProxyV2 => "proxy-v2",
        Identity::Transparent => "transparent",
        Identity::Trace => "trace",
        Identity::None => "none",
    }
}

/// HAProxy's word for how it tells the mail server itself who the client is.
fn proxy_word(identity: Identity) -> &'static str {
    match identity {
        Identity::ProxyV1 => "send-proxy ",
        Identity::ProxyV2 => "send-proxy-v2 ",
        _ => "",
    }
}

/// The address that the mail server sees us come from.
fn own_address(facts: &Facts) -> IpAddr {
    let upstream = facts.address.ip().to_canonical();
    let wildcard = match upstream {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // Nothing is sent: the system only says which way it would take.
    let found = UdpSocket::bind((wildcard, 0)).and_then(|socket| {
        socket.connect(facts.address)?;
        socket.local_addr()
    });
    found.map_or_else(|_| facts.listen.ip(), |address| address.ip())
}

/// The commands that make Postfix's service for Tarpit.
fn postfix_service(facts: &Facts, tarpit: IpAddr) -> String {
    let service = facts.address;
    let tarpit = match tarpit {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let identity = match facts.identity {
        Identity::ProxyV1 | Identity::ProxyV2 => {
            format!("  \"{service}/inet/smtpd_upstream_proxy_protocol=haproxy\" \\\n")
        }
        Identity::Xclient => {
            format!("  \"{service}/inet/smtpd_authorized_xclient_hosts={tarpit}\" \\\n")
        }
        _ => String::new(),
    };
    format!(
        "chroot=$(postconf -Fh smtp/inet/chroot)\n\
         networks=$(postconf -xh mynetworks | tr -s ', \\t' '\\n' | grep -v -e '^127\\.' -e '^\\[::1\\]' -e '^\\[::ffff:127\\.' | paste -sd, -)\n\
         postconf -M \"{service}/inet={service} inet n - ${{chroot:-y}} - - smtpd\"\n\
         postconf -P \\\n{identity}  \
         \"{service}/inet/mynetworks=$networks\" \\\n  \
         \"{service}/inet/smtpd_relay_restrictions=permit_mynetworks,permit_sasl_authenticated,reject_unauth_destination\" \\\n  \
         \"{service}/inet/smtpd_error_sleep_time=0\""
    )
}

/// The drop-in for a Tarpit that listens on `listen`.
fn redirect(listen: SocketAddr) -> String {
    let port = listen.port();
    let rule = match listen.ip() {
        // Listens for IPv4 too.
        IpAddr::V6(ip) if ip.is_unspecified() => {
            format!("fib daddr type local tcp dport 25 redirect to :{port}")
        }
        IpAddr::V4(ip) if ip.is_unspecified() => {
            format!("meta nfproto ipv4 fib daddr type local tcp dport 25 redirect to :{port}")
        }
        // `redirect` would take the first address of the interface, which may be another.
        IpAddr::V4(ip) => format!("ip daddr {ip} tcp dport 25 dnat ip to {ip}:{port}"),
        IpAddr::V6(ip) => format!("ip6 daddr {ip} tcp dport 25 dnat ip6 to [{ip}]:{port}"),
    };
    SHIPPED.trim_end().replace(SHIPPED_RULE, &rule)
}
