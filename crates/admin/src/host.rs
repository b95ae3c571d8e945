//! Whom a request was meant for.
//!
//! A page in somebody's browser can have its own name point to 127.0.0.1, and then read what a
//! server there tells everybody who comes from this machine (DNS rebinding). Such a request carries
//! that name. So on loopback only names are answered that nobody else can give away: `localhost`,
//! and addresses. Elsewhere any name is taken, as Prometheus's exporters do: how the administrator
//! calls this machine is not known here, and who may come is for the network to say.

use std::net::{IpAddr, SocketAddr};

/// Whether a request for this host may be answered on a socket bound to `bound`. `None`: the
/// request names none (HTTP/1.0).
pub(crate) fn is_ours(host: Option<&str>, bound: IpAddr) -> bool {
    let Some(host) = host else {
        return true;
    };
    !bound.to_canonical().is_loopback() || is_of_this_machine(host)
}

/// RFC 9110 §7.2: a host, and perhaps a port.
fn is_of_this_machine(host: &str) -> bool {
    let is_address = host.parse::<IpAddr>().is_ok() || host.parse::<SocketAddr>().is_ok();
    let bracketed = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let is_bracketed = bracketed.is_some_and(|inner| inner.parse::<IpAddr>().is_ok());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    };
    is_address || is_bracketed || name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_only_what_nobody_else_can_name() {
        let loopback: IpAddr = "127.0.0.1".parse().unwrap();
        for ours in [
            "localhost",
            "LocalHost:12842",
            "127.0.0.1",
            "127.0.0.1:12842",
            "[::1]",
            "[::1]:12842",
            "::1",
            "192.0.2.1:12842",
        ] {
            assert!(is_ours(Some(ours), loopback), "{ours}");
        }
        for foreign in [
            "",
            "evil.example",
            "evil.example:12842",
            "localhost.evil.example",
            "localhost:80@evil.example",
            "127.0.0.1.evil.example",
            "127.0.0.1:evil.example",
        ] {
            assert!(!is_ours(Some(foreign), loopback), "{foreign}");
            assert!(
                is_ours(Some(foreign), "192.0.2.1".parse().unwrap()),
                "{foreign}"
            );
        }
        assert!(is_ours(None, loopback));
        assert!(!is_ours(
            Some("evil.example"),
            "::ffff:127.0.0.1".parse().unwrap()
        ));
    }
}
