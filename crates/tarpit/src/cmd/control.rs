//! The commands that ask the running gateway over its control socket: `status`, `top`, `sources`,
//! `explain`, `forgive`, `exempt`, `mode`, `confirm`, `reload`.
//!
//! Each prints text for people, or with `--json` what the gateway said, octet by octet. Exit status 0
//! if it was done, 1 if the gateway refused, 69 if none answers, 78 if a reload found the configuration
//! bad.

mod client;
mod show;
mod terminal;
mod top;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{anyhow, bail};
use serde::de::DeserializeOwned;
use tarpit_admin::api::{
    Done, Exemptions, Explanation, Forgive as ForgiveRequest, Forgiven, NewExemption, SetMode,
    Sources as SourcesAnswer, Status,
};
use toml::de::DeValue;

use super::{BAD_CONFIG, UNAVAILABLE, out};
use crate::cli::control::{ExemptAdd, ExemptWhat, Explain, Forgive, Mode, Reach, Sources, Top};
use crate::config;
use client::{Answer, Client, ClientError};

/// Between two looks at a trial that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// `tarpit status`
pub(crate) fn status(reach: &Reach) -> anyhow::Result<ExitCode> {
    ask::<Status>(reach, ("GET", "/v1/status", None), |status| {
        show::status(&status)
    })
}

/// `tarpit top`
pub(crate) fn top(args: &Top) -> anyhow::Result<ExitCode> {
    match Client::find(&args.reach) {
        Ok(client) => {
            let find = || Client::find(&args.reach);
            top::run(client, find, Duration::from_secs(args.every))
        }
        Err(error) => Ok(unreached(&error)),
    }
}

/// `tarpit sources`
pub(crate) fn sources(args: &Sources) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/sources?top={}", args.top);
    ask::<SourcesAnswer>(&args.reach, ("GET", &path, None), |found| {
        show::sources(&found)
    })
}

/// `tarpit explain`
pub(crate) fn explain(args: &Explain) -> anyhow::Result<ExitCode> {
    let path = format!("/v1/explain?of={}", escaped(&args.of));
    ask::<Explanation>(&args.reach, ("GET", &path, None), |found| {
        show::explanation(&found)
    })
}

/// `tarpit forgive`
pub(crate) fn forgive(args: &Forgive) -> anyhow::Result<ExitCode> {
    let request = ForgiveRequest {
        address: args.address.clone(),
    };
    let body = serde_json::to_string(&request)?;
    ask::<Forgiven>(&args.reach, ("POST", "/v1/forgive", Some(&body)), |done| {
        let (source, seconds) = (done.source, show::span(done.seconds));
        if done.seconds > 0.0 {
            format!("{source} owed {seconds}, and owes nothing now\n")
        } else {
            format!("{source} owed nothing\n")
        }
    })
}

/// `tarpit exempt`
pub(crate) fn exempt(what: &ExemptWhat) -> anyhow::Result<ExitCode> {
    match what {
        ExemptWhat::Add(args) => exempt_add(args),
        ExemptWhat::List(reach) => {
            ask::<Exemptions>(reach, ("GET", "/v1/exemptions", None), |list| {
                show::exemptions(&list)
            })
        }
        ExemptWhat::Remove(args) => {
            let path = format!("/v1/exemptions?network={}", escaped(&args.network));
            change(&args.reach, ("DELETE", &path, None))
        }
    }
}

fn exempt_add(args: &ExemptAdd) -> anyhow::Result<ExitCode> {
    let until = args.until.as_deref().map(|text| {
        let value = DeValue::parse(text).ok();
        let moment = value.and_then(|value| config::moment(value.get_ref()).ok());
        moment.ok_or_else(|| {
            anyhow!("--until: found {text:?}; allowed: a date such as 2027-03-31, or a date and time with an offset such as 2027-03-31T18:00:00Z")
        })
    });
    let request = NewExemption {
        network: args.network.clone(),
        reason: args.reason.clone(),
        until: until.transpose()?,
    };
    let body = serde_json::to_string(&request)?;
    change(&args.reach, ("POST", "/v1/exemptions", Some(&body)))
}

