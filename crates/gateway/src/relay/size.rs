//! The size of a message as it arrives, against the limit that was announced (RFC 1870 §6.3): a
//! client need not have said it with MAIL, nor the truth.

/// Octets with their CRLF, without the dots that were doubled in transit (RFC 1870 §5).
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    octets: u64,
    limit: Option<u64>,
}

impl Size {
    pub(super) const fn limited(limit: Option<u64>) -> Self {
        Self { octets: 0, limit }
    }

    /// Octets of the content.
    pub(super) const fn add(&mut self, octets: usize) {
        self.octets = self.octets.saturating_add(octets as u64);
    }

    pub(super) fn is_over(&self) -> bool {
        self.limit.is_some_and(|limit| self.octets > limit)
    }
}
