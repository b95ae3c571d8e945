//! How many sessions there are, in all and by source (DESIGN promise 8).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tarpit_core::Source;
use tokio::sync::Notify;

/// The count of sessions.
#[derive(Debug, Default)]
pub(crate) struct Places {
    taken: Mutex<Taken>,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Taken {
    all: u32,
    by_source: HashMap<Source, u32>,
}

/// A session's place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    pub(crate) source: Source,
    /// Sessions in all when this one came, itself included.
    pub(crate) all: u32,
    /// Sessions of this source when this one came, itself included.
    pub(crate) of_source: u32,
}

impl Places {
    /// Counts one more session of `source`. Whether that is too many is for the caller to say.
    #[must_use]
    pub(crate) fn take(self: &Arc<Self>, source: Source) -> Place {
        let mut taken = self.lock();
        taken.all += 1;
        let of_source = taken.add(source);
        Place {
            places: Arc::clone(self),
            source,
            all: taken.all,
            of_source,
        }
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
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Sessions of this source, this one included.
    fn add(&mut self, source: Source) -> u32 {
        let count = self.by_source.entry(source).or_default();
        *count += 1;
        *count
    }

    fn remove(&mut self, source: Source) {
        if let Some(count) = self.by_source.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl Place {
    /// The session turned out to be another source's: that of the client behind a proxy.
    pub(crate) fn move_to(&mut self, source: Source) {
        let mut taken = self.places.lock();
        taken.remove(self.source);
        self.of_source = taken.add(source);
        self.source = source;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all = taken.all.saturating_sub(1);
        taken.remove(self.source);
        if taken.all == 0 {
            self.places.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tarpit_core::Prefixes;

    #[test]
    fn counts_and_forgets() {
        let places = Arc::new(Places::default());
        let source = |text: &str| Source::of(text.parse().unwrap(), Prefixes::default());
        let first = places.take(source("192.0.2.1"));
        let second = places.take(source("192.0.2.1"));
        let other = places.take(source("192.0.2.2"));
        assert_eq!((second.all, second.of_source), (2, 2));
        assert_eq!((other.all, other.of_source), (3, 1));
        let mut moved = second;
        moved.move_to(source("192.0.2.2"));
        assert_eq!((moved.all, moved.of_source), (2, 2));
        drop((first, moved, other));
        assert_eq!(places.all(), 0);
        assert!(places.taken.lock().unwrap().by_source.is_empty());
    }
}
