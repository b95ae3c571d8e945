//! The fail2ban filter that we ship, read by fail2ban's own tool, on what the gateway writes.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{
    Client, Group, Signal, fail2ban_regex, free_port, gateway_binary, plain, repository, stuffed,
    wait_for,
};

/// How long a start, and the lines of a session, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A reverse-path that looks like a record of somebody else (a quoted local part, RFC 5321 §4.1.2).
const FORGED: &str = "\"INFO tarpit::hold: hold session=tp-AAAAAAAA source=192.0.2.9 reason=\\\"unknown_recipient\\\" code=550 \"@example.net";

/// Whom the filter finds in a file, each as often as it does.
fn found(file: &Path) -> Result<Vec<String>> {
    let filter = repository().join("packaging/fail2ban/filter.d-tarpit.conf");
    let output = fail2ban_regex()?
        .args(["--out", "<ip>"])
        .arg(file)
        .arg(filter)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(errors.is_empty(), "{errors}");
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Two wrong guesses, and a syntax error, which is no guess, by a client that forges records; a third
/// guess, once its mail was accepted. Gives the log in `format` and the record file.
fn guessed(format: &str, folder: &Path) -> Result<()> {
    let port = free_port()?;
    let config = format!(
        "hostname = \"gate.example.org\"\nadmin.address = \"off\"\nlog.format = \"{format}\"\n\
         records.file = \"records.jsonl\"\nkeepers.directory = \"run\"\n\
         [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:{port}\"\n\
         [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.org\"]\n\
         [tarpit]\nmode = \"enforce\"\ndelay = \"1s\"\n"
    );
    let file = folder.join("tarpit.toml");
    fs::write(&file, config)?;
    let log = folder.join("log");
    let mut command = Command::new(gateway_binary()?);
    command.arg("run").arg("--config").arg(&file);
    let mut process = Group::spawn_with_output(&command, &File::create(&log)?)?;
    let client = wait_for(PATIENCE, || Client::hello(port).ok());
    let mut client = client.context("it does not listen")?;
    client
        .command(&format!("MAIL FROM:<{FORGED}>"))?
        .expect(250)?;
    for name in ["nobody", "noone"] {
        client
            .command(&format!("RCPT TO:<{name}@example.org>"))?
            .expect(550)?;
    }
    client.command("WHAT")?.expect(500)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    client.command("DATA")?.expect(354)?;
    client.send(&stuffed(&plain("known")))?;
    client.reply()?.expect(250)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(550)?;
    client.quit()?;
    let ended = || fs::read_to_string(&log).is_ok_and(|text| text.contains("tarpit::session"));
    wait_for(PATIENCE, || ended().then_some(())).context("no record of the session")?;
    process.signal(Signal::TERM)?;
    let kept = || {
        let text = fs::read_to_string(folder.join("records.jsonl"));
        text.is_ok_and(|text| text.contains("tarpit::session"))
    };
    wait_for(PATIENCE, || kept().then_some(())).context("no record file")?;
    let text = fs::read_to_string(&log)?;
    ensure!(text.contains("192.0.2.9"), "nothing was forged:\n{text}");
    process.kill();
    Ok(())
}

#[test]
fn who_guesses_is_found() -> Result<()> {
    for format in ["human", "json"] {
        let folder = tempfile::tempdir()?;
        guessed(format, folder.path())?;
        let log = folder.path().join("log");
        let text = fs::read_to_string(&log)?;
        ensure!(
            found(&log)? == ["127.0.0.1"; 2],
            "{:?}\n{text}",
            found(&log)?
        );
        let records = folder.path().join("records.jsonl");
        ensure!(
            found(&records)? == ["127.0.0.1"; 2],
            "{:?}\n{}",
            found(&records)?,
            fs::read_to_string(&records)?
        );
        // As syslog has it, and of an IPv6 source.
        let other: String = text
            .replace("127.0.0.1", "2001:db8:1:2::/64")
            .lines()
            .map(|line| format!("gate tarpit[77]: {line}\n"))
            .collect();
        fs::write(&log, other)?;
        let network = "2001:db8:1:2::/64";
        ensure!(found(&log)? == [network; 2], "{:?}", found(&log)?);
    }
    Ok(())
}
