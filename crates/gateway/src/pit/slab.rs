//! Parcels at fixed places.
//!
//! They stand in chunks that never move: a vector that doubles would copy tens of megabytes while
//! everybody waits, and for that moment take three times its memory. A place is named by its number
//! and how often it was filled, so that an event that comes late for one parcel is not taken for
//! the next one's.

use tarpit_core::wheel::{Link, Links};

use super::parcel::Parcel;

/// Places of one chunk.
const CHUNK: usize = 4096;

/// No place.
const NONE: u32 = u32::MAX;

/// One place.
#[derive(Debug)]
struct Slot {
    /// Where it stands in the wheel; of a free place, [`Slot::next_free`] says which is next.
    link: Link,
    next_free: u32,
    filled: u32,
    parcel: Option<Parcel>,
}

/// What a held session takes, its record aside. A million of them wait in the pit.
const _: () = assert!(size_of::<Slot>() <= 88);

/// A parcel's name: place and filling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) place: u32,
    pub(crate) filled: u32,
}

impl Key {
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.filled) << 32 | u64::from(self.place)
    }

    pub(crate) fn of_u64(value: u64) -> Self {
        let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
        Self {
            place: u32::from_be_bytes([e, f, g, h]),
            filled: u32::from_be_bytes([a, b, c, d]),
        }
    }
}

/// The places.
#[derive(Debug)]
pub(crate) struct Slab {
    chunks: Vec<Box<[Slot]>>,
    free: u32,
    taken: usize,
}

impl Slab {
    /// Octets that one place takes.
    pub(crate) const PLACE_OCTETS: usize = size_of::<Slot>();

    pub(crate) const fn new() -> Self {
        Self {
            chunks: Vec::new(),
            free: NONE,
            taken: 0,
        }
    }

    /// How many parcels there are.
    pub(crate) const fn len(&self) -> usize {
        self.taken
    }

    /// How many places there are, free ones too: what a walk over all has to visit.
    pub(crate) fn places(&self) -> u32 {
        u32::try_from(self.chunks.len() * CHUNK).unwrap_or(NONE)
    }

    pub(crate) fn insert(&mut self, parcel: Parcel) -> Key {
        if self.free == NONE {
            self.grow();
        }
        let place = self.free;
        let slot = self.slot_mut(place);
        slot.parcel = Some(parcel);
        let key = Key {
            place,
            filled: slot.filled,
        };
        self.free = slot.next_free;
        self.taken += 1;
        key
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Parcel> {
        let free = self.free;
        let slot = self.slot_mut_of(key)?;
        let parcel = slot.parcel.take()?;
        slot.filled = slot.filled.wrapping_add(1);
        slot.next_free = free;
        self.free = key.place;
        self.taken -= 1;
        Some(parcel)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Parcel> {
        let slot = self
            .chunks
            .get(key.place as usize / CHUNK)?
            .get(key.place as usize % CHUNK)?;
        slot.parcel.as_ref().filter(|_| slot.filled == key.filled)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Parcel> {
        self.slot_mut_of(key)?.parcel.as_mut()
    }

    /// Who stands at a place now.
    pub(crate) fn at(&self, place: u32) -> Option<(Key, &Parcel)> {
        let slot = self
            .chunks
            .get(place as usize / CHUNK)?
            .get(place as usize % CHUNK)?;
        let filled = slot.filled;
        slot.parcel
            .as_ref()
            .map(|parcel| (Key { place, filled }, parcel))
    }

    fn grow(&mut self) {
        let first = self.places();
        let last = first + u32::try_from(CHUNK).unwrap_or(NONE) - 1;
        let chunk = (first..=last).map(|place| Slot {
            link: Link::default(),
            next_free: if place == last { NONE } else { place + 1 },
            filled: 0,
            parcel: None,
        });
        self.chunks.push(chunk.collect());
        self.free = first;
    }

    fn slot_mut(&mut self, place: u32) -> &mut Slot {
        &mut self.chunks[place as usize / CHUNK][place as usize % CHUNK]
    }

    fn slot_mut_of(&mut self, key: Key) -> Option<&mut Slot> {
        let chunk = self.chunks.get_mut(key.place as usize / CHUNK)?;
        let slot = chunk.get_mut(key.place as usize % CHUNK)?;
        (slot.filled == key.filled).then_some(slot)
    }
}

impl Links for Slab {
    fn link(&mut self, key: u32) -> &mut Link {
        &mut self.slot_mut(key).link
    }
}
