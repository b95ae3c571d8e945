//! The configuration as it comes together, and how it is printed.
//!
//! Order, keys and what is allowed come from our table of options; a value that its option refuses
//! never gets into the draft.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeValue;

use super::source::{Setting, Source, tame};
use super::table::Fate;
use crate::config::options::{Allowed, Opt, SECTIONS, Section, section};
use crate::config::quote;

/// Columns of a comment.
const WIDTH: usize = 100;

/// A configuration in the making.
#[derive(Debug)]
pub(super) struct Draft {
    server: &'static str,
    recipe: &'static str,
    files: Vec<String>,
    values: Vec<Value>,
    left: Vec<Left>,
    stays: BTreeSet<String>,
}

/// One value.
#[derive(Debug)]
struct Value {
    section: &'static Section,
    instance: usize,
    option: &'static Opt,
    toml: String,
    why: Vec<String>,
    /// Else it is printed as a comment.
    is_used: bool,
}

/// What has no counterpart.
#[derive(Debug)]
struct Left {
    said: String,
    reason: String,
}

/// One instance of a section and a key in it: `("listener", 0, "name")`.
pub(super) type At = (&'static str, usize, &'static str);

impl Draft {
    /// Empty, for a server whose recipe has this name, if there is one.
    pub(super) fn new(server: &'static str, recipe: &'static str) -> Self {
        Self {
            server,
            recipe,
            files: Vec::new(),
            values: Vec::new(),
            left: Vec::new(),
            stays: BTreeSet::new(),
        }
    }

    /// A file was read.
    pub(super) fn reads(&mut self, source: &Source) {
        self.files.push(tame(&source.name));
        if source.is_mended {
            let said = format!("{}: octets that are not UTF-8", source.name);
            self.leave(
                &said,
                "They are shown as \u{FFFD}; a value with one in it is not taken.",
            );
        }
    }

    /// Takes a value, if its option allows it. `why` begins with where it comes from.
    pub(super) fn take(&mut self, at: At, toml: impl Into<String>, why: Vec<String>) {
        self.put(at, toml.into(), why, true);
    }

    /// The certificate for TLS towards clients, and its key, unless one file has both.
    pub(super) fn take_certificate(&mut self, chain: &Setting, key: Option<&Setting>) {
        let key = key.filter(|key| key.value != chain.value);
        let parts = [("chain", Some(chain)), ("key", key)];
        for (name, setting) in parts {
            if let Some(setting) = setting {
                let at = ("certificate", 0, name);
                self.take(at, quote(&setting.value), vec![setting.show()]);
            }
        }
    }

    /// Prints a value as a comment: for whoever knows more.
    pub(super) fn suggest(&mut self, at: At, toml: impl Into<String>, why: Vec<String>) {
        self.put(at, toml.into(), why, false);
    }

    fn put(&mut self, (name, instance, key): At, toml: String, why: Vec<String>, is_used: bool) {
        let section = section(name);
        let Some(option) = section.option(key) else {
            panic!("{name}.{key} is not in the table of options");
        };
        if let Err(reason) = allowed(option, &toml) {
            let said = why.into_iter().next().unwrap_or_default();
            self.leave(&said, &format!("Not taken: {reason}"));
            return;
        }
        let value = Value {
            section,
            instance,
            option,
            toml,
            why,
            is_used,
        };
        let same = self.values.iter_mut().find(|held| {
            held.section.name == name && held.instance == instance && held.option.key == key
        });
        match same {
            Some(held) => *held = value,
            None => self.values.push(value),
        }
    }

    fn value(&self, (name, instance, key): At) -> Option<&Value> {
        self.values.iter().find(|held| {
            let is_it = held.section.name == name && held.option.key == key;
            is_it && held.instance == instance && held.is_used
        })
    }

    /// Whether any instance of a section has this value.
    pub(super) fn has(&self, name: &str, key: &str, toml: &str) -> bool {
        self.values
            .iter()
            .any(|held| held.section.name == name && held.option.key == key && held.toml == toml)
    }

