//! The size of a message as it arrives, against the limit that was announced (RFC 1870 §6.3): a
//! client need not have said it with MAIL, nor the truth.

use memchr::memmem;

/// Octets with their CRLF, without the dots that were doubled in transit (RFC 1870 §5).
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    octets: u64,
    limit: Option<u64>,
    at_line_start: bool,
}

impl Size {
    /// No limit: nothing is counted.
    pub(super) const fn limited(limit: Option<u64>) -> Self {
        Self {
            octets: 0,
            limit,
            at_line_start: true,
        }
    }

    /// Dot-stuffed octets, with line ends that are CRLF.
    pub(super) fn count(&mut self, piece: &[u8]) {
        let Some(last) = piece.last().filter(|_| self.limit.is_some()) else {
            return;
        };
        let first = u64::from(self.at_line_start && piece.starts_with(b"."));
        let dots = memmem::find_iter(piece, b"\n.").count() as u64 + first;
        self.octets = self
            .octets
            .saturating_add(piece.len() as u64)
            .saturating_sub(dots);
        self.at_line_start = *last == b'\n';
    }

    pub(super) fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.octets > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_of_transit_are_not_counted() {
        for (data, octets) in [
            (&b""[..], 0),
            (b"a\r\n", 3),
            (b"..\r\n", 3),
            (b"..a\r\n...\r\nb.\n.c\r\n", 4 + 4 + 3 + 3),
            (b"a.b\r\n", 5),
        ] {
            for piece in 1..=data.len().max(1) {
                let mut size = Size::limited(Some(octets));
                data.chunks(piece).for_each(|piece| size.count(piece));
                assert!(!size.is_over(), "{}", tarpit_smtp::escape(data));
                let mut size = Size::limited(Some(octets.saturating_sub(1)));
                data.chunks(piece).for_each(|piece| size.count(piece));
                assert_eq!(size.is_over(), octets > 0, "{}", tarpit_smtp::escape(data));
            }
        }
    }
}
