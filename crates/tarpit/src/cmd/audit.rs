//! `tarpit audit stig`: every listener against the rule that a mail server at the edge delays what it
//! refuses.
//!
//! The rule is DISA's for Exchange Edge: EX19-ED-000135 (2019), EX16-ED-000480 (2016),
//! EX13-EG-000240 (2013), Exch-2-739 (2010). The TarpitInterval of every receive connector is 5 s or
//! more; else it is a finding. It knows no documented exception, so whatever makes the delay less for
//! anyone but authenticated users is a finding here: a mode that does not delay, a price below 5 s, a
//! network that is exempt or passed through.
//!
//! Promised: what is judged is the file, with every default filled in, as `tarpit run` reads it. What
//! a running process was told since is not seen. A measurement instead (`tarpit verify`) was rejected:
//! it sees one client, and an auditor asks about all of them.

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};
use tarpit_core::policy::{Mode, Scope};
use tarpit_gateway::clock::unix_now;
use tarpit_gateway::config::{Exemption, Kind, Listener};

use super::USUAL_CONFIG;
use crate::cli::{Audit, Rule};
use crate::config::{self, Loaded};

/// The rule's name in the newest of its forms.
const STIG: &str = "EX19-ED-000135";

/// The least delay. V-259621: `00:00:05` or more for each connector.
const LEAST: Duration = Duration::from_secs(5);

/// At least one listener fails.
const FINDING: u8 = 1;

/// The configuration can't be read, so nothing is known. Not 78, as elsewhere: an auditor's tool tells
/// pass, finding and "not checked" apart by 0, 1 and 2.
const NOT_CHECKED: u8 = 2;

/// Why a listener fails.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    /// A word for programs.
    what: &'static str,
    /// A sentence for people.
    text: String,
}

/// One listener, judged.
#[derive(Debug)]
struct Judged<'c> {
    listener: &'c Listener,
    findings: Vec<Finding>,
}

/// Judges a configuration. Exit code 0 if every listener passes, 1 if not, 2 if it can't be read.
///
/// # Errors
///
/// None: what is wrong with the file is told, and has an exit code of its own.
pub(crate) fn run(args: &Audit) -> anyhow::Result<ExitCode> {
    let Rule::Stig = args.rule;
    let file = args
        .config
        .clone()
        .unwrap_or_else(|| PathBuf::from(USUAL_CONFIG));
    let loaded = match config::load(&file) {
        Ok(loaded) => loaded,
        Err(findings) => {
            eprintln!("{findings}");
            return Ok(ExitCode::from(NOT_CHECKED));
        }
    };
    let now = unix_now();
    let judged = judge(&loaded, now);
    let passes = judged.iter().all(|judged| judged.findings.is_empty());
    if args.json {
        println!("{:#}", as_json(&file, &loaded, &judged, now));
    } else {
        print!("{}", as_text(&file, &judged));
    }
    Ok(if passes {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDING)
    })
}

/// Every listener, in the order of the file, at `now` (seconds since 1970).
fn judge(loaded: &Loaded, now: u64) -> Vec<Judged<'_>> {
    let config = &loaded.gateway;
    let exempt: Vec<&Exemption> = in_force(&config.exempt, now).collect();
    let all = config.listeners.iter();
    all.map(|listener| Judged {
        listener,
        findings: findings(listener, &exempt),
    })
    .collect()
}

/// The exemptions that hold at `now`.
fn in_force(exempt: &[Exemption], now: u64) -> impl Iterator<Item = &Exemption> {
    exempt
        .iter()
        .filter(move |exemption| exemption.until.is_none_or(|until| now < until))
}

fn findings(listener: &Listener, exempt: &[&Exemption]) -> Vec<Finding> {
    let policy = &listener.policy;
    let mut list = Vec::new();
    let mut add = |what, text| list.push(Finding { what, text });
    if policy.mode != Mode::Enforce {
        add(
            "mode",
            format!("mode is \"{}\": nothing is delayed", mode_word(policy.mode)),
        );
    }
    if policy.delay < LEAST {
        let (delay, least) = (config::show_time(policy.delay), config::show_time(LEAST));
        add("delay", format!("delay is {delay}, less than {least}"));
    }
    for exemption in exempt {
        let reason = &exemption.reason;
        let text = format!(
            "{} is exempt ({reason}): its delay is 0; the rule has no exception",
            exemption.network
        );
        add("exempt", text);
    }
    for network in &listener.passthrough {
        let text = format!("{network} is passed through: its delay is the upstream's");
        add("passthrough", text);
    }
    list
}

