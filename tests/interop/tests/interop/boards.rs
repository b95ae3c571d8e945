//! What is shipped for Grafana and Prometheus: every metric that it names exists with the labels it
//! asks for and their values, and Prometheus itself can read every expression.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tarpit_interop::{Gateway, prometheus, repository};

/// What Prometheus has by itself.
const OTHERS: &[&str] = &["up"];

/// Labels that Prometheus adds.
const ADDED: &[&str] = &["job", "instance", "le"];

/// Metrics, the labels of each, and the values of those; none where the configuration has them.
type Table = BTreeMap<String, Labels>;
type Labels = BTreeMap<String, BTreeSet<String>>;

/// Those in `tarpit generate monitoring`, which is made from the table.
fn table() -> Result<Table> {
    let output = Gateway::command(&["generate", "monitoring"])?;
    let page = String::from_utf8(output.stdout)?;
    let mut table = Table::new();
    for line in page.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [name, kind, labels, ..] = cells.as_slice() else {
            continue;
        };
        let name = name.trim_start_matches("| ").trim_matches('`');
        // `end`: `quit`, `hang_up`
        let labels = labels.split("; ").filter_map(|label| {
            let mut words = label.split('`').skip(1).step_by(2).map(str::to_owned);
            Some((words.next()?, words.collect()))
        });
        let labels: Labels = labels.collect();
        if *kind == "histogram" {
            for end in ["_bucket", "_sum", "_count"] {
                table.insert(format!("{name}{end}"), labels.clone());
            }
        }
        table.insert(name.to_owned(), labels);
    }
    ensure!(table.len() > 40, "{table:?}");
    Ok(table)
}

/// The names of metrics in an expression.
fn named(expression: &str) -> BTreeSet<String> {
    let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    let words = expression.split(|letter| !is_word(letter));
    let ours = words.filter(|word| {
        word.starts_with("tarpit_") || word.starts_with("process_") || OTHERS.contains(word)
    });
    ours.map(str::to_owned).collect()
}

/// The labels that an expression selects or sums by.
fn labels(expression: &str) -> Vec<&str> {
    let mut labels = Vec::new();
    for part in expression.split('{').skip(1) {
        let matchers = part.split('}').next().unwrap_or_default();
        labels.extend(
            matchers
                .split(',')
                .filter_map(|one| one.split(['=', '!']).next()),
        );
    }
    for part in expression.split("by (").skip(1) {
        labels.extend(part.split(')').next().unwrap_or_default().split(','));
    }
    labels.into_iter().map(str::trim).collect()
}

/// The values that an expression asks for, each with its label; patterns are alternatives here.
fn values(expression: &str) -> Vec<(&str, &str)> {
    let mut values = Vec::new();
    for part in expression.split('{').skip(1) {
        let matchers = part.split('}').next().unwrap_or_default();
        for matcher in matchers.split(',') {
            let mut parts = matcher.split('"');
            let label = parts.next().unwrap_or_default();
            let label = label.trim().trim_end_matches(['=', '~', '!']);
            let wanted = parts.next().unwrap_or_default().split('|');
            values.extend(wanted.map(|value| (label, value)));
        }
    }
    values
}

/// The labels that what an expression finds still has.
fn remaining<'a>(expression: &'a str, table: &'a Table) -> BTreeSet<&'a str> {
    if let Some(part) = expression.split("by (").nth(1) {
        let labels = part.split(')').next().unwrap_or_default().split(',');
        return labels.map(str::trim).collect();
    }
    let found = named(expression);
    let labels = found.iter().filter_map(|name| table.get(name));
    let labels = labels.flat_map(Labels::keys).map(String::as_str);
    labels.chain(ADDED.iter().copied()).collect()
}

fn check(place: &str, expression: &str, table: &Table) -> Result<()> {
    let found = named(expression);
    ensure!(!found.is_empty(), "{place} names no metric: {expression}");
    let mut known: BTreeSet<&str> = ADDED.iter().copied().collect();
    let mut words: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for name in &found {
        let labels = table.get(name);
        ensure!(
            labels.is_some() || OTHERS.contains(&name.as_str()),
            "{place}: there is no {name}: {expression}"
        );
        for (label, values) in labels.into_iter().flatten() {
            known.insert(label);
            let words = words.entry(label).or_default();
            words.extend(values.iter().map(String::as_str));
        }
    }
    for (label, value) in values(expression) {
        let words = words.get(label).filter(|words| !words.is_empty());
        ensure!(
            words.is_none_or(|words| words.contains(value)),
            "{place}: {label} is never {value}: {expression}"
        );
    }
    for label in labels(expression) {
        ensure!(
            known.contains(label),
            "{place}: there is no label {label}: {expression}"
        );
    }
    Ok(())
}

