//! What a value may be, and how it is read: from TOML straight to the type that the gateway uses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use toml::de::DeValue;

use crate::config::read;

/// Type and range of an option.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Allowed {
    /// A fully qualified domain name.
    Hostname,
    /// A list of domain names.
    Domains,
    /// A list of mail addresses.
    Addresses,
    /// A word for records.
    Name,
    /// A sentence for people.
    Sentence,
    /// One of these.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// A whole number.
    Count {
        /// At least.
        min: u64,
        /// At most.
        max: u64,
    },
    /// A span of time.
    Time {
        /// At least.
        min: Duration,
        /// At most.
        max: Duration,
    },
    /// An IP address and a port, 0 allowed.
    Listen,
    /// The same, or `off`.
    ListenOrOff,
    /// An IP address or a host name, and a port; or a list of them.
    Servers,
    /// An address or a network.
    Network,
    /// A list of them.
    Networks,
    /// A date, or a date and time with its offset.
    Moment,
    /// A recipients file.
    File,
    /// A file with PEM in it.
    Pem,
    /// A file with a token in its first line.
    TokenFile,
    /// A folder.
    Folder,
    /// A file that is written, which may not be there yet, or `off`.
    OutputOrOff,
    /// The path of a socket.
    Socket,
    /// A group of users, by its name or number.
    Group,
}

/// A value that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Of `Hostname`, `Name`, `Sentence`, `Word`.
    Text(Box<str>),
    /// Of `Domains`, `Addresses`.
    Texts(Vec<Box<str>>),
    /// Of `ListenOrOff`, `OutputOrOff`.
    Off,
    /// Of `Flag`.
    Flag(bool),
    /// Of `Count`.
    Count(u64),
    /// Of `Time`.
    Time(Duration),
    /// Of `Listen`, `ListenOrOff`.
    Socket(SocketAddr),
    /// Of `Servers`.
    Sockets(Vec<SocketAddr>),
    /// Of `Network`.
    Network(IpNet),
    /// Of `Networks`.
    Networks(Vec<IpNet>),
    /// Of `Moment`: seconds since 1970.
    Moment(u64),
    /// Of `File`, `Pem`, `TokenFile`, `Folder`, `OutputOrOff`, `Socket`.
    Path(PathBuf),
}

impl Allowed {
    /// Reads a value; paths are relative to `folder`.
    ///
    /// # Errors
    ///
    /// What was found if it isn't allowed, and perhaps a better word for it.
    pub(crate) fn read(&self, value: &DeValue<'_>, folder: &Path) -> Result<Value, Refused> {
        match self {
            Self::Hostname => read::hostname(value).map(Value::Text),
            Self::Domains => read::domains(value).map(Value::Texts),
            Self::Addresses => read::addresses(value).map(Value::Texts),
            Self::Name => read::name(value).map(Value::Text),
            Self::Sentence => read::sentence(value).map(Value::Text),
            Self::Word(words) => read::word(value, words).map(Value::Text),
            Self::Flag => read::flag(value).map(Value::Flag),
            Self::Count { min, max } => read::count(value, *min, *max).map(Value::Count),
            Self::Time { min, max } => read::time(value, *min, *max).map(Value::Time),
            Self::Listen => read::listen(value).map(Value::Socket),
            Self::ListenOrOff if value.as_str() == Some("off") => Ok(Value::Off),
            Self::ListenOrOff => read::listen(value).map(Value::Socket),
            Self::Servers => read::servers(value).map(Value::Sockets),
            Self::Network => read::network(value).map(Value::Network),
            Self::Networks => read::networks(value).map(Value::Networks),
            Self::Moment => read::moment(value).map(Value::Moment),
            Self::File => read::file(value, folder).map(Value::Path),
            Self::Pem => read::pem(value, folder).map(Value::Path),
            Self::TokenFile => read::token_file(value, folder).map(Value::Path),
            Self::Folder => read::folder(value, folder).map(Value::Path),
            Self::OutputOrOff if value.as_str() == Some("off") => Ok(Value::Off),
            Self::OutputOrOff => read::output(value, folder).map(Value::Path),
            Self::Socket => read::socket(value, folder).map(Value::Path),
            Self::Group => read::group(value).map(|group| Value::Count(group.into())),
        }
    }

    /// What is allowed, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Hostname => "a fully qualified domain name, such as \"mx1.example.org\"".to_owned(),
            Self::Domains => "a list of domain names, such as [\"example.org\"]".to_owned(),
            Self::Addresses => "a list of mail addresses, such as [\"alice@example.org\"]".to_owned(),
            Self::Name => "1 to 32 letters, digits, \"-\", \"_\" or \".\"".to_owned(),
            Self::Sentence => "1 to 200 characters of text".to_owned(),
            Self::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                quoted.join(", ")
            }
            Self::Flag => "true or false".to_owned(),
            Self::Count { min, max } => format!("a whole number from {min} to {max}"),
            Self::Time { min, max } => format!(
                "a time from {} to {}, such as \"5s\", \"500ms\" or \"2m\", or whole seconds",
                read::show_time(*min),
                read::show_time(*max)
            ),
            Self::Listen => "an IP address and a port, such as \"127.0.0.1:25\" or \"[::]:25\"".to_owned(),
            Self::ListenOrOff => {
                "an IP address and a port, such as \"127.0.0.1:12842\", or \"off\"".to_owned()
            }
            Self::Servers => {
                "an IP address or host name and a port, such as \"127.0.0.1:10025\", or a list of them".to_owned()
            }
            Self::Network => "an IP address or network, such as \"203.0.113.0/24\"".to_owned(),
            Self::Networks => {
                "a list of IP addresses and networks, such as [\"203.0.113.0/24\", \"2001:db8::/32\"]".to_owned()
            }
            Self::Moment => {
                "a date such as 2027-03-31, or a date and time with an offset such as 2027-03-31T18:00:00Z"
                    .to_owned()
            }
            Self::File => "the path of a file with an address (user@domain, or @domain) on each line".to_owned(),
            Self::Pem => "the path of a file that can be read, with PEM in it".to_owned(),
            Self::TokenFile => "the path of a file with a token of 16 characters or more in its first line".to_owned(),
            Self::Folder => "the path of a folder".to_owned(),
            Self::OutputOrOff => "the path of a file that can be written, or \"off\"".to_owned(),
            Self::Socket => "the path of a socket, of 107 octets at most".to_owned(),
            Self::Group => "a group of this system, such as \"adm\", or its number".to_owned(),
        }
    }
}

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// What was found.
    pub(crate) found: String,
    /// More that helps: the nearest name, or what is wrong with it.
    pub(crate) hint: Option<String>,
}

impl Refused {
    /// Only what was found.
    pub(crate) fn found(found: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            hint: None,
        }
    }

    /// With a hint.
    pub(crate) fn with(found: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            hint: Some(hint.into()),
        }
    }
}
