//! Sequences of operations on the session machine.
#![no_main]

#[path = "../../crates/core/tests/operations/machine.rs"]
mod machine;

libfuzzer_sys::fuzz_target!(|input: &[u8]| machine::check(input));
