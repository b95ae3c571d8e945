//! The seeds of the fuzz targets `session` and `thaw`, and random ones: sequences of operations on
//! the session machine, and octets that are taken for a frozen session.

mod machine;
mod thaw;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use tarpit_core::Session;

#[test]
fn seeds() {
    replay("session", machine::check);
}

#[test]
fn seeds_of_frozen_sessions() {
    replay("thaw", |octets| {
        Session::thaw(octets).expect("a seed is a session");
        thaw::check(octets);
        // Cut, and with one octet changed.
        for place in 0..octets.len() {
            thaw::check(&octets[..place]);
            let mut other = octets.to_vec();
            for bit in 0..8 {
                other[place] = octets[place] ^ (1 << bit);
                thaw::check(&other);
            }
        }
    });
}

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        // Which file it was stands in the output of a test that fails.
        println!("{}", path.display());
        check(&fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count >= 3, "{} has {count} files only", folder.display());
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_comes(input in prop::collection::vec(any::<u8>(), 0..200)) {
        machine::check(&input);
    }

    #[test]
    fn whatever_is_taken_for_a_session(input in prop::collection::vec(any::<u8>(), 0..200)) {
        thaw::check(&input);
        // Few would get past the form.
        thaw::check(&[&[1], &input[..]].concat());
    }
}
