//! Recorded sessions, run again in virtual time: what would other settings have done?
//!
//! [`gather`] makes [`Trace`]s of acts, holds and sessions as they were recorded; [`run`] lets
//! clients that do the same again speak with the real [`Session`](crate::Session), the real
//! [`Ledger`](crate::ledger::Ledger) and another [`Policy`]. The same settings give the same
//! outcome, which is what makes the outcome of others worth something.
//!
//! Rejected: a copy of the arithmetic, quicker and shorter. It would be right until the ledger
//! changes.
//!
//! # What is assumed
//!
//! - Sessions come when they came. Within a session a client says the next thing as long after the
//!   reply as it did; who waits longer for a reply is later with all that follows.
//! - Who hung up while it waited hangs up again after as long from its command on, if it still
//!   waits then. All others wait for any reply; how long they would have is not known.
//! - What was never looked up (450, or the client left) would have been a wrong guess where its
//!   source made one, and right where its source made none.
//! - The ledger is empty at the first record: who owed, or was known, before is not in the records.
//! - A session that ends early does not come back. What its source brought in it counts as late.

mod effects;
pub mod gather;
mod run;

use std::time::Duration;

use crate::ledger::LedgerConfig;
use crate::policy::Policy;
use crate::record::{Deed, Judged};
use crate::{Kind, Source, Tick};

pub use effects::{Effect, Effects, Nature, Outcome};
pub use run::{Watch, run};

/// One recorded session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Who is charged.
    pub source: Source,
    /// Whether its network is exempt under the settings of the replay.
    pub exempt: bool,
    /// Which of [`Settings::listeners`].
    pub listener: usize,
    /// When it was accepted.
    pub opened: Tick,
    /// What was judged, in order.
    pub steps: Vec<Step>,
    /// From the last reply to the end.
    pub rest: Duration,
}

/// One act of a client. There are millions of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds from the reply before to the command.
    pub gap: u32,
    /// Milliseconds that the look-up took.
    pub took: u32,
    /// Milliseconds from the command on after which the client hung up while it waited; `u32::MAX`
    /// if it did not.
    pub patience: u32,
    /// Which MAIL of the session it belongs to.
    pub transaction: u32,
    /// What was done.
    pub deed: Deed,
    /// What came of it.
    pub judged: Judged,
    /// It names a role.
    pub role: bool,
}

const _: () = assert!(size_of::<Step>() <= 20);

/// What a listener is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What offences cost.
    pub policy: Policy,
    /// What it is for.
    pub kind: Kind,
}

/// What the sessions are run under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At least one.
    pub listeners: Vec<Rules>,
    /// A source that owes so much is turned away when it connects; zero: nobody is.
    pub door_debt: Duration,
    /// Bounds of the ledger.
    pub ledger: LedgerConfig,
}
