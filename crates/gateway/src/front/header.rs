//! What a PROXY header says. It is hostile octets in, values out: the fuzz target `proxy_header` takes
//! this file as it is.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};

/// Version 2, §2.2: the signature.
pub(crate) const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Of TLS in words this much is kept: names of versions and ciphers have less than 100 octets, and a
/// header could hold thousands, which each held session would keep.
const TLS_WORDS_MAX: usize = 200;

/// Whom a proxy speaks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nobody: the connection is the proxy's own, a check of our health.
    Own,
    /// A client.
    Client {
        /// Its address and port.
        client: SocketAddr,
        /// Where it connected to.
        local: SocketAddr,
        /// TLS between the client and the proxy, in words.
        tls: Option<Box<str>>,
    },
}

/// Why a header says nothing.
#[derive(Debug)]
pub(crate) enum Unclear {
    /// It is malformed, or goes on behind its end.
    Malformed(String),
    /// It speaks for a datagram, or for a client without an address (a Unix socket at the proxy):
    /// the proxy must not pay for that client.
    NoAddress,
}

/// Whom a whole header speaks for.
pub(crate) fn judge(header: &[u8]) -> Result<Said, Unclear> {
    let is_own = is_own(header);
    let (parsed, len) = ProxyHeader::parse(header, ParseConfig::default())
        .map_err(|error| Unclear::Malformed(error.to_string()))?;
    if len != header.len() {
        return Err(Unclear::Malformed(format!("it ends after {len} octets")));
    }
    let Some(addresses) = parsed.proxied_address() else {
        return if is_own {
            Ok(Said::Own)
        } else {
            Err(Unclear::NoAddress)
        };
    };
    if addresses.protocol != Protocol::Stream {
        return Err(Unclear::NoAddress);
    }
    Ok(Said::Client {
        client: canonical(addresses.source),
        local: canonical(addresses.destination),
        tls: tls(&parsed),
    })
}

/// Version and cipher, where the proxy ended TLS and says so (§2.2.5). Made harmless: whoever the
/// proxy serves chose the cipher.
fn tls(header: &ProxyHeader<'_>) -> Option<Box<str>> {
    let ssl = header.ssl()?;
    let version = ssl.version().unwrap_or("TLS");
    let words = match ssl.cipher() {
        Some(cipher) => format!("{version} {cipher}"),
        None => version.to_owned(),
    };
    let mut words = tarpit_smtp::escape(words.as_bytes()).to_string();
    // It is ASCII now.
    words.truncate(TLS_WORDS_MAX);
    Some(words.into())
}

/// LOCAL in version 2, the low half of the octet behind the signature (§2.2); in version 1 UNKNOWN
/// says the same (§2.1).
fn is_own(header: &[u8]) -> bool {
    match header.get(SIGNATURE.len()) {
        Some(command) if header.starts_with(SIGNATURE) => command & 0x0f == 0,
        _ => header.starts_with(b"PROXY UNKNOWN"),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
