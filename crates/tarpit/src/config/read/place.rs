//! Addresses, networks, files and folders.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use tarpit_admin::Token;

use ipnet::IpNet;
use toml::de::DeValue;

use super::{each, show, show_text, string};
use crate::config::options::Refused;

/// An IP address and a port to listen on; port 0 takes a free one.
pub(crate) fn listen(value: &DeValue<'_>) -> Result<SocketAddr, Refused> {
    let text = string(value)?;
    text.parse().map_err(|_| {
        let hint = bracketless(text).or_else(|| {
            let ip = text.parse().ok()?;
            Some(format!(
                "the port is missing: \"{}\"",
                SocketAddr::new(ip, 25)
            ))
        });
        Refused {
            found: show_text(text),
            hint,
        }
    })
}

/// An IP address or host name, and a port to connect to.
///
/// Host names are looked up here, with the system's resolver. IPv4 is preferred where a name has
/// both: a server that listens on 127.0.0.1 alone is common, one on `[::1]` alone is not.
fn server(value: &DeValue<'_>) -> Result<SocketAddr, Refused> {
    let text = string(value)?;
    server_at(text)
}

/// One server or a list of them, each once, not empty.
pub(crate) fn servers(value: &DeValue<'_>) -> Result<Vec<SocketAddr>, Refused> {
    let Some(list) = value.as_array() else {
        return server(value).map(|one| vec![one]);
    };
    if list.is_empty() {
        return Err(Refused::found("an empty list"));
    }
    let mut servers = Vec::with_capacity(list.len());
    for element in list {
        let one = server(element.get_ref())?;
        if servers.contains(&one) {
            let hint = "it is in the list twice";
            return Err(Refused::with(show(element.get_ref()), hint));
        }
        servers.push(one);
    }
    Ok(servers)
}

fn server_at(text: &str) -> Result<SocketAddr, Refused> {
    let refuse = |hint: &str| Refused::with(show_text(text), hint);
    let address = match text.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => {
            if let Some(hint) = bracketless(text) {
                return Err(refuse(&hint));
            }
            let (host, port) = text
                .rsplit_once(':')
                .ok_or_else(|| refuse("the port is missing"))?;
            let port: u16 = port
                .parse()
                .map_err(|_| refuse("the port is not a number from 1 to 65535"))?;
            look_up(host, port).map_err(|why| refuse(&why))?
        }
    };
    if address.port() == 0 {
        return Err(refuse("the port is 0"));
    }
    if address.ip().is_unspecified() {
        return Err(refuse("it is not an address to connect to"));
    }
    Ok(address)
}

fn look_up(host: &str, port: u16) -> Result<SocketAddr, String> {
    if host.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if host
        .chars()
        .any(|letter| letter.is_control() || letter.is_whitespace())
    {
        return Err("the host has a space or a control character".to_owned());
    }
    let found = (host, port).to_socket_addrs();
    let found: Vec<SocketAddr> = found
        .map_err(|error| format!("{host} can't be looked up: {error}"))?
        .collect();
    let preferred = found
        .iter()
        .find(|address| address.is_ipv4())
        .or_else(|| found.first());
    preferred
        .copied()
        .ok_or_else(|| format!("{host} has no address"))
}

/// A hint for `::1:25`, where the port can't be told from the address.
fn bracketless(text: &str) -> Option<String> {
    let (head, port) = text.rsplit_once(':')?;
    head.parse::<Ipv6Addr>()
        .is_ok()
        .then(|| format!("an IPv6 address stands in brackets: \"[{head}]:{port}\""))
}

/// An address or a network without host bits.
pub(crate) fn network(value: &DeValue<'_>) -> Result<IpNet, Refused> {
    let text = string(value)?;
    if let Ok(address) = text.parse::<IpAddr>() {
        // Clients of a dual-stack listener are known by their IPv4 address.
        return Ok(address.to_canonical().into());
    }
    let network: IpNet = text.parse().map_err(|_| Refused::found(show_text(text)))?;
    let whole = network.trunc();
    if whole != network {
        let hint = format!(
            "it has host bits; the network is \"{whole}\", the address alone \"{}\"",
            network.addr()
        );
        return Err(Refused::with(show_text(text), hint));
    }
    if let IpNet::V6(v6) = network
        && v6.network().to_ipv4_mapped().is_some()
        && v6.prefix_len() >= 96
    {
        return Err(Refused::with(
            show_text(text),
            "write an IPv4 network as such, without ::ffff:",
        ));
    }
    Ok(network)
}

/// A list of addresses and networks.
pub(crate) fn networks(value: &DeValue<'_>) -> Result<Vec<IpNet>, Refused> {
    each(value, network)
}

