//! What to say about a key that the table of options doesn't have.

use super::super::nearest::nearest;
use super::super::options::{self, Section, Shape};
use super::super::read;

/// A key for messages, cut and escaped: it came from outside and is not in the table.
pub(super) fn shown_path(section: &Section, key: &str) -> String {
    let quoted = read::show_text(key);
    section.path(quoted.trim_matches('"'))
}

/// What to say about a key that the table doesn't have.
pub(super) fn unknown_key(section: &'static Section, key: &str) -> String {
    let mut text = "unknown key".to_owned();
    let keys = section.options.iter().map(|option| option.key);
    let sections = options::SECTIONS
        .iter()
        .map(|other| other.name)
        .filter(|name| !name.is_empty());
    let here: Vec<&str> = match section.shape {
        Shape::Top => keys.chain(sections).collect(),
        Shape::Single | Shape::Many => keys.collect(),
    };
    if let Some(near) = nearest_key(key, &here) {
        text.push_str(&format!("; did you mean `{near}`?"));
    } else if let Some(other) = elsewhere(section, key) {
        let place = match other.shape {
            Shape::Top => "it stands at the top level, before the first [section]".to_owned(),
            Shape::Single | Shape::Many => format!("it is a key of {}", other.header()),
        };
        text.push_str(&format!("; {place}"));
    }
    let list = here.join(", ");
    text.push_str(&format!("; allowed in {}: {list}", section.header()));
    text
}

/// The key of a section that was probably meant: the same in the section's own table (`delay` for
/// `tarpit.delay`), or one with a few slips after the same prefix.
fn nearest_key<'k>(key: &str, here: &[&'k str]) -> Option<&'k str> {
    let (prefix, leaf) = key
        .rsplit_once('.')
        .map_or(("", key), |(table, leaf)| (&key[..=table.len()], leaf));
    let in_table = |known: &&&str| {
        known
            .rsplit_once('.')
            .is_some_and(|(_, inner)| inner == key)
    };
    if let Some(known) = here.iter().find(in_table) {
        return Some(known);
    }
    let beside = here.iter().filter_map(|known| known.strip_prefix(prefix));
    let near = nearest(leaf, beside)?;
    here.iter()
        .find(|known| known.strip_prefix(prefix) == Some(near))
        .copied()
}

/// Another section that has a key of this name.
fn elsewhere(section: &Section, key: &str) -> Option<&'static Section> {
    let leaf = key.rsplit('.').next().unwrap_or(key);
    options::SECTIONS
        .iter()
        .find(|other| other.option(leaf).is_some() && other.name != section.name)
}
