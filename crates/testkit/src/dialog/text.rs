//! Octets, times and replies as dialogues write them.

use std::time::Duration;

use tarpit_core::Trouble;
use tarpit_smtp::{Reply, ReplyCode};

use super::Outcome;

/// `\r \n \0 \t \\ \xNN`, and `{x*600}` for 600 times `x`.
pub(super) fn octets(text: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        rest = match next {
            '\\' => escaped(rest, &mut octets)?,
            '{' => repeated(rest, &mut octets)?,
            _ => {
                octets.extend_from_slice(next.to_string().as_bytes());
                &rest[next.len_utf8()..]
            }
        };
    }
    Ok(octets)
}

fn escaped<'a>(text: &'a str, octets: &mut Vec<u8>) -> Result<&'a str, String> {
    let allowed = r"allowed: \r \n \0 \t \\ \{ \xNN";
    let (octet, length) = match text.as_bytes().get(1) {
        Some(b'r') => (b'\r', 2),
        Some(b'n') => (b'\n', 2),
        Some(b'0') => (0, 2),
        Some(b't') => (b'\t', 2),
        Some(b'\\') => (b'\\', 2),
        Some(b'{') => (b'{', 2),
        Some(b'x') => {
            let digits = text
                .get(2..4)
                .ok_or_else(|| format!("{text:?} is no escape; {allowed}"))?;
            (
                u8::from_str_radix(digits, 16)
                    .map_err(|_| format!("{text:?} is no escape; {allowed}"))?,
                4,
            )
        }
        _ => return Err(format!("{text:?} is no escape; {allowed}")),
    };
    octets.push(octet);
    Ok(&text[length..])
}

fn repeated<'a>(text: &'a str, octets: &mut Vec<u8>) -> Result<&'a str, String> {
    let wrong = || {
        format!(
            "{text:?}: allowed after a brace: one character, *, a count, a closing brace, as in {{x*600}}"
        )
    };
    let (inside, rest) = text[1..].split_once('}').ok_or_else(wrong)?;
    let (unit, count) = inside.split_once('*').ok_or_else(wrong)?;
    let count: usize = count.parse().map_err(|_| wrong())?;
    if unit.len() != 1 {
        return Err(wrong());
    }
    octets.extend(std::iter::repeat_n(unit.as_bytes()[0], count));
    Ok(rest)
}

/// `250ms`, `4.9s`, `30m`, `30d`; in whole milliseconds.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!("{text:?} is no time; allowed: a number and ms, s, m or d, as in 250ms, 4.9s, 2m")
    };
    let split = text
        .find(|letter: char| letter.is_ascii_alphabetic())
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "d" => 86_400.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let exact = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    let micros = exact.as_micros() + 500;
    Ok(Duration::from_millis(
        u64::try_from(micros / 1000).map_err(|_| wrong())?,
    ))
}

/// The reverse of [`time`], in seconds: `5s`, `4.9s`.
pub(super) fn show_time(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// `550 5.1.1 No such user / second line`
pub(super) fn reply(text: &str) -> Result<Reply, String> {
    let wrong = || {
        format!(
            "{text:?} is no reply; allowed: a code from 200 to 599 and a text, lines joined by \" / \""
        )
    };
    let (code, words) = text.split_once(' ').unwrap_or((text, ""));
    let code = code
        .parse()
        .ok()
        .and_then(ReplyCode::new)
        .ok_or_else(wrong)?;
    Ok(Reply::new(code, &words.replace(" / ", "\n")))
}

/// What stands behind `=>`.
pub(super) fn outcome(text: &str) -> Result<Outcome, String> {
    if let Some(word) = text.strip_prefix('!') {
        return trouble(word).map(Outcome::Trouble);
    }
    if let Some(text) = text.strip_prefix("MAIL ") {
        return reply(text).map(Outcome::SenderRefused);
    }
    if let Some(text) = text.strip_prefix("GREETING ") {
        return reply(text).map(Outcome::ServiceRefused);
    }
    reply(text).map(Outcome::Reply)
}

/// The word of a [`Trouble`].
pub(super) fn trouble(word: &str) -> Result<Trouble, String> {
    const ALL: [Trouble; 11] = [
        Trouble::Unreachable,
        Trouble::TimedOut,
        Trouble::Closed,
        Trouble::Garbage,
        Trouble::Capacity,
        Trouble::Identity,
        Trouble::Tls,
        Trouble::Changed,
        Trouble::Lacks,
        Trouble::Relays,
        Trouble::AuthLost,
    ];
    ALL.into_iter()
        .find(|trouble| trouble.as_str() == word)
        .ok_or_else(|| {
            let words: Vec<&str> = ALL.iter().map(|trouble| trouble.as_str()).collect();
            format!("{word:?} is no trouble; allowed: {}", words.join(", "))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_are_read() {
        assert_eq!(
            octets(r"a\r\n\0\x80\\\{{x*3}b").unwrap(),
            b"a\r\n\0\x80\\{xxxb"
        );
        assert!(octets(r"\q").is_err());
        assert!(octets("{xx*3}").is_err());
        assert!(octets("{x*3").is_err());
    }

    #[test]
    fn times_are_read_and_shown() {
        for (text, millis) in [
            ("250ms", 250),
            ("4.9s", 4_900),
            ("2m", 120_000),
            ("0s", 0),
            ("4.999s", 4_999),
        ] {
            assert_eq!(time(text).unwrap(), Duration::from_millis(millis), "{text}");
        }
        assert!(time("5").is_err());
        assert!(time("5h").is_err());
        assert_eq!(show_time(Duration::from_millis(4_900)), "4.9s");
    }

    #[test]
    fn outcomes_are_read() {
        let read = |text: &str| {
            outcome(text)
                .map(|outcome| format!("{outcome:?}"))
                .unwrap_or_default()
        };
        assert!(read("550 5.1.1 one / 5.1.1 two").starts_with("Reply("));
        assert!(read("MAIL 550 no").starts_with("SenderRefused("));
        assert!(read("GREETING 554 no").starts_with("ServiceRefused("));
        assert_eq!(read("!auth_lost"), "Trouble(AuthLost)");
        for wrong in ["550-5.1.1 x", "99 x", "600 x", "ok", "!tired"] {
            assert_eq!(read(wrong), "", "{wrong}");
        }
        assert_eq!(reply("250 one / two").unwrap().lines().count(), 2);
    }
}
