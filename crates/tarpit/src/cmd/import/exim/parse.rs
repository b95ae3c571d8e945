//! An Exim configuration: logical lines, macros and conditions, the main section, and the ACLs.
//!
//! What stands in other sections is about delivery. Files that are included are not read: a
//! configuration from elsewhere must not choose which files of this machine are shown.

use std::collections::HashMap;

use anyhow::bail;

use super::super::source::{Place, Setting, Source};

/// The longest line after macros were put in: macros that double each other would never end.
const LINE_MAX: usize = 64 << 10;

/// What begins a statement of an ACL.
const VERBS: &[&str] = &[
    "accept", "defer", "deny", "discard", "drop", "require", "warn",
];

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Conf {
    /// Options of the main section, in their order.
    pub(super) settings: Vec<Setting>,
    /// `domainlist`, `hostlist` and so on: named `domainlist local_domains`.
    pub(super) lists: Vec<Setting>,
    /// The ACLs, in the order of the file.
    pub(super) statements: Vec<Statement>,
    /// Files that are included, which are not read.
    pub(super) includes: Vec<Setting>,
}

/// One statement of an ACL.
#[derive(Debug)]
pub(super) struct Statement {
    /// The ACL's name.
    pub(super) acl: String,
    /// `accept`, `deny` and so on.
    pub(super) verb: String,
    /// Its conditions and modifiers; the name has its `!`, if it has one.
    pub(super) parts: Vec<Setting>,
    /// Where it begins.
    pub(super) place: Place,
}

impl Conf {
    /// An option of the main section; the last one holds.
    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.settings
            .iter()
            .rev()
            .find(|setting| setting.name == name)
    }

    /// A named list.
    pub(super) fn list(&self, kind: &str, name: &str) -> Option<&Setting> {
        let of_kind = |list: &&Setting| {
            let words = list.name.split_once(' ');
            words.is_some_and(|(word, own)| word.trim_end_matches("_cache") == kind && own == name)
        };
        self.lists.iter().rev().find(of_kind)
    }
}

/// Reads files as if they were one.
#[derive(Debug, Default)]
pub(super) struct Parser {
    conf: Conf,
    macros: HashMap<String, String>,
    section: String,
    acl: String,
    /// Of each condition that is open: where it began, whether this part holds, and whether any did.
    open: Vec<(Place, bool, bool)>,
}

