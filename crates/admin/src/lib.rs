//! The window: what a gateway does, for those who look after it. Figures for Prometheus at
//! `/metrics`, whether the process turns at `/livez`, whether it takes mail at `/readyz`; a page to
//! look at; and the [`control`] socket, by which commands ask more, and change something.
//!
//! What it promises: it never slows mail. It enters the gateway through [`Handle`] alone, and what is
//! open to a network changes nothing; the figures are read and printed on a thread that serves no mail,
//! ten times a second at most, however many ask; connections, their time, and what is read of each
//! are bounded, and all readers share one text, so that a slow one keeps no memory of its own.
//!
//! HTTP is spoken by `hyper`. A parser by hand was rejected: this door may stand open to a network.
//!
//! [`Handle`]: tarpit_gateway::Handle

mod answer;
pub mod api;
mod assets;
pub mod control;
mod door;
mod host;
mod live;
mod page;
mod text;
mod token;

pub use control::{Control, ControlError};
pub use door::{Admin, IfTaken, OpenError};
pub use page::monitoring_markdown;
pub use text::exposition;
pub use token::Token;
