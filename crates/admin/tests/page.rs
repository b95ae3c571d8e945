//! The page in the repository is the one that the table makes.

#[test]
fn the_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring.md");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == tarpit_admin::monitoring_markdown(),
        "docs/monitoring.md is out of date: run `cargo xtask generate`"
    );
}
