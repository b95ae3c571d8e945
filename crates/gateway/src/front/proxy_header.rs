//! The PROXY protocol, as the proxy's side of a connection: a header, version 1 or 2, before
//! anything else (HAProxy, `doc/proxy-protocol.txt`). The header itself is parsed by a library.
//!
//! Where a header is trusted it is also required: a proxy that forgets it would be taken for the
//! client, and pay for all of them.
//!
//! Only the header is taken from the socket, octet by octet where its length isn't known: what
//! follows may be TLS. Reading ahead and handing the rest on was rejected, since each reader behind
//! it would need a place for what was read before.

use std::io::{self, ErrorKind};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::header::{SIGNATURE, Said, Unclear, judge};
use super::{Caller, Via};

/// Time for the whole header. A proxy sends it with the connection, in one packet (§2: "the header
/// must be sent at once"); three seconds and a lost packet fit.
const HEADER_LIMIT: Duration = Duration::from_secs(5);

/// Version 2: the signature, version and command, family, length.
const FIXED_LEN: usize = 16;

/// Version 2 may announce 65,535 octets. Addresses and every TLV in use fit into a fraction; a
/// client certificate (which no TLV of today carries whole) would still do.
const VARIABLE_MAX: usize = 4096;

/// Version 1, §2.1: the longest line, with its CRLF.
const LINE_MAX: usize = 107;

/// Why a header can't be believed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    #[error("found none within {} s; allowed: a header of version 1 or 2 at once", HEADER_LIMIT.as_secs())]
    Late,
    #[error("the connection ended in it: {0}")]
    Ended(#[from] io::Error),
    #[error("found \"{}\"; allowed: a header of version 1 or 2", tarpit_smtp::escape(.0))]
    Missing(Vec<u8>),
    #[error("version 1: found no CRLF within {LINE_MAX} octets")]
    Endless,
    #[error("version 2: found {0} octets; allowed: up to {VARIABLE_MAX}")]
    TooLong(usize),
    #[error("it can't be read: {0}")]
    Malformed(String),
    #[error("it speaks for a datagram or for no address; allowed: TCP over IPv4 or IPv6, or LOCAL")]
    NoAddress,
}

/// Whether a client begins with a PROXY header, which it isn't trusted to do.
pub(crate) fn looks_like_header(bytes: &[u8]) -> bool {
    bytes.starts_with(SIGNATURE)
        || [&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN"]
            .iter()
            .any(|start| bytes.starts_with(start))
}

/// Reads the header, and puts the client that it speaks for in the place of the proxy. LOCAL and
/// UNKNOWN are the proxy's own connections (§2.2), its checks of our health: it stays the client.
pub(super) async fn hear(caller: &mut Caller) -> Result<(), HeaderError> {
    let header = tokio::time::timeout(HEADER_LIMIT, read(&mut caller.tcp))
        .await
        .map_err(|_| HeaderError::Late)??;
    match judge(&header)? {
        Said::Own => caller.is_check = true,
        Said::Client { client, local, tls } => {
            let proxy = caller.peer;
            caller.stands_for(client, local);
            caller.via = Some(Box::new(Via { proxy, tls }));
        }
    }
    Ok(())
}

impl From<Unclear> for HeaderError {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Malformed(why) => Self::Malformed(why),
            Unclear::NoAddress => Self::NoAddress,
        }
    }
}

/// The octets of the header, and none behind it.
async fn read(tcp: &mut TcpStream) -> Result<Vec<u8>, HeaderError> {
    let mut header = vec![0; SIGNATURE.len()];
    tcp.read_exact(&mut header).await?;
    if header == SIGNATURE {
        read_version_2(tcp, &mut header).await?;
    } else if header.starts_with(b"PROXY ") {
        read_version_1(tcp, &mut header).await?;
    } else {
        return Err(HeaderError::Missing(header));
    }
    Ok(header)
}

async fn read_version_2(tcp: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), HeaderError> {
    header.resize(FIXED_LEN, 0);
    tcp.read_exact(&mut header[SIGNATURE.len()..]).await?;
    let len = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if len > VARIABLE_MAX {
        return Err(HeaderError::TooLong(len));
    }
    header.resize(FIXED_LEN + len, 0);
    tcp.read_exact(&mut header[FIXED_LEN..]).await?;
    Ok(())
}

