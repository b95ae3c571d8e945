//! The admin listener of a running `tarpit`: the text of the figures, that they agree with the
//! records, health, and who is not answered. The built-in maildir takes the mail, or a server that
//! says "no" in many ways.

mod abuse;
mod agree;
#[path = "../common/process.rs"]
mod common;
mod health;
mod hour;
mod http;
mod page;
mod parse;
mod process;
mod records;
mod replay;
mod smtp;
mod text;
mod upstream;
