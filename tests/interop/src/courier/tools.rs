//! Programs that send one message each time they are run.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use tempfile::NamedTempFile;

use super::{Letter, Tls, Way};

/// Longest that one run may take.
const LIMIT: &str = "120";

pub(super) fn swaks(way: &Way, letters: &[Letter]) -> Result<()> {
    for letter in letters {
        let file = on_disk(letter)?;
        // It ends the last line by itself, even if that has an end.
        let whole = letter.message.len().saturating_sub(2) as u64;
        file.as_file().set_len(whole)?;
        let mut command = limited("swaks");
        command
            .args(["--server", "127.0.0.1", "--port", &way.port.to_string()])
            .args(["--local-interface", &way.source.to_string()])
            .args(["--ehlo", "client.example.net", "--timeout", "100"])
            .args(["--from", &letter.from, "--to", &letter.to])
            // Only headers are worth printing.
            .args(["--suppress-data", "--data"])
            .arg(format!("@{}", file.path().display()));
        let trust = || ["--tls-verify", "--tls-ca-path"];
        match way.tls {
            Tls::Plain => {}
            Tls::StartTls => {
                command.arg("--tls").args(trust()).arg(&way.authority);
            }
            Tls::Implicit => {
                command.arg("--tls-on-connect");
                command.args(trust()).arg(&way.authority);
            }
        }
        finished("swaks", command.output())?;
    }
    Ok(())
}

pub(super) fn msmtp(way: &Way, letters: &[Letter]) -> Result<()> {
    for letter in letters {
        let file = on_disk(letter)?;
        let mut command = limited("msmtp");
        command
            .arg("--host=127.0.0.1")
            .arg(format!("--port={}", way.port))
            .arg(format!("--source-ip={}", way.source))
            .arg(format!("--from={}", letter.from))
            .args(["--domain=client.example.net", "--auth=off", "--debug"]);
        if way.tls == Tls::Plain {
            command.arg("--tls=off");
        } else {
            let by_command = way.tls == Tls::StartTls;
            command
                .arg("--tls=on")
                .arg(format!("--tls-starttls={}", on_off(by_command)))
                .arg(format!("--tls-trust-file={}", way.authority.display()));
        }
        command
            .args(["--", &letter.to])
            .stdin(Stdio::from(File::open(file.path())?));
        finished("msmtp", command.output())?;
    }
    Ok(())
}

pub(super) fn curl(way: &Way, letters: &[Letter]) -> Result<()> {
    for letter in letters {
        let file = on_disk(letter)?;
        let mut command = limited("curl");
        let scheme = match way.tls {
            Tls::Implicit => "smtps",
            Tls::Plain | Tls::StartTls => "smtp",
        };
        command
            .args(["--silent", "--show-error", "--verbose"])
            .arg(format!(
                "{scheme}://127.0.0.1:{}/client.example.net",
                way.port
            ))
            .args(["--interface", &way.source.to_string()])
            .args(["--mail-from", &letter.from, "--mail-rcpt", &letter.to])
            .arg("--cacert")
            .arg(&way.authority)
            .arg("--upload-file")
            .arg(file.path());
        if way.tls == Tls::StartTls {
            command.arg("--ssl-reqd");
        }
        // What it takes for UTF-8 depends on it.
        command.env("LC_ALL", "C.UTF-8");
        finished("curl", command.output())?;
    }
    Ok(())
}

/// `program`, which is ended if it hangs.
pub(super) fn limited(program: &str) -> Command {
    let mut command = Command::new("timeout");
    command.args([LIMIT, program]).stdin(Stdio::null());
    command
}

/// Checks that a run ended well.
pub(super) fn finished(program: &str, output: std::io::Result<Output>) -> Result<()> {
    let output =
        output.with_context(|| format!("{program} is not there: run `cargo xtask install`"))?;
    let text = [output.stdout, output.stderr].concat();
    ensure!(
        output.status.success(),
        "{program}: {}: {}",
        output.status,
        crate::server::tail(&String::from_utf8_lossy(&text))
    );
    Ok(())
}

pub(super) fn on_disk(letter: &Letter) -> Result<NamedTempFile> {
    let file = NamedTempFile::with_prefix("tarpit-letter-")?;
    std::fs::write(file.path(), &letter.message)?;
    Ok(file)
}

fn on_off(on: bool) -> &'static str {
    if on { "on" } else { "off" }
}
