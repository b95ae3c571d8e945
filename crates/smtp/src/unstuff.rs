//! Takes out the dots that the sender put in (RFC 5321 §4.5.2), for who keeps the message: the built-in maildir.

use memchr::memchr_iter;

/// Removes the leading dot of each line from what [`crate::DataScanner`] let through, in any chunking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unstuffer {
    at: At,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Text,
    Cr,
}

impl Unstuffer {
    /// At the start of a message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `chunk` without stuffed dots to `out`.
    ///
    /// Only what follows CRLF is a line start, as in the scanner.
    pub fn unstuff(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let mut rest = chunk;
        for at in memchr_iter(b'\n', chunk) {
            let line_len = at
                .saturating_add(1)
                .saturating_sub(chunk.len().saturating_sub(rest.len()));
            let Some((line, after)) = rest.split_at_checked(line_len) else {
                break;
            };
            self.piece(line, out);
            rest = after;
        }
        self.piece(rest, out);
    }

    /// A piece with no LF but at its end.
    fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let kept = match self.at {
            At::LineStart => piece.strip_prefix(b".").unwrap_or(piece),
            At::Text | At::Cr => piece,
        };
        out.extend_from_slice(kept);
        self.at = match piece {
            [] => self.at,
            [.., b'\r', b'\n'] => At::LineStart,
            [b'\n'] if self.at == At::Cr => At::LineStart,
            [.., b'\r'] => At::Cr,
            _ => At::Text,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_one_dot_a_line_in_any_chunking() {
        for (stuffed, plain) in [
            (&b""[..], &b""[..]),
            (b"a\r\n", b"a\r\n"),
            (b"..\r\n", b".\r\n"),
            (b"..a.\r\n...b\r\n", b".a.\r\n..b\r\n"),
            (b"a\r\n\r\n..\r\n", b"a\r\n\r\n.\r\n"),
            (b"a.\r\n.b\r\n", b"a.\r\nb\r\n"),
            // No line start: the scanner lets neither through, and nothing is lost here.
            (b"a\n.b\r.c", b"a\n.b\r.c"),
            (b"\n.b", b"\n.b"),
        ] {
            for size in 1..=stuffed.len().max(1) {
                let (mut unstuffer, mut out) = (Unstuffer::new(), Vec::new());
                stuffed
                    .chunks(size)
                    .for_each(|chunk| unstuffer.unstuff(chunk, &mut out));
                assert_eq!(out, plain, "{} by {size}", crate::escape(stuffed));
            }
        }
    }
}
