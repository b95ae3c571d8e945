//! The one table of options. The reader, the checks, the sample file, the reference page, the
//! values that `tarpit check` shows and the suggestions for misspelt keys are all derived from it.
//!
//! A struct with serde attributes was rejected: it would hold names and types, but defaults would
//! be code, reasons would be comments, and an error would know neither what is allowed nor where
//! the value stands.

mod allowed;
mod table;

pub(crate) use allowed::{Allowed, Refused, Value};
pub(crate) use table::SECTIONS;

/// A table of the file, or its top level.
#[derive(Debug)]
pub(crate) struct Section {
    /// As in the file; empty for the top level.
    pub(crate) name: &'static str,
    /// How often it may stand in the file.
    pub(crate) shape: Shape,
    /// One sentence or two for the sample and the reference.
    pub(crate) what: &'static str,
    /// Whether the sample file has it in use or commented out.
    pub(crate) sample: Sample,
    /// Its keys.
    pub(crate) options: &'static [Opt],
}

/// How often a section may stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The keys before the first header.
    Top,
    /// `[name]`, once at most.
    Single,
    /// `[[name]]`, any number of times.
    Many,
}

/// Whether the sample file has a section in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sample {
    /// In use.
    Used,
    /// Commented out, as a whole.
    Commented,
}

/// One option.
#[derive(Debug)]
pub(crate) struct Opt {
    /// Its key in the section; `tarpit.mode` is a key of a table in the section.
    pub(crate) key: &'static str,
    /// Type and range.
    pub(crate) allowed: Allowed,
    /// What holds if the file says nothing.
    pub(crate) default: Default,
    /// What it does, in a sentence.
    pub(crate) what: &'static str,
    /// Why the default (or the lack of one) is as it is.
    pub(crate) why: &'static str,
    /// Whether SIGHUP is enough.
    pub(crate) apply: Apply,
}

/// What holds if the file says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    /// This value, as TOML.
    Value(&'static str),
    /// None: the key must be there. With a value for the sample.
    Required(&'static str),
    /// None: the key may be left out. With a value for the sample, and what leaving it out means.
    Unset(&'static str, &'static str),
    /// Found out at the start. With a value for the sample, and from where.
    Found(&'static str, &'static str),
}

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Apply {
    /// At the next SIGHUP.
    Reload,
    /// At the next start; a reload that would change it is refused as a whole.
    Restart,
}

impl Section {
    /// The option with this key.
    pub(crate) fn option(&self, key: &str) -> Option<&'static Opt> {
        self.options.iter().find(|option| option.key == key)
    }

    /// The header as it stands in the file: `[limits]`, `[[listener]]`, or words for the top level.
    pub(crate) fn header(&self) -> String {
        match self.shape {
            Shape::Top => "the top level".to_owned(),
            Shape::Single => format!("[{}]", self.name),
            Shape::Many => format!("[[{}]]", self.name),
        }
    }

    /// A key of this section for messages: `limits.sessions_max`, `hostname`.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }
}

/// The section with this name.
///
/// # Panics
///
/// If the table has none: a mistake in this crate, which every load would show.
pub(crate) fn section(name: &str) -> &'static Section {
    let found = SECTIONS.iter().find(|section| section.name == name);
    found.unwrap_or_else(|| panic!("[{name}] is not in the table of options"))
}

#[cfg(test)]
mod tests {
    use toml::de::DeValue;

    use super::*;

    const PEM: &str = concat!(
        "'",
        env!("CARGO_MANIFEST_DIR"),
        "/tests/configs/mx1.example.org.pem'"
    );

    #[test]
    fn every_default_and_sample_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("recipients.txt"), "alice@example.org\n").unwrap();
        for section in SECTIONS {
            for option in section.options {
                let (Default::Value(text)
                | Default::Required(text)
                | Default::Unset(text, _)
                | Default::Found(text, _)) = option.default;
                // Certificates and tokens are where the administrator has them.
                let text = match option.allowed {
                    Allowed::Pem | Allowed::TokenFile => PEM,
                    _ => text,
                };
                let value = DeValue::parse(text).unwrap();
                let read = option.allowed.read(value.get_ref(), folder.path());
                assert!(
                    read.is_ok(),
                    "{}: {text}: {read:?}",
                    section.path(option.key)
                );
            }
        }
    }

    #[test]
    fn every_option_has_words() {
        for section in SECTIONS {
            assert!(section.what.ends_with('.'), "{}", section.name);
            for option in section.options {
                let path = section.path(option.key);
                assert!(
                    option.what.ends_with('.') && option.why.ends_with('.'),
                    "{path}"
                );
            }
        }
    }

    #[test]
    fn keys_are_unique() {
        for section in SECTIONS {
            for (at, option) in section.options.iter().enumerate() {
                let same = section
                    .options
                    .iter()
                    .skip(at + 1)
                    .any(|other| other.key == option.key);
                assert!(!same, "{}", section.path(option.key));
            }
        }
    }
}
