//! Real mail servers, real clients, and servers that fail on demand, for tests of the gateway
//! from outside.
//!
//! Run them with `cargo xtask test`, or by themselves with
//! `cargo xtask install && cargo build -p tarpit && cargo test -p tarpit-interop`: the gateway is
//! the binary that was built last.
//!
//! Everything runs from private folders below the system's folder for temporary files, on free
//! ports of loopback addresses, in process groups that end with the test. Nothing of the
//! machine's own mail is read or touched. Mocks of Postfix were rejected: what a gateway breaks is
//! exactly what its author did not know about the server. Only failures come from a scripted
//! server ([`FaultServer`]), since a real one can't be told when to fail.

mod aiosmtpd;
mod browser;
mod busy;
mod certificates;
mod client;
mod courier;
mod crowdsec;
mod exim;
mod fault;
mod front;
mod gateway;
mod haraka;
mod message;
mod netns;
mod opensmtpd;
mod place;
mod postfix;
mod proc;
mod process;
mod server;
mod site;
mod supervisor;
mod tools;
mod unit;

pub use aiosmtpd::Aiosmtpd;
pub use browser::{Browser, Told};
pub use busy::{Busy, HELD, page_of};
pub use certificates::{Certificates, KeyPair};
pub use client::{Client, Reply};
pub use courier::{Courier, Form, Letter, Relay, Tls, Way};
pub use crowdsec::Crowdsec;
pub use exim::Exim;
pub use fault::{Fault, FaultServer, Stage};
pub use front::{Front, Proxy};
pub use gateway::{Gateway, Record, config, give_away};
pub use haraka::Haraka;
pub use message::{
    binary, dot_stuffed, eight_bit, large, long_lines, plain, received_part, stuffed,
};
pub use netns::{Behind, Net};
pub use opensmtpd::OpenSmtpd;
pub use place::{config_of_package, free_port, gateway_binary, own_address, repository};
pub use postfix::{Postfix, PostfixBuilder};
pub use process::{Group, wait_for};
pub use rustix::process::Signal;
pub use server::{MailServer, count_messages, tail, wait_message};
pub use site::Site;
pub use supervisor::{Service, State};
pub use tools::{fail2ban_regex, haproxy, prometheus, python, swaks, systemd_analyze};
pub use unit::{ExecLine, Unit};

/// The users that every server of this crate knows, in `example.org`.
pub const USERS: [&str; 5] = ["alice", "bob", "carol", "postmaster", "abuse"];

/// A user of `example.org` whose name is not ASCII; servers that speak SMTPUTF8 know it.
pub const UTF8_USER: &str = "j\u{fc}rgen";
