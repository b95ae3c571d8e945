//! A strict reader of Prometheus's text format 0.0.4: what it takes, Prometheus takes, and a little
//! less.

use std::collections::{BTreeMap, BTreeSet};

/// One metric with its series.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) help: String,
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
}

/// One line with a number.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

/// All metrics of a text.
pub(crate) type Metrics = BTreeMap<String, Metric>;

/// Reads a text.
///
/// # Panics
/// If anything is not as it should be.
pub(crate) fn parse(text: &str) -> Metrics {
    assert!(text.ends_with('\n'), "the last line has no end");
    let mut metrics = Metrics::new();
    let mut series = BTreeSet::new();
    let mut current: Option<String> = None;
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("HELP has a name and a text");
            assert!(is_name(name), "{line}");
            let kind = lines
                .next()
                .and_then(|line| line.strip_prefix("# TYPE "))
                .and_then(|rest| rest.strip_prefix(name)?.strip_prefix(' '))
                .unwrap_or_else(|| panic!("no TYPE behind: {line}"));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{kind}");
            let metric = Metric {
                help: help.to_owned(),
                kind: kind.to_owned(),
                samples: Vec::new(),
            };
            let before = metrics.insert(name.to_owned(), metric);
            assert!(before.is_none(), "{name} is there twice");
            current = Some(name.to_owned());
            continue;
        }
        let sample = sample(line);
        let key = format!("{} {:?}", sample.name, sample.labels);
        assert!(series.insert(key), "a series is there twice: {line}");
        let name = current.as_deref().expect("HELP comes first");
        let metric = metrics.get_mut(name).unwrap();
        let suffix = sample.name.strip_prefix(name);
        let allowed: &[&str] = match metric.kind.as_str() {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(
            suffix.is_some_and(|suffix| allowed.contains(&suffix)),
            "{line} under {name}"
        );
        metric.samples.push(sample);
    }
    for (name, metric) in &metrics {
        judge(name, metric);
    }
    metrics
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphabetic() || letter == '_';
    name.starts_with(is_letter)
        && name
            .chars()
            .all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

fn sample(line: &str) -> Sample {
    let end = line
        .find(['{', ' '])
        .unwrap_or_else(|| panic!("no value: {line:?}"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name), "{line:?}");
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line:?}"));
            assert!(is_name(label), "{line:?}");
            let (value, behind) = unquote(value);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line:?}");
            match behind.strip_prefix(',') {
                Some(more) => rest = more,
                None => {
                    rest = behind
                        .strip_prefix('}')
                        .unwrap_or_else(|| panic!("{line:?}"));
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line:?}"));
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        "NaN" => f64::NAN,
        number => {
            let is_of_number = |letter: char| letter.is_ascii_digit() || "+-.e".contains(letter);
            assert!(number.chars().all(is_of_number), "{line:?}");
            number.parse().unwrap_or_else(|_| panic!("{line:?}"))
        }
    };
    Sample {
        name: name.to_owned(),
        labels,
        value,
    }
}

/// The value of a label, and what is behind its closing quotation mark.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match letters.next() {
                Some((_, 'n')) => '\n',
                Some((_, other @ ('\\' | '"'))) => other,
                other => panic!("an escape that there is not: {other:?} in {text:?}"),
            }),
            other => value.push(other),
        }
    }
    panic!("no end of a label: {text:?}");
}

/// What must hold for the numbers of a metric together.
fn judge(name: &str, metric: &Metric) {
    if metric.kind == "counter" {
        for sample in &metric.samples {
            assert!(sample.value >= 0.0, "{name}: {sample:?}");
        }
    }
    if metric.kind != "histogram" {
        return;
    }
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let mut counts = BTreeMap::new();
    for sample in &metric.samples {
        let mut labels = sample.labels.clone();
        let bound = labels.remove("le");
        let key = format!("{labels:?}");
        match (sample.name.strip_prefix(name), bound) {
            (Some("_bucket"), Some(bound)) => {
                let bound = match bound.as_str() {
                    "+Inf" => f64::INFINITY,
                    number => number.parse().unwrap(),
                };
                buckets.entry(key).or_default().push((bound, sample.value));
            }
            (Some("_count"), None) => drop(counts.insert(key, sample.value)),
            (Some("_sum"), None) => assert!(sample.value >= 0.0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(buckets.len(), counts.len(), "{name}");
    for (key, list) in buckets {
        assert!(
            list.windows(2)
                .all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1),
            "{name} {key}"
        );
        let (bound, count) = *list.last().unwrap();
        assert!(bound.is_infinite(), "{name} {key}");
        assert_eq!(Some(&count), counts.get(&key), "{name} {key}");
    }
}

/// The number of a series; its labels are given as `a=b`.
pub(crate) fn value(metrics: &Metrics, name: &str, labels: &[&str]) -> f64 {
    let metric = metrics.get(name).or_else(|| {
        let base = ["_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        metrics.get(base?)
    });
    let metric = metric.unwrap_or_else(|| panic!("there is no {name}"));
    let wanted: BTreeMap<String, String> = labels
        .iter()
        .map(|label| label.split_once('=').unwrap())
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let found = metric
        .samples
        .iter()
        .find(|sample| sample.name == name && sample.labels == wanted);
    let found = found.unwrap_or_else(|| panic!("there is no {name}{labels:?} in {metric:?}"));
    found.value
}

/// All series of a metric together.
pub(crate) fn sum(metrics: &Metrics, name: &str) -> f64 {
    metrics[name]
        .samples
        .iter()
        .map(|sample| sample.value)
        .sum()
}
