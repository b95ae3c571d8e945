//! Walks the parsed file against the table of options.
//!
//! Every key that the file has is looked up in the table, and every key of the table is asked for
//! once, so that nothing is ignored and the values in effect are known with their origin. An error
//! is noted and reading goes on: an administrator sees all mistakes of a file at once.

mod typed;
mod unknown;

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::effective::{Effective, Origin};
use super::finding::{Notebook, Place};
use super::options::{self, Allowed, Default, Opt, Refused, Section, Shape, Value};
use super::read;

/// One section of the file, as often as it stands there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'t> {
    /// Its entry in the table of options.
    section: &'static Section,
    /// Its keys; none if the file doesn't have it.
    table: Option<&'t DeTable<'t>>,
    /// Where it begins.
    place: Option<Place>,
    /// How many of its name stand before it.
    instance: usize,
}

impl<'t> View<'t> {
    /// Where it begins; none if the file doesn't have it.
    pub(crate) fn place(&self) -> Option<Place> {
        self.place
    }

    /// Its entry in the table of options.
    pub(crate) fn section(&self) -> &'static Section {
        self.section
    }

    /// The value at `key`, which may be that of a table in the section (`tarpit.mode`).
    fn value(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        let mut parts = key.split('.');
        let mut value = self.table?.get(parts.next()?)?;
        for part in parts {
            value = value.get_ref().as_table()?.get(part)?;
        }
        Some(value)
    }
}

/// Reads one file.
#[derive(Debug)]
pub(crate) struct Reader<'t> {
    root: &'t DeTable<'t>,
    folder: &'t Path,
    /// What is wrong.
    pub(crate) notes: Notebook<'t>,
    /// What holds.
    pub(crate) effective: Vec<Effective>,
}

impl<'t> Reader<'t> {
    /// Of a parsed file; relative paths in it start at `folder`. Refuses sections that the table
    /// of options doesn't have.
    pub(crate) fn new(text: &'t str, root: &'t DeTable<'t>, folder: &'t Path) -> Self {
        let mut reader = Self {
            root,
            folder,
            notes: Notebook::new(text),
            effective: Vec::new(),
        };
        reader.refuse_unknown(options::section(""), root, "");
        reader
    }