/// `tarpit mode`
pub(crate) fn mode(args: &Mode) -> anyhow::Result<ExitCode> {
    let request = SetMode {
        mode: args.mode.as_str().to_owned(),
        for_seconds: seconds("--for", args.length.as_deref())?,
        trip_seconds: seconds("--trip", args.trip.as_deref())?,
    };
    let body = serde_json::to_string(&request)?;
    let begun = change(&args.reach, ("POST", "/v1/mode", Some(&body)))?;
    if !args.wait || begun != ExitCode::SUCCESS {
        return Ok(begun);
    }
    await_verdict(&args.reach)
}

/// Waits until no trial runs, and prints what came of it. Exit status 0 if its time is up or it was
/// confirmed.
fn await_verdict(reach: &Reach) -> anyhow::Result<ExitCode> {
    loop {
        std::thread::sleep(LOOK_EVERY);
        let client = match Client::find(reach) {
            Ok(client) => client,
            Err(error) => return Ok(unreached(&error)),
        };
        let answer = client.ask("GET", "/v1/status", None)?;
        let rule = serde_json::from_slice::<Status>(&answer.body)?.rule;
        if rule.trial.is_some() {
            continue;
        }
        let Some(verdict) = rule.verdict else {
            bail!("the trial was cut short: the process is another one");
        };
        if reach.json {
            println!("{}", serde_json::to_string(&verdict)?);
        } else {
            println!("{}", verdict.text);
        }
        let is_well = matches!(&*verdict.outcome, "time_up" | "confirmed");
        return Ok(if is_well {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
}

/// `tarpit confirm`
pub(crate) fn confirm(reach: &Reach) -> anyhow::Result<ExitCode> {
    change(reach, ("POST", "/v1/confirm", None))
}

/// `tarpit reload`
pub(crate) fn reload(reach: &Reach) -> anyhow::Result<ExitCode> {
    change(reach, ("POST", "/v1/reload", None))
}

/// Asks for a change, and prints what came of it.
fn change(reach: &Reach, request: (&str, &str, Option<&str>)) -> anyhow::Result<ExitCode> {
    ask::<Done>(reach, request, |done| {
        let mut text = format!("{}\n", done.text);
        for warning in done.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    })
}

/// Asks, and prints the answer.
fn ask<T: DeserializeOwned>(
    reach: &Reach,
    (method, path, body): (&str, &str, Option<&str>),
    show: impl FnOnce(T) -> String,
) -> anyhow::Result<ExitCode> {
    let client = match Client::find(reach) {
        Ok(client) => client,
        Err(error) => return Ok(unreached(&error)),
    };
    let answer = client.ask(method, path, body)?;
    if reach.json {
        out::print(String::from_utf8_lossy(&answer.body))?;
    }
    if !answer.is_ok() {
        if !reach.json {
            eprint!("{}", show::refusal(&answer)?);
        }
        let is_bad_config = path == "/v1/reload" && answer.status == 422;
        return Ok(if is_bad_config {
            ExitCode::from(BAD_CONFIG)
        } else {
            ExitCode::FAILURE
        });
    }
    if !reach.json {
        out::print(show(serde_json::from_slice(&answer.body)?))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unreached(error: &ClientError) -> ExitCode {
    eprintln!("tarpit: {error}");
    ExitCode::from(UNAVAILABLE)
}

/// A span of the command line in whole seconds.
fn seconds(option: &str, text: Option<&str>) -> anyhow::Result<Option<u64>> {
    let Some(text) = text else {
        return Ok(None);
    };
    let whole = |span: &Duration| span.subsec_nanos() == 0;
    match config::span(text).filter(whole) {
        Some(span) => Ok(Some(span.as_secs())),
        None => bail!("{option}: found {text:?}; allowed: a time such as 30s, 5m or 1h"),
    }
}

/// For a query: RFC 3986 §2.1.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b':' | b'/') {
            escaped.push(octet.into());
        } else {
            escaped.push_str(&format!("%{octet:02X}"));
        }
    }
    escaped
}