    /// How many instances of a section there are.
    pub(super) fn count(&self, name: &str) -> usize {
        let of_it = self.values.iter().filter(|held| held.section.name == name);
        of_it.map(|held| held.instance + 1).max().unwrap_or(0)
    }

    /// Something has no counterpart, and why.
    pub(super) fn leave(&mut self, said: &str, reason: &str) {
        let (said, reason) = (tame(said), reason.to_owned());
        self.left.push(Left { said, reason });
    }

    /// A setting that is the other server's own business.
    pub(super) fn stay(&mut self, name: &str) {
        self.stays.insert(tame(name));
    }

    /// What a row of a table says about a setting.
    pub(super) fn apply(&mut self, said: &str, value: &str, fate: &Fate) {
        match fate {
            Fate::Option { at, read, remark } => match read(value) {
                Ok(toml) => {
                    let remark = (!remark.is_empty()).then(|| (*remark).to_owned());
                    let why = [said.to_owned()].into_iter().chain(remark).collect();
                    self.take(*at, toml, why);
                }
                Err(reason) => self.leave(said, &format!("Not taken: {reason}.")),
            },
            Fate::Nothing(reason) => self.leave(said, reason),
            Fate::Elsewhere => {}
        }
    }

    /// Values that others ask for, the mode, and a place for what is missing.
    fn complete(&mut self) {
        if self.value(("", 0, "hostname")).is_none() {
            let why = "The files do not say a full name: this system's own holds, if it is one.";
            self.suggest(
                ("", 0, "hostname"),
                "\"mx.example.org\"",
                vec![why.to_owned()],
            );
        }
        self.fit_connections();
        let why = vec![
            "Nothing is slowed yet: the records say what would have been. \"enforce\" turns the pit on.".to_owned(),
        ];
        self.take(("tarpit", 0, "mode"), "\"observe\"", why);
    }

    /// With few connections in all, the defaults for parts of them don't fit.
    fn fit_connections(&mut self) {
        let most = self.value(("upstream", 0, "connections_max"));
        let Some(most) = most.and_then(|value| value.toml.parse::<u64>().ok()) else {
            return;
        };
        if most < 20 {
            let why = vec!["The default is more than connections_max.".to_owned()];
            let at = ("upstream", 0, "connections_per_source_max");
            self.take(at, most.to_string(), why);
        }
        if most <= 20 {
            let why = vec![
                "A quarter, as with the defaults: it must be less than connections_max.".to_owned(),
            ];
            let at = ("upstream", 0, "connections_reserved");
            self.take(at, (most / 4).to_string(), why);
        }
    }

    /// The file. `is_pem` says whether a file can be read and is PEM.
    pub(super) fn print_with(mut self, is_pem: impl Fn(&str) -> bool) -> String {
        self.complete();
        self.drop_unreadable(is_pem);
        let mut text = self.head();
        for section in SECTIONS {
            for instance in 0..self.count(section.name) {
                self.print_section(section, instance, &mut text);
            }
        }
        self.tail(&mut text);
        text
    }

    /// The file, for this machine.
    pub(super) fn print(self) -> String {
        self.print_with(|toml| {
            let value = DeValue::parse(toml);
            value.is_ok_and(|value| Allowed::Pem.read(value.get_ref(), Path::new("")).is_ok())
        })
    }

    /// A section that names a file which isn't there becomes a comment as a whole: the reader would
    /// refuse all of the configuration.
    fn drop_unreadable(&mut self, is_pem: impl Fn(&str) -> bool) {
        let is_pem_option = |value: &&mut Value| matches!(value.option.allowed, Allowed::Pem);
        let mut missing = Vec::new();
        for value in self.values.iter_mut().filter(is_pem_option) {
            if value.is_used && !is_pem(&value.toml) {
                value.why.push(format!(
                    "NOT IN USE: {} can't be read here, or is not PEM. Without it clients get no TLS: \
                     put it in use before mail comes this way.",
                    tame(&value.toml)
                ));
                missing.push((value.section.name, value.instance));
            }
        }
        for value in &mut self.values {
            value.is_used &= !missing.contains(&(value.section.name, value.instance));
        }
    }

