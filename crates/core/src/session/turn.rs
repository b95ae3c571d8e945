//! One call of the machine.

use super::Env;
use crate::Tick;
use crate::outbox::Outbox;

/// What every step of one call needs: the moment, what may be looked at, and where to say
/// something. It never outlives the call.
pub(super) struct Turn<'a> {
    /// The moment, in the session's own time (see `Session::lived`).
    pub(super) now: Tick,
    pub(super) env: &'a Env<'a>,
    pub(super) out: &'a mut Outbox,
}

impl<'a> Turn<'a> {
    pub(super) const fn new(now: Tick, env: &'a Env<'a>, out: &'a mut Outbox) -> Self {
        Self { now, env, out }
    }
}
