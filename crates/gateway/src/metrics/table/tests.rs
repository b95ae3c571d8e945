//! The table is sound, and nothing that is counted is missing in it or in it twice.

use std::collections::{BTreeMap, HashMap};

use super::super::{Closed, Metrics, Stage};
use super::*;

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    name.starts_with(is_letter)
        && name
            .chars()
            .all(|letter| is_letter(letter) || letter.is_ascii_digit())
}

#[test]
fn names_follow_the_conventions() {
    let mut names = Vec::new();
    for family in families() {
        let name = family.name;
        assert!(is_name(name), "{name}");
        assert!(
            name.starts_with("tarpit_") || name.starts_with("process_"),
            "{name}"
        );
        let is_total = name.ends_with("_total");
        assert_eq!(is_total, family.kind == Kind::Counter, "{name}");
        for unit in [
            "_millis", "_ms", "_octets", "_kib", "_count", "_sum", "_bucket",
        ] {
            assert!(!name.contains(unit), "{name}");
        }
        assert!(
            family.help.ends_with('.') && !family.help.contains('\n'),
            "{name}"
        );
        for label in family.labels {
            assert!(
                is_name(label.name) && label.name != "le",
                "{name}: {}",
                label.name
            );
        }
        names.push(name);
    }
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn sections_are_in_their_order_and_complete() {
    let mut sections: Vec<_> = families().map(|family| family.section).collect();
    sections.dedup();
    assert_eq!(sections, Section::ALL);
}

/// Every number that is counted is made another one; each must be in the table once.
#[test]
fn each_number_stands_in_one_row() {
    let metrics = Metrics::default();
    let mut last = 1_000;
    metrics.fill(&mut || {
        last += 1;
        last
    });
    let figures = Figures {
        counts: metrics.snapshot(),
        ..Figures::default()
    };
    let mut shown: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    let mut note = |number: u64, name| shown.entry(number).or_default().push(name);
    for family in families() {
        (family.read)(&figures, &mut |_, value| match value {
            Value::Count(count) => note(count, family.name),
            Value::Real(sum) if family.kind == Kind::Counter => {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "small"
                )]
                note((sum * 1000.0).round() as u64, family.name);
            }
            Value::Real(_) => {}
            Value::Histogram(values) => {
                note(u64::try_from(values.sum().as_nanos()).unwrap(), family.name);
            }
        });
    }
    for number in 1_001..=last {
        let names = shown.get(&number).map_or(&[][..], Vec::as_slice);
        assert_eq!(names.len(), 1, "the number {number} is in {names:?}");
    }
}

/// Label values fit the labels, each series is there once, and words come from their set.
#[test]
fn series_have_the_labels_of_their_row() {
    let metrics = Metrics::default();
    metrics.fill(&mut || 1);
    let figures = Figures {
        counts: metrics.snapshot(),
        ..Figures::default()
    };
    for family in families() {
        let mut seen: HashMap<Vec<String>, u32> = HashMap::new();
        (family.read)(&figures, &mut |values, value| {
            assert_eq!(values.len(), family.labels.len(), "{}", family.name);
            let is_histogram = matches!(value, Value::Histogram(_));
            assert_eq!(
                is_histogram,
                family.kind == Kind::Histogram,
                "{}",
                family.name
            );
            for (label, value) in family.labels.iter().zip(values) {
                if let Values::Words(words) = label.values {
                    assert!(words().contains(value), "{}: {value}", family.name);
                }
            }
            let key = values.iter().map(|value| (*value).to_owned()).collect();
            *seen.entry(key).or_default() += 1;
        });
        assert!(seen.values().all(|count| *count == 1), "{}", family.name);
        let all_words = family
            .labels
            .iter()
            .try_fold(1, |product, label| match label.values {
                Values::Words(words) => Some(product * words().len()),
                Values::Config(_) => None,
            });
        if let (Some(product), Kind::Counter) = (all_words, family.kind)
            && !family.labels.is_empty()
        {
            assert_eq!(seen.len(), product, "{}", family.name);
        }
    }
}

#[test]
fn stages_are_told_apart() {
    let metrics = Metrics::default();
    metrics
        .latency
        .observe(Stage::EndOfData, std::time::Duration::from_millis(3));
    let values = metrics.snapshot().latency;
    for (stage, values) in Stage::ALL.iter().zip(&values) {
        assert_eq!(values.count(), u64::from(*stage == Stage::EndOfData));
    }
}
