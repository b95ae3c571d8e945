//! Files of other servers: read within bounds, in whatever encoding, with places for messages.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, bail};

/// No configuration is larger; a file that is may be something else.
const OCTETS_MAX: u64 = 4 << 20;

/// What is shown of a setting in a comment, in characters. Enough to know it again.
const SHOWN_MAX: usize = 160;

/// Where something is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The file's name, without its folder.
    pub(super) file: Rc<str>,
    /// The line, from 1.
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One setting, as far as its format goes: a name and what it is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its name.
    pub(super) name: String,
    /// Its value, on one line, with whatever the format puts in for names.
    pub(super) value: String,
    /// Where it stands.
    pub(super) place: Place,
}

impl Setting {
    /// `main.cf:12: name = value`.
    pub(super) fn show(&self) -> String {
        if self.value.is_empty() {
            return format!("{}: {} (empty)", self.place, self.name);
        }
        format!("{}: {} = {}", self.place, self.name, self.value)
    }
}

/// A file, decoded.
#[derive(Debug)]
pub(super) struct Source {
    /// Its name, without its folder.
    pub(super) name: Rc<str>,
    /// Its text. Octets that are no character of its encoding are U+FFFD.
    pub(super) text: String,
    /// Whether there were any of them.
    pub(super) is_mended: bool,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// It can't be read, is longer than 4 MiB, or holds a NUL: then it is no text.
    pub(super) fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let about = std::fs::metadata(file).with_context(|| format!("{shown}: can't be read"))?;
        if !about.is_file() {
            bail!("{shown}: is no file");
        }
        if about.len() > OCTETS_MAX {
            bail!("{shown}: is longer than 4 MiB: no configuration is");
        }
        let octets = std::fs::read(file).with_context(|| format!("{shown}: can't be read"))?;
        let (text, is_mended) = decode(&octets);
        if let Some(at) = text.find('\0') {
            let line = text.get(..at).unwrap_or("").matches('\n').count() + 1;
            bail!("{shown}:{line}: holds a NUL: that is no text");
        }
        let name = file.file_name().map(|name| name.to_string_lossy());
        Ok(Self {
            name: name.unwrap_or_default().into(),
            text,
            is_mended,
        })
    }

    /// The same, if there is such a file beside `beside`.
    ///
    /// # Errors
    ///
    /// It is there and can't be read.
    pub(super) fn beside(beside: &Path, name: &str) -> anyhow::Result<Option<Self>> {
        let file = beside.with_file_name(name);
        if file.is_file() {
            Self::read(&file).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A line of it.
    pub(super) fn place(&self, line: usize) -> Place {
        Place {
            file: Rc::clone(&self.name),
            line,
        }
    }

    /// Its lines, each with its number from 1, without their ends.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(at, line)| (at + 1, line))
    }
}

/// UTF-16 by its mark (what Windows writes), else UTF-8.
fn decode(octets: &[u8]) -> (String, bool) {
    let wide = |rest: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = rest.chunks(2).map(|pair| match *pair {
            [one, two] => unit([one, two]),
            // Cut in the middle of a character.
            _ => 0xFFFD,
        });
        String::from_utf16_lossy(&units.collect::<Vec<_>>())
    };
    let text = match octets {
        [0xFF, 0xFE, rest @ ..] => wide(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => wide(rest, u16::from_be_bytes),
        [0xEF, 0xBB, 0xBF, rest @ ..] => String::from_utf8_lossy(rest).into_owned(),
        _ => String::from_utf8_lossy(octets).into_owned(),
    };
    let is_mended = text.contains(char::REPLACEMENT_CHARACTER);
    (text, is_mended)
}

/// What a file said, safe for a comment and a terminal: on one line, shortened.
pub(super) fn tame(said: &str) -> String {
    let mut tamed = String::new();
    for (at, letter) in said.chars().enumerate() {
        if at == SHOWN_MAX {
            tamed.push('…');
            break;
        }
        match letter {
            '\t' => tamed.push(' '),
            // What turns the direction of a text makes a comment look like a setting.
            '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => {
                tamed.extend(letter.escape_unicode());
            }
            _ if letter.is_control() => tamed.extend(letter.escape_default()),
            _ => tamed.push(letter),
        }
    }
    tamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings() {
        let wide = |text: &str, mark: [u8; 2], unit: fn(u16) -> [u8; 2]| {
            let mut octets = mark.to_vec();
            octets.extend(text.encode_utf16().flat_map(unit));
            octets
        };
        let whole = ("Grüße".to_owned(), false);
        assert_eq!(decode("Grüße".as_bytes()), whole);
        assert_eq!(decode("\u{FEFF}Grüße".as_bytes()), whole);
        assert_eq!(
            decode(&wide("Grüße", [0xFF, 0xFE], u16::to_le_bytes)),
            whole
        );
        assert_eq!(
            decode(&wide("Grüße", [0xFE, 0xFF], u16::to_be_bytes)),
            whole
        );
        assert_eq!(
            decode(b"Gr\xFC\xDFe"),
            ("Gr\u{FFFD}\u{FFFD}e".to_owned(), true)
        );
        assert_eq!(decode(b"\xFF\xFEa\0b"), ("a\u{FFFD}".to_owned(), true));
    }

    #[test]
    fn nothing_gets_out_of_a_comment() {
        assert_eq!(tame("a\nmode = \"enforce\""), "a\\nmode = \"enforce\"");
        assert_eq!(tame("\u{1b}[2J\r\u{202E}x"), "\\u{1b}[2J\\r\\u{202e}x");
        assert_eq!(tame(&"x".repeat(500)).chars().count(), SHOWN_MAX + 1);
    }
}
