//! `tarpit top`: the status, what changed since the last look, and the sources that owe most; again
//! every second. Where standard output is no terminal, one look is printed.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tarpit_admin::api::{Sources, Status};

use super::super::out;
use super::client::{Client, ClientError};
use super::show;
use super::terminal::Terminal;

/// Sources that are shown; a usual terminal has room for them.
const SOURCES: &str = "/v1/sources?top=10";

/// Shows it until it is left. `client` is found anew where another process has taken over.
pub(super) fn run(
    mut client: Client,
    find: impl Fn() -> Result<Client, ClientError>,
    every: Duration,
) -> anyhow::Result<ExitCode> {
    let mut before = client.status()?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        out::print(screen(&client, &before, None)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = Terminal::take()?;
    terminal.show(&screen(&client, &before, None)?)?;
    let mut last = Instant::now();
    while !terminal.is_left_within(every) {
        let look = client.status().and_then(|now| {
            let rates =
                (now.process == before.process).then(|| rates(&before, &now, last.elapsed()));
            let screen = screen(&client, &now, rates.as_deref())?;
            Ok((now, screen))
        });
        match look {
            Ok((now, screen)) => {
                last = Instant::now();
                terminal.show(&screen)?;
                before = now;
            }
            Err(error) => {
                terminal.show(&format!("tarpit: {error:#}\nlooks again\nq leaves\n"))?;
                if let Ok(found) = find() {
                    client = found;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn screen(client: &Client, status: &Status, rates: Option<&str>) -> anyhow::Result<String> {
    let answer = client.ask("GET", SOURCES, None)?;
    let sources: Sources = serde_json::from_slice(&answer.body)?;
    Ok(format!(
        "{}{}\n{}\nq leaves\n",
        show::status(status),
        rates.unwrap_or_default(),
        show::sources(&sources)
    ))
}

/// What happens a second.
fn rates(before: &Status, now: &Status, span: Duration) -> String {
    #[expect(clippy::cast_precision_loss, reason = "counts of a second or so")]
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / span.as_secs_f64();
    format!(
        "a second  {:.1} messages accepted, {:.1} names accepted, {:.1} names refused, {:.1} holds ended\n",
        rate(before.mail.accepted, now.mail.accepted),
        rate(
            before.mail.recipients_accepted,
            now.mail.recipients_accepted
        ),
        rate(before.mail.recipients_refused, now.mail.recipients_refused),
        rate(before.pit.holds, now.pit.holds),
    )
}
