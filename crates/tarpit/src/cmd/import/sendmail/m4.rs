//! sendmail.mc: calls of m4 macros, as far as they are written out. m4 itself is not run.

use std::iter::Peekable;
use std::str::Chars;

use anyhow::bail;

use super::super::source::{Setting, Source};

/// Macros that say something by their arguments.
const PLAIN: &[&str] = &["DAEMON_OPTIONS", "LOCAL_DOMAIN", "RELAY_DOMAIN"];

/// The settings: `define(NAME, VALUE)`, `FEATURE(NAME, ...)` as `FEATURE NAME`, and a few others by
/// their own name.
///
/// # Errors
///
/// A call or a quotation never ends.
pub(super) fn settings(source: &Source) -> anyhow::Result<Vec<Setting>> {
    let mut reader = Reader {
        letters: source.text.chars().peekable(),
        line: 1,
    };
    let mut list = Vec::new();
    while let Some(token) = reader.token() {
        let line = reader.line;
        match token {
            Token::Word(word) if word == "dnl" => reader.skip_line(),
            Token::Word(word) if reader.next_is('(') => {
                if word != "define" && word != "FEATURE" && !PLAIN.contains(&word.as_str()) {
                    continue;
                }
                let Some(arguments) = reader.arguments() else {
                    bail!("{}: this {word}( never ends", source.place(line));
                };
                list.extend(setting(&word, &arguments).map(|(name, value)| Setting {
                    name,
                    value,
                    place: source.place(line),
                }));
            }
            Token::Word(_) => {}
            Token::Other('#') => reader.skip_line(),
            Token::Other('`') => {
                if reader.quoted().is_none() {
                    bail!("{}: this ` has no '", source.place(line));
                }
            }
            Token::Other(_) => {}
        }
    }
    Ok(list)
}

fn setting(word: &str, arguments: &[String]) -> Option<(String, String)> {
    let first = arguments.first()?.trim();
    let rest = || {
        let rest = arguments.get(1..).unwrap_or(&[]);
        rest.iter()
            .map(|argument| argument.trim())
            .collect::<Vec<_>>()
            .join(", ")
    };
    match word {
        "define" => Some((first.to_owned(), rest())),
        "FEATURE" => Some((format!("FEATURE {first}"), rest())),
        _ => Some((word.to_owned(), arguments.join(", ").trim().to_owned())),
    }
}

enum Token {
    Word(String),
    Other(char),
}

struct Reader<'t> {
    letters: Peekable<Chars<'t>>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next();
        if letter == Some('\n') {
            self.line += 1;
        }
        letter
    }

    fn next_is(&mut self, letter: char) -> bool {
        self.letters.peek() == Some(&letter)
    }

    /// The next word or letter.
    fn token(&mut self) -> Option<Token> {
        let is_word = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
        let first = self.next()?;
        if !is_word(&first) {
            return Some(Token::Other(first));
        }
        let mut word = String::from(first);
        while let Some(letter) = self.letters.next_if(is_word) {
            word.push(letter);
        }
        Some(Token::Word(word))
    }

    fn skip_line(&mut self) {
        while let Some(letter) = self.next() {
            if letter == '\n' {
                return;
            }
        }
    }

    /// What is quoted, behind its first mark; quotations within keep theirs. None if it never ends.
    fn quoted(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut depth = 1_usize;
        loop {
            let letter = self.next()?;
            match letter {
                '`' => depth += 1,
                '\'' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(text);
            }
            text.push(letter);
        }
    }

    /// The arguments of a call, without one level of quotation marks. None if it never ends.
    fn arguments(&mut self) -> Option<Vec<String>> {
        let mut list = Vec::new();
        let mut text = String::new();
        let mut depth = 0_usize;
        loop {
            match self.token()? {
                Token::Word(word) if word == "dnl" => self.skip_line(),
                Token::Word(word) => text.push_str(&word),
                Token::Other('`') => text.push_str(&self.quoted()?),
                Token::Other('(') => {
                    if depth > 0 {
                        text.push('(');
                    }
                    depth += 1;
                }
                Token::Other(')') => {
                    depth -= 1;
                    if depth == 0 {
                        list.push(text);
                        return Some(list);
                    }
                    text.push(')');
                }
                Token::Other(',') if depth == 1 => list.push(std::mem::take(&mut text)),
                Token::Other('\n') => text.push(' '),
                Token::Other(letter) => text.push(letter),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Vec<(String, String, usize)>> {
        let list = settings(&Source {
            name: "sendmail.mc".into(),
            text: text.to_owned(),
            is_mended: false,
        })?;
        Ok(list
            .into_iter()
            .map(|one| (one.name, one.value, one.place.line))
            .collect())
    }

    #[test]
    fn calls() {
        let text = "divert(-1)dnl\n# don't define(`confX', `0')\ndivert(0)dnl\n\
                    define(`confBAD_RCPT_THROTTLE',`3')dnl\ndnl define(`confY', `1')\n\
                    define(`confPRIVACY_FLAGS',dnl\n`needmailhelo,novrfy')dnl\n\
                    FEATURE(`greet_pause', `1000')dnl 1 seconds\nFEATURE(`access_db', , `skip')dnl\n\
                    DAEMON_OPTIONS(`Family=inet,  Name=MTA-v4, Port=smtp')dnl\nFEATURE(`x', `a(b, c)', f(1, 2))\n";
        let one = |name: &str, value: &str, line| (name.to_owned(), value.to_owned(), line);
        assert_eq!(
            read(text).unwrap(),
            [
                one("confBAD_RCPT_THROTTLE", "3", 4),
                one("confPRIVACY_FLAGS", "needmailhelo,novrfy", 6),
                one("FEATURE greet_pause", "1000", 8),
                one("FEATURE access_db", ", skip", 9),
                one("DAEMON_OPTIONS", "Family=inet,  Name=MTA-v4, Port=smtp", 10),
                one("FEATURE x", "a(b, c), f(1, 2)", 11),
            ]
        );
    }

    #[test]
    fn what_never_ends() {
        let error = |text| read(text).unwrap_err().to_string();
        assert_eq!(
            error("\ndefine(`a', `b'\n"),
            "sendmail.mc:2: this define( never ends"
        );
        assert_eq!(error("\n\n`a\n"), "sendmail.mc:3: this ` has no '");
        assert_eq!(
            error("FEATURE(`a"),
            "sendmail.mc:1: this FEATURE( never ends"
        );
    }
}
