//! What a PROXY header says. The gateway itself would bring sockets and TLS into this build, so its file is
//! taken alone.
#![no_main]

#[path = "../../crates/gateway/src/front/header.rs"]
mod header;

use header::{SIGNATURE, Said, judge};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    check(input);
    // Most inputs would not get past the signature.
    check(&[SIGNATURE, input].concat());
    check(&[&b"PROXY "[..], input, b"\r\n"].concat());
});

fn check(header: &[u8]) {
    let Ok(Said::Client { client, local, tls }) = judge(header) else {
        return;
    };
    for address in [client, local] {
        assert_eq!(address.ip(), address.ip().to_canonical());
    }
    let harmless = |text: &str| text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    assert!(tls.is_none_or(|text| harmless(&text)));
    // Cut anywhere, it says nothing or something else, and nothing panics.
    for end in 0..header.len() {
        let _ = judge(&header[..end]);
    }
}
