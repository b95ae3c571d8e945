//! The unit of account: who is charged for an offence.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many leading bits of an address make a [`Source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// For IPv4, 1 to 32.
    pub v4: u8,
    /// For IPv6, 1 to 128.
    pub v6: u8,
}

impl Default for Prefixes {
    /// /32 and /64: one IPv4 address, and the smallest IPv6 network that a site is given
    /// (RFC 6177); within it a client picks addresses freely (RFC 8981).
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

/// A source: an IPv4 or IPv6 network that is charged as one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The network address (host bits zero) and the number of its bits.
    V4(u32, u8),
    /// The network address (host bits zero) and the number of its bits.
    V6(u128, u8),
}

impl Source {
    /// Its first address.
    #[must_use]
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(network, _) => Ipv4Addr::from(network).into(),
            Self::V6(network, _) => Ipv6Addr::from(network).into(),
        }
    }

    /// The source that `address` belongs to. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) is
    /// the IPv4 address, so that a dual-stack listener and an IPv4 one share a ledger.
    #[must_use]
    pub fn of(address: IpAddr, prefixes: Prefixes) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(u32::from(v4) & mask32(prefixes.v4), prefixes.v4),
            IpAddr::V6(v6) => Self::V6(u128::from(v6) & mask128(prefixes.v6), prefixes.v6),
        }
    }
}

fn mask32(bits: u8) -> u32 {
    u32::MAX
        .checked_shl(32_u32.saturating_sub(bits.into()))
        .unwrap_or(0)
}

fn mask128(bits: u8) -> u128 {
    u128::MAX
        .checked_shl(128_u32.saturating_sub(bits.into()))
        .unwrap_or(0)
}

impl fmt::Display for Source {
    /// `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4(net, 32) => Ipv4Addr::from(net).fmt(f),
            Self::V4(net, bits) => write!(f, "{}/{bits}", Ipv4Addr::from(net)),
            Self::V6(net, 128) => Ipv6Addr::from(net).fmt(f),
            Self::V6(net, bits) => write!(f, "{}/{bits}", Ipv6Addr::from(net)),
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, v4: u8, v6: u8, expect: &str) {
        let source = Source::of(address.parse().unwrap(), Prefixes { v4, v6 });
        assert_eq!(source.to_string(), expect);
    }

    #[test]
    fn masks() {
        check("192.0.2.77", 32, 64, "192.0.2.77");
        check("192.0.2.77", 24, 64, "192.0.2.0/24");
        check("::ffff:192.0.2.77", 32, 64, "192.0.2.77");
        check("2001:db8::1:2:3:4", 32, 64, "2001:db8::/64");
        check("2001:db8::1", 32, 128, "2001:db8::1");
    }
}
