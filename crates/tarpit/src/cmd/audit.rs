//! `tarpit audit stig`: every listener against the rule that a mail server at the edge delays what it
//! refuses.
//!
//! The rule is DISA's for Exchange Edge: EX19-ED-000135 (2019), EX16-ED-000480 (2016),
//! EX13-EG-000240 (2013), Exch-2-739 (2010). The TarpitInterval of every receive connector is 5 s or
//! more; else it is a finding. It knows no documented exception, so whatever makes the delay less for
//! anyone but authenticated users is a finding here: a mode that does not delay, a price below 5 s, a
//! network that is exempt or passed through.
//!
//! Promised: what is judged is the file, with every default filled in, as `tarpit run` reads it, with the
//! mode and the exemptions that were set by command and are kept. A running process is not asked: a
//! trial of `enforce` is what it goes back to. A measurement instead (`tarpit verify`) was rejected:
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

use super::{USUAL_CONFIG, out};
use crate::cli::{Audit, Rule};
use crate::config;
use crate::control::Seen;

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
    let loaded = config::load(&file).map_err(|findings| findings.to_string());
    let seen = match loaded.and_then(|loaded| Seen::read(loaded, Path::new(USUAL_CONFIG))) {
        Ok(seen) => seen,
        Err(why) => {
            eprintln!("{why}");
            return Ok(ExitCode::from(NOT_CHECKED));
        }
    };
    let now = unix_now();
    let judged = judge(&seen, now);
    let passes = judged.iter().all(|judged| judged.findings.is_empty());
    if args.json {
        out::print(format_args!("{:#}\n", as_json(&file, &seen, &judged, now)))?;
    } else {
        out::print(as_text(&file, &seen, &judged))?;
    }
    Ok(if passes {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(FINDING)
    })
}

/// Every listener, in the order of the file, at `now` (seconds since 1970).
fn judge(seen: &Seen, now: u64) -> Vec<Judged<'_>> {
    let exempt: Vec<_> = in_force(seen, now).collect();
    let all = seen.loaded.gateway.listeners.iter();
    all.map(|listener| Judged {
        listener,
        findings: findings(listener, seen.mode, &exempt),
    })
    .collect()
}

/// The exemptions that hold at `now`, and whether each was made by command.
fn in_force(seen: &Seen, now: u64) -> impl Iterator<Item = (&Exemption, bool)> {
    let configured = seen.loaded.gateway.exempt.iter().map(|one| (one, false));
    let commanded = seen.exempt.iter().map(|one| (one, true));
    configured
        .chain(commanded)
        .filter(move |(one, _)| one.until.is_none_or(|until| now < until))
}

const fn by_command(is_so: bool) -> &'static str {
    if is_so { ", by command" } else { "" }
}

fn findings(
    listener: &Listener,
    commanded: Option<Mode>,
    exempt: &[(&Exemption, bool)],
) -> Vec<Finding> {
    let policy = &listener.policy;
    let mut list = Vec::new();
    let mut add = |what, text| list.push(Finding { what, text });
    if policy.mode != Mode::Enforce {
        let (mode, by) = (
            mode_word(policy.mode),
            by_command(commanded == Some(policy.mode)),
        );
        add(
            "mode",
            format!("mode is \"{mode}\"{by}: nothing is delayed"),
        );
    }
    if policy.delay < LEAST {
        let (delay, least) = (config::show_time(policy.delay), config::show_time(LEAST));
        add("delay", format!("delay is {delay}, less than {least}"));
    }
    for (exemption, is_commanded) in exempt {
        let (network, reason) = (exemption.network, &exemption.reason);
        let by = by_command(*is_commanded);
        let text = format!(
            "{network} is exempt{by} ({reason}): its delay is 0; the rule has no exception"
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
fn as_text(file: &Path, seen: &Seen, judged: &[Judged<'_>]) -> String {
    let mut text = format!(
        "{STIG} (SRG-APP-000261): every listener delays at least {}\n{}, and what was set by command in {}\n",
        config::show_time(LEAST),
        file.display(),
        seen.folder.display()
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
fn as_json(file: &Path, seen: &Seen, judged: &[Judged<'_>], now: u64) -> Value {
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
    let exempt: Vec<Value> = in_force(seen, now)
        .map(|(exemption, is_commanded)| {
            json!({
                "network": exemption.network.to_string(),
                "reason": exemption.reason,
                "until_unix": exemption.until,
                "set_by": if is_commanded { "command" } else { "configuration" },
            })
        })
        .collect();
    json!({
        "rule": STIG,
        "delay_seconds_min": LEAST.as_secs_f64(),
        "config": file.display().to_string(),
        "set_by_command_in": seen.folder.display().to_string(),
        "mode_by_command": seen.mode.map(mode_word),
        "pass": judged.iter().all(|judged| judged.findings.is_empty()),
        "listeners": listeners,
        "exempt": exempt,
    })
}

fn networks<'n>(list: impl Iterator<Item = &'n ipnet::IpNet>) -> Vec<String> {
    list.map(ToString::to_string).collect()
}
