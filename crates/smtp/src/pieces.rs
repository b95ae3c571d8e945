//! What is passed on of a chunk: slices of it and of constants, in order. Nothing is copied or allocated.

use std::ops::Deref;

/// Pieces that one scan gives at most. One scan of ordinary data gives one or two; a scan that replaces much is called
/// again. 16 make a vectored write worth its call and still fit on a stack.
pub const PIECES_MAX: usize = 16;

/// What one event adds at most: withheld octets, octets of the chunk, a replacement.
const EVENT_MAX: usize = 3;

/// Slices to be passed on, in order; none is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pieces<'a> {
    items: [&'a [u8]; PIECES_MAX],
    len: usize,
}

impl<'a> Pieces<'a> {
    fn push(&mut self, piece: &'a [u8]) {
        if piece.is_empty() {
            return;
        }
        if let Some(item) = self.items.get_mut(self.len) {
            *item = piece;
            self.len = self.len.saturating_add(1);
        }
    }
}

impl<'a> Deref for Pieces<'a> {
    type Target = [&'a [u8]];

    fn deref(&self) -> &Self::Target {
        self.items.get(..self.len).unwrap_or_default()
    }
}

/// A walk through a chunk, with the octets before it that were withheld and are the chunk's first, so to speak.
pub(crate) struct Run<'a> {
    before: &'static [u8],
    chunk: &'a [u8],
    pieces: Pieces<'a>,
    /// Octets of `before` and `chunk` that are passed or dropped.
    passed: usize,
    /// Octets of `chunk` that were looked at.
    at: usize,
    /// Dots that the next server takes out again.
    dots: usize,
}

impl<'a> Run<'a> {
    pub(crate) fn new(before: &'static [u8], chunk: &'a [u8]) -> Self {
        Self {
            before,
            chunk,
            pieces: Pieces::default(),
            passed: 0,
            at: 0,
            dots: 0,
        }
    }

    /// The next octet.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.chunk.get(self.at).copied()
    }

    /// Goes past the next octet.
    pub(crate) fn take(&mut self) {
        self.at = self.at.saturating_add(1).min(self.chunk.len());
    }

    /// Goes to what `find` finds in the rest, or to the end; true if it was found.
    pub(crate) fn skip_to(&mut self, find: impl Fn(&[u8]) -> Option<usize>) -> bool {
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let found = find(rest);
        self.at = self.at.saturating_add(found.unwrap_or(rest.len()));
        found.is_some()
    }

    /// Passes everything that was looked at, but for the last `kept` octets.
    pub(crate) fn pass(&mut self, kept: usize) {
        let end = self
            .before
            .len()
            .saturating_add(self.at)
            .saturating_sub(kept);
        let before = self.before.get(self.passed..end.min(self.before.len()));
        self.pieces.push(before.unwrap_or_default());
        let from = self.passed.saturating_sub(self.before.len());
        let to = end.saturating_sub(self.before.len());
        self.pieces
            .push(self.chunk.get(from..to).unwrap_or_default());
        self.passed = self.passed.max(end);
    }

    /// Passes everything that was looked at, with `instead` for its last `count` octets.
    pub(crate) fn replace(&mut self, count: usize, instead: &'static [u8]) {
        self.pass(count);
        self.pieces.push(instead);
        self.passed = self.before.len().saturating_add(self.at);
    }

    /// Whether there may be no room for another event and the rest.
    pub(crate) fn is_full(&self) -> bool {
        self.pieces.len.saturating_add(2 * EVENT_MAX) > PIECES_MAX
    }

    pub(crate) fn count_dot(&mut self) {
        self.dots = self.dots.saturating_add(1);
    }

    pub(crate) fn dots(&self) -> usize {
        self.dots
    }

    pub(crate) fn consumed(&self) -> usize {
        self.at
    }

    pub(crate) fn into_pieces(self) -> Pieces<'a> {
        self.pieces
    }
}
