//! The configuration file: one TOML file, read whole or not at all.
//!
//! What the file may say stands in one table ([`options`]). [`load`] reads a file against it and
//! gives either the gateway's configuration, checked in every point, or everything that is wrong
//! with the file, each with its place.
//!
//! Drop-in folders and variables that override keys were rejected for now: with one file there is
//! one place to look.

mod effective;
mod finding;
pub(crate) mod generate;
mod nearest;
pub(crate) mod options;
mod read;
mod reader;
mod resolve;
pub(crate) mod system;
pub(crate) mod warnings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tarpit_admin::Token;
use tarpit_core::policy::Mode;
use tarpit_gateway::config::{Config, Exemption};
use toml::de::DeTable;

use crate::{log, records};

use effective::Origin;
pub(crate) use effective::{Effective, as_toml, restart_needed};
pub(crate) use finding::Findings;
use finding::{Finding, Notebook, Place};
pub(crate) use read::{moment, network, quote, sentence, show_text, show_time, span};
use reader::Reader;

/// A file that was read and is right.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    /// The file.
    pub(crate) file: PathBuf,
    /// What the gateway gets.
    pub(crate) gateway: Config,
    /// How records look.
    pub(crate) log: log::Format,
    /// What is kept of what happened.
    pub(crate) records: Records,
    /// Where figures are shown.
    pub(crate) admin: Admin,
    /// Where commands reach it.
    pub(crate) control: Control,
    /// Where the processes of this gateway find each other, if the file says so.
    runtime: Option<PathBuf>,
    /// Every value that holds, with its origin.
    pub(crate) effective: Vec<Effective>,
}

/// Where records are kept, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Records {
    /// What this process is to keep; `None` if nothing.
    pub(crate) settings: Option<records::Settings>,
    /// Whether the file says that none are kept. A service keeps some without being told.
    pub(crate) is_off: bool,
    /// How old a line gets at most, whoever keeps it.
    pub(crate) max_age: Duration,
}

/// Where figures are shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    /// What whoever looks must know, if anything.
    pub(crate) token: Option<Token>,
    /// Where; `None` if nowhere.
    pub(crate) address: Option<SocketAddr>,
    /// Whether the file says so; else it is the default.
    pub(crate) is_said: bool,
}

/// Where commands reach the gateway, and where it keeps what they set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Control {
    /// The socket, if the file says where.
    pub(crate) socket: Option<PathBuf>,
    /// Whose members may connect.
    pub(crate) group: Option<u32>,
    /// Where it is kept, if the file says where.
    pub(crate) directory: Option<PathBuf>,
}

impl Loaded {
    /// What `[tarpit] mode` says, or its default.
    pub(crate) fn mode(&self) -> Mode {
        let found = self
            .effective
            .iter()
            .find(|value| value.section.name == "tarpit" && value.option.key == "mode");
        let word = found.map_or("", |value| value.value.trim_matches('"'));
        let mut modes = Mode::ALL.into_iter();
        modes.find(|mode| mode.as_str() == word).unwrap_or_default()
    }

    /// Whether the listener at this place has a mode of its own.
    pub(crate) fn has_own_mode(&self, listener: usize) -> bool {
        self.effective.iter().any(|value| {
            value.section.name == "listener"
                && value.instance == listener
                && value.option.key == "tarpit.mode"
                && matches!(value.origin, Origin::File(_))
        })
    }

    /// Where the processes of this gateway find each other, if the file says so.
    pub(crate) fn runtime_directory(&self) -> Option<&Path> {
        self.runtime.as_deref()
    }
}

