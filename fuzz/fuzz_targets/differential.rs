//! One command, as we read it and as another parser does.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tarpit_fuzz::check(input));