/// What else an auditor may ask about a listener. Nothing of it is a finding.
fn remarks(listener: &Listener) -> Vec<&'static str> {
    let scope = match listener.policy.scope {
        Scope::Session => {
            "every 5yz reply to an anonymous session waits, as with TarpitInterval (but for the one to a whole message)"
        }
        Scope::Source => {
            "each offence of a source costs the delay, over all its sessions; what it owes is waited out before its \
             next answer"
        }
    };
    let users =
        "users authenticate here; from then on they wait for nothing, as with TarpitInterval";
    let is_for_users = listener.kind == Kind::Submission;
    [scope]
        .into_iter()
        .chain(is_for_users.then_some(users))
        .collect()
}

fn mode_word(mode: Mode) -> &'static str {
    match mode {
        Mode::Off => "off",
        Mode::Observe => "observe",
        Mode::Enforce => "enforce",
    }
}

fn scope_word(scope: Scope) -> &'static str {
    match scope {
        Scope::Session => "session",
        Scope::Source => "source",
    }
}

/// For people: a line for each listener, and beneath it why.
fn as_text(file: &Path, judged: &[Judged<'_>]) -> String {
    let mut text = format!(
        "{STIG} (SRG-APP-000261): every listener delays at least {}\n{}\n",
        config::show_time(LEAST),
        file.display()
    );
    for Judged { listener, findings } in judged {
        let verdict = if findings.is_empty() {
            "pass   "
        } else {
            "FINDING"
        };
        text.push_str(&format!(
            "\n{verdict}  {}  {}  mode {}, delay {}, scope {}\n",
            listener.name,
            listener.address,
            mode_word(listener.policy.mode),
            config::show_time(listener.policy.delay),
            scope_word(listener.policy.scope)
        ));
        for finding in findings {
            text.push_str(&format!("         - {}\n", finding.text));
        }
        for remark in remarks(listener) {
            text.push_str(&format!("         {remark}\n"));
        }
    }
    let failed = judged
        .iter()
        .filter(|judged| !judged.findings.is_empty())
        .count();
    text.push_str(&format!(
        "\n{} of {} listeners pass.\n",
        judged.len() - failed,
        judged.len()
    ));
    text
}

/// For programs; the members are described in docs/coming-from.md.
fn as_json(file: &Path, loaded: &Loaded, judged: &[Judged<'_>], now: u64) -> Value {
    let listeners: Vec<Value> = judged
        .iter()
        .map(|Judged { listener, findings }| {
            let list: Vec<Value> = findings
                .iter()
                .map(|finding| json!({ "what": finding.what, "text": finding.text }))
                .collect();
            json!({
                "name": listener.name,
                "address": listener.address.to_string(),
                "kind": if listener.kind == Kind::Submission { "submission" } else { "mx" },
                "mode": mode_word(listener.policy.mode),
                "delay_seconds": listener.policy.delay.as_secs_f64(),
                "scope": scope_word(listener.policy.scope),
                "passthrough": networks(listener.passthrough.iter()),
                "pass": findings.is_empty(),
                "findings": list,
            })
        })
        .collect();
    let exempt: Vec<Value> = in_force(&loaded.gateway.exempt, now)
        .map(|exemption| {
            json!({
                "network": exemption.network.to_string(),
                "reason": exemption.reason,
                "until_unix": exemption.until,
            })
        })
        .collect();
    json!({
        "rule": STIG,
        "delay_seconds_min": LEAST.as_secs_f64(),
        "config": file.display().to_string(),
        "pass": judged.iter().all(|judged| judged.findings.is_empty()),
        "listeners": listeners,
        "exempt": exempt,
    })
}

fn networks<'n>(list: impl Iterator<Item = &'n ipnet::IpNet>) -> Vec<String> {
    list.map(ToString::to_string).collect()
}
