//! The tickets that should poll. Bounded by the waiting tickets: none is in it twice before it
//! has polled.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Ticket, lock};

#[derive(Default)]
pub(super) struct Woken {
    /// Length of the list, for drivers that ask after every step and mostly in vain.
    count: AtomicUsize,
    list: Mutex<Vec<Ticket>>,
}

impl Woken {
    pub(super) fn push(&self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            let mut list = lock(&self.list);
            list.push(ticket);
            self.count.store(list.len(), Ordering::Release);
        }
    }

    pub(super) fn take(&self, into: &mut Vec<Ticket>) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        // Swapped under the lock, copied outside it: nothing is allocated under it, and the
        // caller's buffer becomes the next list.
        let mut taken = if into.is_empty() {
            std::mem::take(into)
        } else {
            Vec::new()
        };
        {
            let mut list = lock(&self.list);
            std::mem::swap(&mut *list, &mut taken);
            self.count.store(0, Ordering::Release);
        }
        if into.is_empty() {
            *into = taken;
        } else {
            into.append(&mut taken);
        }
    }
}
