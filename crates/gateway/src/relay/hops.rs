//! How often a message was received on its way (RFC 5321 §6.3): a message that goes round in circles
//! gets longer by one Received field each time, and would go on for ever.

/// RFC 5321 §6.3 asks for 100 at least. Servers in use refuse at 25 to 50, so what gets here is
/// either not theirs to judge or a circle that leaves them out.
const HOPS_MAX: u32 = 100;

const NAME: &[u8; 9] = b"received:";

/// Counts the Received fields in the header section of one message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hops {
    count: u32,
    /// The start of the line that comes in.
    start: [u8; NAME.len()],
    len: usize,
    /// The rest of the line does not matter.
    skipping: bool,
    /// The header section is over.
    over: bool,
}

impl Hops {
    /// The next octets of the message, in any pieces.
    pub(super) fn count(&mut self, mut piece: &[u8]) {
        while !self.over && !piece.is_empty() {
            if self.skipping {
                let Some(end) = memchr::memchr(b'\n', piece) else {
                    return;
                };
                piece = &piece[end + 1..];
                self.skipping = false;
                continue;
            }
            let (octet, rest) = (piece[0], &piece[1..]);
            piece = rest;
            self.start_line(octet);
        }
    }

    fn start_line(&mut self, octet: u8) {
        if octet == b'\n' {
            self.over = self.start[..self.len] == *b"\r" || self.len == 0;
            self.len = 0;
            return;
        }
        self.start[self.len] = octet;
        self.len += 1;
        if self.len == NAME.len() {
            self.count += u32::from(self.start.eq_ignore_ascii_case(NAME));
            self.skipping = true;
            self.len = 0;
        }
    }

    pub(super) const fn is_circle(&self) -> bool {
        self.count > HOPS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(message: &[u8]) -> u32 {
        let counts = (1..=message.len()).map(|size| {
            let mut hops = Hops::default();
            message.chunks(size).for_each(|piece| hops.count(piece));
            hops.count
        });
        let counts: Vec<u32> = counts.collect();
        assert!(counts.iter().all(|count| *count == counts[0]), "{counts:?}");
        counts[0]
    }

    #[test]
    fn counts_fields_of_the_header_section() {
        for (message, expected) in [
            (
                &b"Received: a\r\n b\r\nreceived:c\r\nRECEIVED : no\r\n\r\nReceived: body\r\n"[..],
                2,
            ),
            (
                b"Received\r\n: no\r\nX-Received: no\r\nReceived: yes\r\n",
                1,
            ),
            (b"\r\nReceived: body\r\n", 0),
            (b"Subject: Received: no\r\n\r\n", 0),
            (b"a\r\n\nReceived: body\r\n", 0),
        ] {
            assert_eq!(count(message), expected, "{}", tarpit_smtp::escape(message));
        }
    }

    #[test]
    fn a_circle_is_more_than_a_hundred() {
        for (fields, circle) in [(100, false), (101, true)] {
            let mut hops = Hops::default();
            hops.count("Received: x\r\n".repeat(fields).as_bytes());
            assert_eq!(hops.is_circle(), circle);
        }
    }
}
