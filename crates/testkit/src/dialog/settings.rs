//! `set NAME VALUE`: what a dialogue is played under.

use std::net::IpAddr;
use std::time::Duration;

use tarpit_core::filter::{Filter, Names};
use tarpit_core::ledger::LedgerConfig;
use tarpit_core::policy::{Mode, Policy, Scope, Way};
use tarpit_core::{Door, Kind, Prefixes, Source};
use tarpit_smtp::{Capabilities, Reply, ReplyCode};

use super::text;
use crate::world::Rules;

/// Octets that a held session may have read ahead; the default of the product.
pub const HELD_UNREAD_MAX: usize = 4096;

/// What a dialogue is played under. The defaults are those of the product, but for the mode: most
/// dialogues are about what happens when the pit is on.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The listener's policy.
    pub policy: Policy,
    /// What the upstream announces, as EHLO keywords.
    pub capabilities: Vec<String>,
    /// Domains that mail is accepted for.
    pub domains: Vec<String>,
    /// The recipients file, if there is one.
    pub recipients: Option<Vec<String>>,
    /// The upstream relays for the gateway's address.
    pub strict: bool,
    /// What the listener allows.
    pub door: Door,
    /// Clients come by TLS.
    pub implicit_tls: bool,
    /// Addresses that are never held.
    pub exempt: Vec<IpAddr>,
    /// Time for one whole command line.
    pub command_timeout: Duration,
    /// Time for one session in all.
    pub session_timeout: Duration,
    /// How long an upstream connection is held for a session that is idle, held or gone.
    pub grace: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        let policy = Policy {
            mode: Mode::Enforce,
            scope: Scope::Session,
            delay: Duration::from_secs(5),
            hold_max: Duration::from_secs(25),
            recipients_max: 1000,
            errors_max: 20,
            way: Way::Silent,
            pace: Duration::ZERO,
        };
        Self {
            policy,
            capabilities: [
                "PIPELINING",
                "SIZE=1000000",
                "ENHANCEDSTATUSCODES",
                "8BITMIME",
            ]
            .map(str::to_owned)
            .into(),
            domains: Vec::new(),
            recipients: None,
            strict: false,
            door: Door {
                auth_plain: true,
                ..Door::default()
            },
            implicit_tls: false,
            exempt: Vec::new(),
            command_timeout: Duration::from_secs(300),
            session_timeout: Duration::from_secs(3600),
            grace: Duration::from_secs(3600),
        }
    }
}

const NAMES: &str = "mode, delay, scope, hold, hold_max, recipients_max, errors_max, capabilities, domains, recipients, \
                     strict, exempt, kind, tls, auth_plain, xclient, upstream_secure, size_max, command_timeout, session_timeout, grace";

impl Settings {
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let words = || {
            value
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        match name {
            "mode" => {
                self.policy.mode = choice(
                    value,
                    &[
                        ("off", Mode::Off),
                        ("observe", Mode::Observe),
                        ("enforce", Mode::Enforce),
                    ],
                )?;
            }
            "scope" => {
                self.policy.scope = choice(
                    value,
                    &[("session", Scope::Session), ("source", Scope::Source)],
                )?;
            }
            "delay" => self.policy.delay = text::time(value)?,
            "hold" => {
                let way = choice(value, &Way::ALL.map(|way| (way.as_str(), way)))?;
                self.policy.way = way;
                self.policy.pace = way.pace();
            }
            "hold_max" => self.policy.hold_max = text::time(value)?,
            "recipients_max" => self.policy.recipients_max = number(value)?,
            "errors_max" => self.policy.errors_max = number(value)?,
            "capabilities" => self.capabilities = keywords(value),
            "domains" => self.domains = words(),
            "recipients" => self.recipients = Some(words()),
            "strict" => self.strict = yes_no(value)?,
            "exempt" => self.exempt = addresses(value)?,
            "kind" => {
                self.door.kind =
                    choice(value, &[("mx", Kind::Mx), ("submission", Kind::Submission)])?;
            }
            "tls" => {
                let implicit = choice(value, &[("starttls", false), ("implicit", true)])?;
                self.implicit_tls = implicit;
                self.door.starttls = !implicit;
            }
            "auth_plain" => self.door.auth_plain = yes_no(value)?,
            "xclient" => self.door.xclient = yes_no(value)?,
            "upstream_secure" => self.door.upstream_secure = yes_no(value)?,
            "size_max" => {
                self.door.size_max = value
                    .parse()
                    .map_err(|_| format!("found {value:?}, allowed: octets"))?;
            }
            "command_timeout" => self.command_timeout = text::time(value)?,
            "session_timeout" => self.session_timeout = text::time(value)?,
            "grace" => self.grace = text::time(value)?,
            _ => return Err(format!("{name:?} can't be set; allowed: {NAMES}")),
        }
        Ok(())
    }

