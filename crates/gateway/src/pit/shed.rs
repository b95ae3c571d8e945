//! Who is let go when the pit is strained: those that teach the least.
//!
//! Who has been held longest has paid most of what it will pay, and its client is the likeliest to
//! be gone; of those that came in the same second, who has longest to wait goes first: its debt is
//! the largest, it stays in the ledger, and the source pays when it comes back. Idle sessions in the
//! pit go last: they may be somebody who has paid and goes on with mail.
//!
//! Two passes over the places and a table of ages, once for each time the pit is strained. To keep
//! everybody sorted all the time was rejected: each hold would pay for what seldom happens.

use std::cmp::{Ordering, Reverse};

use tarpit_core::Tick;
use tarpit_core::budget::{Load, Strain, Surplus};

use super::holder::PAGE;
use super::parcel::Parcel;
use super::slab::{Key, Slab};

/// Ages that are told apart, in seconds. Holds end within four minutes; idle sessions may be older.
const AGES: usize = 512;

/// Whom to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Among {
    /// All.
    All,
    /// Those whose unread input lies in the kernel.
    Unread,
}

impl Among {
    /// Its name for another process.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::All => 0,
            Self::Unread => 1,
        }
    }

    pub(crate) const fn of_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::All),
            1 => Some(Self::Unread),
            _ => None,
        }
    }

    /// Whom to let go when there is too much of this.
    pub(crate) const fn of(strain: Strain) -> Self {
        match strain {
            Strain::Unread => Self::Unread,
            Strain::Sessions | Strain::Memory => Self::All,
        }
    }

    /// What is gone with this one: a session, or pages of unread input. Zero: it is not meant.
    fn weight(self, parcel: &Parcel) -> usize {
        match self {
            Self::All => 1,
            Self::Unread => parcel.unread_pages as usize,
        }
    }
}

/// How much of `mine` is to go for a surplus of all: so many sessions, or so many pages of unread
/// input. Of that which lies elsewhere nothing is found here, however long one looks.
pub(crate) fn share(surplus: Surplus, mine: Load) -> u64 {
    match surplus.strain {
        Strain::Unread => surplus.of(mine.unread).div_ceil(PAGE),
        Strain::Sessions | Strain::Memory => surplus.of(mine.sessions),
    }
}

/// The least useful ones, with which `count` is gone ([`share`]); fewer if there are no more. `now`:
/// seconds of the clock.
pub(crate) fn choose(slab: &Slab, among: Among, count: usize, now: u32) -> Vec<Key> {
    if count == 0 {
        return Vec::new();
    }
    let everybody = || {
        let there = (0..slab.places()).filter_map(|place| slab.at(place));
        there.filter(|(_, parcel)| among.weight(parcel) > 0)
    };
    let mut table = [0_usize; 2 * AGES];
    for (_, parcel) in everybody() {
        table[rank(parcel, now)] += among.weight(parcel);
    }
    let mut before = 0;
    let last = table.iter().position(|here| {
        let is_enough = before + here >= count;
        if !is_enough {
            before += here;
        }
        is_enough
    });
    let last = last.unwrap_or(table.len());
    let mut chosen = Vec::with_capacity(count.min(slab.len()));
    let mut border = Vec::new();
    for (key, parcel) in everybody() {
        match rank(parcel, now).cmp(&last) {
            Ordering::Less => chosen.push(key),
            Ordering::Equal => border.push((parcel.until, key, among.weight(parcel))),
            Ordering::Greater => {}
        }
    }
    let mut missing = count.saturating_sub(before);
    let latest = |(until, ..): &(Tick, Key, usize)| Reverse(*until);
    if missing < border.len() {
        // Of a million that came in one second only a few thousand are wanted at a time.
        border.select_nth_unstable_by_key(missing, latest);
        border.truncate(missing);
    }
    border.sort_unstable_by_key(latest);
    for (_, key, weight) in border {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(weight);
        chosen.push(key);
    }
    chosen
}

/// Its place in the table: the least useful first.
fn rank(parcel: &Parcel, now: u32) -> usize {
    if parcel.is_over() {
        return 0;
    }
    let age = usize::try_from(now.saturating_sub(parcel.since)).unwrap_or(AGES);
    let youth = AGES - 1 - age.min(AGES - 1);
    if parcel.state.listens {
        AGES + youth
    } else {
        youth
    }
}