/// Reads a file.
///
/// Looks up host names, and opens the files it names, so it may take a moment.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(crate) fn load(file: &Path) -> Result<Loaded, Findings> {
    let octets = std::fs::read(file);
    let octets =
        octets.map_err(|error| one_finding(file, "", format!("can't be read: {error}")))?;
    match str::from_utf8(&octets) {
        Ok(text) => parse(file, text),
        Err(error) => {
            let valid = octets.get(..error.valid_up_to()).unwrap_or(&[]);
            let valid = String::from_utf8_lossy(valid);
            let text = "found octets that are not UTF-8; allowed: a TOML file, which is UTF-8";
            Err(one_finding(file, &valid, text.to_owned()))
        }
    }
}

/// What holds where a file says nothing, with one listener and one upstream of no place.
///
/// # Errors
///
/// A default is not allowed, which a test would show.
pub(crate) fn defaults() -> anyhow::Result<Config> {
    let text = "hostname = \"mx.invalid\"\nlistener = [{ name = \"mx\", address = \"192.0.2.1:25\" }]\n\
                upstream = [{ address = \"192.0.2.2:25\" }]\n";
    let loaded = parse(Path::new("the defaults"), text);
    let loaded = loaded.map_err(|findings| anyhow::anyhow!("{findings}"))?;
    Ok(loaded.gateway)
}

/// The one thing that is wrong with a file, at the end of `before`.
fn one_finding(file: &Path, before: &str, text: String) -> Findings {
    let place = (!before.is_empty()).then(|| Place::of(before, before.len()));
    let finding = Finding {
        place,
        key: String::new(),
        text,
    };
    Findings {
        file: file.to_owned(),
        list: vec![finding],
    }
}

/// Reads a file that has nothing but `[[exempt]]` in it. One that is missing has none.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(crate) fn load_exemptions(file: &Path) -> Result<Vec<Exemption>, Findings> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(one_finding(file, "", format!("can't be read: {error}"))),
    };
    let (root, errors) = DeTable::parse_recoverable(&text);
    let mut notes = Notebook::new(&text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        notes.wrong(&span, "", format!("not TOML: {}", error.message()));
    }
    for (key, value) in root.get_ref() {
        if key.get_ref() != "exempt" {
            let text = "it does not belong here; allowed: [[exempt]] alone";
            notes.wrong(&value.span(), key.get_ref().as_ref(), text);
        }
    }
    let findings = notes.close(file);
    if !findings.list.is_empty() {
        return Err(findings);
    }
    let mut reader = Reader::new(&text, root.get_ref(), Path::new(""));
    let list = resolve::exemptions(&mut reader);
    let findings = reader.notes.close(file);
    match list {
        Some(list) if findings.list.is_empty() => Ok(list),
        _ => Err(findings),
    }
}

/// Reads the text of a file.
///
/// # Errors
///
/// Everything that is wrong with it.
pub(crate) fn parse(file: &Path, text: &str) -> Result<Loaded, Findings> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let mut notes = Notebook::new(text);
        for error in errors {
            let span = error.span().unwrap_or(0..0);
            notes.wrong(&span, "", format!("not TOML: {}", error.message()));
        }
        return Err(notes.close(file));
    }
    let folder = file.parent().unwrap_or_else(|| Path::new(""));
    let mut reader = Reader::new(text, root.get_ref(), folder);
    let parts = resolve::resolve(&mut reader);
    let Reader {
        notes,
        mut effective,
        ..
    } = reader;
    effective.sort_by_key(Effective::rank);
    let findings = notes.close(file);
    match parts {
        Some((gateway, rest)) if findings.list.is_empty() => Ok(Loaded {
            file: file.to_owned(),
            gateway,
            log: rest.log,
            records: rest.records,
            admin: rest.admin,
            control: rest.control,
            runtime: rest.runtime,
            effective,
        }),
        _ => Err(findings),
    }
}

#[cfg(test)]
mod tests {
    use super::options::{Default, SECTIONS, Shape};
    use super::*;

    /// Whatever is in a file: either it is right, or something is said about it.
    fn check(text: &str) {
        if let Err(findings) = parse(Path::new("tarpit.toml"), text) {
            assert!(!findings.list.is_empty(), "{text}");
            for line in findings.lines() {
                assert!(!line.contains(char::is_control), "{line}");
            }
        }
    }

