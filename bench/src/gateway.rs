//! The product as its users start it: the binary, a configuration file, records as JSON.
//!
//! Its records go to a file, as they would in service, and cost it what they cost in service.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::load::{Server, Way};
use crate::process::{self, End, Processes};
use crate::wire::Client;

/// Start, probe of the upstream included, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the start is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// What a gateway is to be like; the rest are the product's own defaults.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The server behind.
    pub(crate) upstream: SocketAddr,
    /// `[[upstream]] identity`.
    pub(crate) identity: &'static str,
    /// `[tarpit] mode`.
    pub(crate) mode: &'static str,
    /// `[tarpit] scope`.
    pub(crate) scope: &'static str,
    /// `[tarpit] delay`, seconds.
    pub(crate) delay_seconds: u32,
    /// `[[certificate]]`, for STARTTLS.
    pub(crate) certificate: String,
    /// `[[upstream]] messages_per_connection_max`; with 1, no session gets another's connection.
    pub(crate) messages_per_connection_max: u32,
    /// More lines for `[[upstream]]`.
    pub(crate) upstream_more: &'static str,
    /// More lines for `[tarpit]`.
    pub(crate) tarpit_more: &'static str,
    /// More lines for `[limits]`.
    pub(crate) limits: String,
    /// More sections.
    pub(crate) more: String,
}

impl Settings {
    /// The whole machinery at work: the pit enforced at 5 s, one account for each source.
    pub(crate) fn new(upstream: SocketAddr) -> Self {
        Self {
            upstream,
            identity: "none",
            mode: "enforce",
            scope: "source",
            delay_seconds: 5,
            certificate: String::new(),
            // As for a server without a limit of its own: Postfix has none.
            messages_per_connection_max: 1000,
            upstream_more: "",
            tarpit_more: "",
            limits: String::new(),
            more: String::new(),
        }
    }

    fn to_toml(&self) -> String {
        let mut text = String::new();
        let hold_max = self.delay_seconds.max(25);
        // Writing to a String can't fail.
        let _ok = write!(
            text,
            r#"hostname = "gateway.example.org"

[[listener]]
name = "bench"
address = "127.0.0.1:0"

[[upstream]]
address = "{}"
identity = "{}"
messages_per_connection_max = {}
{}

{}
[tarpit]
mode = "{}"
scope = "{}"
delay = "{}s"
hold_max = "{hold_max}s"
{}

[limits]
{}

{}

[log]
format = "json"
"#,
            self.upstream,
            self.identity,
            self.messages_per_connection_max,
            self.upstream_more,
            self.certificate,
            self.mode,
            self.scope,
            self.delay_seconds,
            self.tarpit_more,
            self.limits,
            self.more,
        );
        text
    }
}

/// A running gateway. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    child: End,
    _folder: TempDir,
}

