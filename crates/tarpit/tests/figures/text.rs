//! The text: complete, and in the format.

use tarpit_gateway::metrics;

use super::http::get;
use super::parse::parse;
use super::process::Tarpit;

const ONE: &str =
    "admin.address = \"127.0.0.1:0\"\n[[listener]]\nname = \"mx\"\naddress = \"127.0.0.1:0\"\n";

/// Every row of the table is there, with its words, its kind, and all its series.
#[test]
fn every_metric_of_the_table() {
    let tarpit = Tarpit::start(ONE);
    let answer = get(tarpit.admin(), "/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.field("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let shown = parse(&answer.body);
    for family in metrics::families() {
        let metric = shown.get(family.name);
        let metric = metric.unwrap_or_else(|| panic!("no {}", family.name));
        assert_eq!(metric.help, family.help);
        assert_eq!(metric.kind, family.kind.as_str());
        for sample in &metric.samples {
            let labels = sample.labels.keys().filter(|name| *name != "le");
            assert_eq!(labels.count(), family.labels.len(), "{sample:?}");
        }
        // There is no upstream, no certificate and nobody held here.
        let may_be_empty = ["tarpit_upstream_", "tarpit_certificate_", "tarpit_pit_"];
        let is_due = !may_be_empty
            .iter()
            .any(|start| family.name.starts_with(start));
        assert!(
            !is_due || !metric.samples.is_empty(),
            "{} has no series",
            family.name
        );
    }
    assert_eq!(shown.len(), metrics::families().count());
    // What a look costs has a bound: a reader is sent no more than this.
    assert!(answer.body.len() < 64 * 1024, "{}", answer.body.len());
}

/// What the administrator chose to call something does not break the format.
#[test]
fn names_of_files_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("odd \"name\" \\ back.pem");
    std::fs::copy(
        concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/configs/mx1.example.org.pem"
        ),
        &odd,
    )
    .unwrap();
    let file = odd.display().to_string();
    let tarpit = Tarpit::start(&format!("{ONE}[[certificate]]\nchain = '{file}'\n"));
    let shown = parse(&get(tarpit.admin(), "/metrics").body);
    let [certificate] = &shown["tarpit_certificate_expiry_timestamp_seconds"].samples[..] else {
        panic!("one certificate: {shown:?}");
    };
    assert_eq!(certificate.labels["file"], file);
    assert!(certificate.value > 1.7e9, "{certificate:?}");
}
