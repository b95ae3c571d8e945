//! What becomes of a setting: one row for each in the table of its format.

use super::draft::{At, Draft};
use super::source::Setting;
use super::units::Read;

/// One row.
#[derive(Debug)]
pub(super) struct Row {
    /// The setting. A star at its end stands for any ending.
    pub(super) name: &'static str,
    /// What becomes of it.
    pub(super) fate: Fate,
}

/// What becomes of a setting.
#[derive(Debug)]
pub(super) enum Fate {
    /// An option of ours.
    Option {
        /// Which.
        at: At,
        /// Its value.
        read: fn(&str) -> Read,
        /// What is different here; empty if nothing is.
        remark: &'static str,
    },
    /// Nothing, and why.
    Nothing(&'static str),
    /// It means something together with others only, and is read where those are.
    Elsewhere,
}

/// A row for an option of ours.
pub(super) const fn option(
    name: &'static str,
    at: At,
    read: fn(&str) -> Read,
    remark: &'static str,
) -> Row {
    Row {
        name,
        fate: Fate::Option { at, read, remark },
    }
}

/// A row for what has no counterpart.
pub(super) const fn nothing(name: &'static str, reason: &'static str) -> Row {
    Row {
        name,
        fate: Fate::Nothing(reason),
    }
}

/// A row for what is read elsewhere.
pub(super) const fn elsewhere(name: &'static str) -> Row {
    Row {
        name,
        fate: Fate::Elsewhere,
    }
}

/// Does with each setting what the table says; of what it doesn't have the name is kept.
pub(super) fn apply(draft: &mut Draft, table: &[Row], settings: &[Setting]) {
    for setting in settings {
        match row(table, &setting.name) {
            Some(row) => draft.apply(&setting.show(), &setting.value, &row.fate),
            None => draft.stay(&setting.name),
        }
    }
}

fn row<'t>(table: &'t [Row], name: &str) -> Option<&'t Row> {
    let fits = |row: &&Row| match row.name.strip_suffix('*') {
        Some(start) => name
            .get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start)),
        None => row.name.eq_ignore_ascii_case(name),
    };
    table.iter().find(fits)
}

/// Mistakes in a table, for its test: rows that can't be reached, options that are not ours.
#[cfg(test)]
pub(super) fn mistakes(table: &[Row]) -> Vec<String> {
    let mut list = Vec::new();
    for (at, one) in table.iter().enumerate() {
        let name = one.name.trim_end_matches('*');
        if row(&table[..at], name).is_some() {
            list.push(format!("{} is never reached", one.name));
        }
        match &one.fate {
            Fate::Option { at, .. } => {
                if crate::config::options::section(at.0).option(at.2).is_none() {
                    list.push(format!("{}: no option {}.{}", one.name, at.0, at.2));
                }
            }
            Fate::Nothing(reason) if !reason.ends_with('.') => {
                list.push(format!("{}: no sentence", one.name));
            }
            Fate::Nothing(_) | Fate::Elsewhere => {}
        }
    }
    list
}
