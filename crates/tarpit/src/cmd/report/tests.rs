use super::tally::Tally;
use super::*;
use crate::records::line::Line;

/// A wanted sender that waited, a harvester that learnt two names, and a sender that never waited.
const LINES: &[&str] = &[
    r#"{"v":1,"timestamp":"2026-11-29T10:00:05.5Z","session":"tp-1","source":"192.0.2.1","reason":"unknown_recipient","held_seconds":5.0,"end":"paid","mode":"enforce","target":"tarpit::hold"}"#,
    r#"{"v":1,"timestamp":"2026-11-29T10:00:06Z","session":"tp-1","source":"192.0.2.1","mode":"enforce","accepted":1,"refused":1,"messages_accepted":1,"end":"quit","target":"tarpit::session"}"#,
    r#"{"v":1,"timestamp":"2026-11-29T12:00:00Z","session":"tp-2","source":"198.51.100.7","reason":"unknown_recipient","held_seconds":20.0,"end":"hang_up","mode":"enforce","target":"tarpit::hold"}"#,
    r#"{"v":1,"timestamp":"2026-11-29T12:00:01Z","session":"tp-2","source":"198.51.100.7","mode":"enforce","accepted":2,"refused":40,"unseen":3,"end":"hang_up_held","target":"tarpit::session"}"#,
    r#"{"timestamp":"2026-11-29T13:00:01Z","level":"INFO","message":"session","session":"tp-3","source":"2001:db8::/64","mode":"enforce","accepted":7,"messages_accepted":7,"target":"tarpit::session"}"#,
];

const OBSERVED: &[&str] = &[
    r#"{"v":1,"timestamp":"2026-11-29T10:00:05.5Z","session":"tp-1","source":"192.0.2.1","reason":"<b>","held_seconds":5.0,"end":"observed","mode":"observe","target":"tarpit::hold"}"#,
    r#"{"v":1,"timestamp":"2026-11-29T10:00:06Z","session":"tp-1","source":"192.0.2.1","mode":"<script>","accepted":1,"refused":1,"messages_accepted":1,"target":"tarpit::session"}"#,
];

fn report(lines: &[&str], since: Option<i64>) -> tally::Report {
    let mut tally = Tally::new(since);
    for line in lines {
        let (about, line) = Line::read(line.as_bytes()).unwrap().unwrap();
        tally.take(about, &line);
    }
    tally.close(read::Passed::default())
}

#[test]
fn harm_comes_first_with_its_exemption() {
    let text = text::print(&report(LINES, None));
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(at("HARM") < at("EFFECT"));
    assert!(
        text.contains("1 of 2 with accepted mail, 5.0 s in all\n"),
        "{text}"
    );
    assert!(text.contains("network = \"192.0.2.1\"\n"), "{text}");
    assert!(!text.contains("network = \"198.51.100.7\""), "{text}");
    assert!(!text.contains("estimate"), "{text}");
}

#[test]
fn a_known_sender_is_hurt_though_its_mail_came_before_the_records() {
    let hold = LINES[2].replace("\"mode\"", "\"known\":true,\"mode\"");
    let report = report(&[&hold, LINES[3]], None);
    let (source, dealings) = &report.harm[0];
    assert_eq!(source.to_string(), "198.51.100.7");
    assert!(text::exempt(*source, dealings).contains("\"a known sender, waited 20.0 s"));
    // And what it heard "yes" to are no names that it learnt.
    assert_eq!(report.by_harvesters, tally::Harvest::default());
    assert_eq!((report.harvesters, report.stolen), (0, Duration::ZERO));
    assert!(report.top.is_empty());
}

#[test]
fn the_exemption_is_what_the_configuration_takes() {
    let report = report(LINES, None);
    let (source, dealings) = &report.harm[0];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tarpit.toml");
    let text = format!(
        "hostname = \"mx.example.org\"\n[[listener]]\nname = \"mx\"\naddress = \"192.0.2.1:25\"\n\
         [[upstream]]\naddress = \"192.0.2.2:25\"\n{}",
        text::exempt(*source, dealings)
    );
    std::fs::write(&file, text).unwrap();
    let loaded = config::load(&file).unwrap();
    assert_eq!(loaded.gateway.exempt.len(), 1);
}

#[test]
fn each_thing_is_counted_once() {
    let report: serde_json::Value =
        serde_json::from_str(&json::print(&report(LINES, None)).unwrap()).unwrap();
    assert_eq!(report["sessions"], 3);
    assert_eq!(report["sources"], 3);
    assert_eq!(
        report["held"],
        serde_json::json!({"count": 2, "seconds": 25.0})
    );
    assert_eq!(report["harm"]["seconds"], 5.0);
    assert_eq!(report["stolen_seconds"], 20.0);
    assert_eq!(
        (&report["guesses"], &report["names_learnt"]),
        (&40.into(), &2.into())
    );
    assert_eq!(
        report["harvesters"],
        serde_json::json!({"sources": 1, "guesses": 40, "names_learnt": 2})
    );
    assert_eq!(report["recipients_refused"], 41);
    assert_eq!(
        report["hold_ends"],
        serde_json::json!({"paid": 1, "hang_up": 1})
    );
    assert_eq!(report["hours"].as_array().unwrap().len(), 4);
    assert_eq!(report["hours"][0]["harm_seconds"], 5.0);
    assert_eq!(report["hours"][2]["stolen_seconds"], 20.0);
    assert_eq!(report["estimate"], serde_json::Value::Null);
}

