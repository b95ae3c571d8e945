//! The values that hold, and where each comes from.

use std::fmt;

use super::finding::Place;
use super::options::{Apply, Opt, SECTIONS, Section};

/// One value that holds.
#[derive(Clone, Debug)]
pub(crate) struct Effective {
    /// Where it belongs.
    pub(crate) section: &'static Section,
    /// Which of the sections of that name.
    pub(crate) instance: usize,
    /// What it is for.
    pub(crate) option: &'static Opt,
    /// As TOML.
    pub(crate) value: String,
    /// Where it comes from.
    pub(crate) origin: Origin,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From this place in the file.
    File(Place),
    /// From the table of options.
    Default,
    /// From elsewhere, in words.
    Elsewhere(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(place) => write!(f, "line {}", place.line),
            Self::Default => f.write_str("default"),
            Self::Elsewhere(words) => f.write_str(words),
        }
    }
}

impl Effective {
    /// Its rank in the order of the table of options.
    pub(crate) fn rank(&self) -> (usize, usize, usize) {
        let section = SECTIONS
            .iter()
            .position(|section| section.name == self.section.name);
        let option = self
            .section
            .options
            .iter()
            .position(|option| option.key == self.option.key);
        (
            section.unwrap_or(usize::MAX),
            self.instance,
            option.unwrap_or(usize::MAX),
        )
    }
}

/// The values that hold as a TOML file, each with a comment that says where it comes from.
pub(crate) fn as_toml(values: &[Effective]) -> String {
    let line = |value: &Effective| format!("{} = {}", value.option.key, value.value);
    let width = values
        .iter()
        .map(|value| line(value).chars().count())
        .filter(|width| *width <= 60)
        .max();
    let width = width.unwrap_or(0);
    let mut text = String::new();
    let mut last = None;
    for value in values {
        let here = (value.section.name, value.instance);
        if last != Some(here) && !value.section.name.is_empty() {
            text.push_str(&format!("\n{}\n", value.section.header()));
        }
        last = Some(here);
        text.push_str(&format!("{:width$}  # {}\n", line(value), value.origin));
    }
    text
}

/// The keys whose values differ between two files and which a reload can't change, with both
/// values: `listener.address: "127.0.0.1:25" -> "127.0.0.1:26"`.
pub(crate) fn restart_needed(old: &[Effective], new: &[Effective]) -> Vec<String> {
    let mut changes = Vec::new();
    let both = old
        .iter()
        .chain(new)
        .map(|value| (value.section, value.instance, value.option));
    let mut seen: Vec<(&str, usize, &str)> = Vec::new();
    for (section, instance, option) in both {
        let id = (section.name, instance, option.key);
        if option.apply != Apply::Restart || seen.contains(&id) {
            continue;
        }
        seen.push(id);
        let value_in = |values: &[Effective]| {
            let same =
                |value: &&Effective| (value.section.name, value.instance, value.option.key) == id;
            values
                .iter()
                .find(same)
                .map_or_else(|| "nothing".to_owned(), |value| value.value.clone())
        };
        let (before, after) = (value_in(old), value_in(new));
        if before != after {
            changes.push(format!("{}: {before} -> {after}", section.path(option.key)));
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::restart_needed;
    use crate::config::parse;

    #[test]
    fn names_what_needs_a_restart() {
        let values = |more: &str| {
            let text = format!(
                "hostname = \"mx.example.org\"\nlistener = [{{ name = \"mx\", address = \"192.0.2.1:25\" }}]\n\
                 upstream = [{{ address = \"192.0.2.2:25\" }}]\n{more}"
            );
            parse(Path::new("tarpit.toml"), &text).unwrap().effective
        };
        let old = values("");
        assert_eq!(
            restart_needed(&old, &values("tarpit.mode = \"enforce\"")),
            Vec::<String>::new()
        );
        assert_eq!(
            restart_needed(&old, &values("limits.ledger_sources_max = 200_000")),
            Vec::<String>::new()
        );
        assert_eq!(
            restart_needed(
                &old,
                &values("log.format = \"json\"\nlimits.known_senders_max = 5")
            ),
            [
                "limits.known_senders_max: 200000 -> 5",
                "log.format: \"human\" -> \"json\""
            ]
        );
    }
}
