//! Hostile octets for logs: printable ASCII stays, everything else becomes visible.

use std::fmt;

/// Octets that print as `\xNN` where they aren't printable ASCII; made by [`escape`].
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

/// Makes `bytes` fit for a log line: printable ASCII and space as they are, backslash doubled, every other octet
/// (controls, NUL, octets above 127) as `\xNN`. The result is one line and can be read back without doubt.
#[must_use]
pub fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        while !rest.is_empty() {
            let plain = |octet: &u8| matches!(octet, b' '..=b'~') && *octet != b'\\';
            let (run, after) = rest
                .iter()
                .position(|octet| !plain(octet))
                .and_then(|at| rest.split_at_checked(at))
                .unwrap_or((rest, &[]));
            f.write_str(std::str::from_utf8(run).unwrap_or_default())?;
            rest = match after {
                [b'\\', after @ ..] => {
                    f.write_str("\\\\")?;
                    after
                }
                [octet, after @ ..] => {
                    write!(f, "\\x{octet:02X}")?;
                    after
                }
                [] => after,
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_printable_ascii_comes_out() {
        let all: Vec<u8> = (0..=255).collect();
        let text = escape(&all).to_string();
        assert!(
            text.bytes().all(|octet| (b' '..=b'~').contains(&octet)),
            "{text}"
        );
        for (bytes, text) in [
            (&b"plain text"[..], "plain text"),
            (b"a\\x41", "a\\\\x41"),
            (b"\r\n\0\x7f\xc3\xa9", "\\x0D\\x0A\\x00\\x7F\\xC3\\xA9"),
            (b"\x1b[2J", "\\x1B[2J"),
        ] {
            assert_eq!(escape(bytes).to_string(), text);
        }
    }
}
