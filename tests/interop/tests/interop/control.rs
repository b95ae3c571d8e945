//! Leaving `enforce`: a thousand who are held hear their true reply at once, also in keepers and over
//! TLS.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tarpit_interop::{Client, FaultServer, Gateway, Postfix, config, wait_for};

/// Far longer than the test takes.
const DELAY: &str = "delay = \"100s\"";

/// Until the last one has heard it. The machine may be busy.
const AT_ONCE: Duration = Duration::from_secs(3);

fn settings(port: u16, more: &str) -> String {
    let rest = format!(
        "connections_max = 10\nconnections_per_source_max = 5\nconnections_reserved = 2\n\
         [limits]\nsessions_per_source_max = 1000\n{more}\n\
         [tarpit]\nmode = \"enforce\"\nhold_max = \"75s\"\n{DELAY}"
    );
    config(port, "none", &rest)
}

/// Clients that have guessed, each of a source of its own, and hear nothing yet.
fn held(count: u16, port: u16) -> Result<Vec<Client>> {
    (0..count)
        .map(|number| {
            let [high, low] = number.to_be_bytes();
            let source = Ipv4Addr::new(127, 61, high, low);
            let mut client = Client::hello_from(source, port)?;
            client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
            client.send(b"RCPT TO:<nobody@example.org>\r\n")?;
            Ok(client)
        })
        .collect()
}

fn command(gateway: &Gateway, arguments: &[&str]) -> Result<String> {
    let config = gateway.folder().join("tarpit.toml");
    let mut all = arguments.to_vec();
    let config = config.display().to_string();
    all.extend(["--config", &config]);
    let output = Gateway::command(&all)?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{arguments:?}: {error}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Until the gateway says that it holds so many.
fn wait_held(gateway: &Gateway, count: u16) -> Result<()> {
    let holds = || {
        let status = command(gateway, &["status", "--json"]).ok()?;
        let status: serde_json::Value = serde_json::from_str(&status).ok()?;
        (status["pit"]["held"].as_u64()? >= count.into()).then_some(())
    };
    let are_held = wait_for(Duration::from_secs(60), holds).is_some();
    let status = command(gateway, &["status"])?;
    ensure!(
        are_held,
        "not all are held: {status}\n{}",
        gateway.excerpt()
    );
    Ok(())
}

/// All hear it, and go on.
fn all_are_let_go(gateway: &Gateway, mut clients: Vec<Client>) -> Result<()> {
    let began = Instant::now();
    command(gateway, &["mode", "off"])?;
    for client in &mut clients {
        client.reply()?.expect(550)?;
    }
    let took = began.elapsed();
    ensure!(took < AT_ONCE, "it took {took:?}");
    for client in &mut clients {
        client.command("NOOP")?.expect(250)?;
    }
    println!("{} were let go within {took:?}", clients.len());
    let records = gateway.wait_for_records("tarpit::hold", clients.len())?;
    ensure!(
        records
            .iter()
            .all(|record| record.text("end") == "released")
    );
    Ok(())
}

#[test]
fn a_thousand_are_let_go_at_once() -> Result<()> {
    let server = Postfix::server().start()?;
    let gateway = Gateway::start(&settings(server.port(), ""))?;
    let clients = held(1000, gateway.port()?)?;
    wait_held(&gateway, 1000)?;
    all_are_let_go(&gateway, clients)
}

#[test]
fn those_in_keepers_are_let_go_too() -> Result<()> {
    let server = FaultServer::start()?;
    let runtime = tempfile::tempdir()?;
    tarpit_interop::give_away(runtime.path())?;
    let more = format!("[keepers]\ndirectory = \"{}\"", runtime.path().display());
    let gateway = Gateway::start_confined(&settings(server.port(), &more), 256)?;
    // Who comes before the first keeper may be let go.
    let keeper = |record: &tarpit_interop::Record| record.text("message") == "keeper ready";
    gateway.wait_records(|records| records.iter().any(keeper).then_some(()))?;
    let clients = held(150, gateway.port()?)?;
    wait_held(&gateway, 150)?;
    all_are_let_go(&gateway, clients)
}
