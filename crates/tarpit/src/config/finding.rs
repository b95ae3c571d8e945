//! What is wrong with a file: all of it at once, each with its place.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A place in the file; lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The line.
    pub(crate) line: usize,
    /// The column.
    pub(crate) column: usize,
}

impl Place {
    /// The place of an octet of `text`.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or("").chars().count() + 1,
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Where; none if it is about the file as a whole.
    pub(crate) place: Option<Place>,
    /// The key or section; empty if there is none.
    pub(crate) key: String,
    /// What was found, what is allowed, and the nearest name.
    pub(crate) text: String,
}

/// Everything that is wrong with one file, in its order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) struct Findings {
    /// The file.
    pub(crate) file: PathBuf,
    /// What is wrong with it.
    pub(crate) list: Vec<Finding>,
}

impl Findings {
    /// One line for each: `FILE:LINE:COLUMN: KEY: TEXT`.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|finding| {
            let mut line = self.file.display().to_string();
            if let Some(Place { line: row, column }) = finding.place {
                line.push_str(&format!(":{row}:{column}"));
            }
            if !finding.key.is_empty() {
                line.push_str(&format!(": {}", finding.key));
            }
            format!("{line}: {}", finding.text)
        })
    }
}

impl fmt::Display for Findings {
    /// All lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.lines().collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Collects findings about one file.
#[derive(Debug)]
pub(crate) struct Notebook<'t> {
    text: &'t str,
    list: Vec<Finding>,
}

impl<'t> Notebook<'t> {
    /// About a file with this text.
    pub(crate) fn new(text: &'t str) -> Self {
        Self {
            text,
            list: Vec::new(),
        }
    }

    /// The place of a span.
    pub(crate) fn place(&self, span: &Range<usize>) -> Place {
        Place::of(self.text, span.start)
    }

    /// Something is wrong at `span`.
    pub(crate) fn wrong(
        &mut self,
        span: &Range<usize>,
        key: impl Into<String>,
        text: impl Into<String>,
    ) {
        let place = Some(self.place(span));
        self.list.push(Finding {
            place,
            key: key.into(),
            text: text.into(),
        });
    }

    /// Something is wrong at a place that is known already; none means the file as a whole.
    pub(crate) fn wrong_at(
        &mut self,
        place: Option<Place>,
        key: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.list.push(Finding {
            place,
            key: key.into(),
            text: text.into(),
        });
    }

    /// Whether nothing was noted about `key`.
    pub(crate) fn is_blank_about(&self, key: &str) -> bool {
        self.list.iter().all(|finding| finding.key != key)
    }

    /// All of it, in the order of the file.
    pub(crate) fn close(mut self, file: &Path) -> Findings {
        self.list.sort_by_key(|finding| finding.place);
        Findings {
            file: file.to_owned(),
            list: self.list,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let text = "a = 1\nü = 2\n";
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1 });
        assert_eq!(Place::of(text, 4), Place { line: 1, column: 5 });
        assert_eq!(Place::of(text, 6), Place { line: 2, column: 1 });
        assert_eq!(Place::of(text, 9), Place { line: 2, column: 3 });
        assert_eq!(Place::of(text, text.len()), Place { line: 3, column: 1 });
    }
}
