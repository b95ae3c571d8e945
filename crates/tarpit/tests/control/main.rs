//! The commands for a running gateway, as processes: what they print, what they change, what stays.
//! The built-in maildir takes the mail, so nothing but loopback is needed.

mod abuse;
mod exemptions;
mod explain;
mod gateway;
mod mode;
#[path = "../common/process.rs"]
mod process;
#[path = "../common/reading.rs"]
mod reading;
mod trial;
