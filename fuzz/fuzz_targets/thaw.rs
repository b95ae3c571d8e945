//! Octets that are taken for a frozen session.
#![no_main]

#[path = "../../crates/core/tests/operations/thaw.rs"]
mod thaw;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    thaw::check(input);
    // Most inputs would not get past the form.
    thaw::check(&[&[1], input].concat());
});
