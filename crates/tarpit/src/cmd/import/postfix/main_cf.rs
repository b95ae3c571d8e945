//! main.cf (postconf(5)): logical lines, and `$name` put in.

use std::cell::Cell;
use std::collections::HashMap;

use anyhow::bail;

use super::super::source::{Place, Setting, Source};

/// How deep names may stand for names. Postfix has 100; a file that means something has three.
const DEPTH_MAX: usize = 16;

/// The longest value that is put together: names that double each other would never end otherwise.
const VALUE_MAX: usize = 64 << 10;

/// Names that are looked up for a file in all: names that stand for many others, and those for nothing,
/// would never end otherwise. What a server is set to needs some hundred.
const LOOKS_MAX: u32 = 1_000_000;

/// A file, read.
#[derive(Debug)]
pub(super) struct MainCf {
    /// How many names may still be looked up.
    looks: Cell<u32>,
    raw: HashMap<String, (String, Place)>,
    order: Vec<String>,
}

impl MainCf {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Postfix would not take it either: a line without `=`, or one that goes on from nowhere.
    pub(super) fn read(source: &Source) -> anyhow::Result<Self> {
        let mut raw = HashMap::new();
        let mut order = Vec::new();
        for (line, text) in logical_lines(source)? {
            let Some((name, value)) = text.split_once('=') else {
                bail!(
                    "{}: found {}; allowed: name = value",
                    source.place(line),
                    crate::config::show_text(&text)
                );
            };
            let name = name.trim().to_owned();
            if name.is_empty() || name.contains(char::is_whitespace) {
                bail!("{}: the name before \"=\" is none", source.place(line));
            }
            // The last one holds; Postfix warns of the others.
            let said = (value.trim().to_owned(), source.place(line));
            if raw.insert(name.clone(), said).is_some() {
                order.retain(|other| *other != name);
            }
            order.push(name);
        }
        Ok(Self {
            looks: Cell::new(LOOKS_MAX),
            raw,
            order,
        })
    }

    /// A setting, with names put in.
    pub(super) fn get(&self, name: &str) -> Option<Setting> {
        let (value, place) = self.raw.get(name)?;
        Some(Setting {
            name: name.to_owned(),
            value: self.expand(value),
            place: place.clone(),
        })
    }

    /// All of them, in the order of the file.
    pub(super) fn all(&self) -> Vec<Setting> {
        self.order
            .iter()
            .filter_map(|name| self.get(name))
            .collect()
    }

    /// A value that may be a default of Postfix's, with names put in.
    pub(super) fn expand(&self, value: &str) -> String {
        let mut text = String::new();
        self.expand_into(value, DEPTH_MAX, &mut text);
        text
    }

    /// What can't be put in stays as it is written, so that whoever reads it sees what was missing.
    fn expand_into(&self, value: &str, depth: usize, out: &mut String) {
        let mut rest = value;
        while let Some(at) = rest.find('$') {
            if out.len() > VALUE_MAX {
                return;
            }
            let (before, behind) = rest.split_at(at);
            out.push_str(before);
            let behind = behind.strip_prefix('$').unwrap_or("");
            if let Some(more) = behind.strip_prefix('$') {
                out.push('$');
                rest = more;
                continue;
            }
            let (inner, more) = reference(behind);
            let shown = behind.get(..behind.len() - more.len()).unwrap_or("");
            if inner.is_empty() || depth == 0 || !self.put_in(inner, depth - 1, out) {
                out.push('$');
                out.push_str(shown);
            }
            rest = more;
        }
        out.push_str(rest);
    }

    /// `name`, `name?then`, `name:else`, `name?{then}:{else}`; false if the name is not known.
    fn put_in(&self, inner: &str, depth: usize, out: &mut String) -> bool {
        let end = inner.find(['?', ':']).unwrap_or(inner.len());
        let (name, test) = inner.split_at(end);
        let known = self.lookup(name.trim(), depth);
        let is_set = known.as_ref().is_some_and(|value| !value.is_empty());
        let Some(kind) = test.chars().next() else {
            let Some(value) = known else { return false };
            out.push_str(&value);
            return true;
        };
        let body = test.get(1..).unwrap_or("");
        let (then, otherwise) = if kind == '?' {
            let (then, rest) = braced(body);
            let rest = rest
                .trim_start()
                .strip_prefix(':')
                .map(|rest| braced(rest).0);
            (then, rest.unwrap_or(""))
        } else {
            ("", braced(body).0)
        };
        if kind == ':' && is_set {
            // `${name:else}` is nothing if the name is set.
            return true;
        }
        self.expand_into(if is_set { then } else { otherwise }, depth, out);
        true
    }

    /// What a name stands for: what the file says, or a default that others are made of.
    fn lookup(&self, name: &str, depth: usize) -> Option<String> {
        self.looks.set(self.looks.get().checked_sub(1)?);
        let mut text = String::new();
        if let Some((value, _)) = self.raw.get(name) {
            self.expand_into(value, depth, &mut text);
            return Some(text);
        }
        match name {
            "mydomain" => {
                let host = self.lookup("myhostname", depth)?;
                Some(
                    host.split_once('.')
                        .map_or_else(|| host.clone(), |(_, rest)| rest.to_owned()),
                )
            }
            // Set by the master process when it is out of processes.
            "stress" => Some(text),
            _ => None,
        }
    }
}

