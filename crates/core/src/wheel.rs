//! The timing wheel of the pit: which of a million sessions is due next.
//!
//! A [`Wheel`] has [`SLOTS`] slots of [`SLOT`] each. A slot is a doubly linked list whose links lie
//! in the caller's own storage ([`Links`]), 12 octets for each entry. So inserting, removing and
//! turning allocate nothing, whatever the number of entries, and the wheel itself is 33 KiB.
//!
//! - Nobody comes up early: a deadline is rounded up to the end of its slot, and a slot is opened
//!   when its time has come. So an entry comes up less than [`SLOT`] late, if the wheel is turned.
//! - A slot is taken out as a whole and handled in one pass. What the holder inserts meanwhile goes
//!   to a later slot, so a pass ends.
//! - What is due after more than one turn of the wheel comes up early, is seen to be early by the
//!   wheel itself, and is put back. A caller never hears of it, but for [`Wheel::next_due`], which
//!   may name a moment at which nothing is due yet.
//!
//! Rejected: a heap (an insert or a hang-up costs log n cache misses, and at a million entries it
//! copies tens of megabytes when it grows); a sorted map (allocates); several levels of wheels (each
//! entry is moved several times, and holds are shorter than one turn anyway).
//!
//! ```
//! use tarpit_core::Tick;
//! use tarpit_core::wheel::{Link, Links, Wheel};
//!
//! struct Held(Vec<Link>);
//! impl Links for Held {
//!     fn link(&mut self, key: u32) -> &mut Link {
//!         &mut self.0[key as usize]
//!     }
//! }
//!
//! let mut held = Held(vec![Link::default(); 2]);
//! let mut wheel = Wheel::new(Tick::ZERO);
//! wheel.insert(&mut held, 0, Tick::from_millis(5_000));
//! wheel.insert(&mut held, 1, Tick::from_millis(100));
//! wheel.remove(&mut held, 0);
//! let now = Tick::from_millis(6_000);
//! while let Some(key) = wheel.pop_due(&mut held, now) {
//!     assert_eq!(key, 1);
//! }
//! assert_eq!(wheel.next_due(), None);
//! ```

use std::time::Duration;

use crate::Tick;

/// How many slots a wheel has: one turn takes 409.6 s, which is longer than any hold
/// ([`REPLY_MAX`](crate::policy::REPLY_MAX)) and than the usual time for a command.
pub const SLOTS: u32 = 8192;

/// The time of one slot. A reply that is 50 ms late after seconds of waiting harms nobody, and 20
/// passes a second cost nothing when there is nothing to do.
pub const SLOT: Duration = Duration::from_millis(SLOT_MILLIS);

const SLOT_MILLIS: u64 = 50;

/// The furthest deadline, in slots: 3.4 years. Beyond it an entry would seem to lie in the past.
const FURTHEST: u64 = 1 << 31;

/// Slots in one word of the map of those that are not empty.
const WORD: u32 = u64::BITS;

/// No entry: the end of a list.
const NONE: u32 = u32::MAX;

/// In [`Link::prev`]: this entry is in no wheel.
const FREE: u32 = u32::MAX - 1;

/// The greatest key that an entry may have.
pub const KEY_MAX: u32 = u32::MAX - 2;

/// What the wheel keeps in an entry. The default is an entry in no wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    prev: u32,
    next: u32,
    /// The number of the slot in which it is due, counted since the epoch, modulo 2^32.
    due: u32,
}

const _: () = assert!(size_of::<Link>() == 12);

impl Default for Link {
    fn default() -> Self {
        Self {
            prev: FREE,
            next: NONE,
            due: 0,
        }
    }
}

impl Link {
    /// Whether the entry is in a wheel.
    #[must_use]
    pub const fn is_linked(&self) -> bool {
        self.prev != FREE
    }
}

/// Where the links of the entries lie.
///
/// The wheel asks only for keys that were given to [`Wheel::insert`] and have not left it since, so
/// an entry must stay where it is until then.
pub trait Links {
    /// The link of the entry with this key.
    fn link(&mut self, key: u32) -> &mut Link;
}

/// Entries by their deadlines. See the head of the module.
#[derive(Debug)]
pub struct Wheel {
    /// The first entry of each slot.
    heads: Box<[u32]>,
    /// A bit for each slot that is not empty.
    occupied: Box<[u64]>,
    /// The slot that was opened last, counted since the epoch.
    at: u64,
    /// What is left of that slot.
    open: u32,
    len: usize,
}

