//! The administrator's way: check, run, verify, as docs/evaluate-configure-verify.md says.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tarpit_interop::{
    Client, Exim, Gateway, Group, Postfix, Signal, config, free_port, gateway_binary, repository,
    wait_for,
};

fn text(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{}\n{out}\n{err}", output.status)
}

fn verify(port: u16) -> Result<String> {
    let output = Gateway::command(&[
        "verify",
        &format!("127.0.0.1:{port}"),
        "--good",
        "alice@example.org",
    ])?;
    let text = text(&output);
    ensure!(output.status.success(), text);
    Ok(text)
}

#[test]
fn verify_without_a_pit_and_with_one() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let direct = verify(postfix.port())?;
    assert!(direct.contains("No pit"), "{direct}");

    let observing = Gateway::start(&config(postfix.port(), "xclient", ""))?;
    let observed = verify(observing.port()?)?;
    assert!(observed.contains("No pit"), "{observed}");
    observing.stop()?;

    let pit = "[tarpit]\nmode = \"enforce\"\ndelay = \"2s\"";
    let enforcing = Gateway::start(&config(postfix.port(), "xclient", pit))?;
    let enforced = verify(enforcing.port()?)?;
    assert!(
        enforced.contains("A pit of 2.0 s") || enforced.contains("A pit of 2.1 s"),
        "{enforced}"
    );
    assert!(enforced.contains("told apart"), "{enforced}");
    enforcing.stop()?;
    // Nothing was sent.
    assert!(postfix.mailbox("alice")?.is_empty());
    Ok(())
}

#[test]
fn verify_exim() -> Result<()> {
    let exim = Exim::start("alice", "secret")?;
    let said = verify(exim.port())?;
    assert!(said.contains("No pit"), "{said}");
    Ok(())
}

#[test]
fn check_says_what_it_finds() -> Result<()> {
    let postfix = Postfix::server().xclient().start()?;
    let said = text(&Gateway::check(&config(postfix.port(), "xclient", ""))?);
    for words in ["8BITMIME", "SIZE", "XCLIENT", "refused at RCPT"] {
        assert!(said.contains(words), "{words}: {said}");
    }

    // A server that takes every name: the pit would never fire.
    let any = Postfix::server()
        .xclient()
        .set("virtual_alias_maps", "static:alice@example.org")
        .start()?;
    let said = text(&Gateway::check(&config(any.port(), "xclient", ""))?);
    assert!(said.contains("recipient filtering"), "{said}");

    // One that trusts us.
    let trusting = Postfix::server().stock_networks().start()?;
    let said = text(&Gateway::check(&config(trusting.port(), "none", ""))?);
    assert!(said.contains("trusts"), "{said}");

    // Nobody there.
    let said = text(&Gateway::check(&config(free_port()?, "none", ""))?);
    assert!(said.contains("can't be connected to"), "{said}");
    Ok(())
}

#[test]
fn check_finds_mistakes() -> Result<()> {
    let output = Gateway::check(&config(25, "xclient", "[tarpit]\nmoed = \"enforce\""))?;
    let said = text(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(
        said.contains("tarpit.toml:") && said.contains("moed") && said.contains("mode"),
        "{said}"
    );
    Ok(())
}

/// A fenced block of the page.
#[derive(Debug)]
struct Block {
    language: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(Block {
                language: language.to_owned(),
                text: text.join("\n") + "\n",
            });
        }
    }
    blocks
}

/// The page's commands, run by a shell that finds `tarpit`.
fn shell(line: &str) -> Result<Command> {
    let mut command = Command::new("sh");
    let folder = gateway_binary()?;
    let folder = folder.parent().unwrap_or(&folder).display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .args(["-c", line])
        .env("PATH", format!("{folder}:{path}"));
    Ok(command)
}

/// Follows the page from top to bottom: configuration blocks are put into the file, commands are
/// run. Only ports and the file's place are others here.
#[test]
fn the_page_is_true() -> Result<()> {
    let page = fs::read_to_string(repository().join("docs/evaluate-configure-verify.md"))?;
    let postfix = Postfix::server().xclient().start()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("tarpit.toml");
    let log = folder.path().join("log");
    let port = free_port()?;
    let here = |text: &str| {
        text.replace("/etc/tarpit/tarpit.toml", &file.to_string_lossy())
            .replace("127.0.0.1:2525", &format!("127.0.0.1:{port}"))
            .replace("127.0.0.1:10025", &format!("127.0.0.1:{}", postfix.port()))
    };
    let mut running: Option<Group> = None;
    let mut config = String::new();
    let (mut checks, mut verifications) = (0, 0);
    for block in blocks(&page) {
        match block.language.as_str() {
            "toml" => {
                config = config + &here(&block.text) + "\n";
                fs::write(&file, &config)?;
                if let Some(running) = &running {
                    let before = reloads(&log);
                    running.signal(Signal::HUP)?;
                    wait_for(Duration::from_secs(20), || {
                        (reloads(&log) > before).then_some(())
                    })
                    .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
                }
                let check =
                    shell(&here("tarpit check --config /etc/tarpit/tarpit.toml"))?.output()?;
                ensure!(
                    check.status.success(),
                    "after {}: {}",
                    block.text,
                    text(&check)
                );
            }
            "sh" => {
                let line = here(block.text.trim());
                if line.starts_with("tarpit run") {
                    let output = fs::File::create(&log)?;
                    let group =
                        Group::spawn_with_output(&shell(&format!("exec {line}"))?, &output)?;
                    wait_for(Duration::from_secs(20), || Client::hello(port).ok())
                        .with_context(|| fs::read_to_string(&log).unwrap_or_default())?;
                    running = Some(group);
                    continue;
                }
                let output = shell(&line)?.output()?;
                ensure!(output.status.success(), "{line}: {}", text(&output));
                checks += usize::from(line.starts_with("tarpit check"));
                if line.starts_with("tarpit verify") {
                    verifications += 1;
                    let said = text(&output);
                    ensure!(
                        said.contains("A pit of 5.0 s") || said.contains("A pit of 5.1 s"),
                        said
                    );
                }
            }
            other => bail!("a block of {other:?}: the test knows toml and sh"),
        }
    }
    assert!(
        running.is_some() && checks == 1 && verifications == 1,
        "the page lost its commands"
    );
    Ok(())
}

/// How often a new configuration was taken; fails when one was not.
fn reloads(log: &Path) -> usize {
    let text = fs::read_to_string(log).unwrap_or_default();
    assert!(!text.contains("not reloaded"), "{text}");
    text.lines()
        .filter(|line| line.contains("new configuration in force"))
        .count()
}
