//! Libraries that send several messages on one connection: a script of ours calls them, with all
//! that it is to do in one JSON file.

use std::process::Command;

use anyhow::Result;
use serde_json::json;
use tempfile::NamedTempFile;

use super::tools::{finished, limited, on_disk};
use super::{Form, Letter, Tls, Way};
use crate::place::{installed, repository};

pub(super) fn nodemailer(way: &Way, letters: &[Letter]) -> Result<()> {
    let mut command = limited(&installed("node")?.join("bin/node").display().to_string());
    // Node looks for modules where the script lies, and there.
    command.env("NODE_PATH", installed("npm")?.join("node_modules"));
    run(command, "courier.js", way, letters)
}

pub(super) fn smtplib(way: &Way, letters: &[Letter]) -> Result<()> {
    run(limited("python3"), "courier.py", way, letters)
}

fn run(mut command: Command, script: &str, way: &Way, letters: &[Letter]) -> Result<()> {
    let files = letters.iter().map(on_disk).collect::<Result<Vec<_>>>()?;
    let listed: Vec<_> = letters
        .iter()
        .zip(&files)
        .map(|(letter, file)| {
            json!({
                "file": file.path(), "from": letter.from, "to": letter.to, "utf8": letter.form == Form::Utf8,
            })
        })
        .collect();
    let plan = json!({
        "port": way.port,
        "tls": match way.tls {
            Tls::Plain => "plain",
            Tls::StartTls => "starttls",
            Tls::Implicit => "implicit",
        },
        "source": way.source.to_string(),
        "authority": way.authority,
        "letters": listed,
    });
    let file = NamedTempFile::with_prefix("tarpit-plan-")?;
    std::fs::write(file.path(), plan.to_string())?;
    command
        .arg(repository().join("tests/interop/clients").join(script))
        .arg(file.path());
    finished(script, command.output())
}
