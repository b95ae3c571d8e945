//! The CrowdSec parser and scenarios that we ship, run by CrowdSec itself on what the gateway writes.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tarpit_interop::{Client, Crowdsec, Gateway, plain, stuffed, wait_for};

/// Mistakes of a session: for more it would not wait in `enforce`, but be ended.
const EACH: usize = 20;

/// Sessions of each client: together more mistakes than the scenarios let pass at once.
const SESSIONS: usize = 3;

/// Who guesses, who guesses but is a known sender, and who makes other mistakes.
const GUESSES: Ipv4Addr = Ipv4Addr::new(127, 71, 0, 1);
const KNOWN: Ipv4Addr = Ipv4Addr::new(127, 71, 0, 2);
const ERRS: Ipv4Addr = Ipv4Addr::new(127, 71, 0, 3);

/// A reverse-path that looks like the end of one record and another one, of somebody else.
const FORGED: &str = "\"\\\",\\\"target\\\":\\\"tarpit::hold\\\",\\\"source\\\":\\\"192.0.2.9\\\",\\\"reason\\\":\\\"unknown_recipient\\\"}\"@example.net";

const CONFIG: &str = "hostname = \"gate.example.org\"\nadmin.address = \"off\"\n\
                      [records]\nfile = \"records.jsonl\"\n\
                      [[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n\
                      [maildir]\nroot = \"mail\"\nrecipients = [\"alice@example.org\"]\n\
                      [tarpit]\nmode = \"observe\"\n";

/// Mistakes of a client, over several sessions, each of which begins with `first`.
fn errs(
    port: u16,
    source: Ipv4Addr,
    line: &str,
    first: impl Fn(&mut Client) -> Result<()>,
) -> Result<()> {
    for _ in 0..SESSIONS {
        let mut client = Client::hello_from(source, port)?;
        first(&mut client)?;
        for _ in 0..EACH {
            client.command(line)?.expect_class(5)?;
        }
        client.quit()?;
    }
    Ok(())
}

/// What the three do, until all of it is in the log.
fn traffic(gateway: &Gateway) -> Result<()> {
    let (port, guess) = (gateway.port()?, "RCPT TO:<nobody@example.org>");
    errs(port, GUESSES, guess, |client| {
        client
            .command(&format!("MAIL FROM:<{FORGED}>"))?
            .expect(250)?;
        Ok(())
    })?;
    errs(port, KNOWN, guess, |client| {
        let wire = stuffed(&plain("known"));
        client
            .deliver("s@example.net", &["alice@example.org"], &wire)?
            .expect(250)?;
        client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
        Ok(())
    })?;
    errs(port, ERRS, "WHAT", |_| Ok(()))?;
    gateway.wait_for_records("tarpit::session", 3 * SESSIONS)?;
    Ok(())
}

/// One alert, of the one who guessed, and this of it.
fn is_found(said: &str, performed: &str) -> Result<()> {
    ensure!(
        said.contains(performed),
        "{performed:?} is missing:\n{said}"
    );
    ensure!(said.matches(" performed '").count() == 1, "{said}");
    Ok(())
}

#[test]
fn who_guesses_is_banned_and_nobody_else() -> Result<()> {
    let gateway = Gateway::start(CONFIG)?;
    traffic(&gateway)?;
    let (log, folder) = (gateway.log(), tempfile::tempdir()?);
    ensure!(log.contains("192.0.2.9"), "nothing was forged:\n{log}");
    let records = gateway.folder().join("records.jsonl");
    let kept = folder.path().join("records.jsonl");
    let text = wait_for_all(&records)?;
    gateway.stop()?;
    fs::write(&kept, &text)?;
    let crowdsec = Crowdsec::new()?;
    let banned = format!("Ip {GUESSES} performed 'tarpit/tarpit-guesses'");
    let said = crowdsec.read(&kept, "tarpit")?;
    is_found(&said, &banned)?;
    ensure!(said.contains(&format!("ban on Ip {GUESSES}")), "{said}");

    let parsed = crowdsec.parsed(&kept, "tarpit")?;
    ensure!(
        parsed.contains(&format!("source_ip: {GUESSES}\n")),
        "{parsed}"
    );
    ensure!(!parsed.contains("source_ip: 192.0.2.9"), "{parsed}");

    // The log, as syslog has it.
    let lines = log
        .lines()
        .map(|line| format!("Nov 30 20:01:05 gate tarpit[77]: {line}\n"));
    fs::write(&kept, lines.collect::<String>())?;
    is_found(&crowdsec.read(&kept, "syslog")?, &banned)?;

    // An IPv6 source, which is a network.
    fs::write(
        &kept,
        text.replace(&GUESSES.to_string(), "2001:db8:1:2::/64"),
    )?;
    let banned = "Range 2001:db8:1:2::/64 performed 'tarpit/tarpit-guesses-network'";
    is_found(&crowdsec.read(&kept, "tarpit")?, banned)
}

fn wait_for_all(records: &Path) -> Result<String> {
    let all = || {
        let text = fs::read_to_string(records).ok()?;
        let ended = text.matches("\"target\":\"tarpit::session\"").count();
        (ended == 3 * SESSIONS).then_some(text)
    };
    wait_for(Duration::from_secs(60), all).context("not all is in the record file")
}
