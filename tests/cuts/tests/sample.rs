//! A sample of all cuts, for every run of the tests. All of them: `cargo xtask cuts`.

use tarpit_cuts::{Options, World, run};

/// About a minute's worth; the kinds of cuts are all among them.
const POINTS: usize = 4000;

#[test]
fn nothing_is_lost_whatever_is_cut() {
    let options = Options {
        points: POINTS,
        seed: 1,
        worlds: World::ALL.to_vec(),
        only: Vec::new(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(run(&options)).unwrap();
    println!("{report}");
    assert!(
        report.failures.is_empty(),
        "repeat one with cargo xtask cuts --only POINT:\n{}",
        report.failures.join("\n")
    );
    // Points that are not reached prove nothing.
    assert!(
        report.missed() * 20 < POINTS,
        "{} points missed",
        report.missed()
    );
    assert!(
        report.reused > 0,
        "no connection to the upstream was used again"
    );
}
