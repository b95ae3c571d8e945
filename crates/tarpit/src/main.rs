//! Tarpit, an SMTP tar pit for any mail server: wrong guesses wait, mail does not.
//!
//! This is the front door: the command line, the configuration file, the wiring and the signals.
//! It decides nothing about mail. What a client gets to hear is decided in `tarpit-core`, and
//! carried out in `tarpit-gateway`; both only ever see checked values.

mod cli;
mod cmd;
mod config;
mod control;
mod log;
mod notify;
mod records;
mod signals;
mod successor;

use std::process::ExitCode;

use clap::Parser as _;

/// What held sessions take is freed by other threads than those that took it, and in bursts. The C
/// library's allocator keeps that in the arenas of the threads; this one gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cmd::dispatch(cli::Tarpit::parse())
}
