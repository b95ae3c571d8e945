//! Finds the gateway that is meant, and speaks as much HTTP with it as one request takes.
//!
//! A client library was rejected: it would be larger than this whole program's use of it. The other
//! end is our own, closes after one answer, and says how long that is.

use std::fmt;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tarpit_admin::api::Status;
use tarpit_admin::control::{PREFIX, SUFFIX};
use tarpit_gateway::runtime;

use crate::cli::control::Reach;

/// Where the package puts the configuration.
const USUAL_CONFIG: &str = "/etc/tarpit/tarpit.toml";

/// A little longer than the gateway looks after a connection.
const PATIENCE: Duration = Duration::from_secs(125);

/// Octets of an answer: a thousand sources have 200 KiB.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

/// A control socket that answers.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status of HTTP.
    pub(super) status: u16,
    /// JSON.
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) const fn is_ok(&self) -> bool {
        self.status == 200
    }
}

/// Why nobody can be asked.
#[derive(Debug)]
pub(super) enum ClientError {
    /// No gateway.
    Nobody {
        /// Where was looked.
        looked: Vec<PathBuf>,
    },
    /// There is one, but we can't.
    Refused {
        /// Its socket.
        socket: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There are several, or others.
    Which {
        /// Which one was meant.
        config: Option<PathBuf>,
        /// Their sockets and configurations.
        found: Vec<(PathBuf, String)>,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody { looked } => {
                let looked: Vec<_> = looked
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect();
                write!(f, "no gateway answers; looked for {}", looked.join(", "))
            }
            Self::Refused { socket, error } => write!(
                f,
                "{}: {error}; the user that the gateway runs as may ask it, root, and the group of [control] group",
                socket.display()
            ),
            Self::Which { config, found } => {
                match config {
                    Some(config) => write!(f, "no gateway runs with {}; found", config.display())?,
                    None => write!(
                        f,
                        "several gateways run; say which with --config or --socket:"
                    )?,
                }
                for (at, (socket, config)) in found.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma} {config} ({})", socket.display())?;
                }
                Ok(())
            }
        }
    }
}

