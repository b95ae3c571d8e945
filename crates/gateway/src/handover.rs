//! From one process to the next, as with a new version: listeners, the ledger, and what waits.
//!
//! ```text
//! old                                   new
//! Listeners, with their sockets  ->     reads its configuration, asks the upstream
//!                                <-     Ready, or Failed with the reason
//! Ledger, in pieces              ->
//!                                <-     Noted
//! stops to accept
//! Serve                          ->     accepts: first those who wait in the queues
//!                                <-     Serving
//! Parcels, with their sockets    ->     who waits, and what their sources owe
//!                                <-     Taken; and so on, batch by batch
//! closes its listeners
//! Main                           ->     tells the service manager that it is ready
//! Parcels                        ->     who comes to wait while the old one leaves
//!                                <-     Taken
//! lets its other sessions end
//! Ledger once more               ->     what was charged meanwhile
//! ```
//!
//! What it promises: whatever becomes of the successor before `Main`, the old front goes on. Before it
//! serves, as if nothing had been; while those who wait go over, with all that the successor has not
//! confirmed: what it took ends with it, and the listeners are never without a process, since both
//! have them until then. A successor that can't read what it is given before `Main` drains, since it
//! is going to be ended. Listeners are never bound anew: a socket that is closed takes the connections
//! in its queue with it. From `Serve` to `Serving`, a few milliseconds, nobody accepts, and clients
//! wait in those queues.
//!
//! Who waits goes along, whether held or idle in the pit, and so does whoever comes to wait while
//! the old front leaves: a parcel means the same in both. Not so over TLS, whose state is
//! of no use elsewhere: those are told 421.
//!
//! A session that is in progress stays where it is and ends there, with its upstream connection. For
//! ten seconds nothing at all changes for it; after that the old front drains, which loses nothing.
//! Counters start anew.
//!
//! Binding the same address in both processes (SO_REUSEPORT) was rejected: each socket has a queue
//! of its own, and the old one's is reset when it closes.

mod giver;
mod message;
mod parcels;
mod socket;
mod taker;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

pub(crate) use giver::give;
pub use giver::{Handed, Steps};
pub use socket::{AskError, FrontSocket, Request, ask};
pub use taker::{Estate, refuse};
pub use wire::{WireError, pair};

/// How long a successor may take until it is ready: it looks up names, and waits for the upstream
/// for 15 s at most.
const READY_MAX: Duration = Duration::from_secs(30);

/// How long a step may take that needs nobody but the other process.
const STEP_MAX: Duration = Duration::from_secs(5);

/// After the hand-over nothing changes for the old sessions for this long: nearly all end by
/// themselves meanwhile, and those that are left are told 421 where they are between messages.
pub(crate) const LEAVE_FOR: Duration = Duration::from_secs(10);

/// Why a successor does not take over. The old front serves on.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// It said why.
    #[error("{0}")]
    Failed(String),
    /// It ended, or closed the line.
    #[error("the successor ended before it served")]
    Ended,
    /// It said something else than it should.
    #[error("the successor said {0} out of turn")]
    OutOfTurn(String),
    /// It took too long.
    #[error("the successor was not {what} after {} s", .limit.as_secs())]
    Slow {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        limit: Duration,
    },
    /// The line broke.
    #[error("the line to the successor: {0}")]
    Wire(#[from] WireError),
    /// We are ending ourselves.
    #[error("this gateway is draining")]
    Draining,
}
