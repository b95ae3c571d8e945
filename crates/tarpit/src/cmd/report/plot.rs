//! Plots as SVG that stands in a page: bars over time, one below the other. Colours come from the
//! page, so that light and dark are its business.

use std::fmt::Write as _;

/// One row of bars.
pub(super) struct Bars<'a> {
    /// What it shows, and in which unit.
    pub(super) title: &'a str,
    /// The class that colours it.
    pub(super) class: &'a str,
    /// Equal steps of time, from left to right.
    pub(super) values: &'a [f64],
    /// What stands below the first bar and the last.
    pub(super) ends: (&'a str, &'a str),
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 120.0;
/// Room for the title above and the times below.
const MARGIN: f64 = 22.0;
/// More bars than this are thinner than a pixel on a telephone.
const BARS_MAX: usize = 240;

/// The element.
pub(super) fn svg(bars: &Bars<'_>) -> String {
    let values = fewer(bars.values);
    let most = values.iter().copied().fold(0.0_f64, f64::max);
    let sum: f64 = values.iter().sum();
    let mut out = format!(
        "<figure><svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"{}: {} in all, {} at most in one bar\">",
        HEIGHT + 2.0 * MARGIN,
        bars.title,
        rounded(sum),
        rounded(most)
    );
    let _ = write!(
        out,
        "<text x=\"0\" y=\"14\">{}</text><text x=\"{WIDTH}\" y=\"14\" text-anchor=\"end\">{} at most</text>",
        bars.title,
        rounded(most)
    );
    let step = WIDTH / count(values.len().max(1));
    for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
        let height = (value / most * HEIGHT).max(1.0);
        let _ = write!(
            out,
            "<rect class=\"{}\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{height:.2}\"/>",
            bars.class,
            count(at) * step,
            MARGIN + HEIGHT - height,
            (step * 0.9).max(0.5)
        );
    }
    let base = MARGIN + HEIGHT;
    let _ = writeln!(
        out,
        "<line x1=\"0\" y1=\"{base}\" x2=\"{WIDTH}\" y2=\"{base}\"/><text x=\"0\" y=\"{0}\">{1}</text>\
         <text x=\"{WIDTH}\" y=\"{0}\" text-anchor=\"end\">{2}</text></svg></figure>",
        base + 16.0,
        bars.ends.0,
        bars.ends.1
    );
    out
}

/// Neighbours added up, until there are few enough.
fn fewer(values: &[f64]) -> Vec<f64> {
    let each = values.len().div_ceil(BARS_MAX).max(1);
    values
        .chunks(each)
        .map(|chunk| chunk.iter().sum())
        .collect()
}

/// Few enough for a drawing.
fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn rounded(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}
