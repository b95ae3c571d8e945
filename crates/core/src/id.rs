//! The short name of a session, for logs and for both ends of a telephone call.

use std::fmt;

/// A session's number. Unique within the life of a process, and the driver starts each process at
/// another number, so that ids of yesterday's log are not met again soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// Crockford's base 32: no letter looks like a digit.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl fmt::Display for SessionId {
    /// The low 40 bits as eight characters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for shift in (0..8).rev() {
            let digit = usize::try_from((self.0 >> (shift * 5)) & 31).unwrap_or_default();
            let letter = ALPHABET.get(digit).copied().unwrap_or(b'0');
            write!(f, "{}", char::from(letter))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_letters() {
        assert_eq!(SessionId(0).to_string(), "00000000");
        assert_eq!(SessionId(31).to_string(), "0000000Z");
        assert_eq!(SessionId(u64::MAX).to_string(), "ZZZZZZZZ");
    }
}