/// What promtool says to rules.
fn promtool(rules: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("rules.yml");
    fs::write(&file, rules)?;
    let said = prometheus("promtool")?
        .args(["check", "rules"])
        .arg(&file)
        .stdin(Stdio::null())
        .output()?;
    ensure!(
        said.status.success(),
        "{}{}\n{rules}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    Ok(())
}

#[test]
fn alerts_name_what_there_is() -> Result<()> {
    let table = table()?;
    let rules = fs::read_to_string(repository().join("packaging/prometheus-alerts.yml"))?;
    promtool(&rules)?;
    let mut count = 0;
    let mut known = BTreeSet::new();
    for line in rules.lines() {
        if let Some(expression) = line.trim().strip_prefix("expr: ") {
            check("prometheus-alerts.yml", expression, &table)?;
            known = remaining(expression, &table);
            count += 1;
        }
        // What is put in where an alert has no such label is nothing.
        for label in line.split("$labels.").skip(1) {
            let label = label.split(' ').next().unwrap_or_default();
            ensure!(known.contains(label), "no label {label} remains: {line}");
        }
    }
    ensure!(
        count == rules.matches("- alert:").count() && count > 10,
        "{count}"
    );
    // What the descriptions tell to do can be done.
    for command in ["status", "report", "mode", "check"] {
        if rules.contains(&format!("`tarpit {command}")) {
            let said = Gateway::command(&[command, "--help"])?;
            ensure!(said.status.success(), "{command}");
        }
    }
    Ok(())
}

#[test]
fn the_board_names_what_there_is() -> Result<()> {
    let table = table()?;
    let text = fs::read_to_string(repository().join("packaging/grafana-dashboard.json"))?;
    let board: Value = serde_json::from_str(&text)?;
    let panels = board["panels"].as_array().context("panels")?;
    let mut rules = "groups:\n  - name: board\n    rules:\n".to_owned();
    let mut ids = BTreeSet::new();
    let mut count = 0;
    for panel in panels {
        ensure!(ids.insert(panel["id"].as_u64()), "{} twice", panel["id"]);
        let title = panel["title"].as_str().context("a title")?;
        if panel["type"] == "row" {
            continue;
        }
        for target in panel["targets"].as_array().context("targets")? {
            let expression = target["expr"].as_str().context("an expression")?;
            check(title, expression, &table)?;
            // As Grafana fills them in.
            let filled = expression.replace("$__rate_interval", "5m");
            let filled = filled.replace("$job", ".*").replace("$instance", ".*");
            ensure!(!filled.contains('$'), "{title}: {filled}");
            rules.push_str(&format!(
                "      - record: a:b{count}\n        expr: '{filled}'\n"
            ));
            count += 1;
        }
    }
    ensure!(count > 30, "{count}");
    promtool(&rules)
}

/// A rule that can't be read, and a metric that does not exist, are found.
#[test]
fn mistakes_are_found() -> Result<()> {
    let table = table()?;
    ensure!(check("x", "rate(tarpit_held_second_total[5m])", &table).is_err());
    ensure!(check("x", "1 + 1", &table).is_err());
    ensure!(check("x", "sum by (reasons) (tarpit_holds_total)", &table).is_err());
    ensure!(check("x", "tarpit_holds_total{reasn=~\"debt\"}", &table).is_err());
    ensure!(check("x", "tarpit_holds_total{reason=~\"debt|dept\"}", &table).is_err());
    ensure!(check("x", "tarpit_holds_total{reason=~\"debt|no_room\"}", &table).is_ok());
    ensure!(check("x", "sum(rate(tarpit_held_seconds_total[5m])) + up", &table).is_ok());
    let summed = "sum by (instance) (rate(tarpit_holds_total[5m])) > 1";
    ensure!(remaining(summed, &table) == BTreeSet::from(["instance"]));
    ensure!(remaining("tarpit_holds_total > 1", &table).contains("reason"));
    let bad =
        "groups:\n  - name: x\n    rules:\n      - record: a:b\n        expr: sum(rate(x[5m])\n";
    ensure!(promtool(bad).is_err());
    Ok(())
}
