//! Replays the seeds of the fuzz targets: a plain `cargo test` keeps what fuzzing once found.

mod invariants;

use std::fs;
use std::path::PathBuf;

fn replay(target: &str, check: impl Fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let files =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        let input = fs::read(&path).unwrap();
        // Which file it was stands in the output of a test that fails.
        println!("{}", path.display());
        check(&input);
        count += 1;
    }
    assert!(count >= 3, "{} has {count} files only", folder.display());
}

#[test]
fn line() {
    replay("line", invariants::line::check);
}

#[test]
fn command() {
    replay("command", invariants::command::check);
}

#[test]
fn reply() {
    replay("reply", invariants::reply::check);
}

#[test]
fn data() {
    replay("data", invariants::data::check);
}

/// The smuggling matrix again, where bare LFs are mended.
#[test]
fn normalize() {
    replay("data", invariants::data::check_normalize);
    replay("normalize", invariants::data::check_normalize);
}

#[test]
fn stuff() {
    replay("stuff", invariants::stuff::check);
}

#[test]
fn xclient() {
    replay("xclient", |input| {
        invariants::command::check(&[b"XCLIENT ", input].concat());
    });
}

#[test]
fn ehlo() {
    replay("ehlo", invariants::ehlo::check);
}

/// What the other parser makes of them is seen in fuzz/ only.
#[test]
fn differential() {
    replay("differential", invariants::command::check);
}
