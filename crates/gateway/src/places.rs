//! How many sessions there are: in all, in the pit and outside it, and by source (DESIGN promise 8).
//!
//! Sessions in the pit are counted apart, so that a million of them take no place from mail. A held
//! session that keeps nothing but a record gives its [`Place`] away ([`Place::into_held`]): what is
//! left of it is the count, and whoever has the record says which source it was
//! ([`Places::of_held`], [`Places::end_held`]).
//!
//! What it promises: an atomic addition for each way into the pit and out of it, and one short lock
//! among many for each session that comes or goes; 13 octets for each source, in tables that are
//! filled to four fifths when there are a million.
//!
//! The sources are kept as keyed hashes of 64 bits, not as themselves: an IPv6 source has 17
//! octets, aligned 32. Two of a million have the same hash once in thirty million times, nobody can
//! look for them without the key, and then they share a bound, no more. One table under one lock
//! was rejected: it doubles at a million, all at once, and every accept and every end waits for it.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tarpit_core::Source;
use tokio::sync::Notify;

/// Tables, each with a lock of its own: many times the cores of a large machine. With a million
/// sources each has 13,700, just below the 14,336 at which a table of 16,384 places doubles; with
/// 64 each would be half empty.
const SHARDS: usize = 73;

/// A table that is filled to less than a fourth gives its memory back, if it has more than this.
const KEPT_MIN: usize = 1024;

/// One session in the pit, in [`Places::counts`].
const HELD: u64 = 1 << 32;

/// The count of sessions.
#[derive(Debug)]
pub(crate) struct Places {
    /// Those outside the pit in the lower half, those in it in the upper one: whoever moves is
    /// never seen in neither.
    counts: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    emptied: Notify,
}

/// Sessions of each source, in the pit or not.
type Shard = HashMap<Print, u32, BuildHasherDefault<Printed>>;

/// A source's hash, in two halves so that an entry has 12 octets, not 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print([u32; 2]);

const _: () = assert!(size_of::<(Print, u32)>() == 12);

impl Hash for Print {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.0[0]) << 32 | u64::from(self.0[1]));
    }
}

/// What is hashed already is not hashed again.
#[derive(Debug, Default)]
struct Printed(u64);

impl Hasher for Printed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, print: u64) {
        self.0 = print;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A session's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    pub(crate) source: Source,
    /// Sessions outside the pit when this one came, or came out of the pit, itself included.
    pub(crate) active: u32,
    /// Sessions of this source when this one came, those in the pit and itself included.
    pub(crate) of_source: u32,
    state: State,
}

/// What is counted for a [`Place`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Active,
    Held,
    /// The count stays when this is dropped: [`Place::into_held`].
    Left,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            counts: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            emptied: Notify::new(),
        }
    }
}

impl Places {
    /// Counts one more session of `source`. Whether that is too many is for the caller to say.
    #[must_use]
    pub(crate) fn take(self: &Arc<Self>, source: Source) -> Place {
        let of_source = self.add(source);
        let before = self.counts.fetch_add(1, Ordering::Relaxed);
        self.place(source, active(before) + 1, of_source)
    }

    /// The place of a held session that had only its record: its count is given back when this is
    /// dropped, unless it is left again ([`Place::into_held`]).
    #[must_use]
    pub(crate) fn of_held(self: &Arc<Self>, source: Source) -> Place {
        let mut place = self.place(source, 0, 0);
        place.state = State::Held;
        place
    }

    /// A held session that has only its record has ended.
    pub(crate) fn end_held(&self, source: Source) {
        self.remove(source);
        self.uncount(HELD);
    }

    /// The same where its record can't be read, and nobody knows any more which source it was: a
    /// bound that is off by one there is better than a gateway that waits for its last session for ever.
    pub(crate) fn end_unknown(&self) {
        self.uncount(HELD);
    }

    /// A held session came as a record from another process.
    pub(crate) fn add_held(&self, source: Source) {
        self.add(source);
        self.counts.fetch_add(HELD, Ordering::Relaxed);
    }

