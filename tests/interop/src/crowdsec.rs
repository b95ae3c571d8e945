//! CrowdSec of the package, in a folder of its own: its parsers and scenarios run over one file, its
//! database is asked. No daemon stays, and nothing is asked of its maker's servers.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::place::{free_port, libraries, repository, unpacked};

/// A CrowdSec that knows Tarpit's parser and scenarios, and those two of its own that each reader of
/// logs needs.
#[derive(Debug)]
pub struct Crowdsec {
    folder: TempDir,
}

/// Of its own: what brings a line to the parsers, and what reads times.
const OWN: [(&str, &str); 2] = [
    ("s00-raw", "syslog-logs.yaml"),
    ("s02-enrich", "dateparse-enrich.yaml"),
];

impl Crowdsec {
    /// Sets one up, with the profile of the package, which bans addresses.
    ///
    /// # Errors
    /// When it is not installed, or does not work.
    pub fn new() -> Result<Self> {
        let root = unpacked("crowdsec")?;
        let folder = tempfile::Builder::new()
            .prefix("tarpit-crowdsec-")
            .tempdir()?;
        let crowdsec = Self { folder };
        let own = crowdsec.folder.path();
        for name in ["data", "scenarios", "parsers/s01-parse", "postoverflows"] {
            fs::create_dir_all(own.join(name))?;
        }
        let hub = root.join("usr/share/crowdsec/hub");
        for (stage, file) in OWN {
            let to = own.join("parsers").join(stage);
            fs::create_dir_all(&to)?;
            let from = hub.join("parsers").join(stage).join("crowdsecurity");
            fs::copy(from.join(file), to.join(file)).with_context(|| file.to_owned())?;
        }
        let packaged = root.join("etc/crowdsec");
        for name in ["simulation.yaml", "profiles.yaml"] {
            fs::copy(packaged.join(name), own.join(name))?;
        }
        let ours = repository().join("packaging/crowdsec");
        fs::copy(
            ours.join("parser.yaml"),
            own.join("parsers/s01-parse/tarpit.yaml"),
        )?;
        fs::copy(
            ours.join("scenario.yaml"),
            own.join("scenarios/tarpit.yaml"),
        )?;
        std::os::unix::fs::symlink(packaged.join("patterns"), own.join("patterns"))?;
        fs::write(own.join("acquis.yaml"), "")?;
        fs::write(own.join("config.yaml"), config(own, &hub)?)?;
        let credentials = own.join("credentials.yaml");
        let credentials = credentials.to_string_lossy();
        crowdsec.run(
            "cscli",
            &["machines", "add", "test", "--auto", "-f", &credentials],
        )?;
        Ok(crowdsec)
    }

    /// Reads a whole file, whose lines are of this type, as one line a record or as syslog has them.
    /// Returns all that it said.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn read(&self, file: &Path, kind: &str) -> Result<String> {
        let file = format!("file://{}", file.display());
        self.run("crowdsec", &["-type", kind, "-dsn", &file])
    }

    /// What its parsers make of each line of the file, in YAML.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn parsed(&self, file: &Path, kind: &str) -> Result<String> {
        let (file, dump) = (
            format!("file://{}", file.display()),
            self.folder.path().join("dump"),
        );
        fs::create_dir_all(&dump)?;
        let folder = dump.to_string_lossy();
        self.run(
            "crowdsec",
            &["-type", kind, "-dsn", &file, "-dump-data", &folder],
        )?;
        Ok(fs::read_to_string(dump.join("parser-dump.yaml"))?)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let root = unpacked("crowdsec")?;
        let output = Command::new(root.join("usr/bin").join(program))
            .arg("-c")
            .arg(self.folder.path().join("config.yaml"))
            .args(arguments)
            .env("LD_LIBRARY_PATH", libraries(&root))
            .output()
            .with_context(|| program.to_owned())?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(
            output.status.success(),
            "{program}: {}\n{said}",
            output.status
        );
        Ok(said)
    }
}

/// As the package has it, without the service's daemon, log, figures, and account at its maker.
fn config(own: &Path, hub: &Path) -> Result<String> {
    let (own, hub, port) = (own.display(), hub.display(), free_port()?);
    Ok(format!(
        "common:
  daemonize: false
  log_media: stdout
  log_level: info
  working_dir: .
config_paths:
  config_dir: {own}/
  data_dir: {own}/data/
  simulation_path: {own}/simulation.yaml
  hub_dir: {hub}/
  index_path: {hub}/.index.json
crowdsec_service:
  acquisition_path: {own}/acquis.yaml
  parser_routines: 1
db_config:
  type: sqlite
  db_path: {own}/data/crowdsec.db
api:
  client:
    credentials_path: {own}/credentials.yaml
  server:
    listen_uri: 127.0.0.1:{port}
    profiles_path: {own}/profiles.yaml
    console_path: {own}/console.yaml
prometheus:
  enabled: false
"
    ))
}
