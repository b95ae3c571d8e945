//! Chance that can be repeated: a point names its seed, and everything that is left open follows
//! from it.

/// `SplitMix64`. A crate for it would be a dependency for five lines.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or_default()
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

/// How a peer cuts what it sends into packets.
#[derive(Clone, Debug)]
pub(crate) struct Pieces {
    chance: Chance,
    longest: usize,
}

impl Pieces {
    /// Whole, in single octets, or something in between, as the seed has it. Of a long stream
    /// single octets would take too long.
    pub(crate) fn new(seed: u64, long: bool) -> Self {
        let mut chance = Chance::new(seed ^ 0x70_1ece5);
        let longest = match (chance.below(4), long) {
            (0, false) => 1,
            (0, true) => 1460,
            (1, false) => 40,
            (1, true) => 9000,
            _ => usize::MAX,
        };
        Self { chance, longest }
    }

    /// How many of `left` octets go next; at least one.
    pub(crate) fn next(&mut self, left: usize) -> usize {
        let most = left.min(self.longest);
        if most > 1 && self.longest != usize::MAX {
            1 + self.chance.below(most)
        } else {
            most.max(1)
        }
    }
}
