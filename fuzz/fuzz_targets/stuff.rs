//! Content of chunks made fit for DATA, in any chunking, against the oracle.
#![no_main]

#[expect(dead_code, reason = "each target uses its own part")]
#[path = "../../crates/smtp/tests/invariants/mod.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| invariants::stuff::check(input));