    /// The keys before the first header.
    pub(crate) fn top(&self) -> View<'t> {
        let section = options::section("");
        View {
            section,
            table: Some(self.root),
            place: None,
            instance: 0,
        }
    }

    /// The section `[name]`; without keys if the file doesn't have it.
    pub(crate) fn single(&mut self, name: &str) -> View<'t> {
        let section = options::section(name);
        let mut view = View {
            section,
            table: None,
            place: None,
            instance: 0,
        };
        if let Some(value) = self.root.get(name) {
            view.place = Some(self.notes.place(&value.span()));
            view.table = value.get_ref().as_table();
            match view.table {
                Some(table) => self.refuse_unknown(section, table, ""),
                None => self.wrong_shape(section, value),
            }
        }
        view
    }

    /// The sections `[[name]]`.
    pub(crate) fn many(&mut self, name: &str) -> Vec<View<'t>> {
        let section = options::section(name);
        let Some(value) = self.root.get(name) else {
            return Vec::new();
        };
        let Some(list) = value.get_ref().as_array() else {
            self.wrong_shape(section, value);
            return Vec::new();
        };
        let mut views = Vec::new();
        for (instance, element) in list.iter().enumerate() {
            let Some(table) = element.get_ref().as_table() else {
                self.wrong_shape(section, element);
                continue;
            };
            self.refuse_unknown(section, table, "");
            let place = Some(self.notes.place(&element.span()));
            views.push(View {
                section,
                table: Some(table),
                place,
                instance,
            });
        }
        views
    }

    /// Whether the file has a section of that name, in whatever shape.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.root.contains_key(name)
    }

    fn wrong_shape(&mut self, section: &'static Section, value: &Spanned<DeValue<'_>>) {
        let found = match value.get_ref() {
            DeValue::Table(_) => format!("[{}]", section.name),
            DeValue::Array(list) if list.iter().all(|element| element.get_ref().is_table()) => {
                format!("[[{}]]", section.name)
            }
            other => read::show(other),
        };
        let text = format!("found {found}; allowed: {}", section.header());
        self.notes.wrong(&value.span(), section.name, text);
    }

    /// Notes every key of `table` that `section` doesn't have. `prefix` is the path within the
    /// section, with its last dot.
    fn refuse_unknown(&mut self, section: &'static Section, table: &DeTable<'_>, prefix: &str) {
        for (key, value) in table {
            let full = format!("{prefix}{}", key.get_ref());
            let beneath = format!("{full}.");
            let top_section = section.shape == Shape::Top
                && options::SECTIONS
                    .iter()
                    .any(|other| !other.name.is_empty() && other.name == full);
            if section.option(&full).is_some() || top_section {
                continue;
            }
            if section
                .options
                .iter()
                .any(|option| option.key.starts_with(&beneath))
            {
                match value.get_ref().as_table() {
                    Some(inner) => self.refuse_unknown(section, inner, &beneath),
                    None => {
                        let text =
                            format!("found {}; allowed: a table", read::show(value.get_ref()));
                        self.notes.wrong(&value.span(), section.path(&full), text);
                    }
                }
                continue;
            }
            let text = unknown::unknown_key(section, &full);
            self.notes
                .wrong(&key.span(), unknown::shown_path(section, &full), text);
        }
    }

    /// The value of an option, or its default; none if there is neither, or if it is not allowed,
    /// which is noted.
    pub(crate) fn get(&mut self, view: &View<'t>, key: &str) -> Option<Value> {
        let section = view.section;
        let option = section.option(key);
        let option = option
            .unwrap_or_else(|| panic!("{} is not in the table of options", section.path(key)));
        let Some(value) = view.value(key) else {
            return self.default(view, option);
        };
        let place = self.notes.place(&value.span());
        match option.allowed.read(value.get_ref(), self.folder) {
            Ok(read) => {
                self.hold(
                    view,
                    option,
                    show_value(option.allowed, value.get_ref(), &read),
                    Origin::File(place),
                );
                Some(read)
            }
            Err(refused) => {
                let span = self.refused_span(value, &refused);
                self.notes
                    .wrong(&span, section.path(key), refusal(option, &refused));
                None
            }
        }
    }

    /// Where the refused value stands: the element, if it is one of a list.
    fn refused_span(&self, value: &Spanned<DeValue<'_>>, refused: &Refused) -> Range<usize> {
        let list = value.get_ref().as_array();
        let mut elements = list.into_iter().flat_map(|list| list.iter());
        // The last of its kind: with a name listed twice, the second is the mistake.
        let element = elements.rfind(|element| read::show(element.get_ref()) == refused.found);
        element.map_or_else(|| value.span(), Spanned::span)
    }

    fn default(&mut self, view: &View<'t>, option: &'static Opt) -> Option<Value> {
        match option.default {
            Default::Value(text) => {
                let value = DeValue::parse(text).ok()?;
                let read = option.allowed.read(value.get_ref(), self.folder).ok()?;
                let shown = show_value(option.allowed, value.get_ref(), &read);
                self.hold(view, option, shown, Origin::Default);
                Some(read)
            }
            Default::Required(sample) => {
                let allowed = option.allowed.describe();
                let text = format!(
                    "it is missing; allowed: {allowed} (for instance {} = {sample})",
                    option.key
                );
                self.notes
                    .wrong_at(view.place, view.section.path(option.key), text);
                None
            }
            Default::Unset(..) | Default::Found(..) => None,
        }
    }

    /// Whether the file says something about an option.
    pub(crate) fn is_said(view: &View<'_>, key: &str) -> bool {
        view.value(key).is_some()
    }

    /// Where the value of an option stands in the file, once it was read; else where its section
    /// does.
    pub(crate) fn place_of(&self, view: &View<'t>, key: &str) -> Option<Place> {
        let held = self.effective.iter().rfind(|held| {
            held.section.name == view.section.name
                && held.instance == view.instance
                && held.option.key == key
        });
        match held.map(|held| held.origin) {
            Some(Origin::File(place)) => Some(place),
            _ => view.place,
        }
    }

    /// Notes that an option's value can't stand as it is, beside others that are fine by themselves.
    pub(crate) fn clash(&mut self, view: &View<'t>, key: &str, text: impl Into<String>) {
        let place = self.place_of(view, key);
        self.notes.wrong_at(place, view.section.path(key), text);
    }

    /// Records what holds for an option.
    pub(crate) fn hold(
        &mut self,
        view: &View<'t>,
        option: &'static Opt,
        value: String,
        origin: Origin,
    ) {
        let section = view.section;
        self.effective.push(Effective {
            section,
            instance: view.instance,
            option,
            value,
            origin,
        });
    }
}

/// The value for `tarpit check`: as it stands in the file, and what it was taken for where that
/// says more.
fn show_value(allowed: Allowed, given: &DeValue<'_>, read: &Value) -> String {
    let list = |texts: &[Box<str>]| {
        let quoted: Vec<String> = texts.iter().map(|text| read::quote(text)).collect();
        format!("[{}]", quoted.join(", "))
    };
    match (allowed, read) {
        (_, Value::Texts(texts)) => list(texts),
        (_, Value::Text(text)) => read::quote(text),
        (_, Value::Time(span)) => format!("\"{}\"", read::show_time(*span)),
        (_, Value::Count(number)) => number.to_string(),
        (_, Value::Socket(address)) => format!("\"{address}\""),
        (_, Value::Sockets(addresses)) => match addresses.as_slice() {
            [one] => format!("\"{one}\""),
            all => listed(all),
        },
        (_, Value::Networks(networks)) => listed(networks),
        (_, Value::Network(network)) => format!("\"{network}\""),
        (_, Value::Path(path)) => read::quote(&path.display().to_string()),
        (_, Value::Off | Value::Flag(_) | Value::Moment(_)) => read::show(given),
    }
}

/// A list of what needs no escapes.
fn listed(values: &[impl std::fmt::Display]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    format!("[{}]", quoted.join(", "))
}

/// What is wrong with a value that was refused.
fn refusal(option: &Opt, refused: &Refused) -> String {
    let hint = refused
        .hint
        .as_ref()
        .map_or_else(String::new, |hint| format!(" ({hint})"));
    format!(
        "found {}{hint}; allowed: {}",
        refused.found,
        option.allowed.describe()
    )
}