impl Client {
    /// The gateway that is meant.
    ///
    /// # Errors
    ///
    /// There is none, there are several, or we may not ask it.
    pub(super) fn find(reach: &Reach) -> Result<Self, ClientError> {
        if let Some(socket) = &reach.socket {
            return Self::at(socket);
        }
        let usual = || Some(PathBuf::from(USUAL_CONFIG)).filter(|usual| usual.exists());
        let config = reach.config.clone().or_else(usual);
        let said = config.as_deref().map(Said::read).unwrap_or_default();
        if let Some(socket) = said.socket {
            return Self::at(&socket);
        }
        let places = runtime::places(said.directory.as_deref());
        let mut clients = Vec::new();
        for socket in places.iter().flat_map(|place| sockets(place)) {
            match Self::at(&socket) {
                Ok(client) => clients.push(client),
                Err(ClientError::Nobody { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if clients.is_empty() {
            let looked = places
                .iter()
                .map(|place| place.join(format!("{PREFIX}PID{SUFFIX}")));
            return Err(ClientError::Nobody {
                looked: looked.collect(),
            });
        }
        if clients.len() == 1 && reach.config.is_none() {
            return Ok(clients.remove(0));
        }
        Self::choose(clients, config.as_deref())
    }

    fn at(socket: &Path) -> Result<Self, ClientError> {
        let client = Self {
            socket: socket.to_owned(),
        };
        match UnixStream::connect(socket) {
            Ok(_) => Ok(client),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused
                ) =>
            {
                Err(ClientError::Nobody {
                    looked: vec![client.socket],
                })
            }
            Err(error) => Err(ClientError::Refused {
                socket: client.socket,
                error,
            }),
        }
    }

    /// The one that runs with `config`; of a gateway that hands over and its successor, which have the
    /// same file, the newer one. Without, those two alone are told apart.
    fn choose(clients: Vec<Self>, config: Option<&Path>) -> Result<Self, ClientError> {
        let meant = config
            .map(|config| std::fs::canonicalize(config).unwrap_or_else(|_| config.to_owned()));
        let asked = clients.into_iter();
        let asked: Vec<(Self, Status)> = asked
            .filter_map(|client| client.status().ok().map(|status| (client, status)))
            .collect();
        let is_meant = |status: &Status| match &meant {
            Some(meant) => *meant == Path::new(&status.config),
            None => asked.iter().all(|(_, other)| other.config == status.config),
        };
        let found = asked.iter().filter(|(_, status)| is_meant(status));
        let newest = found.max_by_key(|(_, status)| status.started);
        match newest.map(|(client, _)| client.socket.clone()) {
            Some(socket) => Ok(Self { socket }),
            None => {
                let found = asked.into_iter();
                Err(ClientError::Which {
                    config: meant,
                    found: found
                        .map(|(client, status)| (client.socket, status.config))
                        .collect(),
                })
            }
        }
    }

    pub(super) fn status(&self) -> anyhow::Result<Status> {
        let answer = self.ask("GET", "/v1/status", None)?;
        serde_json::from_slice(&answer.body).context("the gateway said what makes no sense")
    }

    /// One request, and its answer.
    ///
    /// # Errors
    ///
    /// The gateway is gone, or says what is no answer.
    pub(super) fn ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
    ) -> anyhow::Result<Answer> {
        let shown = self.socket.display();
        let answer = self.exchange(method, path, body);
        let answer = answer.with_context(|| format!("the gateway at {shown}"))?;
        parse(&answer).with_context(|| format!("the gateway at {shown}"))
    }

    fn exchange(&self, method: &str, path: &str, body: Option<&str>) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let body = body.unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// RFC 9112: status line, fields, an empty line, the body, whose length is said.
fn parse(octets: &[u8]) -> anyhow::Result<Answer> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let at = octets.windows(BLANK.len()).position(|part| part == BLANK);
    let Some(at) = at else {
        bail!("it closed the connection without an answer: too many ask, or it ends");
    };
    let head = String::from_utf8_lossy(&octets[..at]);
    let body = octets[at + BLANK.len()..].to_vec();
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    match status {
        Some(status) if length == Some(body.len()) => Ok(Answer { status, body }),
        _ => bail!("its answer is cut short"),
    }
}

/// What the configuration says about where the gateway is. The file may have mistakes since the start,
/// or not be for us to read; then the usual places are looked at.
#[derive(Debug, Default)]
struct Said {
    socket: Option<PathBuf>,
    directory: Option<PathBuf>,
}

impl Said {
    fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let Ok(table) = text.parse::<toml::Table>() else {
            return Self::default();
        };
        let folder = file.parent().unwrap_or_else(|| Path::new(""));
        let path = |section: &str, key: &str| {
            let value = table.get(section)?.get(key)?.as_str()?;
            Some(folder.join(value))
        };
        Self {
            socket: path("control", "socket"),
            directory: path("keepers", "directory"),
        }
    }
}

fn sockets(place: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_str();
            name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX))
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use tarpit_admin::api::{Harm, Mail, Pit, Rule};

    use super::*;

    /// Somebody who answers that it is a gateway with this file.
    fn gateway(socket: PathBuf, config: &str, started: u64) {
        let status = Status {
            version: String::new(),
            config: config.to_owned(),
            process: 1,
            started,
            now: started,
            unready: None,
            rule: Rule::default(),
            listeners: Vec::new(),
            pit: Pit::default(),
            mail: Mail::default(),
            upstreams: Vec::new(),
            harm: Harm::default(),
            sources_owing: 0,
            known_senders: 0,
            reload_successful: true,
        };
        let body = serde_json::to_string(&status).unwrap();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let listener = UnixListener::bind(socket).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
    }

    #[test]
    fn of_several_gateways_the_one_that_is_meant_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let socket = |name: &str| folder.path().join(name);
        let (one, other) = ("/nowhere/one.toml", "/nowhere/other.toml");
        // The newest of all has another file; the process that hands over comes last.
        gateway(socket("a"), one, 2);
        gateway(socket("b"), other, 3);
        gateway(socket("c"), one, 1);
        let choose = |names: &[&str], config: Option<&str>| {
            let clients = names.iter().map(|name| Client {
                socket: socket(name),
            });
            Client::choose(clients.collect(), config.map(Path::new)).map(|client| client.socket)
        };
        assert_eq!(choose(&["a", "b", "c"], Some(one)).unwrap(), socket("a"));
        assert_eq!(choose(&["a", "b", "c"], Some(other)).unwrap(), socket("b"));
        assert_eq!(choose(&["a", "c"], None).unwrap(), socket("a"));
        for (names, config) in [(&["a", "b"][..], None), (&["a", "c"], Some(other))] {
            let error = choose(names, config).unwrap_err();
            assert!(matches!(error, ClientError::Which { .. }), "{error}");
        }
    }

    #[test]
    fn answers_that_are_whole_and_such_that_are_not() {
        let answer = parse(b"HTTP/1.1 422 Nope\r\nX: y\r\nContent-Length: 3\r\n\r\n{}\n").unwrap();
        assert_eq!((answer.status, &*answer.body), (422, &b"{}\n"[..]));
        for bad in [
            &b""[..],
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 200 OK\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            b"HTTP/1.1 x OK\r\nContent-Length: 2\r\n\r\n{}",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_configuration_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tarpit.toml");
        std::fs::write(
            &file,
            "[control]\nsocket = \"c.sock\"\n[keepers]\ndirectory = \"/run/x\"\n",
        )
        .unwrap();
        let said = Said::read(&file);
        assert_eq!(said.socket, Some(folder.path().join("c.sock")));
        assert_eq!(said.directory, Some("/run/x".into()));
        std::fs::write(&file, "[control\n").unwrap();
        assert!(Said::read(&file).socket.is_none());
        assert!(Said::read(Path::new("/nowhere")).directory.is_none());
    }
}
