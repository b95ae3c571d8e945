//! What the tests of tarpit share: golden dialogues, and a world in which time is a number.
//!
//! A [`Dialog`] is a conversation written down in a file: what the client says, what the gateway
//! must say and when, what the upstream is asked and what it answers. [`play()`] runs one against
//! the machine of `tarpit-core` inside a [`World`], in virtual time and so in microseconds. The
//! gateway's tests run the same files over loopback.
//!
//! A test that passes on a broken product is worse than none, so a dialogue has to claim
//! everything: a reply, a question to the upstream or a close that it doesn't mention fails it.

mod dialog;
mod play;
mod world;

pub use dialog::{
    DataFate, Dialog, HELD_UNREAD_MAX, HoldLine, MessageLine, Outcome, ParseError, Placed,
    Settings, Step, read_folder, session_field,
};
pub use play::{Failure, play, play_frozen};
pub use world::{Peer, Rest, Rules, Take, World, question_of};

/// Where the dialogues of this repository are.
#[must_use]
pub fn dialogs_folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/dialogs")
}
