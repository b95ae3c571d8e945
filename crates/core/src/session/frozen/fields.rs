//! Fields of which most have their default: a set of bits says which of them follow.
//!
//! Both ends name the same fields in the same order; that is the whole format.

use crate::octets::{Fault, Reader, Unreadable, put_number};

/// Writes fields.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// Where the bits go, once they are all known.
    start: usize,
    bits: u64,
    next: u32,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        let start = out.len();
        Self {
            out,
            start,
            bits: 0,
            next: 0,
        }
    }

    /// A field that is there or not.
    pub(super) fn flag(&mut self, is_set: bool) {
        debug_assert!(self.next < u64::BITS, "more fields than bits");
        self.bits |= u64::from(is_set).wrapping_shl(self.next);
        self.next = self.next.saturating_add(1);
    }

    /// A field that is written by `put` if there is one.
    pub(super) fn value<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            put(self.out, value);
        }
    }

    /// A number that is mostly zero.
    pub(super) fn number(&mut self, number: impl Into<u64>) {
        self.value(Some(number.into()).filter(|number| *number > 0), put_number);
    }

    /// Puts the bits before the fields. A record has few octets, so to move them is cheaper than a
    /// buffer of its own.
    pub(super) fn finish(self) {
        let mut bits = Vec::with_capacity(10);
        put_number(&mut bits, self.bits);
        self.out.splice(self.start..self.start, bits);
    }
}

/// Reads fields.
pub(super) struct Fields<'a> {
    pub(super) from: Reader<'a>,
    bits: u64,
}

impl<'a> Fields<'a> {
    pub(super) fn new(mut from: Reader<'a>) -> Result<Self, Unreadable> {
        let bits = from.number("set of fields")?;
        Ok(Self { from, bits })
    }

    pub(super) const fn flag(&mut self) -> bool {
        let is_set = self.bits & 1 == 1;
        self.bits >>= 1;
        is_set
    }

    pub(super) fn value<T>(
        &mut self,
        read: impl FnOnce(&mut Reader<'a>) -> Result<T, Unreadable>,
    ) -> Result<Option<T>, Unreadable> {
        self.flag().then(|| read(&mut self.from)).transpose()
    }

    pub(super) fn number(&mut self, field: &'static str) -> Result<u64, Unreadable> {
        Ok(self.value(|from| from.number(field))?.unwrap_or_default())
    }

    pub(super) fn short(&mut self, field: &'static str) -> Result<u32, Unreadable> {
        Ok(self.value(|from| from.short(field))?.unwrap_or_default())
    }

    /// All fields were named. Bits that are left are of fields that are not known here.
    pub(super) fn finish(self) -> Result<Reader<'a>, Unreadable> {
        if self.bits != 0 {
            let found = self.bits;
            return Err(self.from.fault("set of fields", Fault::Unknown { found }));
        }
        Ok(self.from)
    }
}
