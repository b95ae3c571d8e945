//! The short name of a session, for logs and for both ends of a telephone call.

use std::fmt;
use std::str::FromStr;

/// A session's number. Unique within the life of a process, and the driver starts each process at
/// another number, so that ids of yesterday's log are not met again soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Crockford's base 32: no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for SessionId {
    /// The low 40 bits as eight characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |place: u64| {
            let digit = usize::try_from((self.0 >> (place * 5)) & 31).unwrap_or_default();
            ALPHABET.get(digit).copied().unwrap_or(b'0')
        };
        let letters = [7, 6, 5, 4, 3, 2, 1, 0].map(letter);
        f.write_str(std::str::from_utf8(&letters).unwrap_or_default())
    }
}

/// What is no name of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no name of a session; allowed: tp- and eight digits or letters, as in replies and records")
    }
}

impl std::error::Error for NotAnId {}

impl SessionId {
    /// What is shown of it: the low 40 bits. Two sessions of a process that are a billion apart
    /// look the same.
    #[must_use]
    pub const fn shown(self) -> Self {
        Self(self.0 & 0xff_ffff_ffff)
    }
}

impl FromStr for SessionId {
    type Err = NotAnId;

    /// `tp-0123ABCD`, also in small letters, and with the letters that people take for digits
    /// (Crockford reads O as 0, I and L as 1).
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let name = text
            .get(..3)
            .filter(|start| start.eq_ignore_ascii_case("tp-"));
        let digits = name.and_then(|_| text.get(3..)).ok_or(NotAnId)?;
        if digits.len() != 8 {
            return Err(NotAnId);
        }
        let mut number = 0;
        for letter in digits.bytes() {
            let letter = match letter.to_ascii_uppercase() {
                b'O' => b'0',
                b'I' | b'L' => b'1',
                letter => letter,
            };
            let digit = ALPHABET.iter().position(|one| *one == letter);
            let digit = digit.and_then(|digit| u64::try_from(digit).ok());
            number = (number << 5) | digit.ok_or(NotAnId)?;
        }
        Ok(Self(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for number in [0, 31, 0x12_3456_789a, u64::MAX] {
            let id = SessionId(number);
            assert_eq!(format!("tp-{id}").parse(), Ok(id.shown()));
        }
        assert_eq!("TP-oOiIlL1z".parse::<SessionId>(), "tp-0011111Z".parse());
        for bad in [
            "",
            "tp-",
            "tp-0123456",
            "tp-012345678",
            "tp-0123456U",
            "0123456789",
            "tp-\u{e9}00000",
        ] {
            assert_eq!(bad.parse::<SessionId>(), Err(NotAnId), "{bad}");
        }
    }

    #[test]
    fn eight_letters() {
        assert_eq!(SessionId(0).to_string(), "00000000");
        assert_eq!(SessionId(31).to_string(), "0000000Z");
        assert_eq!(SessionId(u64::MAX).to_string(), "ZZZZZZZZ");
    }
}
