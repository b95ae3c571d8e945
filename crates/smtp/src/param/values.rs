//! Values of parameters: numbers and dates.

use crate::limits::{INTEGER_DIGITS_MAX, SIZE_DIGITS_MAX};

/// RFC 1870 §4: `1*20DIGIT`.
pub(crate) fn size(value: &str) -> Option<u64> {
    digits(value, SIZE_DIGITS_MAX)?.parse().ok()
}

/// `1*9DIGIT`, as RFC 2852 §4 and RFC 4865 §4 have it.
pub(crate) fn seconds(value: &str) -> Option<u32> {
    digits(value, INTEGER_DIGITS_MAX)?.parse().ok()
}

/// `value` if it is 1 to `max` digits.
fn digits(value: &str, max: usize) -> Option<&str> {
    let ok = (1..=max).contains(&value.len()) && value.bytes().all(|octet| octet.is_ascii_digit());
    ok.then_some(value)
}

/// RFC 3339 §5.6, date-time, with each number within its range. Whether a day exists in its month is left to who counts
/// with it.
pub(crate) fn date_time(value: &str) -> bool {
    let bytes = value.as_bytes();
    let Some((start, rest)) = bytes.split_at_checked("2026-01-31T23:59:60".len()) else {
        return false;
    };
    let rest = match rest.strip_prefix(b".") {
        Some(fraction) => {
            let count = fraction.iter().take_while(|o| o.is_ascii_digit()).count();
            // Nanoseconds are the finest that anybody counts in.
            if !(1..=9).contains(&count) {
                return false;
            }
            fraction.get(count..).unwrap_or_default()
        }
        None => rest,
    };
    shaped(start, b"0000-00-00T00:00:00")
        && within(start, 5, 1, 12)
        && within(start, 8, 1, 31)
        && within(start, 11, 0, 23)
        && within(start, 14, 0, 59)
        && within(start, 17, 0, 60)
        && offset(rest)
}

/// `Z` or `+02:00`.
fn offset(text: &[u8]) -> bool {
    match text {
        b"Z" | b"z" => true,
        [b'+' | b'-', rest @ ..] => {
            shaped(rest, b"00:00") && within(rest, 0, 0, 23) && within(rest, 3, 0, 59)
        }
        _ => false,
    }
}

/// Whether `text` has digits where `shape` has 0, and else its letters, in any case.
fn shaped(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(octet, shape)| match shape {
            b'0' => octet.is_ascii_digit(),
            _ => octet.eq_ignore_ascii_case(shape),
        })
}

/// Whether the two digits at `at` are a number from `min` to `max`.
fn within(text: &[u8], at: usize, min: u8, max: u8) -> bool {
    let two = text.get(at..).and_then(|rest| rest.first_chunk::<2>());
    let number = two
        .and_then(|two| std::str::from_utf8(two).ok())
        .and_then(|two| two.parse::<u8>().ok());
    number.is_some_and(|number| (min..=max).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for good in [
            "2026-11-24T17:00:00Z",
            "2026-11-24t17:00:60z",
            "2026-01-01T00:00:00.123456789Z",
            "9999-12-31T23:59:59+23:59",
            "0000-01-01T00:00:00-00:00",
        ] {
            assert!(date_time(good), "{good}");
        }
        for bad in [
            "",
            "2026-11-24",
            "2026-11-24 17:00:00Z",
            "2026-11-24T17:00:00",
            "2026-13-24T17:00:00Z",
            "2026-00-24T17:00:00Z",
            "2026-11-32T17:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T17:60:00Z",
            "2026-11-24T17:00:61Z",
            "2026-11-24T17:00:00.Z",
            "2026-11-24T17:00:00.1234567890Z",
            "2026-11-24T17:00:00+24:00",
            "2026-11-24T17:00:00+0200",
            "2026-11-24T17:00:00ZZ",
            "+026-11-24T17:00:00Z",
        ] {
            assert!(!date_time(bad), "{bad}");
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(seconds("000000001"), Some(1));
        assert_eq!(seconds("999999999"), Some(999_999_999));
        for bad in ["", "0000000001", "+1", "-1", "1 ", "x"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
