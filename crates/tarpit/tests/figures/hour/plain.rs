//! A plain count of the records, and what a view shows otherwise.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::counts::{Counts, number, word};

/// What one source did, by the names that it has in the report.
#[derive(Debug, Default)]
pub(super) struct Source {
    counts: BTreeMap<&'static str, f64>,
    is_known: bool,
}

impl Source {
    fn add(&mut self, name: &'static str, by: f64) {
        *self.counts.entry(name).or_default() += by;
    }

    fn get(&self, name: &str) -> f64 {
        self.counts.get(name).copied().unwrap_or(0.0)
    }

    fn is_wanted(&self) -> bool {
        self.is_known || self.get("messages_accepted") > 0.0
    }

    fn has_waited(&self) -> bool {
        self.get("held_seconds") + self.get("would_hold_seconds") > 0.0
    }
}

/// The records, counted one line after the other.
#[derive(Debug, Default)]
pub(super) struct Plain {
    counts: BTreeMap<String, f64>,
    sources: BTreeMap<String, Source>,
    sessions: BTreeMap<String, Value>,
}

impl Plain {
    /// `errors_max`: of the configuration.
    pub(super) fn of(records: &[Value], errors_max: f64) -> Self {
        let mut plain = Self::default();
        for record in records {
            match word(record, "target") {
                "tarpit::hold" => plain.hold(record),
                "tarpit::session" => plain.session(record, errors_max),
                other => assert_eq!(other, "tarpit::act"),
            }
        }
        plain.judge();
        plain
    }

    pub(super) fn get(&self, name: &str) -> f64 {
        self.counts.get(name).copied().unwrap_or(0.0)
    }

    fn add(&mut self, name: impl Into<String>, by: f64) {
        *self.counts.entry(name.into()).or_default() += by;
    }

    fn source(&mut self, record: &Value) -> &mut Source {
        let name = word(record, "source").to_owned();
        self.sources.entry(name).or_default()
    }

    fn hold(&mut self, record: &Value) {
        let seconds = number(record, "/held_seconds");
        let (reason, end) = (word(record, "reason"), word(record, "end"));
        let is_observed = end == "observed";
        let (count, time) = if is_observed {
            ("would_hold", "would_hold_seconds")
        } else {
            ("holds", "held_seconds")
        };
        let source = self.source(record);
        source.is_known |= record["known"] == true;
        source.add(count, 1.0);
        source.add(time, seconds);
        source.add("hung_up", f64::from(u8::from(end == "hang_up")));
        self.add("holds of all kinds", 1.0);
        self.add("seconds of all kinds", seconds);
        if is_observed {
            self.add("holds observed", 1.0);
            self.add("seconds observed", seconds);
            self.add(format!("holds observed for {reason}"), 1.0);
            self.add(format!("seconds observed for {reason}"), seconds);
            return;
        }
        let way = word(record, "way");
        self.add("holds", 1.0);
        self.add("seconds held", seconds);
        self.add(format!("holds for {reason}"), 1.0);
        self.add(format!("seconds held for {reason}"), seconds);
        self.add(format!("holds in the way {way}"), 1.0);
        self.add(format!("seconds held in the way {way}"), seconds);
        self.add(format!("holds ended by {end}"), 1.0);
    }

    fn session(&mut self, record: &Value, errors_max: f64) {
        let count = |field: &str| number(record, &format!("/{field}"));
        let source = self.source(record);
        source.add("sessions", 1.0);
        for field in [
            "accepted",
            "refused",
            "auth_failed",
            "unseen",
            "messages_accepted",
        ] {
            source.add(field, count(field));
        }
        for (field, name) in [
            ("holds", "holds of sessions"),
            ("held_seconds", "seconds of sessions"),
            ("accepted", "recipients accepted"),
            ("refused", "recipients refused"),
            ("deferred", "recipients deferred"),
            ("would_refuse", "recipients to be refused"),
            ("unseen", "unseen"),
            ("auth_failed", "failed AUTHs"),
            ("messages_accepted", "messages accepted"),
            ("messages_aborted", "messages aborted"),
        ] {
            self.add(name, count(field));
        }
        let done = count("messages_accepted") + count("messages_aborted");
        self.add("messages refused", count("messages") - done);
        if count("refused") > 0.0 && count("messages_accepted") == 0.0 {
            self.add("guesses", count("refused"));
            self.add("names learnt", count("accepted"));
        }
        let mode = word(record, "mode");
        if mode != "enforce" && count("errors") > errors_max {
            self.add("sessions over the error limit", 1.0);
        }
        if record["tls"] == true {
            self.add("sessions over TLS", 1.0);
        }
        self.add("sessions", 1.0);
        self.add(format!("sessions in {mode}"), 1.0);
        self.add(format!("sessions ended by {}", word(record, "end")), 1.0);
        let id = word(record, "session").to_owned();
        assert!(self.sessions.insert(id, record.clone()).is_none());
    }