    fn head(&self) -> String {
        let mut text = String::new();
        let files = self.files.join(", ");
        comment(
            &mut text,
            "",
            &format!("Taken over from {}: {files}", self.server),
        );
        comment(
            &mut text,
            "",
            "Nothing is slowed with this file: its mode is \"observe\".",
        );
        let way = match self.recipe {
            "" => format!(
                "docs/in-front-of-your-server.md for the ways in front of a server ({} has no recipe of its own)",
                self.server
            ),
            recipe => {
                format!("`tarpit recipe {recipe}` for the way in front of the server and out again")
            }
        };
        comment(
            &mut text,
            "",
            &format!("Next: `tarpit check --config` with this file, then {way}."),
        );
        text
    }

    fn print_section(&self, section: &'static Section, instance: usize, text: &mut String) {
        let mut values: Vec<&Value> = self
            .values
            .iter()
            .filter(|value| value.section.name == section.name && value.instance == instance)
            .collect();
        if values.is_empty() {
            return;
        }
        let rank = |value: &&Value| {
            let all = section.options.iter();
            all.map(|option| option.key)
                .position(|key| key == value.option.key)
        };
        values.sort_by_key(rank);
        let mark = |is_used| if is_used { "" } else { "# " };
        text.push('\n');
        if !section.name.is_empty() {
            let is_used = values.iter().any(|value| value.is_used);
            text.push_str(&format!("{}{}\n", mark(is_used), section.header()));
        }
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 && !value.why.is_empty() {
                text.push('\n');
            }
            for line in &value.why {
                comment(text, "", &tame_words(line));
            }
            let used = mark(value.is_used);
            text.push_str(&format!("{used}{} = {}\n", value.option.key, value.toml));
        }
    }

    fn tail(&self, text: &mut String) {
        if !self.left.is_empty() {
            text.push_str("\n# What has no counterpart here, and why:\n");
        }
        let mut last = "";
        for Left { said, reason } in &self.left {
            if said != last {
                text.push_str("#\n");
                comment(text, "", said);
                last = said;
            }
            comment(text, "  ", &tame_words(reason));
        }
        if !self.stays.is_empty() {
            let names: Vec<&str> = self.stays.iter().map(String::as_str).collect();
            text.push_str("\n# Other settings are about what the server does by itself, and it goes on doing that:\n");
            comment(text, "  ", &names.join(", "));
        }
    }
}

/// Whether an option allows a value. That a file is there is asked for later.
fn allowed(option: &Opt, toml: &str) -> Result<(), String> {
    let value = DeValue::parse(toml).map_err(|error| error.message().to_owned())?;
    if matches!(option.allowed, Allowed::Pem) && value.get_ref().as_str().is_some() {
        return Ok(());
    }
    let read = option.allowed.read(value.get_ref(), Path::new(""));
    read.map(drop).map_err(|refused| {
        let hint = refused.hint.map(|hint| format!(" ({hint})"));
        format!(
            "found {}{}; allowed: {}.",
            refused.found,
            hint.unwrap_or_default(),
            option.allowed.describe()
        )
    })
}

/// A comment, broken between words.
fn comment(text: &mut String, indent: &str, words: &str) {
    let mut line = format!("#{indent}");
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        let is_full = line.chars().count() + 1 + word.chars().count() > WIDTH;
        if is_full && line.len() > 1 + indent.len() {
            text.push_str(line.trim_end());
            text.push('\n');
            line = format!("#{indent}");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

/// Our own words around what a file said: nothing in them may end the comment, and they are not cut.
fn tame_words(words: &str) -> String {
    words.split(' ').map(tame).collect::<Vec<_>>().join(" ")
}
