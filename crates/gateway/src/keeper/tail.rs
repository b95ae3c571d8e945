//! What a keeper keeps of a parcel beside its socket and deadline: in one piece of memory, since a
//! million of them are kept. The reply, which is said once, and the record are squeezed by what they
//! have in common with others ([`Sample`]).

use tarpit_core::Source;

use super::message::{Reader, Unreadable, put_number, put_source};
use super::squeeze::Sample;

/// What stands in front of the reply and the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) source: Source,
    /// Seconds.
    pub(super) patience: u32,
    pub(super) ticket: Option<u64>,
    /// TLS is spoken on the socket: nothing may be written there.
    pub(super) veil: Option<u64>,
    pub(super) prompt: bool,
    /// It listened already when it came.
    pub(super) listens: bool,
}

/// What hangs on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body<'a> {
    pub(super) record: &'a [u8],
    /// What is said when it is due, in the form of `tarpit_core::paced`; nothing, if that is empty.
    pub(super) reply: &'a [u8],
}

/// The octets of a [`Body`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Octets {
    all: Vec<u8>,
    record: usize,
}

mod flag {
    pub(super) const PROMPT: u8 = 1;
    pub(super) const TICKET: u8 = 2;
    pub(super) const LISTENS: u8 = 4;
    pub(super) const VEIL: u8 = 8;
}

impl Tail {
    pub(super) fn pack(&self, body: Body<'_>, sample: &Sample) -> Box<[u8]> {
        // Flags, a source and four numbers at most.
        const HEAD: usize = 1 + 18 + 5 + 2 * 10 + 5;
        let mut out = Vec::with_capacity(HEAD + body.record.len() + body.reply.len());
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
        put_number(body.record.len() as u64, &mut out);
        // The name that the reply quotes is in the record.
        sample.squeeze(&body.concat(), &mut out);
        out.into_boxed_slice()
    }

    /// What stands in front.
    ///
    /// # Errors
    /// It is none that [`Tail::pack`] made.
    pub(super) fn unpack(packed: &[u8]) -> Result<Self, Unreadable> {
        Self::split(packed).map(|(tail, _)| tail)
    }

    /// All of it.
    ///
    /// # Errors
    /// It is none that [`Tail::pack`] made with this sample.
    pub(super) fn unpack_all(packed: &[u8], sample: &Sample) -> Result<(Self, Octets), Unreadable> {
        let (tail, mut reader) = Self::split(packed)?;
        let record = reader.small("record")? as usize;
        let all = sample.stretch(reader.0)?;
        if record > all.len() {
            return Err(Unreadable::Broken("record"));
        }
        Ok((tail, Octets { all, record }))
    }

    fn split(packed: &[u8]) -> Result<(Self, Reader<'_>), Unreadable> {
        let mut reader = Reader(packed);
        let flags = reader.octet("flags")?;
        let tail = Self {
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
        };
        Ok((tail, reader))
    }
}

impl Body<'_> {
    /// As it is squeezed.
    pub(super) fn concat(&self) -> Vec<u8> {
        [self.record, self.reply].concat()
    }
}

impl Octets {
    pub(super) fn body(&self) -> Body<'_> {
        let (record, reply) = self.all.split_at(self.record);
        Body { record, reply }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comes_back() {
        let body = Body {
            record: b"a record",
            reply: b"a reply",
        };
        for sample in [&b""[..], b"some record"].map(Sample::new) {
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
                };
                let packed = tail.pack(body, &sample);
                assert_eq!(Tail::unpack(&packed), Ok(tail));
                let (found, octets) = Tail::unpack_all(&packed, &sample).unwrap();
                assert_eq!((found, octets.body()), (tail, body));
            }
        }
        let usual = Tail {
            source: Source::V4(1, 32),
            patience: 300,
            ticket: None,
            veil: None,
            prompt: false,
            listens: false,
        };
        let sample = Sample::new(&body.concat());
        assert_eq!(usual.pack(body, &sample).len(), 10 + 3);
        assert!(Tail::unpack(&[]).is_err());
        assert!(Tail::unpack_all(&[0; 3], &sample).is_err());
    }
}
