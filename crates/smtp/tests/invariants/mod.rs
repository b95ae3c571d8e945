//! What must hold for any octets whatever. The property tests, the corpus test and the fuzz targets (fuzz/) all
//! come through here, so that they can't drift apart. Each `check` panics where an invariant is broken.
//!
//! The oracles look at the whole input at once and at single octets, on purpose: they share no idea with the code.

pub(crate) mod command;
pub(crate) mod data;
pub(crate) mod ehlo;
pub(crate) mod line;
pub(crate) mod reply;
pub(crate) mod stuff;

/// Sizes to cut an input by (what its first octet asks for, one by one, whole), and the rest of the input.
fn chunkings(input: &[u8]) -> ([usize; 3], &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, input));
    ([usize::from(first % 16) + 1, 1, rest.len().max(1)], rest)
}