impl Parser {
    /// With macros that are there from the start.
    pub(super) fn new(macros: HashMap<String, String>) -> Self {
        Self {
            macros,
            ..Self::default()
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    ///
    /// Exim would not take it either.
    pub(super) fn read(&mut self, source: &Source) -> anyhow::Result<()> {
        for (number, line) in logical_lines(source) {
            self.line(&source.place(number), &line)?;
        }
        Ok(())
    }

    /// What was read.
    ///
    /// # Errors
    ///
    /// A condition is still open.
    pub(super) fn close(self) -> anyhow::Result<Conf> {
        if let Some((place, ..)) = self.open.last() {
            bail!("{place}: this condition has no .endif");
        }
        Ok(self.conf)
    }

    fn line(&mut self, place: &Place, line: &str) -> anyhow::Result<()> {
        if let Some(directive) = line.strip_prefix('.') {
            return self.directive(place, directive);
        }
        if !self.open.iter().all(|(_, holds, _)| *holds) {
            return Ok(());
        }
        if let Some((name, value)) = macro_definition(line) {
            let value = self.put_in(place, value)?;
            self.macros.insert(name.to_owned(), value);
            return Ok(());
        }
        let line = self.put_in(place, line)?;
        if let Some(section) = line.strip_prefix("begin ") {
            section.trim().clone_into(&mut self.section);
            return Ok(());
        }
        match self.section.as_str() {
            "" => self.main(place, &line),
            "acl" => {
                self.acl(place, &line);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn directive(&mut self, place: &Place, text: &str) -> anyhow::Result<()> {
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let is_known = || words(rest).any(|word| self.macros.contains_key(word));
        match word {
            "ifdef" | "ifndef" => {
                let holds = is_known() == (word == "ifdef");
                self.open.push((place.clone(), holds, holds));
            }
            "elifdef" | "elifndef" | "else" => {
                let now = match word {
                    "else" => true,
                    _ => is_known() == (word == "elifdef"),
                };
                let Some((_, holds, any)) = self.open.last_mut() else {
                    bail!("{place}: .{word} without .ifdef");
                };
                *holds = now && !*any;
                *any |= now;
            }
            "endif" => {
                if self.open.pop().is_none() {
                    bail!("{place}: .endif without .ifdef");
                }
            }
            "include" | "include_if_exists" if self.open.iter().all(|(_, holds, _)| *holds) => {
                self.conf.includes.push(Setting {
                    name: format!(".{word}"),
                    value: self.put_in(place, rest.trim())?,
                    place: place.clone(),
                });
            }
            "include" | "include_if_exists" => {}
            _ => bail!(
                "{place}: found .{}; allowed: .ifdef, .ifndef, .elifdef, .elifndef, .else, .endif, .include, .include_if_exists",
                super::super::source::tame(word)
            ),
        }
        Ok(())
    }

    /// An option of the main section, or a list.
    fn main(&mut self, place: &Place, line: &str) -> anyhow::Result<()> {
        let line = line.strip_prefix("hide ").map_or(line, str::trim_start);
        let setting = |name: &str, value: &str| Setting {
            name: name.to_owned(),
            value: unquoted(value.trim()),
            place: place.clone(),
        };
        let Some((name, value)) = line.split_once('=') else {
            let is_word = line
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
            if !is_word {
                bail!(
                    "{place}: found {}; allowed: name = value",
                    crate::config::show_text(line)
                );
            }
            let off = line
                .strip_prefix("no_")
                .or_else(|| line.strip_prefix("not_"));
            let set = off.map_or_else(|| setting(line, "true"), |name| setting(name, "false"));
            self.conf.settings.push(set);
            return Ok(());
        };
        let name: Vec<&str> = name.split_whitespace().collect();
        match name.as_slice() {
            [one] => self.conf.settings.push(setting(one, value)),
            [kind, one] => self
                .conf
                .lists
                .push(setting(&format!("{kind} {one}"), value)),
            _ => bail!("{place}: the name before \"=\" is none"),
        }
        Ok(())
    }

    /// A line of an ACL. What it means beyond the few words that matter here is Exim's business.
    fn acl(&mut self, place: &Place, line: &str) {
        let is_name = |text: &str| {
            text.chars()
                .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        };
        if let Some(name) = line.strip_suffix(':').filter(|name| is_name(name)) {
            name.clone_into(&mut self.acl);
            return;
        }
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let mut part = line;
        if VERBS.contains(&word) {
            self.conf.statements.push(Statement {
                acl: self.acl.clone(),
                verb: word.to_owned(),
                parts: Vec::new(),
                place: place.clone(),
            });
            part = rest.trim();
        }
        let Some(statement) = self.conf.statements.last_mut() else {
            return;
        };
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        if !name.trim().is_empty() {
            statement.parts.push(Setting {
                name: name.split_whitespace().collect::<Vec<_>>().join(" "),
                value: value.trim().to_owned(),
                place: place.clone(),
            });
        }
    }

    /// Macros put in.
    fn put_in(&self, place: &Place, line: &str) -> anyhow::Result<String> {
        let mut out = String::new();
        let mut rest = line;
        while let Some(start) = rest.find(is_letter) {
            let (before, behind) = rest.split_at(start);
            let end = behind
                .find(|letter| !is_letter(letter))
                .unwrap_or(behind.len());
            let (word, more) = behind.split_at(end);
            out.push_str(before);
            out.push_str(self.macros.get(word).map_or(word, String::as_str));
            if out.len() > LINE_MAX {
                bail!("{place}: with its macros it is longer than 64 KiB");
            }
            rest = more;
        }
        out.push_str(rest);
        Ok(out)
    }
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter| !is_letter(letter))
        .filter(|word| !word.is_empty())
}

/// `NAME = value`, or `NAME == value`, which sets it again: names begin with a capital letter.
fn macro_definition(line: &str) -> Option<(&str, &str)> {
    if !line.starts_with(|letter: char| letter.is_ascii_uppercase()) {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    let name = name.trim();
    let is_name = name.chars().all(is_letter);
    is_name.then(|| (name, value.trim_start_matches('=').trim()))
}

/// A value in quotation marks, without them.
fn unquoted(value: &str) -> String {
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inner.map_or_else(
        || value.to_owned(),
        |inner| inner.replace("\\\"", "\"").replace("\\\\", "\\"),
    )
}

/// Logical lines with the number of their first: no comments, no blanks around; a backslash at the end
/// joins the next one.
fn logical_lines(source: &Source) -> Vec<(usize, String)> {
    let mut list: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in source.lines() {
        let line = line.trim();
        if line.starts_with('#') || (line.is_empty() && !goes_on) {
            continue;
        }
        let (text, more) = line
            .strip_suffix('\\')
            .map_or((line, false), |text| (text, true));
        match list.last_mut().filter(|_| goes_on) {
            Some((_, whole)) => whole.push_str(text),
            None => list.push((number, text.to_owned())),
        }
        goes_on = more;
    }
    list
}

/// The items of a list: colons between them, or what stands behind `<`; doubled, it is part of an item.
pub(super) fn items(value: &str) -> Vec<String> {
    let value = value.trim();
    let (between, rest) = match value.strip_prefix('<').and_then(|rest| rest.chars().next()) {
        Some(letter) if !letter.is_alphanumeric() => {
            (letter, value.get(1 + letter.len_utf8()..).unwrap_or(""))
        }
        _ => (':', value),
    };
    let mut list = Vec::new();
    let mut item = String::new();
    let mut letters = rest.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != between {
            item.push(letter);
        } else if letters.next_if_eq(&between).is_some() {
            item.push(between);
        } else {
            list.push(std::mem::take(&mut item));
        }
    }
    list.push(item);
    let list = list.into_iter().map(|item| item.trim().to_owned());
    list.filter(|item| !item.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Conf> {
        let mut parser = Parser::default();
        parser.read(&Source {
            name: "exim.conf".into(),
            text: text.to_owned(),
            is_mended: false,
        })?;
        parser.close()
    }

    #[test]
    fn lists() {
        assert_eq!(items("a : b:c"), ["a", "b", "c"]);
        assert_eq!(
            items("127.0.0.1 : ::::1 : 10.0.0.0/8"),
            ["127.0.0.1", "::1", "10.0.0.0/8"]
        );
        assert_eq!(items("<; ::1 ; 127.0.0.1"), ["::1", "127.0.0.1"]);
        assert_eq!(items(" : "), Vec::<String>::new());
        assert_eq!(items("<"), ["<"]);
    }

    #[test]
    fn macros_and_conditions() {
        let text = "A = one\nB = A two\n.ifdef A\nx = B\n.ifndef A\ny = 1\n.else\ny = 2\n.endif\n.elifdef B\nx = 3\n\
                    .else\nx = 4\n.endif\nno_z\nhide w = \"q \\\" r\"\n";
        let conf = read(text).unwrap();
        let value = |name| conf.get(name).map(|setting| setting.value.as_str());
        assert_eq!(value("x"), Some("one two"));
        assert_eq!(value("y"), Some("2"));
        assert_eq!(value("z"), Some("false"));
        assert_eq!(value("w"), Some("q \" r"));
    }

    #[test]
    fn lines_go_on_over_comments() {
        let conf =
            read("domainlist local_domains = a : \\\n  # not this \\\n  b : \\\n  c\nx = 1\n")
                .unwrap();
        let list = conf.list("domainlist", "local_domains").unwrap();
        assert_eq!((list.value.as_str(), list.place.line), ("a : b : c", 1));
        assert_eq!(conf.get("x").unwrap().place.line, 5);
    }

    #[test]
    fn statements_of_acls() {
        let text = "acl_smtp_rcpt = check\nbegin acl\ncheck:\n  accept hosts = :\n  deny  message = no\n    !verify = recipient\n\
                    delay = 20s\nbegin routers\nx:\n  driver = accept\n";
        let conf = read(text).unwrap();
        assert_eq!(conf.statements.len(), 2);
        let deny = &conf.statements[1];
        assert_eq!(
            (deny.acl.as_str(), deny.verb.as_str(), deny.place.line),
            ("check", "deny", 5)
        );
        let names: Vec<&str> = deny.parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["message", "!verify", "delay"]);
    }

    #[test]
    fn broken_files() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert_eq!(
            error("x = 1\n.ifdef A\n"),
            "exim.conf:2: this condition has no .endif"
        );
        assert_eq!(error(".endif\n"), "exim.conf:1: .endif without .ifdef");
        assert!(error("\n.nonsense\n").starts_with("exim.conf:2: found .nonsense"));
        assert!(error("what is this\n").starts_with("exim.conf:1: found \"what is this\""));
        let doubled: String = (1..40)
            .map(|at| format!("M{at} = M{} M{}\n", at - 1, at - 1))
            .collect();
        assert!(error(&format!("M0 = x\n{doubled}")).contains("longer than 64 KiB"));
    }
}
