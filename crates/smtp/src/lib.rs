//! The language of SMTP (RFC 5321 and the extensions that the gateway relays), in both directions.
//!
//! Bytes come in, values come out: lines, commands, replies, capabilities, the end of message data. What a
//! function needs from outside (limits, a chunk of bytes) is an argument.
//!
//! Promises:
//! - No input panics: indexing, unwrapping and unchecked arithmetic are denied here, since every octet is hostile.
//! - Chunking never changes a result: however the network cuts a stream, the same lines, replies and bodies come out.
//! - Memory is bounded by constants in [`limits`]; what can be borrowed from the caller's buffer is borrowed.
//! - What is printed for the next server is printed from the parsed form, so it can carry no octet that the
//!   parser didn't judge. Passing on a client's raw line was rejected: two parsers in a row that disagree are
//!   how smuggling works.
//!
//! It knows no socket, no clock and no policy: which reply answers which error is the table of `tarpit-core`.
#![deny(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::unreachable
)]
// Tests count with plain operators; the other lints know tests by themselves (clippy.toml).
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

mod capability;
mod command;
mod data;
mod escape;
mod extension;
mod idna;
pub mod limits;
mod line;
mod names;
mod param;
mod path;
mod pieces;
mod print;
mod reply;
mod reply_reader;
mod stuff;
mod unicode;
mod unstuff;
mod verb;
mod xclient;
mod xtext;

pub use capability::{
    Capabilities, CapabilityRow, FutureRelease, Limits, Offer, TABLE, Treatment,
    extensions_markdown,
};
pub use command::{Command, CommandError};
pub use data::{
    BareKind, BareNewline, DataScanner, END_OF_DATA, PIECES_MAX, Pieces, Scan, ScanState,
};
pub use escape::{Escaped, escape};
pub use extension::{Extension, Extensions};
pub use idna::domain_key;
pub use line::{LineError, LineReader, LineStep};
pub use names::{Mechanism, Mechanisms, XclientAttribute, XclientAttributes};
pub use param::{Body, ByMode, DeliverBy, Hold, MailParams, Notify, RcptParams, Ret};
pub use path::{ForwardPath, Mailbox, PathError, ReversePath};
pub use print::{
    write_auth, write_bdat, write_ehlo, write_helo, write_mail, write_rcpt, write_verb,
    write_xclient,
};
pub use reply::{EnhancedCode, Reply, ReplyCode};
pub use reply_reader::{ReplyBound, ReplyError, ReplyReader, ReplyStep};
pub use stuff::Stuffer;
pub use unstuff::Unstuffer;
pub use verb::Verb;
pub use xclient::{XclientClaim, Xtext};