impl Gateway {
    /// Starts `binary` and waits until it serves.
    pub(crate) async fn start(binary: &Path, settings: &Settings) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tarpit-bench-").tempdir()?;
        let config = folder.path().join("tarpit.toml");
        let log = folder.path().join("log");
        fs::write(&config, settings.to_toml())?;
        let child = Command::new(binary)
            .args(["run", "--config"])
            .arg(&config)
            .env_remove("TARPIT_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let mut child = End(child);
        let started = Instant::now();
        let address = loop {
            let text = fs::read_to_string(&log)?;
            if let Some(address) = text.lines().find_map(listening) {
                break address;
            }
            if let Some(status) = child.0.try_wait()? {
                bail!("the gateway ended ({status}): {}", tail(&text));
            }
            ensure!(
                started.elapsed() < PATIENCE,
                "the gateway doesn't listen: {}",
                tail(&text)
            );
            tokio::time::sleep(PAUSE).await;
        };
        let gateway = Self {
            address,
            child,
            _folder: folder,
        };
        while let Err(error) = gateway.greets().await {
            let text = fs::read_to_string(&log)?;
            ensure!(
                started.elapsed() < PATIENCE,
                "the gateway doesn't serve: {error}: {}",
                tail(&text)
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(gateway)
    }

    /// Until its upstream was probed, it greets with 421.
    async fn greets(&self) -> std::io::Result<()> {
        let mut client =
            Client::open(IpAddr::V4(Ipv4Addr::new(127, 3, 0, 1)), self.address).await?;
        client.send(b"QUIT\r\n").await?;
        client.expect("QUIT", 221).await
    }

    /// As a server that is measured.
    pub(crate) fn server(&self, way: Way) -> Server {
        Server {
            way,
            address: self.address,
            processes: Processes::One(self.child.0.id()),
        }
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.0.id()
    }

    /// Resident memory now, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        process::resident_kib(self.child.0.id())
    }
}

/// What `binary` knows of its configuration, by the page that it prints itself: builds of several
/// days are compared, and older ones refuse options that came later.
#[derive(Clone, Debug)]
pub(crate) struct Reference(String);

impl Reference {
    /// Asks it.
    pub(crate) fn of(binary: &Path) -> Result<Self> {
        let output = Command::new(binary)
            .args(["generate", "reference"])
            .output();
        let output = output.with_context(|| format!("starting {}", binary.display()))?;
        Ok(Self(String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Whether it knows an option, such as `pit.sessions`.
    pub(crate) fn knows(&self, option: &str) -> bool {
        self.section(option).is_some()
    }

    /// The greatest number that an option takes; `None` if it isn't known, or takes none.
    pub(crate) fn greatest(&self, option: &str) -> Option<u64> {
        let mut lines = self.section(option)?.lines();
        let numbers =
            lines.find_map(|line| line.strip_prefix("- Allowed: a whole number from "))?;
        let (_, greatest) = numbers.split_once(" to ")?;
        let end = greatest.find(|c: char| !c.is_ascii_digit());
        greatest.get(..end.unwrap_or(greatest.len()))?.parse().ok()
    }

    /// What stands below the heading of an option.
    fn section(&self, option: &str) -> Option<&str> {
        let (_, rest) = self.0.split_once(&format!("\n### {option}\n"))?;
        Some(rest.split_once("\n#").map_or(rest, |(section, _)| section))
    }
}

/// The address in a record that says where the gateway listens.
fn listening(record: &str) -> Option<SocketAddr> {
    if field(record, "message")? != "listening" {
        return None;
    }
    field(record, "address")?.parse().ok()
}

/// A string of a flat JSON object whose strings have no escapes, as is so with names and addresses.
fn field<'a>(record: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = record.split_once(&format!("\"{name}\":\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let from = lines.len().saturating_sub(8);
    lines.get(from..).unwrap_or_default().join("\n")
}

/// Builds the product in the profile of the benchmark, into its folder, and says where it is.
pub(crate) fn build() -> Result<PathBuf> {
    let own = std::env::current_exe().context("where the benchmark itself is")?;
    let folder = own.parent().context("the benchmark is in no folder")?;
    let target = folder.parent().context("no target folder")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "tarpit", "--manifest-path"]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    command.arg("--target-dir").arg(target);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().context("starting cargo")?;
    ensure!(status.success(), "building the gateway: {status}");
    Ok(folder.join("tarpit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_listens() {
        let record = r#"{"timestamp":"2024-01-01T00:00:00Z","level":"INFO","message":"listening","listener":"bench","address":"127.0.0.1:4711","target":"tarpit"}"#;
        assert_eq!(listening(record), "127.0.0.1:4711".parse().ok());
        assert_eq!(listening(&record.replace("listening", "probed")), None);
        assert_eq!(listening("not a record"), None);
    }

    #[test]
    fn options_of_a_build() {
        let page = "# Options\n\n### a.b\n\n- Allowed: a whole number from 1 to 1000000.\n- Default: 5\n\n\
            ### a.c\n\n- Allowed: \"x\"\n";
        let reference = Reference(page.to_owned());
        assert!(reference.knows("a.b") && reference.knows("a.c") && !reference.knows("a.d"));
        assert_eq!(reference.greatest("a.b"), Some(1_000_000));
        assert_eq!(reference.greatest("a.c"), None);
        assert_eq!(reference.greatest("a.d"), None);
    }

    #[test]
    fn the_end_of_a_log() {
        assert_eq!(tail("a\nb"), "a\nb");
        assert_eq!(tail("1\n2\n3\n4\n5\n6\n7\n8\n9\n10").lines().count(), 8);
    }
}