    /// Resolves when there is no session.
    pub(crate) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.all() == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Sessions in all.
    #[must_use]
    pub(crate) fn all(&self) -> u32 {
        let counts = self.counts.load(Ordering::SeqCst);
        active(counts).saturating_add(held(counts))
    }

    /// Sessions outside the pit.
    #[must_use]
    pub(crate) fn active(&self) -> u32 {
        active(self.counts.load(Ordering::Relaxed))
    }

    /// Sessions in the pit.
    #[must_use]
    pub(crate) fn held(&self) -> u32 {
        held(self.counts.load(Ordering::Relaxed))
    }

    /// Sessions of a source, in the pit or not.
    #[must_use]
    pub(crate) fn of_source(&self, source: Source) -> u32 {
        let (print, shard) = self.find(source);
        lock(shard).get(&print).copied().unwrap_or(0)
    }

    fn place(self: &Arc<Self>, source: Source, active: u32, of_source: u32) -> Place {
        Place {
            places: Arc::clone(self),
            source,
            active,
            of_source,
            state: State::Active,
        }
    }

    fn uncount(&self, one: u64) {
        // In one order with the load in `all`, so that who waits for the last one hears of it.
        if self.counts.fetch_sub(one, Ordering::SeqCst) == one {
            self.emptied.notify_waiters();
        }
    }

    /// Sessions of this source, this one included.
    fn add(&self, source: Source) -> u32 {
        let (print, shard) = self.find(source);
        let mut shard = lock(shard);
        let count = shard.entry(print).or_default();
        *count += 1;
        *count
    }

    fn remove(&self, source: Source) {
        let (print, shard) = self.find(source);
        let mut shard = lock(shard);
        let Some(count) = shard.get_mut(&print) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            shard.remove(&print);
            if shard.capacity() > KEPT_MIN && shard.len() < shard.capacity() / 4 {
                let wanted = shard.len() * 2;
                shard.shrink_to(wanted);
            }
        }
    }

    fn find(&self, source: Source) -> (Print, &Mutex<Shard>) {
        let hash = self.hasher.hash_one(source);
        let [high, low] = [hash >> 32, hash & u64::from(u32::MAX)];
        let half = |half: u64| u32::try_from(half).unwrap_or(u32::MAX);
        let index = usize::try_from(high).unwrap_or(0) % SHARDS;
        (Print([half(high), half(low)]), &self.shards[index])
    }
}

fn active(counts: u64) -> u32 {
    u32::try_from(counts & (HELD - 1)).unwrap_or(u32::MAX)
}

fn held(counts: u64) -> u32 {
    u32::try_from(counts >> 32).unwrap_or(u32::MAX)
}

