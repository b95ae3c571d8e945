//! `tarpit verify HOST:PORT --good ADDRESS`: the check that KB 842851 advises, against any server.
//!
//! It asks as an outside client would: MAIL with the null reverse-path, then recipients, made-up
//! names and the good one in turn, so that a server that gets slower as such is told from one that
//! delays its noes. It sends no mail, and asks for ten names at most: more would be a harvest. It
//! leaves with QUIT.
//!
//! It speaks neither TLS nor AUTH: who guesses names comes to a port where nobody has to, and a server
//! that delays there without TLS delays with it too. A port that wants either is told apart.
//!
//! Times are the client's, from the last octet of a command to the last of its reply. This is a
//! tool beside the product, so it reads the clock itself.

mod measure;
#[cfg(test)]
pub(super) mod scripted;
pub(super) mod smtp;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tarpit_smtp::{Command, ForwardPath};

use crate::cli::Verify;
use measure::{Outcome, Plan, Row};

/// RFC 5321 §4.5.3.2.1 to .3: a client waits this long for the greeting, MAIL and RCPT.
const REPLY_LIMIT: Duration = Duration::from_secs(300);

/// Made-up names; between each two of them the good one is asked for. Two would do to see a pit,
/// the third shows whether it grows.
const UNKNOWN_NAMES: usize = 3;

/// Measures a server and prints the table and the verdict. Exit code 1 if no check was possible.
///
/// # Errors
///
/// The arguments are no server or no address, or the server's name has no address.
pub(crate) async fn run(args: Verify) -> anyhow::Result<ExitCode> {
    let domain = domain_of(&args.good)?;
    let servers = resolve(&args.server).await?;
    let unknown = (0..UNKNOWN_NAMES)
        .map(|_| format!("{}@{domain}", random_name()))
        .collect();
    let plan = Plan {
        good: args.good,
        unknown,
        limit: REPLY_LIMIT,
    };
    let width = plan.widest_command();
    println!("{}\n", head(&args.server, width));
    let measured = measure::measure(&servers, &plan, |row| println!("{}", line(row, width))).await;
    let verdict = verdict::judge(&measured, &plan.good);
    println!();
    for sentence in &verdict.sentences {
        println!("{sentence}");
    }
    Ok(if verdict.is_check {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The title and the column heads.
fn head(server: &str, width: usize) -> String {
    format!(
        "{server}\n\n{:width$}           code  enhanced  seconds",
        "command"
    )
}

/// One row of the table.
fn line(row: &Row, width: usize) -> String {
    let seconds = row.took.as_secs_f64();
    let (code, enhanced) = match &row.outcome {
        Outcome::Reply(reply) => (
            reply.code().to_string(),
            reply
                .enhanced()
                .map(|code| code.to_string())
                .unwrap_or_default(),
        ),
        other => {
            return format!(
                "{:width$}  {:7}  {other} after {seconds:.2} s",
                row.command,
                row.step.as_str()
            );
        }
    };
    format!(
        "{:width$}  {:7}  {code:>4}  {enhanced:8}  {seconds:7.2}",
        row.command,
        row.step.as_str()
    )
}

/// The domain of an address that can stand in RCPT.
fn domain_of(good: &str) -> anyhow::Result<String> {
    let line = format!("RCPT TO:<{good}>");
    match Command::parse(line.as_bytes()) {
        Ok(Command::Rcpt {
            path: ForwardPath::Mailbox(mailbox),
            ..
        }) if mailbox.as_str() == good => Ok(mailbox.domain().to_owned()),
        _ => bail!("--good: found {good:?}; allowed is one address, as in alice@example.org"),
    }
}

/// The addresses of `HOST:PORT`.
async fn resolve(server: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let parts = server
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let (host, port) = match parts {
        Some((host, port)) if !host.is_empty() && port > 0 => (host, port),
        _ => bail!(
            "found {server:?}; allowed is HOST:PORT, as in mx.example.org:25 or [2001:db8::1]:25"
        ),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(host);
    if bare.contains(':') && bare == host {
        bail!("found {server:?}; an IPv6 address stands in brackets, as in [2001:db8::1]:25");
    }
    let found = tokio::net::lookup_host((bare, port)).await;
    Ok(found
        .with_context(|| format!("can't find the address of {bare}"))?
        .collect())
}

/// A name that nobody has: 16 letters. Dashes and dots are left out, since some servers deliver
/// `anyone-suffix`; and nothing in it says what it is for, so that a server treats it like a guess.
fn random_name() -> String {
    let mut number = RandomState::new().build_hasher().finish();
    let mut letter = || {
        let digit = u8::try_from(number % 16).unwrap_or(0);
        number /= 16;
        char::from(b'a' + digit)
    };
    (0..16).map(|_| letter()).collect()
}
