//! How mail addresses are shown in the log, in records and on the control socket.
//!
//! With [`Addresses::Hash`] the same address has the same sixteen digits as long as the process
//! lives, so that one can see that it is the same. They are keyed with 128 bits at random that are
//! nowhere but in this process: whoever has the log can't try addresses against it, not even we. The
//! price is that a restart breaks the thread. A key on disk was rejected: it would have to be kept
//! apart from the records that it protects, and every backup has both.

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::LazyLock;

use tarpit_smtp::escape;

use crate::config::Addresses;

static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Addresses {
    /// A path, escaped. The null reverse-path stays empty.
    pub(crate) fn show(self, path: &str) -> String {
        match self {
            Self::Full => escape(path.as_bytes()).to_string(),
            _ if path.is_empty() => String::new(),
            Self::Domain => match path.rsplit_once('@') {
                Some((_, domain)) => format!("*@{}", escape(domain.as_bytes())),
                None => "*".to_owned(),
            },
            // In small letters, as servers compare them.
            Self::Hash => format!("{:016x}", KEY.hash_one(path.to_lowercase())),
        }
    }

    /// A text of an upstream, which may say an address again.
    pub(crate) fn show_text(self, text: &str) -> Cow<'_, str> {
        if self == Self::Full || !text.contains('@') {
            return Cow::Borrowed(text);
        }
        let mut shown = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('@') {
            let (start, end) = around(rest, at);
            let (before, from) = rest.split_at(start);
            let (address, after) = from.split_at(end - start);
            shown.push_str(before);
            shown.push_str(&self.show(address));
            rest = after;
        }
        shown.push_str(rest);
        Cow::Owned(shown)
    }
}

/// Where the address around an `@` begins and ends: between angle brackets whatever is there, since
/// a local part may be quoted and have spaces in it; else up to what ends a word.
fn around(text: &str, at: usize) -> (usize, usize) {
    let (before, after) = text.split_at(at);
    let bracket = before
        .rfind('<')
        .filter(|open| !before[*open..].contains('>'));
    let close = after
        .find('>')
        .filter(|close| !after[..*close].contains('<'));
    if let (Some(open), Some(close)) = (bracket, close) {
        return (open + 1, at + close);
    }
    let ends = |letter: char| letter.is_whitespace() || "<>()[],;:\"'`".contains(letter);
    let start = before.rfind(ends).map_or(0, |start| {
        start + before[start..].chars().next().map_or(1, char::len_utf8)
    });
    let end = after.find(ends).map_or(text.len(), |end| at + end);
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let path = "Alice.\u{1b}@Example.org";
        assert_eq!(Addresses::Full.show(path), "Alice.\\x1B@Example.org");
        assert_eq!(Addresses::Domain.show(path), "*@Example.org");
        assert_eq!(
            Addresses::Domain.show("\"a@b\"@example.org"),
            "*@example.org"
        );
        assert_eq!(Addresses::Domain.show("postmaster"), "*");
        let hash = Addresses::Hash.show(path);
        assert_eq!(hash.len(), 16);
        assert_eq!(hash, Addresses::Hash.show(&path.to_lowercase()));
        assert_ne!(hash, Addresses::Hash.show("bob@example.org"));
        for how in [Addresses::Full, Addresses::Domain, Addresses::Hash] {
            assert_eq!(how.show(""), "");
        }
    }

    #[test]
    fn texts_of_an_upstream() {
        let check = |text: &str, shown: &str| {
            assert_eq!(Addresses::Domain.show_text(text), shown, "{text}");
            assert_eq!(Addresses::Full.show_text(text), text);
        };
        check("250 2.0.0 Ok: queued as 4XY", "250 2.0.0 Ok: queued as 4XY");
        check(
            "550 5.1.1 <bob@example.org>: unknown",
            "550 5.1.1 <*@example.org>: unknown",
        );
        check(
            "550 bob@example.org, eve@x.example",
            "550 *@example.org, *@x.example",
        );
        check("550 <\"b o b\"@example.org> no", "550 <*@example.org> no");
        check("550 'bob@example.org' > no", "550 '*@example.org' > no");
        check("\u{e4}\u{a0}bob@\u{e4}", "\u{e4}\u{a0}*@\\xC3\\xA4");
        check("@", "*@");
        check("a@@b@", "*@");
    }
}
