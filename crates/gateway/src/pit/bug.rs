//! What a bug of ours costs a thread that works for many: the session that met it, and no other.
//!
//! Around each piece of work for one session, not around the thread: what is left of a batch would
//! be lost with it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::shared::Shared;

/// Does it. `None` if it panicked, which is counted; the count of the session was given back with
/// what it was thawed to.
pub(super) fn caught<T>(shared: &Shared, work: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    if done.is_none() {
        shared.metrics.panics.add(1);
        tracing::error!(target: "tarpit::pit", "a bug ended a held session");
    }
    done
}
