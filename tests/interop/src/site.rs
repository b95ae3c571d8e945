//! A machine on which Tarpit is set up by a recipe: its configuration, its unit with drop-ins, and a
//! shell in which the blocks of the recipe run.
//!
//! `systemctl` only notes what it is told: what is to happen to Tarpit's own unit the
//! test does with [`Service`], what is to happen to the mail server it does with the mail server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::place::{gateway_binary, repository};
use crate::supervisor::Service;
use crate::unit::Unit;

/// Where systemd looks for what an administrator adds.
const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// A machine with Tarpit on it.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    base: String,
}

impl Site {
    /// A machine with this configuration: `base` is what a recipe leaves alone, `tables` are those
    /// that it may change.
    ///
    /// # Errors
    /// When the gateway is not built.
    pub fn new(base: &str, tables: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("tarpit-site-").tempdir()?;
        let site = Self {
            folder,
            base: base.to_owned(),
        };
        // The service's user must get at its files.
        fs::set_permissions(site.path(""), fs::Permissions::from_mode(0o755))?;
        fs::create_dir(site.path("bin"))?;
        fs::create_dir(site.path("system"))?;
        install(&gateway_binary()?, &site.path("bin/tarpit"))?;
        site.notes("systemctl")?;
        site.write(tables)?;
        Ok(site)
    }

    /// A program of this machine that only notes what it is told.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn notes(&self, name: &str) -> Result<()> {
        let text = self.path(&format!("{name}.sh"));
        let script = format!("#!/bin/sh\necho \"{name} $*\" >> \"$SITE/told\"\n");
        fs::write(&text, script)?;
        install(&text, &self.path("bin").join(name))
    }

    /// The file of the configuration.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.path("tarpit.toml")
    }

    /// Prints a part of a recipe for the configuration as it is now.
    ///
    /// # Errors
    /// When there is none.
    pub fn recipe(&self, server: &str, way: &str, part: &str) -> Result<String> {
        let output = Command::new(self.path("bin/tarpit"))
            .args(["recipe", server, "--way", way, "--part", part, "--config"])
            .arg(self.config())
            .output()?;
        succeeded(&output).with_context(|| format!("recipe {server} --way {way} --part {part}"))
    }

    /// Lets the configuration say what the recipe wants.
    ///
    /// # Errors
    /// When there is no such recipe.
    pub fn adopt(&self, server: &str, way: &str) -> Result<()> {
        self.write(&self.recipe(server, way, "tarpit.toml")?)
    }

    /// Runs `script` with `environment`; returns what the programs were told that only take notes.
    ///
    /// # Errors
    /// When a command fails.
    pub fn run(&self, script: &str, environment: &[(&str, &str)]) -> Result<Vec<String>> {
        let told = self.path("told");
        fs::write(&told, "")?;
        let script = script.replace(SYSTEM_UNITS, &self.path("system").to_string_lossy());
        let mut command = Command::new("sh");
        command
            .args(["-eu", "-c", &script])
            .env("SITE", self.path(""));
        let mut path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH")?);
        for (name, value) in environment {
            if *name == "PATH" {
                path = format!("{}:{value}:{path}", self.path("bin").display());
            } else {
                command.env(name, value);
            }
        }
        let output = command.env("PATH", path).output()?;
        succeeded(&output).with_context(|| format!("in the block\n{script}"))?;
        Ok(fs::read_to_string(&told)?
            .lines()
            .map(str::to_owned)
            .collect())
    }

    /// Starts the service of the shipped unit, with the drop-ins that are there.
    ///
    /// # Errors
    /// When it does not become active.
    pub fn start(&self) -> Result<Service> {
        let mut files = vec![repository().join("packaging/systemd/tarpit.service")];
        let drop_ins = self.path("system/tarpit.service.d");
        if drop_ins.exists() {
            let found = fs::read_dir(drop_ins)?.filter_map(|entry| Some(entry.ok()?.path()));
            files.extend(found);
        }
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let (binary, config) = (self.path("bin/tarpit"), self.config());
        Service::start(
            Unit::read(&files)?,
            &[
                ("/usr/bin/tarpit", &binary),
                ("/etc/tarpit/tarpit.toml", &config),
            ],
        )
    }

    fn write(&self, tables: &str) -> Result<()> {
        Ok(fs::write(
            self.config(),
            format!("{}\n{tables}", self.base),
        )?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Copies a program. Another process does it: if we had the file open for writing while another
/// thread starts a process, that would have it open too, and nobody could run it.
fn install(from: &Path, to: &Path) -> Result<()> {
    let output = Command::new("install")
        .args(["-m", "755"])
        .arg(from)
        .arg(to)
        .output()?;
    succeeded(&output).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}

fn succeeded(output: &Output) -> Result<String> {
    let printed = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{}\n{printed}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(printed.into_owned())
}