/// A file with PEM in it, which must be there: what is in it is judged where it is used.
pub(crate) fn pem(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Refused> {
    let text = string(value)?;
    let path = join(base, text)?;
    match std::fs::read(&path) {
        Ok(bytes) if bytes.windows(11).any(|part| part == b"-----BEGIN ") => Ok(path),
        Ok(_) => Err(Refused::with(show_text(text), "it holds no PEM")),
        Err(error) => Err(Refused::with(
            show_text(text),
            format!("{}: {error}", path.display()),
        )),
    }
}

/// A file with a token, read as it will be: a bad one is found before the start.
pub(crate) fn token_file(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Refused> {
    let text = string(value)?;
    let path = join(base, text)?;
    token(&path).map_err(|hint| Refused::with(show_text(text), hint))?;
    Ok(path)
}

/// The token in a file. What is in the file is never part of the error.
pub(crate) fn token(path: &Path) -> Result<Token, String> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
    Token::of(&text)
}

/// A recipients file, read as the gateway will read it: a bad line is found before the start.
pub(crate) fn file(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Refused> {
    let text = string(value)?;
    let path = join(base, text)?;
    let names = tarpit_gateway::read_recipients(&path);
    names.map_err(|error| Refused::with(show_text(text), error.to_string()))?;
    Ok(path)
}

/// A folder, which may not be there yet.
pub(crate) fn folder(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Refused> {
    let text = string(value)?;
    let path = join(base, text)?;
    if path.exists() && !path.is_dir() {
        return Err(Refused::with(
            show_text(text),
            format!("{} is not a folder", path.display()),
        ));
    }
    Ok(path)
}

/// A file that is written, which may not be there yet.
pub(crate) fn output(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Refused> {
    let text = string(value)?;
    let path = join(base, text)?;
    if path.file_name().is_none() || (path.exists() && !path.is_file()) {
        let hint = format!("{} is no file", path.display());
        return Err(Refused::with(show_text(text), hint));
    }
    Ok(path)
}

/// The path of a socket, which may be missing.
pub(crate) fn socket(value: &DeValue<'_>, base: &Path) -> Result<PathBuf, Refused> {
    /// unix(7): `sun_path`, less the octet that a name beside it has more.
    const LONGEST: usize = 106;
    let text = string(value)?;
    let path = join(base, text)?;
    if path.as_os_str().len() > LONGEST {
        let hint = format!("{} is too long for a socket", path.display());
        return Err(Refused::with(show_text(text), hint));
    }
    Ok(path)
}

fn join(base: &Path, text: &str) -> Result<PathBuf, Refused> {
    if text.is_empty() {
        return Err(Refused::found(show_text(text)));
    }
    if text.chars().any(char::is_control) {
        return Err(Refused::with(show_text(text), "it has a control character"));
    }
    Ok(base.join(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::try_read;
    use super::*;

    #[track_caller]
    fn refuses<T: std::fmt::Debug>(
        read: impl Fn(&DeValue<'_>) -> Result<T, Refused>,
        text: &str,
        says: &str,
    ) {
        let error = try_read(text, read).unwrap_err();
        assert!(error.contains(says), "{text}: {error}");
    }

    #[test]
    fn listening_addresses() {
        assert_eq!(
            try_read("\"[::]:25\"", listen),
            Ok("[::]:25".parse().unwrap())
        );
        assert_eq!(
            try_read("\"127.0.0.1:0\"", listen),
            Ok("127.0.0.1:0".parse().unwrap())
        );
        refuses(listen, "\"127.0.0.1\"", "port is missing: \"127.0.0.1:25\"");
        refuses(listen, "\"::1\"", "port is missing: \"[::1]:25\"");
        refuses(listen, "\"2001:db8:1:2:3:4:5:6:25\"", "in brackets");
        refuses(listen, "\"localhost:25\"", "localhost:25");
        refuses(listen, "\"127.0.0.1:65536\"", "65536");
        refuses(listen, "25", "quotation marks");
    }

    #[test]
    fn servers() {
        assert_eq!(
            try_read("\"127.0.0.1:25\"", server),
            Ok("127.0.0.1:25".parse().unwrap())
        );
        assert_eq!(
            try_read("\"[::1]:25\"", server),
            Ok("[::1]:25".parse().unwrap())
        );
        refuses(server, "\"127.0.0.1\"", "port is missing");
        refuses(server, "\"127.0.0.1:0\"", "port is 0");
        refuses(server, "\"0.0.0.0:25\"", "not an address to connect to");
        refuses(server, "\":25\"", "host is missing");
        refuses(server, "\"mail:smtp\"", "not a number");
        refuses(server, "\"::1:25\"", "\"[::1]:25\"");
    }

    #[test]
    fn networks() {
        assert_eq!(
            try_read("\"203.0.113.0/24\"", network),
            Ok("203.0.113.0/24".parse().unwrap())
        );
        assert_eq!(
            try_read("\"203.0.113.7\"", network),
            Ok("203.0.113.7/32".parse().unwrap())
        );
        assert_eq!(
            try_read("\"::ffff:203.0.113.7\"", network),
            Ok("203.0.113.7/32".parse().unwrap())
        );
        refuses(
            network,
            "\"203.0.113.7/24\"",
            "the network is \"203.0.113.0/24\"",
        );
        refuses(network, "\"203.0.113.0/33\"", "203.0.113.0/33");
        refuses(network, "\"203.0.113\"", "203.0.113");
        refuses(network, "\"::ffff:203.0.113.0/120\"", "without ::ffff:");
        refuses(network, "\"example.org\"", "example.org");
    }

    #[test]
    fn files_and_folders() {
        let here = tempfile::tempdir().unwrap();
        fs::write(here.path().join("names"), "a@example.org\n").unwrap();
        fs::write(here.path().join("bad"), "a@example.org\nbob\n").unwrap();
        let read_file = |value: &DeValue<'_>| file(value, here.path());
        let read_folder = |value: &DeValue<'_>| folder(value, here.path());
        assert_eq!(
            try_read("\"names\"", read_file),
            Ok(here.path().join("names"))
        );
        assert_eq!(
            try_read("\"mail\"", read_folder),
            Ok(here.path().join("mail"))
        );
        refuses(read_file, "\"other\"", "No such file");
        refuses(read_file, "\"bad\"", "line 2: found \"bob\"");
        refuses(read_file, "\".\"", "Is a directory");
        refuses(read_folder, "\"names\"", "not a folder");
        refuses(read_folder, "\"\"", "\"\"");
    }
}