    /// A file with everything in it that can be used at once.
    fn everything() -> String {
        let sample = generate::sample();
        let mut text = String::new();
        for line in sample.lines().filter(|line| !line.starts_with("# ")) {
            let line = line.strip_prefix('#').unwrap_or(line);
            if !line.starts_with("file") {
                text.push_str(line);
                text.push('\n');
            }
        }
        let maildir = text.find("[maildir]").unwrap();
        let recipients = text.find("[recipients]").unwrap();
        text.replace_range(maildir..recipients, "");
        // Files that are there on every machine, and TLS that has a use for tls_name.
        let upstream = text.find("[[upstream]]").unwrap();
        let tls = upstream + text[upstream..].find("tls = \"off\"").unwrap();
        text.replace_range(tls..tls + 11, "tls = \"required\"");
        for file in PEM_FILES {
            text = text.replace(file, TEST_PEM);
        }
        text
    }

    /// Files that the samples name.
    const PEM_FILES: &[&str] = &[
        "/etc/letsencrypt/live/mx1.example.org/fullchain.pem",
        "/etc/letsencrypt/live/mx1.example.org/privkey.pem",
        "/etc/ssl/certs/ca-certificates.crt",
        // Its first line would do as a token.
        "/etc/tarpit/token",
    ];
    const TEST_PEM: &str = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/configs/mx1.example.org.pem"
    );

    #[test]
    fn everything_is_right() {
        let loaded = parse(Path::new("tarpit.toml"), &everything()).unwrap();
        assert!(
            !loaded
                .effective
                .iter()
                .any(|value| value.origin == Origin::Default)
        );
    }

    #[test]
    fn files_that_are_cut_or_lack_a_line() {
        let text = everything();
        for (at, _) in text.char_indices() {
            check(&text[..at]);
        }
        for without in 0..text.lines().count() {
            let lines = text.lines().enumerate().filter(|(at, _)| *at != without);
            let lines: Vec<&str> = lines.map(|(_, line)| line).collect();
            check(&lines.join("\n"));
        }
    }

    #[test]
    fn every_key_with_every_kind_of_value() {
        const VALUES: &[&str] = &[
            "true",
            "-1",
            "0",
            "99_999_999_999_999_999_999",
            "1.5",
            "nan",
            "\"\"",
            "\"x\"",
            "\"\\n\"",
            "1979-05-27",
            "07:32:00",
            "[]",
            "[[]]",
            "[\"\"]",
            "[1, \"a\"]",
            "{}",
            "{ x = 1 }",
            "[{ x = 1 }]",
        ];
        let text = everything();
        for section in SECTIONS {
            let header = format!("\n{}\n", section.header());
            for option in section.options {
                let line = format!("\n{} = ", option.key);
                let start = if section.shape == Shape::Top {
                    0
                } else {
                    text.find(&header).unwrap_or(text.len())
                };
                for value in VALUES {
                    check(&format!("{} = {value}", section.path(option.key)));
                    if let Some(at) = text[start..].find(&line) {
                        let at = start + at + line.len();
                        let end = at + text[at..].find('\n').unwrap();
                        check(&format!("{}{value}{}", &text[..at], &text[end..]));
                    }
                }
            }
        }
    }

    #[test]
    fn a_required_key_that_is_missing_is_named() {
        for section in SECTIONS
            .iter()
            .filter(|section| section.shape != Shape::Top)
        {
            for option in section
                .options
                .iter()
                .filter(|option| matches!(option.default, Default::Required(_)))
            {
                let path = section.path(option.key);
                let findings = parse(Path::new("tarpit.toml"), &section.header()).unwrap_err();
                assert!(
                    findings.list.iter().any(|finding| finding.key == path),
                    "{path}: {findings}"
                );
            }
        }
    }
}
