//! Nothing lost, shown by force.
//!
//! A client, an upstream, or the gateway itself is cut, stalled or killed at every octet of a
//! dialogue, on every leg, thousands of times beside each other; then what clients were told is
//! compared with what was delivered (`judge`). Each message has a token of its own.
//!
//! ```text
//! point    where and what is cut; its text repeats it
//! script   the dialogues
//! client   says one, is cut, keeps what it was told
//! upstream a strict server with a journal, is cut
//! stream   a connection, in the clear or over TLS
//! world    the gateway (the binary that ships) and what stands behind it
//! plan     all points there are
//! run      many at once; kills in gangs
//! judge    what may be, and what may not
//! ```
//!
//! Faults inside the gateway (a failing write, a clock that jumps) were rejected as the way to
//! cut: they test the seams that its author thought of. Whatever the network or a kill can do to
//! it, comes from outside.

mod case;
mod chance;
mod client;
mod judge;
mod plan;
mod point;
mod report;
mod run;
mod script;
mod stream;
mod upstream;
mod world;

pub use point::{Action, Dialogue, Leg, Point, World};
pub use report::Report;
pub use run::{Options, run};
