//! Spans of time and moments.

use std::time::Duration;

use toml::de::DeValue;

use super::{integer, show};
use crate::config::options::Refused;

/// The units, longest first. One unit for a value: `90s`, not `1m30s`; that is enough for
/// time limits, and leaves one way to write each.
const UNITS: &[(&str, u64)] = &[
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// A span of time from `min` to `max`: whole seconds as in TarpitTime, or a text with a unit.
pub(crate) fn time(value: &DeValue<'_>, min: Duration, max: Duration) -> Result<Duration, Refused> {
    let span = match value {
        DeValue::String(text) => span(text),
        _ => integer(value).map(Duration::from_secs),
    };
    let allowed = span.filter(|span| (min..=max).contains(span));
    allowed.ok_or_else(|| Refused::found(show(value)))
}

/// `5s`, `500ms`, `2m`, `1h`, `7d`.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let unit_at = text.find(|letter: char| !letter.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    let number: u64 = number.parse().ok()?;
    number.checked_mul(*millis).map(Duration::from_millis)
}

/// A span as one writes it, in the longest unit that divides it: `5s`, `500ms`, `2m`.
pub(crate) fn show_time(span: Duration) -> String {
    let millis = span.as_millis();
    let unit = UNITS
        .iter()
        .find(|(_, unit)| millis != 0 && millis.is_multiple_of((*unit).into()));
    let (name, unit) = unit.copied().unwrap_or(("s", 1_000));
    format!("{}{name}", millis / u128::from(unit))
}

/// A moment, in seconds since 1970: a date means the start of that day, UTC.
pub(crate) fn moment(value: &DeValue<'_>) -> Result<u64, Refused> {
    let Some(given) = value.as_datetime() else {
        let hint = value
            .as_str()
            .is_some()
            .then(|| "leave the quotation marks out".to_owned());
        return Err(Refused {
            found: show(value),
            hint,
        });
    };
    let rfc_3339 = match (given.date, given.time, given.offset) {
        (Some(date), None, None) => format!("{date}T00:00:00Z"),
        (Some(_), Some(_), Some(_)) => given.to_string(),
        (Some(_), Some(_), None) => {
            return Err(Refused::with(
                show(value),
                "a time needs an offset, such as Z for UTC",
            ));
        }
        _ => return Err(Refused::found(show(value))),
    };
    let seconds = rfc_3339.parse().ok().map(jiff::Timestamp::as_second);
    let since_1970 = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    since_1970.ok_or_else(|| Refused::found(show(value)))
}

#[cfg(test)]
mod tests {
    use super::super::tests::try_read;
    use super::*;

    #[test]
    fn times() {
        let read = |text| {
            try_read(text, |value| {
                time(value, Duration::ZERO, Duration::from_secs(240))
            })
        };
        for (text, millis) in [
            ("5", 5_000),
            ("0", 0),
            ("\"5s\"", 5_000),
            ("\"500ms\"", 500),
            ("\"2m\"", 120_000),
            ("\"4 m\"", 240_000),
        ] {
            assert_eq!(read(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "241",
            "\"5\"",
            "\"5 secs\"",
            "\"1m30s\"",
            "\"-5s\"",
            "\"5S\"",
            "\"\"",
            "\"s\"",
            "2.5",
            "true",
            "\"99999999999999999999s\"",
            "\"9999999999999999999h\"",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shows_times() {
        for (millis, text) in [
            (0, "0s"),
            (500, "500ms"),
            (5_000, "5s"),
            (90_000, "90s"),
            (120_000, "2m"),
            (3_600_000, "1h"),
        ] {
            assert_eq!(show_time(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn moments() {
        let read = |text| try_read(text, moment);
        assert_eq!(read("1970-01-02"), Ok(86_400));
        assert_eq!(read("2027-03-31"), Ok(1_806_451_200));
        assert_eq!(read("2027-03-31T02:00:00+02:00"), Ok(1_806_451_200));
        assert_eq!(read("2027-03-31 00:00:00Z"), Ok(1_806_451_200));
        for (text, says) in [
            ("2027-03-31T02:00:00", "needs an offset"),
            ("02:00:00", "02:00:00"),
            ("\"2027-03-31\"", "leave the quotation marks out"),
            ("1960-01-01", "1960-01-01"),
            ("1", "1"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