/// A lock whose holder panicked is taken all the same: a count that is off by one is better than a
/// gateway that stands still.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Place {
    /// The session turned out to be another source's: that of the client behind a proxy.
    pub(crate) fn move_to(&mut self, source: Source) {
        self.places.remove(self.source);
        self.of_source = self.places.add(source);
        self.source = source;
    }

    /// The session is held from now on. It may be already.
    pub(crate) fn enter_pit(&mut self) {
        if self.state == State::Active {
            self.state = State::Held;
            self.places.counts.fetch_add(HELD - 1, Ordering::Relaxed);
        }
    }

    /// The session is no longer held, if it was.
    pub(crate) fn leave_pit(&mut self) {
        if self.state == State::Held {
            self.state = State::Active;
            let before = self.places.counts.fetch_sub(HELD - 1, Ordering::Relaxed);
            self.active = active(before) + 1;
        }
    }

    /// The session is held from now on, and keeps no more than which source it is: its count stays
    /// until [`Places::of_held`] or [`Places::end_held`].
    pub(crate) fn into_held(mut self) -> Source {
        self.enter_pit();
        self.state = State::Left;
        self.source
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let one = match self.state {
            State::Active => 1,
            State::Held => HELD,
            State::Left => return,
        };
        self.places.remove(self.source);
        self.places.uncount(one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tarpit_core::Prefixes;

    fn source(text: &str) -> Source {
        Source::of(text.parse().unwrap(), Prefixes::default())
    }

    fn sources(places: &Places) -> usize {
        places.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    #[test]
    fn counts_and_forgets() {
        let places = Arc::new(Places::default());
        let first = places.take(source("192.0.2.1"));
        let second = places.take(source("192.0.2.1"));
        let other = places.take(source("192.0.2.2"));
        assert_eq!((second.active, second.of_source), (2, 2));
        assert_eq!((other.active, other.of_source), (3, 1));
        let mut moved = second;
        moved.move_to(source("192.0.2.2"));
        assert_eq!((moved.active, moved.of_source), (2, 2));
        drop((first, moved, other));
        assert_eq!((places.all(), sources(&places)), (0, 0));
    }

    #[test]
    fn the_pit_takes_no_place_from_others_but_counts_for_its_source() {
        let places = Arc::new(Places::default());
        let mut held = places.take(source("192.0.2.1"));
        held.enter_pit();
        held.enter_pit();
        let second = places.take(source("192.0.2.1"));
        assert_eq!((second.active, second.of_source), (1, 2));
        assert_eq!((places.active(), places.held(), places.all()), (1, 1, 2));
        held.leave_pit();
        held.leave_pit();
        assert_eq!((places.active(), places.held()), (2, 0));
        held.enter_pit();
        drop(held);
        assert_eq!((places.active(), places.held()), (1, 0));
        drop(second);
        assert_eq!((places.all(), sources(&places)), (0, 0));
    }

    #[test]
    fn a_record_keeps_the_count_without_the_place() {
        let places = Arc::new(Places::default());
        let [one, two] = [source("192.0.2.1"), source("2001:db8::1")];
        assert_eq!(places.take(one).into_held(), one);
        let mut place = places.take(two);
        place.enter_pit();
        place.into_held();
        places.add_held(two);
        assert_eq!((places.active(), places.held()), (0, 3));
        assert_eq!((places.of_source(one), places.of_source(two)), (1, 2));
        let mut back = places.of_held(one);
        back.leave_pit();
        assert_eq!(back.active, 1);
        assert_eq!((places.active(), places.held()), (1, 2));
        places.end_held(two);
        places.end_held(two);
        assert_eq!((places.all(), sources(&places)), (1, 1));
        drop(back);
        assert_eq!((places.all(), sources(&places)), (0, 0));
    }

    #[test]
    fn a_flood_of_sources_leaves_no_memory_behind() {
        let places = Arc::new(Places::default());
        let all: Vec<_> = (0..300_000).map(|net| Source::V4(net, 32)).collect();
        all.iter().for_each(|source| places.add_held(*source));
        assert_eq!((places.held(), sources(&places)), (300_000, 300_000));
        all.iter().for_each(|source| places.end_held(*source));
        let room: usize = places
            .shards
            .iter()
            .map(|shard| lock(shard).capacity())
            .sum();
        assert_eq!(places.all(), 0);
        assert!(room <= SHARDS * KEPT_MIN * 2, "room for {room}");
    }

    #[test]
    fn tables_are_well_filled_at_a_million() {
        // What a table of 16,384 places takes before it doubles.
        const ROOM: u32 = 16_384 / 8 * 7;
        let places = Arc::new(Places::default());
        (0..1_000_000).for_each(|net| places.add_held(Source::V4(net, 32)));
        let most = places.shards.iter().map(|shard| lock(shard).len()).max();
        assert!(most.is_some_and(|most| most <= ROOM as usize), "{most:?}");
    }

    #[tokio::test]
    async fn the_last_one_is_heard_of() {
        let places = Arc::new(Places::default());
        let place = places.take(source("192.0.2.1"));
        places.add_held(source("192.0.2.1"));
        let waiting = tokio::spawn({
            let places = Arc::clone(&places);
            async move { places.empty().await }
        });
        tokio::task::yield_now().await;
        drop(place);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        places.end_held(source("192.0.2.1"));
        waiting.await.unwrap();
        places.add_held(source("192.0.2.1"));
        places.end_unknown();
        places.empty().await;
    }
}
