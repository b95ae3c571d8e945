//! What is set by command and holds beside the configuration: the mode, the exemptions, and a trial.
//!
//! It is kept in two files ([`kept`]), so that a reload, a restart and an upgrade keep it:
//!
//! - **Exemptions** are added to those of the configuration.
//! - **A mode** stands in for `[tarpit] mode` until that says something else than it did when the
//!   command was given: who edits the file means it. A listener with a mode of its own gets what is
//!   laxer of the two, so that `mode off` is off everywhere and `mode enforce` holds nobody whom the
//!   file spares.
//! - **A trial** is `enforce` for a while ([`trial`]). What is kept meanwhile is `observe`: whatever
//!   ends the process, that is how it comes back.
//!
//! One desk has all of it, in the task that changes the gateway: changes come one after the other.
//!
//! Rejected: to write the mode into the configuration file. It is a person's, with comments, perhaps
//! under version control, and often the gateway may not write it.

mod desk;
mod kept;
mod seen;
mod trial;

pub(crate) use desk::Desk;
pub(crate) use seen::Seen;
