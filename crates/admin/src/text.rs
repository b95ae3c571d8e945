//! Prometheus's text format, version 0.0.4.

use std::fmt::Write as _;

use tarpit_gateway::metrics::{self, Family, Figures, HistogramValues, Value};

/// What a reader is told that it gets.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// More than the text takes with one listener and one upstream.
const USUAL_SIZE: usize = 32 * 1024;

/// All metrics of the table. Those without a series now have their HELP and TYPE all the same.
#[must_use]
pub fn exposition(figures: &Figures) -> String {
    let mut text = String::with_capacity(USUAL_SIZE);
    for family in metrics::families() {
        head(&mut text, family);
        (family.read)(figures, &mut |values, value| {
            let labels = labels(family, values);
            match value {
                Value::Count(count) => line(&mut text, family.name, "", &labels, count),
                Value::Real(number) => line(&mut text, family.name, "", &labels, Real(number)),
                Value::Histogram(values) => histogram(&mut text, family.name, &labels, values),
            }
        });
    }
    text
}

fn head(text: &mut String, family: &Family) {
    let (name, kind) = (family.name, family.kind.as_str());
    let help = family.help.replace('\\', "\\\\").replace('\n', "\\n");
    put(
        text,
        format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"),
    );
}

/// `a="1",b="2"`
fn labels(family: &Family, values: &[&str]) -> String {
    let mut list = String::new();
    for (label, value) in family.labels.iter().zip(values) {
        let comma = if list.is_empty() { "" } else { "," };
        put(
            &mut list,
            format_args!("{comma}{}=\"{}\"", label.name, escaped(value)),
        );
    }
    list
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn line(text: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    if labels.is_empty() {
        put(text, format_args!("{name}{suffix} {value}\n"));
    } else {
        put(text, format_args!("{name}{suffix}{{{labels}}} {value}\n"));
    }
}

fn histogram(text: &mut String, name: &str, labels: &str, values: &HistogramValues) {
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, count) in values.cumulative() {
        let with_bound = format!("{labels}{comma}le=\"{bound}\"");
        line(text, name, "_bucket", &with_bound, count);
    }
    line(text, name, "_sum", labels, Real(values.sum().as_secs_f64()));
    line(text, name, "_count", labels, values.count());
}

/// A number as the format has it: infinite ones are no words of Rust's.
struct Real(f64);

impl std::fmt::Display for Real {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_nan() {
            out.write_str("NaN")
        } else if self.0.is_infinite() {
            out.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" })
        } else {
            self.0.fmt(out)
        }
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what)
        .expect("writing to a string can't fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }

    #[test]
    fn numbers_are_those_of_the_format() {
        let shown: Vec<_> = [0.0, 1.5, 1e-9, f64::INFINITY, f64::NEG_INFINITY, f64::NAN]
            .into_iter()
            .map(|number| Real(number).to_string())
            .collect();
        assert_eq!(shown, ["0", "1.5", "0.000000001", "+Inf", "-Inf", "NaN"]);
    }
}
