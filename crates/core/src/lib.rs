//! The judgement and the conversation of an SMTP tar pit.
//!
//! Everything here *decides*; nothing here *does*. There is no socket, no clock, no thread and no
//! source of randomness in this crate: time comes in as a [`Tick`], bytes come in as
//! [`Input`], hash keys come in as a constructor argument, and what is to be done goes out as a
//! value ([`Then`]). That is why a conversation of minutes can be tested in microseconds, and why
//! a session that waits is a value of known size.
//!
//! ```text
//!             Input (bytes, answers of the upstream, the end of a hold)
//!               |
//!   gateway --> Session::handle(now, input, env, outbox) --> Then (read, hold, ask, relay, close)
//!               |        |
//!             policy   ledger
//! ```

#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod answer;
pub mod budget;
mod door;
mod envelope;
mod event;
pub mod filter;
mod id;
pub mod ledger;
pub mod octets;
mod outbox;
pub mod paced;
pub mod policy;
mod quote;
pub mod record;
pub mod replay;
mod session;
mod source;
mod tick;
pub mod wheel;

pub use door::{Door, Kind};
pub use envelope::{Envelope, Recipient};
pub use event::{Admission, Answer, Ask, Chunk, DataEnd, Input, Introduction, Then, Trouble};
pub use id::{NotAnId, SessionId};
pub use outbox::Outbox;
pub use paced::Paced;
pub use quote::Quote;
pub use session::{Env, NotAtRest, Session};
pub use source::{Prefixes, Source};
pub use tick::Tick;