/// Looks before it takes, so that nothing behind the LF is taken.
async fn read_version_1(tcp: &mut TcpStream, header: &mut Vec<u8>) -> Result<(), HeaderError> {
    let mut ahead = [0; LINE_MAX];
    while header.len() < LINE_MAX {
        let room = LINE_MAX - header.len();
        let seen = tcp.peek(&mut ahead[..room]).await?;
        if seen == 0 {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        let end = ahead[..seen].iter().position(|octet| *octet == b'\n');
        let before = header.len();
        header.resize(before + end.map_or(seen, |at| at + 1), 0);
        // They are there: this does not wait.
        tcp.read_exact(&mut header[before..]).await?;
        if end.is_some() {
            return Ok(());
        }
    }
    Err(HeaderError::Endless)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    /// What is read of `octets`, sent in pieces of `size`, and what is left behind it.
    async fn try_read(octets: &[u8], size: usize) -> (Result<Vec<u8>, HeaderError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut proxy = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        proxy.set_nodelay(true).unwrap();
        let (mut ours, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in octets.chunks(size) {
                // Once it was refused nobody reads any more.
                let _ = proxy.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            let _ = proxy.shutdown().await;
        };
        let ((), header) = tokio::join!(send, read(&mut ours));
        let mut rest = Vec::new();
        let _ = ours.read_to_end(&mut rest).await;
        (header, rest)
    }

    fn version_2(variable: &[u8]) -> Vec<u8> {
        let mut header = SIGNATURE.to_vec();
        header.extend([0x21, 0x11]);
        header.extend(u16::try_from(variable.len()).unwrap().to_be_bytes());
        header.extend(variable);
        header
    }

    #[tokio::test]
    async fn takes_the_header_and_nothing_behind_it() {
        let two = version_2(b"\xc0\0\x02\x07\xc6\x33\x64\x01\x12\x67\0\x19");
        for header in [
            &b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 25\r\n"[..],
            b"PROXY UNKNOWN\r\n",
            &two,
        ] {
            for behind in [&b""[..], b"\x16\x03\x01", b"EHLO a\r\nPROXY UNKNOWN\r\n"] {
                for size in [1, 3, 11, 1000] {
                    let all = [header, behind].concat();
                    let (read, rest) = try_read(&all, size).await;
                    assert_eq!((read.unwrap(), rest), (header.to_vec(), behind.to_vec()));
                }
            }
        }
    }

    #[tokio::test]
    async fn refuses_what_is_no_header() {
        let endless = [b"PROXY TCP4 ", &[b'1'; 200][..]].concat();
        let mut long = version_2(b"");
        long[14..].copy_from_slice(&[0xff, 0xff]);
        for (octets, says) in [
            (&b"EHLO client.example\r\n"[..], "found \"EHLO client.\""),
            (b"PROXY TCP4", "the connection ended"),
            (b"PROXY TCP4 192.0.2.7", "the connection ended"),
            (&version_2(b"")[..15], "the connection ended"),
            (&endless, "no CRLF within 107"),
            (&long, "found 65535 octets"),
        ] {
            let error = try_read(octets, 1000).await.0.unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn whom_the_proxy_speaks_for() {
        let unix = [SIGNATURE, &[0x21, 0x31, 0, 216][..], &[0; 216]].concat();
        let local = [SIGNATURE, &[0x20, 0, 0, 0][..]].concat();
        let datagram = [SIGNATURE, &[0x21, 0x12, 0, 12][..], &[1; 12]].concat();
        let said = |header: &[u8]| match judge(header) {
            Ok(Said::Own) => "own".to_owned(),
            Ok(Said::Client { client, local, .. }) => format!("{client} to {local}"),
            Err(unclear) => HeaderError::from(unclear).to_string(),
        };
        for (header, expected) in [
            (&local[..], "own"),
            (b"PROXY UNKNOWN\r\n", "own"),
            (
                b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 1 25\r\n",
                "192.0.2.7:1 to 198.51.100.1:25",
            ),
            (&unix, "it speaks for a datagram or for no address"),
            (&datagram, "it speaks for a datagram or for no address"),
            (&version_2(b""), "it can't be read"),
            (b"PROXY TCP4 192.0.2.7\r\n", "it can't be read"),
            (
                b"PROXY UNKNOWN\r\nEHLO",
                "it can't be read: it ends after 15 octets",
            ),
        ] {
            let found = said(header);
            assert!(
                found.starts_with(expected),
                "{}: {found}",
                tarpit_smtp::escape(header)
            );
        }
    }

    /// The seeds of the fuzz target: headers behind their signature or their first word.
    #[test]
    fn the_seeds_speak_for_clients() {
        let folder =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/proxy_header");
        let mut count = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let seed = std::fs::read(file.unwrap().path()).unwrap();
            let two = [SIGNATURE, &seed[..]].concat();
            let one = [&b"PROXY "[..], &seed, b"\r\n"].concat();
            let clear = [one, two]
                .iter()
                .filter(|header| judge(header).is_ok())
                .count();
            assert_eq!(clear, 1, "{}", tarpit_smtp::escape(&seed));
            count += 1;
        }
        assert!(count > 0);
    }

    #[test]
    fn headers_are_told_from_commands() {
        assert!(looks_like_header(&version_2(b"")));
        assert!(looks_like_header(
            b"PROXY TCP4 192.0.2.7 198.51.100.1 1 25\r\n"
        ));
        assert!(looks_like_header(b"PROXY UNKNOWN\r\n"));
        assert!(!looks_like_header(b"PROXY\r\n"));
        assert!(!looks_like_header(b"EHLO a\r\n"));
    }
}
