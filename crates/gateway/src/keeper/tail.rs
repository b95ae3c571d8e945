//! What a keeper keeps of a parcel beside its socket, deadline and reply: in front of the record, in
//! one piece of memory, since a million of them are kept.

use tarpit_core::Source;

use super::message::{Reader, Unreadable, put_number, put_source};

/// What stands in front of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail<'a> {
    pub(super) source: Source,
    /// Seconds.
    pub(super) patience: u32,
    pub(super) ticket: Option<u64>,
    /// TLS is spoken on the socket: nothing may be written there.
    pub(super) veil: Option<u64>,
    pub(super) prompt: bool,
    /// It listened already when it came.
    pub(super) listens: bool,
    pub(super) record: &'a [u8],
}

mod flag {
    pub(super) const PROMPT: u8 = 1;
    pub(super) const TICKET: u8 = 2;
    pub(super) const LISTENS: u8 = 4;
    pub(super) const VEIL: u8 = 8;
}

impl<'a> Tail<'a> {
    pub(super) fn pack(&self) -> Box<[u8]> {
        // Flags, a source and three numbers at most.
        const HEAD: usize = 1 + 18 + 5 + 2 * 10;
        let mut out = Vec::with_capacity(HEAD + self.record.len());
        let mut flags = 0;
        for (is_set, bit) in [
            (self.prompt, flag::PROMPT),
            (self.ticket.is_some(), flag::TICKET),
            (self.listens, flag::LISTENS),
            (self.veil.is_some(), flag::VEIL),
        ] {
            flags |= if is_set { bit } else { 0 };
        }
        out.push(flags);
        put_source(self.source, &mut out);
        put_number(self.patience.into(), &mut out);
        for number in [self.ticket, self.veil].into_iter().flatten() {
            put_number(number, &mut out);
        }
        out.extend_from_slice(self.record);
        out.into_boxed_slice()
    }

    /// # Errors
    /// It is none that [`Tail::pack`] made.
    pub(super) fn unpack(packed: &'a [u8]) -> Result<Self, Unreadable> {
        let mut reader = Reader(packed);
        let flags = reader.octet("flags")?;
        Ok(Self {
            source: reader.source()?,
            patience: reader.small("patience")?,
            ticket: (flags & flag::TICKET != 0)
                .then(|| reader.number("ticket"))
                .transpose()?,
            veil: (flags & flag::VEIL != 0)
                .then(|| reader.number("veil"))
                .transpose()?,
            prompt: flags & flag::PROMPT != 0,
            listens: flags & flag::LISTENS != 0,
            record: reader.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        for (ticket, veil, prompt) in [
            (None, Some(u64::MAX), true),
            (Some(u64::MAX), None, false),
            (Some(1), Some(2), false),
        ] {
            let tail = Tail {
                source: Source::V6(1 << 64, 64),
                patience: 300,
                ticket,
                veil,
                prompt,
                listens: !prompt,
                record: b"a record",
            };
            assert_eq!(Tail::unpack(&tail.pack()), Ok(tail));
        }
        let usual = Tail {
            source: Source::V4(1, 32),
            patience: 300,
            ticket: None,
            veil: None,
            prompt: false,
            listens: false,
            record: &[],
        };
        assert_eq!(usual.pack().len(), 9);
        assert!(Tail::unpack(&[]).is_err());
    }
}
