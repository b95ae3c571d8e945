//! What one call of the machine leaves for the driver to carry out.

use tarpit_smtp::Reply;

use crate::record::{ActRecord, HoldRecord};

/// Replies to send, bytes consumed, records to write. Owned by the driver, reused between calls.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Replies, ready for the wire, in order.
    pub bytes: Vec<u8>,
    /// Of the last [`Input::Bytes`](crate::Input::Bytes), how many octets were consumed.
    pub consumed: usize,
    /// Holds that ended, or that would have been.
    pub holds: Vec<HoldRecord>,
    /// Acts that were judged.
    pub acts: Vec<ActRecord>,
}

impl Outbox {
    /// Appends a reply.
    pub(crate) fn reply(&mut self, reply: &Reply) {
        reply.write_to(&mut self.bytes);
    }
}