    /// What the machine gets to see of it.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let names = self
            .recipients
            .as_ref()
            .map(|names| Names::new(names.iter().map(|name| name.as_str().into())));
        let domains = self
            .domains
            .iter()
            .map(|domain| domain.as_str().into())
            .collect();
        Rules {
            hostname: "mx.example.org".to_owned(),
            policy: self.policy.clone(),
            capabilities: Capabilities::from_ehlo(&self.ehlo()),
            filter: Filter::new(domains, names, self.strict),
            door: self.door,
            implicit_tls: self.implicit_tls,
            command_timeout: self.command_timeout,
            session_timeout: self.session_timeout,
            held_unread_max: HELD_UNREAD_MAX,
            grace: self.grace,
            ledger: LedgerConfig {
                sources_max: 1000,
                known_max: 1000,
                known_for: Duration::from_secs(30 * 86_400),
            },
        }
    }

    /// The upstream's reply to EHLO.
    ///
    /// # Panics
    /// Never: 250 is a reply code.
    #[must_use]
    pub fn ehlo(&self) -> Reply {
        let lines: Vec<String> = std::iter::once("upstream.example.org".to_owned())
            .chain(
                self.capabilities
                    .iter()
                    .map(|keyword| keyword.replacen('=', " ", 1)),
            )
            .collect();
        Reply::new(
            ReplyCode::new(250).expect("a reply code"),
            &lines.join("\n"),
        )
    }

    /// The source of a client, and whether it is exempt.
    #[must_use]
    pub fn source(&self, from: IpAddr) -> (Source, bool) {
        (
            Source::of(from, Prefixes::default()),
            self.exempt.contains(&from),
        )
    }
}

fn choice<T: Copy>(value: &str, allowed: &[(&str, T)]) -> Result<T, String> {
    allowed
        .iter()
        .find(|(name, _)| *name == value)
        .map(|(_, choice)| *choice)
        .ok_or_else(|| {
            let names: Vec<&str> = allowed.iter().map(|(name, _)| *name).collect();
            format!("found {value:?}, allowed: {}", names.join(", "))
        })
}

fn yes_no(value: &str) -> Result<bool, String> {
    choice(value, &[("yes", true), ("no", false)])
}

fn number(value: &str) -> Result<u32, String> {
    value
        .parse()
        .map_err(|_| format!("found {value:?}, allowed: a number"))
}

fn addresses(value: &str) -> Result<Vec<IpAddr>, String> {
    let address = |word: &str| {
        word.parse()
            .map_err(|_| format!("found {word:?}, allowed: IP addresses"))
    };
    value.split_whitespace().map(address).collect()
}

/// `PIPELINING SIZE=1000 AUTH=PLAIN,LOGIN`: one word for each line of EHLO. `-` stands for none.
fn keywords(value: &str) -> Vec<String> {
    value
        .split_whitespace()
        .filter(|word| *word != "-")
        .map(|word| word.replace(',', " "))
        .collect()
}
