//! Keepers: where a million sessions wait, if one process may not have a million sockets.
//!
//! A keeper is another process of this program (`tarpit keeper`), started by the front. It holds
//! sockets, deadlines, due replies and records that it does not look into; it knows no SMTP and no
//! ledger. There is one ledger, in the front: whatever a client says goes back there.
//!
//! ```text
//! pit lane -> Keepers (front.rs) == link.rs, message.rs == process.rs -> pit/holder.rs
//! ```
//!
//! Of a session over TLS they have the socket only: nothing is written to it or read from it there,
//! and it ends with the front that has its keys.
//!
//! What it promises: a socket is sent only against a credit that the receiver gave, so none is lost
//! for want of descriptors; neither end ever waits for the other; a front that dies leaves its
//! sessions in the clear with the keepers, which say what is due in time and wait
//! `process::ORPHAN_WAIT` for another front with what clients say; a keeper that dies takes its own
//! sessions along, those on their way to the front included, no others.
//!
//! A session is one process's at any time. Who goes to a keeper is the keeper's once it is sent: it
//! lies in the keeper's socket if the front dies. Who comes back is the keeper's until the keeper can
//! read that the front has it, and until that is said the front says nothing to the client. So
//! whichever of them dies, and whenever, nobody is lost for it with the front, and no client hears two.
//!
//! Rejected: several gateways on one port with a ledger between them (a charge over a socket costs
//! 35 to 50 µs against 0.1 µs for a call); keepers that run the machine (each needs the ledger then).

mod front;
mod link;
pub(crate) mod message;
mod place;
mod process;
mod squeeze;
mod tail;

pub use front::Settings;
pub(crate) use front::{Cargo, Keepers};
pub(crate) use message::{Flags, Freight, Why};
pub use process::run;
