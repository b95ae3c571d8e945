//! The figures, read by Prometheus itself: its own tool finds nothing to object to, and its server
//! has the numbers that the records have.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tarpit_interop::{Client, Gateway, Group, free_port, prometheus, wait_for};

const CONFIG: &str = r#"hostname = "gate.example.org"
admin.address = "127.0.0.1:0"

[[listener]]
name = "mx"
address = "127.0.0.1:0"

[maildir]
root = "mail"
recipients = ["alice@example.org"]

[tarpit]
mode = "enforce"
delay = "1s"
"#;

/// How long a start, and a look by a server that looks every second, may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway behind which one message was delivered and one guess held, and where its figures are.
fn gateway() -> Result<(Gateway, String)> {
    let gateway = Gateway::start(CONFIG)?;
    let mut client = Client::hello(gateway.port()?)?;
    client.command("MAIL FROM:<s@example.net>")?.expect(250)?;
    client
        .command("RCPT TO:<nobody@example.org>")?
        .expect(550)?;
    client.command("RCPT TO:<alice@example.org>")?.expect(250)?;
    client.command("DATA")?.expect(354)?;
    client.command("Subject: x\r\n\r\nText\r\n.")?.expect(250)?;
    client.quit()?;
    gateway.wait_for_records("tarpit::session", 1)?;
    let url = gateway.wait_records(|records| {
        let shown = records
            .iter()
            .find(|record| record.text("message") == "figures are shown")?;
        Some(shown.text("url"))
    })?;
    Ok((gateway, url))
}

fn curl(url: &str) -> Result<Vec<u8>> {
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--fail",
            "--max-time",
            "20",
            url,
        ])
        .output()
        .context("curl is not there: run `cargo xtask install`")?;
    ensure!(
        output.status.success(),
        "{url}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

#[test]
fn promtool_has_nothing_to_object_to() -> Result<()> {
    let (gateway, url) = gateway()?;
    let text = curl(&url)?;
    let mut tool = prometheus("promtool")?
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    tool.stdin.take().context("a pipe")?.write_all(&text)?;
    let said = tool.wait_with_output()?;
    ensure!(
        said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(),
        "promtool objects: {}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    gateway.stop()
}

#[test]
fn prometheus_reads_what_the_records_have() -> Result<()> {
    let (gateway, url) = gateway()?;
    let target = url
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix("/metrics"))
        .context("an address")?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("prometheus.yml");
    fs::write(
        &file,
        format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: tarpit\n    static_configs:\n      \
             - targets: [\"{target}\"]\n"
        ),
    )?;
    let port = free_port()?;
    let mut command = prometheus("prometheus")?;
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.path().join("data").display()
        ))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let log = folder.path().join("log");
    let _server = Group::spawn_with_output(&command, &File::create(&log)?)?;
    let expected = [
        ("up", 1.0),
        ("tarpit_messages_total{outcome=\"accepted\"}", 1.0),
        ("sum(tarpit_holds_total)", 1.0),
        (
            "tarpit_holds_total{reason=\"unknown_recipient\",way=\"silent\"}",
            1.0,
        ),
        (
            "tarpit_stage_duration_seconds_count{stage=\"end_of_data\"}",
            1.0,
        ),
        ("tarpit_recipients_total{outcome=\"refused\"}", 1.0),
        ("sum(tarpit_sessions_ended_total)", 1.0),
    ];
    for (query, count) in expected {
        let seen = wait_for(PATIENCE, || (ask(port, query) == Some(count)).then_some(()));
        seen.with_context(|| {
            let log = fs::read_to_string(&log).unwrap_or_default();
            format!("{query} is not {count} but {:?}:\n{log}", ask(port, query))
        })?;
    }
    gateway.stop()
}

/// What Prometheus answers to a query that has one number for an answer.
fn ask(port: u16, query: &str) -> Option<f64> {
    let output = Command::new("curl")
        .args(["--silent", "--get", "--max-time", "20", "--data-urlencode"])
        .arg(format!("query={query}"))
        .arg(format!("http://127.0.0.1:{port}/api/v1/query"))
        .output()
        .ok()?;
    let answer: Value = serde_json::from_slice(&output.stdout).ok()?;
    answer["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}
