//! Announcements of upstreams, and what is offered to clients.
#![no_main]

#[expect(dead_code, reason = "each target uses its own part")]
#[path = "../../crates/smtp/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::ehlo::check(input));
