//! Values of other servers as values of ours: each function gives what stands behind the `=` in TOML,
//! or says why there is nothing to take.

use std::time::Duration;

use crate::config::{quote, show_time};

/// What stands in TOML, or why nothing does.
pub(super) type Read = Result<String, String>;

/// A whole number.
pub(super) fn whole(value: &str) -> Option<u64> {
    value.trim().parse().ok()
}

/// A number that is a bound; 0 stands for none.
pub(super) fn bound(value: &str) -> Read {
    match whole(value) {
        Some(0) => Err("0 is no bound there; Tarpit keeps its own".to_owned()),
        Some(number) => Ok(number.to_string()),
        None => Err(no_number(value)),
    }
}

/// Four fifths of the sessions that a server serves at a time, at least one: the rest is for its other
/// clients, as with our default of 80 for Postfix's 100 processes.
pub(super) fn four_fifths(value: &str) -> Read {
    match whole(value) {
        Some(0) => Err("0 is no bound there; Tarpit keeps its own".to_owned()),
        Some(number) => Ok((number.saturating_mul(4) / 5).max(1).to_string()),
        None => Err(no_number(value)),
    }
}

/// A fully qualified name.
pub(super) fn name(value: &str) -> Read {
    Ok(quote(value.trim().trim_end_matches('.')))
}

/// A span of time for TOML.
pub(super) fn span(time: Duration) -> String {
    quote(&show_time(time))
}

/// A delay: none at all is the other server's way to be off, which is ours too until somebody says
/// otherwise.
pub(super) fn delay(time: Option<Duration>, value: &str) -> Read {
    match time {
        Some(Duration::ZERO) => {
            Err("nothing is delayed there. Neither is here with mode = \"observe\"".to_owned())
        }
        Some(time) => Ok(span(time)),
        None => Err(no_time(value)),
    }
}

/// `5s`, `1m30s`, `2h`, `1d`, `1w`; a number alone is in `unit` seconds.
pub(super) fn time(value: &str, unit: u64) -> Option<Duration> {
    let value = value.trim();
    if let Some(number) = whole(value) {
        return number.checked_mul(unit).map(Duration::from_secs);
    }
    let mut total = Duration::ZERO;
    let mut rest = value;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
        let (number, behind) = rest.split_at(end);
        let letter = behind.chars().next()?;
        let factor: u32 = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        let one = seconds(number)?.checked_mul(factor)?;
        total = total.checked_add(one)?;
        rest = behind.get(letter.len_utf8()..)?;
    }
    (!value.is_empty()).then_some(total)
}

/// Seconds with a fraction, to the millisecond: `0.5`.
fn seconds(number: &str) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let millis: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis: u64 = millis.parse().ok()?;
    let whole: u64 = whole.parse().ok()?;
    Duration::from_secs(whole).checked_add(Duration::from_millis(millis))
}

/// .NET's `[d.]hh:mm:ss[.fffffff]`.
pub(super) fn clock(value: &str) -> Option<Duration> {
    let mut parts = value.trim().split(':');
    let (first, minutes, last) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let (days, hours) = first.split_once('.').unwrap_or(("0", first));
    let (days, hours, minutes) = (whole(days)?, whole(hours)?, whole(minutes)?);
    let whole = days.checked_mul(24)?.checked_add(hours)?.checked_mul(60)?;
    let whole = whole.checked_add(minutes)?.checked_mul(60)?;
    Duration::from_secs(whole).checked_add(seconds(last)?)
}

/// What to say of a value that should be a number.
pub(super) fn no_number(value: &str) -> String {
    format!("{} is no plain number", quote(value))
}

/// What to say of a value that should be a time.
pub(super) fn no_time(value: &str) -> String {
    format!("{} is no plain time", quote(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let seconds = |value| time(value, 1).map(|time| time.as_secs_f64());
        assert_eq!(seconds("5"), Some(5.0));
        assert_eq!(seconds("1m30s"), Some(90.0));
        assert_eq!(seconds("0.5s"), Some(0.5));
        assert_eq!(seconds("1w"), Some(604_800.0));
        assert_eq!(time("2", 60), Some(Duration::from_secs(120)));
        for bad in [
            "",
            "s",
            "5x",
            "-1s",
            "${stress?1:2}",
            "1.2.3s",
            "99999999999999999999s",
            "5 s",
        ] {
            assert_eq!(time(bad, 1), None, "{bad}");
        }
    }

    #[test]
    fn clocks() {
        let seconds = |value| clock(value).map(|time| time.as_secs_f64());
        assert_eq!(seconds("00:00:05"), Some(5.0));
        assert_eq!(seconds("1.00:01:00.5000000"), Some(86_460.5));
        for bad in [
            "5",
            "00:05",
            "00:00:05:00",
            "unlimited",
            "a:b:c",
            "9999999999999999.00:00:00",
        ] {
            assert_eq!(clock(bad), None, "{bad}");
        }
    }

    #[test]
    fn bounds() {
        assert_eq!(four_fifths("100"), Ok("80".to_owned()));
        assert_eq!(four_fifths("1"), Ok("1".to_owned()));
        assert_eq!(
            four_fifths("18446744073709551615"),
            Ok("3689348814741910323".to_owned())
        );
        assert!(four_fifths("0").is_err() && bound("0").is_err() && bound("$x").is_err());
    }
}
