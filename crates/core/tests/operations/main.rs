//! Sequences of operations on the session machine: the seeds of the fuzz target `session`, and
//! random ones.

mod machine;

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

#[test]
fn seeds() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/session");
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        // Which file it was stands in the output of a test that fails.
        println!("{}", path.display());
        machine::check(&fs::read(&path).unwrap());
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
}