/// The name behind a `$`, and the rest: `{...}`, `(...)`, or letters.
fn reference(text: &str) -> (&str, &str) {
    let pair = match text.chars().next() {
        Some('{') => Some(('{', '}')),
        Some('(') => Some(('(', ')')),
        _ => None,
    };
    if let Some((open, close)) = pair {
        return enclosed(text, open, close).unwrap_or(("", text));
    }
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split_at(text.find(|letter| !is_name(letter)).unwrap_or(text.len()))
}

/// `{text}` and what is behind it; without braces all of it.
fn braced(text: &str) -> (&str, &str) {
    let trimmed = text.trim_start();
    match enclosed(trimmed, '{', '}') {
        Some((inner, rest)) => (inner.trim(), rest),
        None => (text, ""),
    }
}

/// What is between the first letter, an opening one, and its closing one; and what is behind that.
fn enclosed(text: &str, open: char, close: char) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        if letter == open {
            depth += 1;
        } else if letter == close {
            depth = depth.checked_sub(1)?;
            if depth == 0 {
                return Some((text.get(1..at)?, text.get(at + 1..)?));
            }
        } else if depth == 0 {
            return None;
        }
    }
    None
}

/// Logical lines with the number of their first: comments and empty lines left out, lines that begin
/// with a blank joined to the one before.
///
/// # Errors
///
/// The first line begins with a blank.
pub(super) fn logical_lines(source: &Source) -> anyhow::Result<Vec<(usize, String)>> {
    let mut list: Vec<(usize, String)> = Vec::new();
    for (number, line) in source.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if !line.starts_with(char::is_whitespace) {
            list.push((number, trimmed.to_owned()));
            continue;
        }
        match list.last_mut() {
            Some((_, whole)) => {
                whole.push(' ');
                whole.push_str(trimmed);
            }
            None => bail!(
                "{}: begins with a blank, but there is nothing before that it could go on",
                source.place(number)
            ),
        }
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<MainCf> {
        MainCf::read(&Source {
            name: "main.cf".into(),
            text: text.to_owned(),
            is_mended: false,
        })
    }

    fn value(text: &str) -> String {
        let file = read(&format!("myhostname = mx.example.org\nempty =\n{text}")).unwrap();
        file.get("v").unwrap().value
    }

    #[test]
    fn names_are_put_in() {
        assert_eq!(
            value("v = $myhostname, localhost.$mydomain"),
            "mx.example.org, localhost.example.org"
        );
        assert_eq!(
            value("v = ${myhostname} $(myhostname)"),
            "mx.example.org mx.example.org"
        );
        assert_eq!(value("v = $a\na = $b.net\nb = example"), "example.net");
        assert_eq!(value("v = ${stress?{1}:{20}}"), "20");
        assert_eq!(value("v = ${stress?10}${stress:300}s"), "300s");
        assert_eq!(
            value("v = ${myhostname?{yes $mydomain}:{no}}"),
            "yes example.org"
        );
        assert_eq!(value("v = ${empty:none}"), "none");
        assert_eq!(value("v = $$x $nobody ${nobody}"), "$x $nobody ${nobody}");
    }

    #[test]
    fn names_that_never_end() {
        assert!(value("v = $v $v").len() < 20 * VALUE_MAX);
        assert!(value("v = $a$a\na = $b$b$b$b\nb = $a$a$a$a").len() < 20 * VALUE_MAX);
        // A tree of names as high as is followed, with nothing at its leaves.
        let level = |number: usize| {
            let next = format!("$a{}", number + 1);
            format!("a{number} = {}\n", next.repeat(20))
        };
        let levels: String = (0..40).map(level).collect();
        assert!(value(&format!("v = $a0\n{levels}a40 =\n")).len() < 20 * VALUE_MAX);
        for broken in ["${", "${a", "$(", "${a?{", "$", "${?}", "${:}", "${}"] {
            value(&format!("v = {broken}"));
        }
    }

    #[test]
    fn lines_go_on() {
        let text = "# comment\nv = one,\n   # a comment between\n\n  two,\n\tthree\nw = 1\nw = 2\n";
        let file = read(text).unwrap();
        let v = file.get("v").unwrap();
        assert_eq!((v.value.as_str(), v.place.line), ("one, two, three", 2));
        assert_eq!(file.get("w").unwrap().value, "2");
        assert_eq!(file.all().len(), 2);
    }

    #[test]
    fn broken_files() {
        let error = |text| read(text).unwrap_err().to_string();
        assert!(
            error("a = 1\nmyhostname\n").starts_with("main.cf:2: found"),
            "{}",
            error("a = 1\nmyhostname\n")
        );
        assert!(error("\n  a = 1\n").starts_with("main.cf:2: begins with a blank"));
        assert!(error("= 1\n").starts_with("main.cf:1: the name"));
    }
}
