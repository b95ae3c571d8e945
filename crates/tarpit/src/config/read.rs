//! From one TOML value to one checked Rust value: a function for each type of option.
//!
//! Parse, don't validate: what comes out can't be wrong any more, so nothing inside looks twice.
//! Each function says what it found; what would have been allowed stands in the table of options.

mod place;
mod span;
mod text;

use toml::de::DeValue;

use super::nearest::nearest;
use super::options::Refused;

pub(crate) use place::{
    file, folder, listen, network, networks, output, pem, servers, socket, token, token_file,
};
pub(crate) use span::{moment, show_time, span, time};
pub(crate) use text::group;
pub(crate) use text::{addresses, domains, hostname, name, sentence};

/// The value as it stands in the file, shortened, with its type where that isn't plain.
pub(crate) fn show(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => show_text(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(moment) => moment.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A text as a TOML string, shortened: for values from outside in messages.
pub(crate) fn show_text(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    quote(&shown)
}

/// A text as a TOML string in one line, control characters escaped. (The `toml` crate writes a
/// text with a newline over several lines, which a record must never be.)
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            _ if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// The text of a value that has to be one.
fn string<'v>(value: &'v DeValue<'_>) -> Result<&'v str, Refused> {
    value.as_str().ok_or_else(|| match value {
        DeValue::Array(_) | DeValue::Table(_) => Refused::found(show(value)),
        _ => Refused::with(show(value), "put it in quotation marks"),
    })
}

/// The texts of a value that has to be a list of them.
fn strings<'v>(value: &'v DeValue<'_>) -> Result<Vec<&'v str>, Refused> {
    each(value, string)
}

/// The elements of a value that has to be a list, each read with `read`.
fn each<'v, 't, T>(
    value: &'v DeValue<'t>,
    read: impl Fn(&'v DeValue<'t>) -> Result<T, Refused>,
) -> Result<Vec<T>, Refused> {
    let Some(list) = value.as_array() else {
        let hint = value
            .as_str()
            .map(|text| format!("a list stands in brackets: [{}]", show_text(text)));
        return Err(Refused {
            found: show(value),
            hint,
        });
    };
    list.iter().map(|element| read(element.get_ref())).collect()
}

/// One of `words`.
pub(crate) fn word(value: &DeValue<'_>, words: &[&'static str]) -> Result<Box<str>, Refused> {
    let text = string(value)?;
    if words.contains(&text) {
        return Ok(text.into());
    }
    let hint = nearest(text, words.iter().copied()).map(|near| format!("did you mean \"{near}\"?"));
    Err(Refused {
        found: show_text(text),
        hint,
    })
}

/// `true` or `false`.
pub(crate) fn flag(value: &DeValue<'_>) -> Result<bool, Refused> {
    value.as_bool().ok_or_else(|| match value.as_str() {
        Some("true" | "false") => Refused::with(show(value), "leave the quotation marks out"),
        _ => Refused::found(show(value)),
    })
}

/// A whole number from `min` to `max`.
pub(crate) fn count(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, Refused> {
    let number = integer(value).filter(|number| (min..=max).contains(number));
    number.ok_or_else(|| match value.as_str() {
        Some(text) if text.parse::<u64>().is_ok() => {
            Refused::with(show(value), "leave the quotation marks out")
        }
        _ => Refused::found(show(value)),
    })
}

/// The number, if it is a whole one and not negative.
fn integer(value: &DeValue<'_>) -> Option<u64> {
    let number = value.as_integer()?;
    u64::from_str_radix(number.as_str(), number.radix()).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Reads the TOML value `text` with `read`; what was found and the hint, if it is refused.
    pub(crate) fn try_read<T>(
        text: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, Refused>,
    ) -> Result<T, String> {
        let value = DeValue::parse(text).unwrap();
        read(value.get_ref()).map_err(|refused| match refused.hint {
            Some(hint) => format!("{}; {hint}", refused.found),
            None => refused.found,
        })
    }

    #[test]
    fn counts() {
        let read = |text| try_read(text, |value| count(value, 100, 1000));
        assert_eq!(read("100"), Ok(100));
        assert_eq!(read("1_000"), Ok(1000));
        assert_eq!(read("0x80"), Ok(128));
        assert_eq!(read("99"), Err("99".to_owned()));
        assert_eq!(read("1001"), Err("1001".to_owned()));
        assert_eq!(read("-100"), Err("-100".to_owned()));
        assert_eq!(read("100.0"), Err("100.0".to_owned()));
        assert_eq!(
            read("\"100\""),
            Err("\"100\"; leave the quotation marks out".to_owned())
        );
    }

    #[test]
    fn words() {
        let read = |text| try_read(text, |value| word(value, &["off", "observe", "enforce"]));
        assert_eq!(read("\"off\""), Ok("off".into()));
        assert_eq!(
            read("\"enforced\""),
            Err("\"enforced\"; did you mean \"enforce\"?".to_owned())
        );
        assert_eq!(read("\"x\""), Err("\"x\"".to_owned()));
        assert_eq!(
            read("false"),
            Err("false; put it in quotation marks".to_owned())
        );
    }

    #[test]
    fn flags() {
        let read = |text| try_read(text, flag);
        assert_eq!(read("true"), Ok(true));
        assert_eq!(
            read("\"true\""),
            Err("\"true\"; leave the quotation marks out".to_owned())
        );
        assert_eq!(read("1"), Err("1".to_owned()));
    }

    #[test]
    fn quotes_hostile_text() {
        assert_eq!(
            quote("a\u{1b}[31m\n\"\\ü"),
            "\"a\\u001B[31m\\u000A\\\"\\\\ü\""
        );
        assert_eq!(
            show_text(&"x".repeat(100)),
            format!("\"{}…\"", "x".repeat(60))
        );
        let text = "a\u{7f}\u{85}\n\"\\";
        let back: toml::Value = format!("k = {}", quote(text))
            .parse::<toml::Table>()
            .unwrap()["k"]
            .clone();
        assert_eq!(back.as_str(), Some(text));
    }
}