impl Wheel {
    /// An empty wheel that stands at `start`.
    #[must_use]
    pub fn new(start: Tick) -> Self {
        Self {
            heads: vec![NONE; SLOTS as usize].into(),
            occupied: vec![0; (SLOTS / WORD) as usize].into(),
            at: start.as_millis() / SLOT_MILLIS,
            open: NONE,
            len: 0,
        }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Lets `key` come up at `due`, or at the next pass if that is over. An entry that is in the
    /// wheel already is moved. `key` is at most [`KEY_MAX`].
    pub fn insert(&mut self, links: &mut impl Links, key: u32, due: Tick) {
        self.remove(links, key);
        // A slot that is open or over would come up only after a whole turn.
        let earliest = self.at.saturating_add(1);
        let latest = self.at.saturating_add(FURTHEST - 1);
        let slot = due.as_millis().div_ceil(SLOT_MILLIS);
        let due = low(slot.clamp(earliest, latest));
        self.len = self.len.saturating_add(1);
        self.push(links, key, due);
    }

    /// Takes `key` out. Whether it was in.
    pub fn remove(&mut self, links: &mut impl Links, key: u32) -> bool {
        let link = std::mem::take(links.link(key));
        if !link.is_linked() {
            return false;
        }
        self.len = self.len.saturating_sub(1);
        if link.next != NONE {
            links.link(link.next).prev = link.prev;
        }
        if link.prev != NONE {
            links.link(link.prev).next = link.next;
        } else if self.open == key {
            self.open = link.next;
        } else {
            self.set_head(link.due, link.next);
        }
        true
    }

    /// Takes out one entry whose time has come, `None` when there is none left. Call it until then:
    /// only this moves the wheel on. Entries may be inserted and removed between two calls.
    pub fn pop_due(&mut self, links: &mut impl Links, now: Tick) -> Option<u32> {
        let now = now.as_millis() / SLOT_MILLIS;
        loop {
            while let Some(key) = self.take_open(links) {
                let due = links.link(key).due;
                if !is_after(due, now) {
                    *links.link(key) = Link::default();
                    self.len = self.len.saturating_sub(1);
                    return Some(key);
                }
                self.push(links, key, due);
            }
            // After a long sleep each slot is opened once, not once for each turn that was missed.
            self.at = self.at.max(now.saturating_sub(u64::from(SLOTS)));
            match self.next_occupied() {
                Some(slot) if slot <= now => self.open_slot(slot),
                _ => {
                    self.at = self.at.max(now);
                    return None;
                }
            }
        }
    }

    /// When to turn the wheel next: no entry is due before. `None` if there is no entry.
    #[must_use]
    pub fn next_due(&self) -> Option<Tick> {
        let slot = if self.open == NONE {
            self.next_occupied()?
        } else {
            self.at
        };
        Some(Tick::from_millis(slot.saturating_mul(SLOT_MILLIS)))
    }

    /// Puts an entry at the head of the slot in which it is due.
    fn push(&mut self, links: &mut impl Links, key: u32, due: u32) {
        let next = self.head(due);
        *links.link(key) = Link {
            prev: NONE,
            next,
            due,
        };
        if next != NONE {
            links.link(next).prev = key;
        }
        self.set_head(due, key);
    }

    fn open_slot(&mut self, slot: u64) {
        self.at = slot;
        self.open = self.head(low(slot));
        self.set_head(low(slot), NONE);
    }

    /// The next entry of the open slot, taken out of its list.
    fn take_open(&mut self, links: &mut impl Links) -> Option<u32> {
        let key = Some(self.open).filter(|key| *key != NONE)?;
        self.open = links.link(key).next;
        if self.open != NONE {
            links.link(self.open).prev = NONE;
        }
        Some(key)
    }

    /// The first slot after the one that was opened last, within one turn, that is not empty.
    fn next_occupied(&self) -> Option<u64> {
        let first = self.at.saturating_add(1);
        let place = low(first) % SLOTS;
        let (word, bit) = (place / WORD, place % WORD);
        let words = SLOTS / WORD;
        // The first word is looked at twice: from `bit` on, and in the end up to it.
        (0..=words).find_map(|step| {
            let mut bits = *self.occupied.get(((word + step) % words) as usize)?;
            if step == 0 {
                bits &= u64::MAX << bit;
            } else if step == words {
                bits &= !(u64::MAX << bit);
            }
            let ahead = (step * WORD + bits.trailing_zeros()).checked_sub(bit)?;
            (bits != 0).then(|| first.saturating_add(u64::from(ahead)))
        })
    }

    fn head(&self, slot: u32) -> u32 {
        self.heads
            .get((slot % SLOTS) as usize)
            .copied()
            .unwrap_or(NONE)
    }

    fn set_head(&mut self, slot: u32, key: u32) {
        let slot = slot % SLOTS;
        if let Some(head) = self.heads.get_mut(slot as usize) {
            *head = key;
        }
        if let Some(word) = self.occupied.get_mut((slot / WORD) as usize) {
            let bit = 1 << (slot % WORD);
            *word = if key == NONE {
                *word & !bit
            } else {
                *word | bit
            };
        }
    }
}

/// The number of a slot as an entry keeps it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "slots are told apart modulo 2^32, see `is_after`"
)]
const fn low(slot: u64) -> u32 {
    slot as u32
}

/// Whether `due` lies after `now`: nothing is further away than [`FURTHEST`].
const fn is_after(due: u32, now: u64) -> bool {
    let ahead = due.wrapping_sub(low(now));
    ahead != 0 && ahead < 1 << 31
}
