//! The token: who may look where the address is not this machine's alone.
//!
//! A browser asks for it by itself, as a password (Basic, RFC 7617; any name does), programs send it
//! as Bearer (RFC 6750). In a query it is not taken: addresses stand in histories and logs.

use std::fmt;
use std::hint::black_box;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HeaderValue};

/// The fewest characters of a token: 64 bits, if they are hexadecimal digits made by chance.
const TOKEN_MIN: usize = 16;

/// The most. A head that holds it has to be read in one piece.
const TOKEN_MAX: usize = 256;

/// What a refusal asks for.
pub(crate) const ASK: HeaderValue =
    HeaderValue::from_static("Basic realm=\"tarpit\", charset=\"UTF-8\"");

/// A word that only those know who may look.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

/// Never in a log.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Of the first line of a file, without blanks around it.
    ///
    /// # Errors
    /// It is too short, too long, or has characters that a browser may not send as they are; what is
    /// allowed.
    pub fn of(text: &str) -> Result<Self, String> {
        let line = text.lines().next().unwrap_or_default().trim();
        let is_sendable = line.bytes().all(|octet| (b' '..=b'~').contains(&octet));
        if !is_sendable || line.len() < TOKEN_MIN || line.len() > TOKEN_MAX {
            return Err(format!(
                "allowed: {TOKEN_MIN} to {TOKEN_MAX} printable ASCII characters in its first line, such as \
                 `openssl rand -hex 16` makes"
            ));
        }
        Ok(Self(line.into()))
    }

    /// Whether the request has it.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (all.next(), all.next()) else {
            return false;
        };
        let Some((scheme, rest)) = value.to_str().ok().and_then(|text| text.split_once(' ')) else {
            return false;
        };
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(rest.as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let Some(pair) = decode(rest) else {
            return false;
        };
        let password = pair.iter().position(|octet| *octet == b':');
        password.is_some_and(|at| self.is(pair.get(at + 1..).unwrap_or_default()))
    }

    /// Takes as long for every word of the same length: how far a guess was right can't be told from
    /// the time.
    fn is(&self, word: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let mut difference = u8::from(own.len() != word.len());
        for (at, octet) in word.iter().enumerate() {
            difference |= octet ^ own.get(at % own.len()).copied().unwrap_or_default();
        }
        black_box(difference) == 0
    }
}

/// Base 64 (RFC 4648 §4), with or without its padding. A crate for it was rejected: this is all that is
/// needed of it.
fn decode(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let mut octets = Vec::with_capacity(text.len());
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORD: &str = "0123456789abcdef:x";

    fn said(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, value.parse().unwrap());
        }
        Token::of(WORD).unwrap().is_in(&headers)
    }

    #[test]
    fn whoever_knows_it_may_look() {
        assert!(said(&["Bearer 0123456789abcdef:x"]));
        assert!(said(&["bearer  0123456789abcdef:x "]));
        // printf 'admin:0123456789abcdef:x' | base64
        assert!(said(&["Basic YWRtaW46MDEyMzQ1Njc4OWFiY2RlZjp4"]));
        // printf ':0123456789abcdef:x' | base64
        assert!(said(&["basic OjAxMjM0NTY3ODlhYmNkZWY6eA=="]));
    }

    #[test]
    fn nobody_else_may() {
        for wrong in [
            &[][..],
            &["Bearer"],
            &["Bearer "],
            &["Bearer 0123456789abcdef:"],
            &["Bearer 0123456789abcdef:y"],
            &["Bearer 0123456789abcdef:x0123456789abcdef:x"],
            &["Digest 0123456789abcdef:x"],
            &["Basic 0123456789abcdef:x"],
            &["Basic MDEyMzQ1Njc4OWFiY2RlZg=="],
            &["Basic !"],
            &["Bearer 0123456789abcdef:x", "Bearer 0123456789abcdef:x"],
        ] {
            assert!(!said(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_is_long_and_of_one_line() {
        assert_eq!(
            Token::of(" 0123456789abcdef \nmore\n").unwrap().0.as_ref(),
            "0123456789abcdef"
        );
        for wrong in [
            "",
            "short",
            "\n0123456789abcdef",
            "0123456789abcdéf",
            &"x".repeat(257),
        ] {
            let refused = Token::of(wrong).unwrap_err();
            assert!(refused.contains("openssl rand -hex 16"), "{refused}");
        }
        assert_eq!(format!("{:?}", Token::of(WORD).unwrap()), "Token(..)");
    }
}
