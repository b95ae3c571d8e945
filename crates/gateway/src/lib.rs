//! The hands of an SMTP tar pit: listen, drive the machine, hold, relay.
//!
//! `core` decides, this crate does. It is entered through [`Gateway`] and its [`Handle`] alone. It
//! knows neither HTTP nor a configuration file's format.
//!
//! ```text
//! listen -> drive -> (core) -> pit        a session waits: no buffer, no upstream connection
//!             |  \
//!           relay  link -> upstream | maildir
//! ```

// Tests within the crate and from outside begin with the same configuration.
#[cfg(test)]
extern crate self as tarpit_gateway;
#[cfg(test)]
#[path = "../tests/common/config.rs"]
mod sample;
#[cfg(test)]
mod scene;

mod addresses;
mod buffers;
pub mod clock;
pub mod config;
mod conn;
mod descriptors;
mod dialogue;
mod drive;
mod front;
mod gateway;
pub mod handover;
mod harm;
mod history;
pub mod keeper;
mod link;
mod listen;
mod live;
mod log;
pub mod maildir;
pub mod metrics;
mod pit;
mod places;
mod priority;
mod pulse;
mod recipients;
mod relay;
pub mod runtime;
mod shared;
mod slack;
mod stream;
pub mod tls;
mod trace;
pub mod upstream;

pub use dialogue::{Dialogue, DialogueLine, Speaker};
pub use gateway::{Adjustment, Gateway, Handle, SourceView, StartError, Unready};
pub use harm::{HarmEvent, HarmFigures};
pub use history::{Ended, RecentHold, RecentSession};
pub use live::LiveError;
pub use pit::{AGES, Survey};
pub use recipients::{ReadError, read as read_recipients};
