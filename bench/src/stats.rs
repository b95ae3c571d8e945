//! Medians and percentiles by nearest rank: every figure shown is one that was measured, none is
//! interpolated between two.

use std::time::Duration;

/// The value below or at which `share` (0 to 1) of the samples lie; `None` without samples.
///
/// Sorts `samples`.
pub(crate) fn percentile<T: Copy + PartialOrd>(samples: &mut [T], share: f64) -> Option<T> {
    samples.sort_unstable_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    let below = samples
        .iter()
        .enumerate()
        .find(|(at, _)| (*at as f64 + 1.0) >= share * samples.len() as f64);
    below.map(|(_, value)| *value)
}

/// The middle value; of an even number the lower one of the two.
pub(crate) fn median<T: Copy + PartialOrd>(samples: &mut [T]) -> Option<T> {
    percentile(samples, 0.5)
}

/// Milliseconds with the digits that the size deserves.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let value = duration.as_secs_f64() * 1e3;
    if value < 10.0 {
        format!("{value:.2}")
    } else if value < 100.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}

/// A rate or count with thousands set apart by commas.
pub(crate) fn thousands(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A whole number with thousands set apart by commas.
pub(crate) fn count(value: u64) -> String {
    if value < 100 {
        value.to_string()
    } else {
        thousands(value as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_rank() {
        let mut hundred: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(percentile(&mut hundred, 0.5), Some(50));
        assert_eq!(percentile(&mut hundred, 0.99), Some(99));
        assert_eq!(percentile(&mut hundred, 1.0), Some(100));
        assert_eq!(percentile(&mut hundred, 0.0), Some(1));
    }

    #[test]
    fn few_samples() {
        assert_eq!(percentile::<u32>(&mut [], 0.5), None);
        assert_eq!(percentile(&mut [7], 0.99), Some(7));
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4, 1, 3, 2]), Some(2));
        assert_eq!(percentile(&mut [1, 2], 0.99), Some(2));
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!(milliseconds(Duration::from_micros(1234)), "1.23");
        assert_eq!(milliseconds(Duration::from_micros(12_340)), "12.3");
        assert_eq!(milliseconds(Duration::from_millis(1234)), "1234");
        assert_eq!(thousands(12.34), "12.3");
        assert_eq!(thousands(999.6), "1,000");
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(count(30_000), "30,000");
    }
}