    /// What can only be told when all is known of each source.
    fn judge(&mut self) {
        for (name, one) in std::mem::take(&mut self.sources) {
            let (held, would) = (one.get("held_seconds"), one.get("would_hold_seconds"));
            self.add("sources", 1.0);
            let whose = if one.is_wanted() { "harm" } else { "stolen" };
            self.add(format!("{whose} seconds"), held);
            self.add(format!("{whose} seconds observed"), would);
            self.add(format!("{whose} seconds in all"), held + would);
            if one.is_wanted() {
                self.add("sources with mail", 1.0);
                self.add("harm hang-ups", one.get("hung_up"));
                let is_hurt = one.has_waited() || one.get("unseen") > 0.0;
                self.add("sources hurt", f64::from(u8::from(is_hurt)));
            } else if one.get("refused") > 0.0 {
                self.add("harvesters", 1.0);
                self.add("guesses of harvesters", one.get("refused"));
                self.add("names learnt by harvesters", one.get("accepted"));
            }
            self.sources.insert(name, one);
        }
    }

    /// What the records of sessions say of all holds.
    pub(super) fn of_sessions(&self) -> Counts {
        let counts = ["holds", "seconds"].map(|what| {
            let name = format!("{what} of all kinds");
            (name, self.get(&format!("{what} of sessions")))
        });
        counts.into()
    }

    /// What a view shows otherwise.
    pub(super) fn differences(&self, view: &str, counts: &[(String, f64)]) -> Vec<String> {
        let mut found = Vec::new();
        for (name, shown) in counts {
            compare(
                &mut found,
                &format!("{view}: {name}"),
                *shown,
                self.get(name),
            );
        }
        found
    }

    /// The same for each source that the report lists.
    pub(super) fn differences_of_sources(&self, report: &Value) -> Vec<String> {
        let mut found = Vec::new();
        let lists = [&report["harm"]["sources"], &report["top"]];
        for row in lists.iter().flat_map(|list| list.as_array().unwrap()) {
            let name = word(row, "source");
            let Some(source) = self.sources.get(name) else {
                found.push(format!("report: nobody is {name}"));
                continue;
            };
            for (field, shown) in row.as_object().unwrap() {
                let counted = source.get(field);
                if let (Some(shown), false) = (shown.as_f64(), field == "waited_seconds") {
                    compare(
                        &mut found,
                        &format!("report: {name}: {field}"),
                        shown,
                        counted,
                    );
                }
            }
        }
        found
    }

    /// The same for each session that the page lists.
    pub(super) fn differences_of_sessions(&self, snapshot: &Value) -> Vec<String> {
        let mut found = Vec::new();
        for shown in snapshot["sessions"].as_array().unwrap() {
            let (name, ended) = (word(shown, "id"), &shown["ended"]);
            let Some(record) = self.sessions.get(name) else {
                found.push(format!("page: no session is {name}"));
                continue;
            };
            for (field, shown) in ended.as_object().unwrap() {
                // Addresses, and what is no number, are left out.
                if let (Some(shown), Some(counted)) = (shown.as_f64(), record[field].as_f64()) {
                    compare(
                        &mut found,
                        &format!("page: {name}: {field}"),
                        shown,
                        counted,
                    );
                }
            }
            if (word(ended, "end"), word(shown, "source"))
                != (word(record, "end"), word(record, "source"))
            {
                found.push(format!("page: {shown}, in the records {record}"));
            }
        }
        found
    }

    /// Whether these events of harm are the harm in the records.
    pub(super) fn differences_of_events(&self, view: &str, shown: &Value) -> Vec<String> {
        let events = shown["harm"]["events"].as_array().unwrap();
        // More are not kept.
        let is_whole = events.len() < 64;
        let mut found = Vec::new();
        if is_whole {
            let sum = events.iter().map(|event| number(event, "/seconds")).sum();
            let what = format!("{view}: seconds of events");
            compare(&mut found, &what, sum, self.get("harm seconds"));
        }
        let shown: BTreeSet<&str> = events.iter().map(|event| word(event, "source")).collect();
        let hurt = self.sources.iter();
        let hurt: BTreeSet<&str> = hurt
            .filter(|(_, one)| one.is_wanted() && one.get("held_seconds") > 0.0)
            .map(|(name, _)| &**name)
            .collect();
        if !shown.is_subset(&hurt) || (is_whole && shown != hurt) {
            found.push(format!(
                "{view}: hurt are {shown:?}, in the records {hurt:?}"
            ));
        }
        found
    }
}

/// All times are whole milliseconds, so nothing is lost by the way.
fn compare(found: &mut Vec<String>, what: &str, shown: f64, counted: f64) {
    if (shown - counted).abs() > 0.0005 {
        found.push(format!("{what}: {shown}, in the records {counted}"));
    }
}