/// What one session heard "no" to and another one "yes" belongs together, and mail in another session
/// makes no harvester's session wanted.
#[test]
fn lessons_of_sessions_are_not_those_of_sources() {
    let session = |source: &str, counts: &str| {
        format!(
            r#"{{"timestamp":"2026-11-29T10:00:06Z","session":"tp-1","source":"{source}","mode":"enforce",{counts},"target":"tarpit::session"}}"#
        )
    };
    let lines = [
        session("192.0.2.1", r#""accepted":1,"refused":3"#),
        session("192.0.2.1", r#""accepted":4,"messages_accepted":4"#),
        session("192.0.2.2", r#""refused":7"#),
        session("192.0.2.2", r#""accepted":2"#),
    ];
    let report = report(&lines.each_ref().map(|line| &**line), None);
    let counts = |of: tally::Harvest| (of.guesses, of.names_learnt);
    assert_eq!(counts(report.by_sessions), (10, 1));
    assert_eq!(
        (report.harvesters, counts(report.by_harvesters)),
        (1, (7, 2))
    );
}

#[test]
fn what_is_older_is_left_out() {
    let noon = 1_795_953_600_000;
    let report = report(LINES, Some(noon));
    assert_eq!((report.all.sessions, report.all.holds), (2, 1));
    assert!(report.harm.is_empty());
}

#[test]
fn observe_says_that_it_estimates_and_why() {
    let report = report(OBSERVED, None);
    let text = text::print(&report);
    assert!(
        text.contains(
            "1 of 1 with accepted mail, 5.0 s in all, what would have been (observe): an estimate"
        ),
        "{text}"
    );
    let plain = text.replace('\n', " ");
    assert!(plain.contains(text::ESTIMATE), "{text}");
}

#[test]
fn the_page_asks_for_nothing_and_runs_nothing() {
    for lines in [LINES, OBSERVED, &[]] {
        let page = html::page(&report(lines, None));
        for bad in [
            "http:", "https:", "//", "<script", "src=", "href", "url(", "@import", "<b>",
        ] {
            assert!(!page.contains(bad), "{bad}: {page}");
        }
        assert!(page.contains("default-src 'none'"));
        assert_eq!(page.contains("<rect class=\"harm\""), !lines.is_empty());
    }
}

#[test]
fn no_records_are_no_figures() {
    assert!(text::print(&report(&[], None)).starts_with("There are no records"));
    assert!(json::print(&report(&[], None)).is_ok());
}

/// A file may say anything: no panic, nothing for a terminal to obey, and what is no record is counted.
#[test]
fn a_hostile_file_is_only_wrong() {
    let most = u64::MAX;
    let session = format!(
        r#"{{"timestamp":"2026-11-29T10:00:06Z","session":"tp-1","source":"192.0.2.1","mode":"[31m","accepted":{most},"refused":{most},"unseen":{most},"auth_failed":{most},"messages_accepted":{most},"target":"tarpit::session"}}"#
    )
    .replace("[31m", "\u{9b}31m");
    let hold = r#"{"timestamp":"2026-11-29T10:00:06Z","session":"tp-1","source":"192.0.2.1","reason":"R","end":"E","held_seconds":1e300,"target":"tarpit::hold"}"#
        .replace("\"R\"", "\"\u{9b}2J\"")
        .replace("\"E\"", "\"\u{7f}\"");
    let nobody = r#"{"timestamp":"2026-11-29T10:00:06Z","source":"192.0.2.1/99","target":"tarpit::session"}"#;
    let whenever = r#"{"timestamp":"then","source":"192.0.2.1","target":"tarpit::session"}"#;
    let report = report(&[&session, &session, &hold, &hold, nobody, whenever], None);
    assert_eq!(report.all.accepted, most);
    assert_eq!(report.passed.unreadable, 2);
    let text = text::print(&report);
    assert!(!text.contains(['\u{9b}', '\u{7f}']), "{text:?}");
    let page = html::page(&report);
    assert!(!page.contains(['\u{9b}', '\u{7f}']), "{page:?}");
    json::print(&report).unwrap();
}

/// Whoever asks is not started by the service manager, and so is not told where the records are.
#[test]
fn the_age_limit_holds_for_the_records_of_a_service_too() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tarpit.toml");
    let asked = |records: &str| {
        let text = format!(
            "hostname = \"mx.example.org\"\n[[upstream]]\naddress = \"192.0.2.2:25\"\n\
             [[listener]]\nname = \"mx\"\naddress = \"192.0.2.1:25\"\n[records]\nmax_age = \"1h\"\n{records}\n"
        );
        std::fs::write(&config, text).unwrap();
        usual(Some(&config)).unwrap()
    };
    let hour = Some(Duration::from_secs(3600));
    assert_eq!(asked(""), (Some(USUAL.into()), hour));
    let own = folder.path().join("own.jsonl");
    assert_eq!(asked("file = \"own.jsonl\""), (Some(own), hour));
    assert_eq!(asked("file = \"off\""), (None, hour));
}
